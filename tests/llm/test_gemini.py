"""Gemini: every text of a request and of a whole answer is seen, and only what is changed changes."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.exchange import Request
from aigw_middleware.headers import Headers
from aigw_middleware.llm.dialects import DIALECTS, DialectTable
from aigw_middleware.llm.dialects.gemini_parts import LEAVES, snake
from aigw_middleware.llm.framing import JSON_ARRAY, SSE

GEMINI = DIALECTS["gemini"]
IMAGE = {"inlineData": {"mimeType": "image/png", "data": "iVBO"}}


def asked(*parts: Any, role: str = "user", **more: Any) -> dict[str, Any]:
    return {"contents": [{"role": role, "parts": list(parts)}], **more}


def in_snake_case(value: Any) -> Any:
    """Return JSON with all names spelled with underscores."""
    if isinstance(value, dict):
        return {snake(name): in_snake_case(item) for name, item in value.items()}
    return [in_snake_case(item) for item in value] if isinstance(value, list) else value


def told(body: Any) -> list[tuple[str, str, str]]:
    assert GEMINI.readable(body) == ""
    return [(slot.kind, slot.role, slot.text) for slot in GEMINI.texts(body)]


def request(path: str, query: bytes = b"", body: bytes = b"{}") -> Request:
    made = Request()
    made.method, made.path, made.query = "POST", path, query
    made.headers = Headers([(b"content-type", b"application/json")])
    made.load(body)
    return made


# ---------------------------------------------------------------------- requests


@pytest.mark.parametrize("spelling", [copy.deepcopy, in_snake_case])
@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"text": "a"}, [("content", "a")]),
        ({"text": "a", "thought": True}, [("reasoning", "a")]),
        ({"text": "a", "thoughtSignature": "c2ln"}, [("content", "a")]),
        ({"thoughtSignature": "c2ln", "text": ""}, [("content", "")]),
        (IMAGE, []),
        ({"fileData": {"fileUri": "gs://b/o"}, "videoMetadata": {"startOffset": "1s"}}, []),
        (
            {"functionCall": {"id": "c", "name": "f", "args": {"q": "a", "n": 1, "l": ["b", {"z": "d"}]}}},
            [("tool_arguments", "a"), ("tool_arguments", "b"), ("tool_arguments", "d")],
        ),
        ({"functionResponse": {"name": "f", "response": {"out": ["r"], "n": 1}}}, [("tool_result", "r")]),
        ({"executableCode": {"language": "PYTHON", "code": "1+1"}}, [("tool_arguments", "1+1")]),
        ({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}}, [("tool_result", "2")]),
        ({"toolCall": {"toolType": "GOOGLE_SEARCH", "id": "i", "args": {"q": "a"}}}, [("tool_arguments", "a")]),
        ({"toolResponse": {"toolType": "X", "response": {"q": "a"}}}, [("tool_result", "a")]),
        ({"text": "a", "speechMetadata": {"style": "shouting"}}, [("content", "a"), ("document", "shouting")]),
    ],
)
def test_texts_of_a_part(part: dict[str, Any], expected: list[tuple[str, str]], spelling: Any) -> None:
    body = spelling(asked(part))
    assert told(body) == [(kind, "user", text) for kind, text in expected]


@pytest.mark.parametrize("spelling", [copy.deepcopy, in_snake_case])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"contents": {"parts": {"text": "a"}}}, [("content", "user", "a")]),
        ({"contents": "a"}, [("content", "user", "a")]),
        (
            {"contents": ["a", {"role": "model", "parts": ["b"]}]},
            [("content", "user", "a"), ("content", "assistant", "b")],
        ),
        (asked({"text": "a"}, role="function"), [("content", "tool", "a")]),
        (asked(systemInstruction="s"), [("system", "system", "s")]),
        (asked(systemInstruction={"role": "user", "parts": [{"text": "s"}]}), [("system", "system", "s")]),
        (asked(systemInstruction={"parts": {"text": "s"}}), [("system", "system", "s")]),
        (asked(systemInstruction={"role": "user", "text": "s"}), [("system", "system", "s")]),
        (asked(systemInstruction=[{"text": "s"}, "t"]), [("system", "system", "s"), ("system", "system", "t")]),
        ({"content": {"parts": [{"text": "e"}]}, "title": "t"}, [("content", "user", "e"), ("document", "user", "t")]),
        (
            {
                "requests": [
                    {"model": "m", "content": {"parts": [{"text": "e"}]}},
                    {"content": {"parts": [{"text": "f"}]}},
                ]
            },
            [("content", "user", "e"), ("content", "user", "f")],
        ),
        (
            {"generateContentRequest": asked({"text": "a"}, systemInstruction="s")},
            [("system", "system", "s"), ("content", "user", "a")],
        ),
        (
            asked(
                tools=[
                    {
                        "functionDeclarations": [
                            {
                                "name": "f",
                                "description": "d",
                                "parameters": {"properties": {"q": {"description": "p"}}},
                                "parametersJsonSchema": {"title": "t"},
                            }
                        ]
                    },
                    {"googleSearch": {}},
                ],
                generationConfig={"responseSchema": {"description": "r"}, "responseJsonSchema": {"title": "j"}},
            ),
            [("tool_definition", "", text) for text in ("d", "p", "t", "r", "j")],
        ),
    ],
)
def test_texts_of_a_request(body: Any, expected: list[tuple[str, str, str]], spelling: Any) -> None:
    assert told(spelling(body)) == expected


def test_places_of_a_request() -> None:
    body = {
        "contents": [
            {"parts": [{"text": "a"}, IMAGE, {"text": "b"}]},
            {"role": "model", "parts": [{"functionCall": {"args": {"q": "c", "r": "d"}}}]},
        ]
    }
    assert [(slot.index, slot.part) for slot in GEMINI.texts(body)] == [(0, 0), (0, 2), (1, LEAVES), (1, LEAVES + 1)]


def test_only_what_is_changed_changes() -> None:
    body = asked(
        {"text": "a", "thoughtSignature": "c2ln", "unknown": 1},
        {"functionCall": {"name": "a", "args": {"a": "a"}}, "thoughtSignature": "a"},
        systemInstruction={"parts": [{"text": "a"}]},
        labels={"a": "a"},
    )
    changed = copy.deepcopy(body)
    for slot in GEMINI.texts(changed):
        slot.container[slot.key] = "b"
    assert changed == asked(
        {"text": "b", "thoughtSignature": "c2ln", "unknown": 1},
        {"functionCall": {"name": "a", "args": {"a": "b"}}, "thoughtSignature": "a"},
        systemInstruction={"parts": [{"text": "b"}]},
        labels={"a": "a"},
    )


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"contents": 5},
        {"contents": [5]},
        {"contents": [{"parts": 5}]},
        {"contents": [{"parts": [5]}]},
        asked({"text": 5}),
        asked({"mystery": {"body": "secret"}}),
        asked({"text": "a"}, {"mystery": "secret"}),
        asked(systemInstruction=5),
        {"instances": [{"content": "x"}], "contents": []},
        {"requests": [{"content": {"parts": [{"mystery": "x"}]}}]},
        {"generateContentRequest": {"contents": [{"parts": [{"mystery": "x"}]}]}},
    ],
)
def test_what_cannot_be_read_says_why(body: Any) -> None:
    assert GEMINI.readable(body)


@pytest.mark.parametrize("spelling", [copy.deepcopy, in_snake_case])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (asked(IMAGE), [("image", "iVBO", 0, "", False)]),
        (
            asked({"fileData": {"mimeType": "video/mp4", "fileUri": "gs://b/o"}, "mediaResolution": {"level": "LOW"}}),
            [("video", "gs://b/o", 0, "LOW", True)],
        ),
        (asked({"inlineData": {"mimeType": "Audio/wav", "data": "UklG"}}), [("audio", "UklG", 0, "", False)]),
        (asked({"fileData": {"fileUri": "https://f.example/x"}}), [("file", "https://f.example/x", 0, "", True)]),
        (asked({"functionResponse": {"response": {}, "parts": [IMAGE]}}), [("image", "iVBO", 0, "", False)]),
        ({"contents": [], "cachedContent": "cachedContents/1"}, [("stored", "cachedContents/1", 0, "", True)]),
        ({"contents": {"parts": IMAGE}}, [("image", "iVBO", 0, "", False)]),
        ({"contents": [{"parts": []}, {"parts": [IMAGE]}]}, [("image", "iVBO", 1, "", False)]),
        ({"requests": [{}, {"content": {"parts": [IMAGE]}}]}, [("image", "iVBO", 1, "", False)]),
        (asked(systemInstruction={"parts": [IMAGE]}), [("image", "iVBO", 0, "", False)]),
    ],
)
def test_attachments(body: Any, expected: list[tuple[str, str, int, str, bool]], spelling: Any) -> None:
    found = [(one.kind, one.source, one.index, one.detail, one.remote) for one in GEMINI.attachments(spelling(body))]
    assert found == expected


SYSTEM = [("system", "s1"), ("developer", "s2")]
S1, S2 = {"text": "s1"}, {"text": "s2"}


@pytest.mark.parametrize(
    ("body", "at_end", "key", "expected"),
    [
        ({"contents": []}, False, "systemInstruction", {"parts": [S1, S2]}),
        ({"contents": [], "generation_config": {}}, False, "system_instruction", {"parts": [S1, S2]}),
        ({"contents": [], "systemInstruction": None}, False, "systemInstruction", {"parts": [S1, S2]}),
        ({"contents": [], "system_instruction": {"parts": [{"text": "o"}]}}, False, "system_instruction",
         {"parts": [S1, S2, {"text": "o"}]}),
        ({"contents": [], "systemInstruction": {"role": "user", "parts": [{"text": "o"}]}}, True, "systemInstruction",
         {"role": "user", "parts": [{"text": "o"}, S1, S2]}),
        ({"contents": [], "systemInstruction": "o"}, True, "systemInstruction", {"parts": [{"text": "o"}, S1, S2]}),
        ({"contents": [], "systemInstruction": {"text": "o"}}, False, "systemInstruction",
         {"parts": [S1, S2, {"text": "o"}]}),
        ({"contents": [], "systemInstruction": {"role": "user"}}, False, "systemInstruction",
         {"role": "user", "parts": [S1, S2]}),
    ],
)  # fmt: skip
def test_system_messages_go_into_the_instruction(body: Any, at_end: bool, key: str, expected: Any) -> None:
    assert GEMINI.insert(body, SYSTEM, at_end=at_end)
    assert body[key] == expected
    assert len({"systemInstruction", "system_instruction"} & set(body)) == 1
    assert body["contents"] == []


def test_messages_go_in_at_both_ends() -> None:
    body: dict[str, Any] = {"model": "x", "contents": {"role": "user", "parts": [{"text": "b"}]}}
    assert GEMINI.insert(body, [("user", "a"), ("assistant", "m")], at_end=False)
    assert GEMINI.insert(body, [("user", "c")], at_end=True)
    said = [(content["role"], [part["text"] for part in content["parts"]]) for content in body["contents"]]
    assert said == [("user", ["a"]), ("model", ["m"]), ("user", ["b"]), ("user", ["c"])]
    assert list(body) == ["model", "contents"]
    counted: dict[str, Any] = {"generateContentRequest": {"contents": []}}
    assert GEMINI.insert(counted, [("user", "c")], at_end=True)
    assert counted["generateContentRequest"]["contents"][0]["parts"] == [{"text": "c"}]
    others: list[Any] = [{}, {"content": {"parts": []}}, {"requests": []}, {"contents": 5}, [], None]
    for other in others:
        assert not GEMINI.insert(other, SYSTEM, at_end=False)


@pytest.mark.parametrize(
    ("body", "name", "value", "expected"),
    [
        ({}, "max_output_tokens", 5, {"generationConfig": {"maxOutputTokens": 5}}),
        ({"generation_config": {}}, "max_output_tokens", 5, {"generation_config": {"max_output_tokens": 5}}),
        ({"system_instruction": {}}, "top_p", 1, {"system_instruction": {}, "generation_config": {"top_p": 1}}),
        (
            {"generation_config": {"maxOutputTokens": 9}},
            "max_output_tokens",
            5,
            {"generation_config": {"maxOutputTokens": 5}},
        ),
        (
            {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}},
            "thinking_budget",
            7,
            {"generationConfig": {"thinkingConfig": {"includeThoughts": True, "thinkingBudget": 7}}},
        ),
        ({}, "reasoning_effort", "low", {"generationConfig": {"thinkingConfig": {"thinkingLevel": "low"}}}),
        ({}, "stop", ["x"], {"generationConfig": {"stopSequences": ["x"]}}),
        ({}, "choices", 2, {"generationConfig": {"candidateCount": 2}}),
        ({"generationConfig": None}, "seed", 2, {"generationConfig": {"seed": 2}}),
        ({}, "service_tier", "flex", {"serviceTier": "flex"}),
    ],
)
def test_parameters(body: dict[str, Any], name: str, value: Any, expected: Any) -> None:
    assert GEMINI.set_parameter(body, name, value)
    assert body == expected
    assert GEMINI.parameter(body, name) == value
    assert not GEMINI.set_parameter({}, "no_such", 1)


@pytest.mark.parametrize(
    ("path", "model", "streams"),
    [
        ("/v1beta/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro", False),
        ("/v1beta/models/gemini-2.5-pro:streamGenerateContent", "gemini-2.5-pro", True),
        ("/v1beta/tunedModels/mine-1:generateContent", "mine-1", False),
        ("/v1/projects/p/locations/l/publishers/google/models/g@001:streamGenerateContent", "g@001", True),
        ("/v1/projects/p/locations/l/endpoints/12:generateContent", "12", False),
        ("/v1beta/models/google/gemini-3:countTokens", "google/gemini-3", False),
        ("/v1beta/models/llama3:8b:embedContent", "llama3:8b", False),
        ("/v1beta/models/e:batchEmbedContents", "e", False),
    ],
)
def test_the_path_says_model_and_stream(path: str, model: str, streams: bool) -> None:
    made = request(path, body=b'{"model": "other", "stream": true}')
    assert DialectTable().of_path(path) is GEMINI
    assert (GEMINI.model(made), GEMINI.streams(made)) == (model, streams)
    assert not GEMINI.set_model(made, "x")
    assert not made.edited


@pytest.mark.parametrize(
    ("method", "query", "given", "json", "expected"),
    [
        ("streamGenerateContent", b"", None, True, JSON_ARRAY),
        ("streamGenerateContent", b"alt=json&key=k", None, True, JSON_ARRAY),
        ("streamGenerateContent", b"alt=sse", None, True, None),
        ("streamGenerateContent", b"%24alt=sse", None, True, None),
        ("streamGenerateContent", b"alt=sse", SSE, False, SSE),
        ("streamGenerateContent", b"", SSE, False, SSE),
        ("streamGenerateContent", b"", None, False, None),
        ("generateContent", b"", None, True, None),
    ],
)
def test_framing(method: str, query: bytes, given: Any, json: bool, expected: Any) -> None:
    made = request(f"/v1beta/models/g:{method}", query)
    assert GEMINI.framing(made, given, json=json) is expected


def test_requests_of_this_shape_are_recognised() -> None:
    assert GEMINI.recognises(asked({"text": "a"}))
    others: list[Any] = [
        None,
        [],
        {},
        {"contents": "x"},
        {"contents": []},
        {"messages": [], "model": "m"},
        {"input": 1},
    ]
    for other in others:
        assert not GEMINI.recognises(other)


# ---------------------------------------------------------------------- whole answers

USAGE = {
    "promptTokenCount": 100,
    "toolUsePromptTokenCount": 20,
    "cachedContentTokenCount": 40,
    "candidatesTokenCount": 7,
    "thoughtsTokenCount": 5,
    "totalTokenCount": 132,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 60}, {"modality": "AUDIO", "tokenCount": 30},
                            {"modality": "IMAGE", "tokenCount": 10}],
    "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 3}],
}  # fmt: skip


@pytest.mark.parametrize("spelling", [copy.deepcopy, in_snake_case])
def test_usage_is_told_in_one_meaning(spelling: Any) -> None:
    usage = GEMINI.usage(spelling({"usageMetadata": USAGE}))
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (120, 12, 132)
    assert (usage.stated_input, usage.stated_output, usage.reasoning_tokens) == (100, 7, 5)
    assert (usage.cached_tokens, usage.audio_input_tokens, usage.image_input_tokens) == (40, 30, 10)
    assert (usage.audio_output_tokens, usage.partial) == (3, False)
    assert usage.input_details is not None
    assert usage.input_details["toolUsePromptTokenCount"] == 20
    assert usage.output_details is not None
    assert usage.output_details["thoughtsTokenCount"] == 5


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"promptTokenCount": 3}, (3, 0, 3)),
        ({"promptTokenCount": 3, "responseTokenCount": 4, "totalTokenCount": 7}, (3, 4, 7)),
        ({"trafficType": "ON_DEMAND"}, None),
        (None, None),
        ([], None),
        ({"promptTokenCount": "x", "candidatesTokenCount": -1, "promptTokensDetails": 5}, (0, 0, 0)),
        ({"promptTokenCount": 3, "promptTokensDetails": [{"modality": [4], "tokenCount": 3}]}, (3, 0, 3)),
    ],
)
def test_usage_of_other_shapes(metadata: Any, expected: Any) -> None:
    usage = GEMINI.usage({"usageMetadata": metadata})
    assert (usage and (usage.input_tokens, usage.output_tokens, usage.total_tokens)) == expected


@pytest.mark.parametrize(
    ("name", "image", "sound"),
    [
        ("promptTokensDetails", "IMAGE", "AUDIO"),
        ("promptTokensDetails", 2, 4),
        ("promptTokenDetails", "IMAGE", "AUDIO"),
    ],
)
def test_modalities_by_name_or_number(name: str, image: Any, sound: Any) -> None:
    details = [{"modality": image, "tokenCount": 258}, {"modality": sound, "tokenCount": 32}]
    usage = GEMINI.usage({"usageMetadata": {"promptTokenCount": 290, name: details}})
    assert usage is not None
    assert (usage.image_input_tokens, usage.audio_input_tokens) == (258, 32)


def answer(*parts: Any, reason: str | None = "STOP", **more: Any) -> dict[str, Any]:
    end = {} if reason is None else {"finishReason": reason}
    return {
        "candidates": [{"content": {"parts": list(parts), "role": "model"}, **end, "index": 0, **more}],
        "modelVersion": "gemini-x",
        "responseId": "r1",
    }


def said(body: Any) -> list[tuple[str, int, str]]:
    return [(piece.kind, piece.part, piece.text) for piece in GEMINI.read_answer(json.dumps(body).encode()).pieces]


PARTS = [
    {"text": "think", "thought": True},
    {"text": "Hel"},
    {"text": "lo", "thoughtSignature": "c2ln"},
    {"functionCall": {"id": "c", "name": "f", "args": {"q": "cat", "n": 1.50, "r": "x"}}, "thoughtSignature": "c2ln"},
    {"text": "again"},
    {"executableCode": {"language": "PYTHON", "code": "1"}},
    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}},
    {"inlineData": {"mimeType": "image/png", "data": "iVBO"}},
    {"text": "end"},
]
SAID = [
    ("reasoning", 0, "think"),
    ("content", 0, "Hello"),
    ("tool_arguments", LEAVES + 1, "cat"),
    ("tool_arguments", LEAVES + 2, "x"),
    ("content", 1, "again"),
    ("tool_arguments", LEAVES + 3, "1"),
    ("tool_result", LEAVES + 4, "2"),
    ("content", 4, "end"),
]


def test_texts_of_a_whole_answer() -> None:
    body = answer(*PARTS)
    assert said(body) == SAID
    delta = GEMINI.answered(body)
    assert (delta.model, delta.identifier, delta.reasons, delta.error) == ("gemini-x", "r1", ["STOP"], False)
    [call] = delta.calls
    assert (call.index, call.part, call.id, call.name) == (0, LEAVES, "c", "f")
    assert json.loads(call.arguments) == {"q": "cat", "n": 1.5, "r": "x"}
    slots = list(GEMINI.answer_texts(body))
    assert len({slot.place for slot in slots}) == len(slots)
    assert next(iter(GEMINI.answer_calls(body))).name == "f"
    assert list(GEMINI.answer_reasons(body)) == ["STOP"]
    assert GEMINI.answer_model(body) == "gemini-x"


def test_parts_that_are_one_text_are_written_as_one() -> None:
    body = answer(*copy.deepcopy(PARTS))
    for slot in GEMINI.answer_texts(body):
        if slot.text == "Hello":
            slot.container[slot.key] = "Bye"
            assert slot.text == "Bye"
    parts = body["candidates"][0]["content"]["parts"]
    assert parts[1:3] == [{"text": "Bye"}, {"text": "", "thoughtSignature": "c2ln"}]
    assert [part for number, part in enumerate(parts) if number not in (1, 2)] == [
        part for number, part in enumerate(PARTS) if number not in (1, 2)
    ]


def test_a_stream_read_whole_is_the_sum_of_its_chunks() -> None:
    chunks = [answer(part, reason=None) for part in PARTS]
    chunks[-1] = {**answer(PARTS[-1]), "usageMetadata": USAGE}
    chunks[2]["usageMetadata"] = {"promptTokenCount": 100, "totalTokenCount": 100}
    assert said(chunks) == said(answer(*PARTS)) == SAID
    delta = GEMINI.answered(chunks)
    assert (delta.model, delta.identifier, delta.reasons) == ("gemini-x", "r1", ["STOP"])
    assert delta.usage is not None
    assert (delta.usage.input_tokens, delta.usage.output_tokens, delta.usage.partial) == (120, 12, False)
    for slot in GEMINI.answer_texts(chunks):
        slot.container[slot.key] = slot.text.upper()
    assert said(chunks) == [(kind, part, text.upper()) for kind, part, text in SAID]


def test_a_whole_answer_reports_all_its_usage() -> None:
    delta = GEMINI.answered({"candidates": [], "usageMetadata": {"promptTokenCount": 3}})
    assert delta.usage is not None
    assert not delta.usage.partial


def test_candidates_are_told_apart() -> None:
    body: Any = {"candidates": [{"content": {"parts": [{"text": "a"}]}}, {"content": {"parts": [{"text": "b"}]}}]}
    assert [slot.place for slot in GEMINI.answer_texts(body)] == [(0, "content", 0), (1, "content", 0)]
    body["candidates"] = [{"index": 1, "content": {"parts": [{"text": "b"}]}}, {"content": {"parts": [{"text": "a"}]}}]
    assert [(slot.index, slot.text) for slot in GEMINI.answer_texts(body)] == [(1, "b"), (0, "a")]


def test_what_an_answer_repeats_is_read_too() -> None:
    grounding = {
        "webSearchQueries": ["query"],
        "groundingChunks": [
            {"retrievedContext": {"text": "source"}},
            {"web": {"uri": "u", "title": "t"}},
            {"maps": {"uri": "u", "placeId": "p", "title": "place", "text": "there"}},
        ],
        "groundingSupports": [{"segment": {"text": "repeated"}}],
        "searchEntryPoint": {"renderedContent": "<a>query</a>", "sdkBlob": "c2ln"},
    }
    more = {"groundingMetadata": grounding, "finishMessage": "Malformed function call: f(x"}
    body = answer({"text": "a"}, {"somethingNew": {"words": "new"}}, **more)
    assert [text for _, _, text in said(body)] == [
        *("a", "new", "Malformed function call: f(x", "repeated", "source", "t", "place", "there", "query"),
        "<a>query</a>",
    ]
    assert {kind for kind, _, text in said(body) if text != "a"} == {"document"}


@pytest.mark.parametrize(
    ("body", "reasons", "error"),
    [
        ({"promptFeedback": {"blockReason": "SAFETY"}}, ["SAFETY"], False),
        ({"prompt_feedback": {"block_reason": "OTHER"}}, ["OTHER"], False),
        (answer({"text": ""}, reason="MAX_TOKENS"), ["MAX_TOKENS"], False),
        (answer({"text": ""}, reason="FINISH_REASON_UNSPECIFIED"), [], False),
        ({"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}, [], True),
        ([{"error": {"code": 429}}], [], True),
        (answer({"text": ""}, finishReason=2), ["MAX_TOKENS"], False),  # with `enum-encoding=int`
        (answer({"text": ""}, finishReason=0), [], False),
        (answer({"text": ""}, finishReason=99), ["99"], False),
        (answer({"text": ""}, finishReason=True), [], False),
        ({"promptFeedback": {"blockReason": 4}}, ["PROHIBITED_CONTENT"], False),
    ],
)
def test_reasons_and_errors(body: Any, reasons: list[str], error: bool) -> None:
    delta = GEMINI.answered(body)
    assert (delta.reasons, delta.error) == (reasons, error)


@pytest.mark.parametrize("parts", [[{"text": "secret"}], [{"text": "sec"}, {"text": "ret"}]])
def test_tokens_of_a_text_that_was_changed_are_not_told_again(parts: Any) -> None:
    logged = {"chosenCandidates": [{"token": "secret", "logProbability": -0.1}]}
    body = answer(*parts, logprobsResult=logged)
    other = {"content": {"parts": [{"text": "other"}]}, "index": 1, "logprobsResult": logged}
    body["candidates"].append(other)
    [slot, kept] = GEMINI.answer_texts(body)
    assert (slot.text, kept.text) == ("secret", "other")
    slot.container[slot.key] = "***"
    assert said(body) == [("content", 0, "***"), ("content", 0, "other")]
    assert ["logprobsResult" in candidate for candidate in body["candidates"]] == [False, True]


def test_an_answer_is_finished() -> None:
    body = answer({"text": "a"}, PARTS[3], logprobsResult={"chosenCandidates": []})
    GEMINI.finish_answer(body, 0, "length")
    assert body["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert "logprobsResult" not in body["candidates"][0]
    assert list(GEMINI.answer_calls(body))
    GEMINI.finish_answer(body, 0, "content_filter", (0, "content", 0))
    assert body["candidates"][0]["finishReason"] == "SAFETY"
    assert body["candidates"][0]["content"]["parts"] == [{"text": "a"}]
    chunks = [answer({"text": "a"}), answer({"text": "b"}, reason=None)]
    GEMINI.finish_answer(chunks, 0, "stop")
    assert list(GEMINI.answer_reasons(chunks)) == ["STOP"]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("place", "kept"),
    [
        ((0, "", -1), [0, 1, 2]),
        ((0, "content", 0), [0, 1, 2]),
        ((0, "reasoning", 0), [0, 1, 2]),
        ((0, "tool_arguments", LEAVES + 1), [0, 1, 2]),
        ((0, "tool_arguments", LEAVES + 2), [0, 1, 2]),
        ((0, "content", 1), [0, 1, 2, 3, 4]),
        ((0, "tool_arguments", LEAVES + 3), [0, 1, 2, 3, 4, 5]),
        ((0, "tool_result", LEAVES + 4), [0, 1, 2, 3, 4, 5, 6]),
        ((0, "content", 4), [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ((1, "content", 0), [0, 1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_nothing_is_left_behind_a_stop(place: tuple[int, str, int], kept: list[int], chunked: bool) -> None:
    body: Any = [answer(part) for part in PARTS] if chunked else answer(*PARTS)
    GEMINI.finish_answer(body, 0, "content_filter", place)
    chunks = body if chunked else [body]
    assert [part for one in chunks for part in one["candidates"][0]["content"]["parts"]] == [PARTS[one] for one in kept]


def test_an_answer_of_a_plugin() -> None:
    data, events = (
        GEMINI.answer("no", stream=stream, reason="content_filter", model="m", identifier="i", created=0)
        for stream in (False, True)
    )
    assert events == b"data: " + data + b"\n\n"
    delta = GEMINI.read_answer(data)
    assert [(piece.place, piece.text) for piece in delta.pieces] == [((0, "content", 0), "no")]
    assert (delta.reasons, delta.model, delta.identifier) == (["SAFETY"], "m", "i")
    assert json.loads(data)["createTime"] == "1970-01-01T00:00:00Z"


# ---------------------------------------------------------------------- whatever comes

NAMES = """
    contents content parts text thought role inlineData inline_data mimeType fileData functionCall function_call args
    functionResponse response partialArgs jsonPath stringValue willContinue executableCode code candidates index x
    finishReason groundingMetadata groundingSupports segment systemInstruction tools functionDeclarations description
    requests generateContentRequest usageMetadata promptTokenCount promptTokensDetails modality tokenCount error
    promptFeedback blockReason generationConfig cachedContent modelVersion
"""
names = st.sampled_from(NAMES.split())
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats(allow_nan=False) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=25,
)


@given(anything, anything)
def test_nothing_is_raised_for_json_of_any_shape(body: Any, other: Any) -> None:
    for value in (body, {"contents": body, "systemInstruction": other}, {"candidates": body, "usageMetadata": other}):
        GEMINI.recognises(value)
        GEMINI.readable(value)
        list(GEMINI.attachments(value))
        delta = GEMINI.answered(value)
        assert all(piece.text for piece in delta.pieces)
        slots = list(GEMINI.answer_texts(value))
        assert len({slot.place for slot in slots}) == len(slots)
        for slot in [*GEMINI.texts(value), *slots]:
            assert isinstance(slot.text, str)
        GEMINI.usage(value)
        changed = copy.deepcopy(value)
        if isinstance(changed, dict):
            GEMINI.parameter(changed, "thinking_budget")
            GEMINI.set_parameter(changed, "thinking_budget", 5)
            assert GEMINI.parameter(changed, "thinking_budget") == 5
        GEMINI.insert(changed, [("system", "s"), ("user", "u")], at_end=True)
        GEMINI.finish_answer(changed, 0, "content_filter", (0, "content", 0))


@given(anything)
def test_texts_that_are_written_back_leave_everything_as_it_was(body: Any) -> None:
    for value in ({"contents": body}, {"contents": [{"parts": body}]}, {"candidates": [{"content": {"parts": body}}]}):
        before = json.dumps(value)
        for slot in GEMINI.texts(value):
            slot.container[slot.key] = slot.text
        assert json.dumps(value) == before
        for slot in list(GEMINI.answer_texts(value)):
            slot.container[slot.key] = slot.text + "!"
        after = list(GEMINI.answer_texts(value))
        assert all(slot.text.endswith("!") for slot in after)
