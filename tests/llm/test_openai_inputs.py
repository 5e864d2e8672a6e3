"""APIs without a conversation: every text that goes in is seen, what cannot be read is said, and the rest passes."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware import Channel, Exchange, Needs, Plugin, PluginConfig
from aigw_middleware.config.models import RouteModel
from aigw_middleware.llm.dialects import DIALECTS, DialectTable
from aigw_middleware.llm.dialects.base import Delta, Dialect
from aigw_middleware.llm.sse import Event
from aigw_middleware.llm.usage import Usage
from aigw_middleware.llm.view import Uncovered
from aigw_middleware.testing.matrix import Script, Scripted, assert_same, run_everywhere

EMBEDDINGS, OTHER, MEDIA = (DIALECTS[f"openai-{name}"] for name in ("embeddings", "other", "media"))
JSON = [("content-type", "application/json")]
SSE = [("content-type", "text/event-stream")]
FORM = [("content-type", "multipart/form-data; boundary=b")]
UPLOAD = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na cat\r\n--b--\r\n'
IMAGE_USAGE = {
    "input_tokens": 50,
    "output_tokens": 1056,
    "total_tokens": 1106,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
}


# ------------------------------------------------------------------ requests


@pytest.mark.parametrize(
    ("dialect", "body", "expected"),
    [
        (EMBEDDINGS, {"input": "a"}, [("content", "user", 0, "a")]),
        (EMBEDDINGS, {"input": ["a", "b"]}, [("content", "user", 0, "a"), ("content", "user", 1, "b")]),
        (OTHER, {"prompt": "a cat", "n": 2, "size": "auto"}, [("content", "user", 0, "a cat")]),
        (
            OTHER,
            {"prompt": "a", "negative_prompt": "b"},
            [("content", "user", 0, "b"), ("content", "user", 0, "a")],
        ),
        (
            OTHER,
            {"input": "a", "voice": "alloy", "instructions": "calm"},
            [("system", "system", 0, "calm"), ("content", "user", 0, "a")],
        ),
        (OTHER, {"input": ["a", "b"]}, [("content", "user", 0, "a"), ("content", "user", 1, "b")]),
        (
            OTHER,
            {"input": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://u"}}]},
            [("content", "user", 0, "a")],
        ),
        (
            OTHER,
            {"query": "q", "documents": ["a", {"text": "b"}, {"title": "t", "text": "c", "year": 1, "image": "i"}]},
            [
                ("content", "user", 0, "q"),
                ("document", "user", 0, "a"),
                ("document", "user", 1, "b"),
                ("document", "user", 2, "t"),
                ("document", "user", 2, "c"),
            ],
        ),
    ],
)
def test_texts_of_a_request(dialect: Dialect, body: dict[str, Any], expected: list[Any]) -> None:
    assert dialect.readable(body) == ""
    found = list(dialect.texts(body))
    assert [(slot.kind, slot.role, slot.index, slot.text) for slot in found] == expected
    assert len({slot.place for slot in found}) == len(found)
    for slot in found:
        slot.container[slot.key] = slot.text.upper()
    assert [slot.text for slot in dialect.texts(body)] == [text.upper() for *_, text in expected]


@pytest.mark.parametrize(
    ("dialect", "body", "reason"),
    [
        (EMBEDDINGS, [], "the body is no JSON object"),
        (EMBEDDINGS, {}, "input is neither text nor a list of texts"),
        (EMBEDDINGS, {"input": [1, 2]}, "input is a list of tokens"),
        (EMBEDDINGS, {"input": [[1], [2]]}, "input is a list of tokens"),
        (EMBEDDINGS, {"input": [{"text": "a"}]}, "input has an item of unknown type"),
        (EMBEDDINGS, {"input": "a", "messages": [{"role": "user"}]}, "embeddings of messages are not read"),
        (OTHER, [], "the body is no JSON object"),
        (OTHER, {"text": "a"}, "there is no prompt, input or query"),
        (OTHER, {"prompt": ["a"]}, "prompt is no text"),
        (OTHER, {"input": "a", "instructions": {}}, "instructions is no text"),
        (OTHER, {"input": [{"type": "audio", "audio": "a"}]}, "input has an item of unknown type"),
        (OTHER, {"input": [{"type": "text"}]}, "input has an item of unknown type"),
        (OTHER, {"query": "q", "texts": ["a"]}, "documents is no list"),
        (OTHER, {"prompt": "q", "documents": "a"}, "documents is no list"),
        (
            OTHER,
            {"query": "q", "documents": [{"content": [{"text": "a"}]}]},
            "a document is neither text nor an object of texts",
        ),
        (OTHER, {"query": "q", "documents": [3]}, "a document is neither text nor an object of texts"),
        (MEDIA, {"prompt": "a"}, "openai-media requests are not read"),
    ],
)
def test_what_cannot_be_read_says_why(dialect: Dialect, body: Any, reason: str) -> None:
    assert dialect.readable(body) == reason


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"input": [{"type": "image_url", "image_url": {"url": "https://u"}}]}, [("image", "https://u", 0, True)]),
        ({"prompt": "a", "image": "data:image/png;base64,AA"}, [("image", "data:image/png;base64,AA", 0, False)]),
        ({"prompt": "a", "image": ["https://u", "AA"]}, [("image", "https://u", 0, True), ("image", "AA", 1, False)]),
        ({"prompt": "a", "input_reference": {"file_id": "file-1"}}, [("image", "file-1", 0, True)]),
        ({"prompt": "a", "input_reference": {"image_url": "https://u"}}, [("image", "https://u", 0, True)]),
        ({"query": "q", "documents": [{"image": "https://u"}, "b"]}, [("image", "https://u", 0, True)]),
        ({"input": "a"}, []),
    ],
)
def test_images_of_a_request(body: dict[str, Any], expected: list[Any]) -> None:
    assert OTHER.readable(body) == ""
    assert [(one.kind, one.source, one.index, one.remote) for one in OTHER.attachments(body)] == expected


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/v1/embeddings", None, "openai-embeddings"),
        ("/openai/deployments/d/embeddings", {"input": "a"}, "openai-embeddings"),
        ("/openai/deployments/d/embeddings", {"input": [1]}, "openai-embeddings"),
        ("/openai/deployments/d/embeddings", {"vectors": 1}, ""),
        ("/openai/deployments/d/images/generations", {"prompt": "a"}, "openai-other"),
        ("/openai/deployments/d/images/generations", {"prompt": 1}, "openai-other"),
        ("/openai/deployments/d/images/generations", {"page": 1}, ""),
        ("/shop/moderations", {"input": "a"}, ""),
        *((f"/v1/{name}", None, "openai-other") for name in ("images/generations", "audio/speech", "moderations")),
        *((path, None, "openai-other") for path in ("/v1/rerank", "/v2/rerank")),
        ("/v1/videos", None, ""),
        ("/v1/videos", {"model": "sora-2", "prompt": "x"}, "openai-other"),
        *((f"/v1/images/{name}", None, "openai-media") for name in ("edits", "variations")),
        *((f"/v1/audio/{name}", None, "openai-media") for name in ("transcriptions", "translations")),
        ("/v1/videos/video_1/content", None, ""),
    ],
)
def test_how_a_call_is_recognised(path: str, body: Any, name: str) -> None:
    table = DialectTable()
    found = table.of_path(path) or table.of_body(path, body)
    assert (found.name if found is not None else "") == name


@pytest.mark.parametrize("name", ["auto", "none", *DIALECTS])
def test_a_route_may_name_each_dialect(name: str) -> None:
    assert RouteModel(name="r", llm=name).llm == name


def test_a_route_may_name_no_other() -> None:
    with pytest.raises(ValueError, match="openai-media"):
        RouteModel(name="r", llm="openai")


# ------------------------------------------------------------------ answers


def counts(usage: Usage | None) -> Any:
    if usage is None:
        return None
    return (
        usage.input_tokens,
        usage.output_tokens,
        usage.total_tokens,
        usage.image_input_tokens,
        usage.audio_input_tokens,
    )


@pytest.mark.parametrize(
    ("dialect", "body", "texts", "usage"),
    [
        (
            EMBEDDINGS,
            {"object": "list", "data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 8, "total_tokens": 8}},
            [],
            (8, 0, 8, 0, 0),
        ),
        (EMBEDDINGS, {"data": [{"embedding": "AAAA"}], "usage": {"total_tokens": 8}}, [], (8, 0, 8, 0, 0)),
        (OTHER, {"data": [{"b64_json": "AA"}], "usage": IMAGE_USAGE}, [], (50, 1056, 1106, 40, 0)),
        (
            OTHER,
            {"data": [{"url": "u"}, {"url": "u", "revised_prompt": "a"}]},
            [(1, "content", 0, "a")],
            None,
        ),
        (OTHER, {"id": "modr-1", "model": "m", "results": [{"flagged": True, "categories": {"hate": True}}]}, [], None),
        (
            OTHER,
            {
                "results": [{"index": 1, "document": {"text": "a"}}, {"index": 0, "document": "b"}],
                "usage": {"total_tokens": 7},
            },
            [(0, "document", 0, "a"), (1, "document", 0, "b")],
            (7, 0, 7, 0, 0),
        ),
        (
            OTHER,
            {"results": [], "meta": {"billed_units": {"search_units": 1}, "tokens": {"input_tokens": 4}}},
            [],
            (4, 0, 4, 0, 0),
        ),
        (OTHER, {"id": "video_1", "object": "video", "prompt": "a", "error": None}, [(0, "content", 2, "a")], None),
        (
            MEDIA,
            {
                "text": "said",
                "usage": {
                    "type": "tokens",
                    "input_tokens": 14,
                    "output_tokens": 45,
                    "total_tokens": 59,
                    "input_token_details": {"audio_tokens": 14},
                },
            },
            [(0, "content", 1, "said")],
            (14, 45, 59, 0, 14),
        ),
        (MEDIA, {"text": "said", "usage": {"type": "duration", "seconds": 3}}, [(0, "content", 1, "said")], None),
    ],
)
def test_a_whole_answer_is_read(dialect: Dialect, body: dict[str, Any], texts: list[Any], usage: Any) -> None:
    for delta in (dialect.read_answer(json.dumps(body).encode()), dialect.answered(body)):
        assert [(*piece.place, piece.text) for piece in delta.pieces] == texts
        assert counts(delta.usage) == usage
        assert delta.identifier == body.get("id", "")
        assert not delta.error


EVENT_USAGE = json.dumps({"usage": IMAGE_USAGE})[1:-1].encode()


@pytest.mark.parametrize(
    ("data", "usage"),
    [
        (b'{"type": "image_generation.partial_image", "b64_json": "AA"}', None),
        (b'{"type": "image_generation.completed", "b64_json": "AA", %s}' % EVENT_USAGE, (50, 1056, 1106, 40, 0)),
        (b'{"type": "image_edit.completed", "b64_json": "AA", %s}' % EVENT_USAGE, (50, 1056, 1106, 40, 0)),
        (b'{"type": "speech.audio.delta", "audio": "AA"}', None),
        (
            b'{"type": "speech.audio.done", "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}}',
            (1, 2, 3, 0, 0),
        ),
        (
            b'{"type": "transcript.text.done", "text": "a", "usage": {"input_tokens": 1, "output_tokens": 2}}',
            (1, 2, 3, 0, 0),
        ),
    ],
)
def test_events_of_streams_are_read(data: bytes, usage: Any) -> None:
    delta = OTHER.open().read(Event(b"data: " + data + b"\n\n"))
    assert delta is not None
    assert counts(delta.usage) == usage
    assert (list(delta.pieces), delta.error) == ([], False)


def test_other_events_of_streams_are_not() -> None:
    reader = OTHER.open()
    unknown = Event(b'data: {"type": "transcript.text.delta", "delta": "secret"}\n\n')
    assert reader.read(unknown) is None
    assert reader.opaque(unknown)
    done = Event(b"data: [DONE]\n\n")
    assert (reader.read(done), reader.opaque(done), reader.ends(done)) == (None, False, True)
    assert not reader.opaque(Event(b": comment\n\n"))
    failed = reader.read(Event(b"event: error\n" + reader.error_event(502, "broken", "No.")))
    assert failed is not None
    assert failed.error


# ------------------------------------------------------------------ through the pipeline


class Counting(Plugin[PluginConfig]):
    """Records what each exchange used."""

    name, needs = "counting", Needs.USAGE | Needs.LLM

    def compile(self) -> None:
        self.seen: list[Any] = []

    def on_complete(self, exchange: Exchange) -> None:
        assert exchange.llm is not None
        reported = exchange.meter.reported
        self.seen.append((exchange.llm.dialect.name, exchange.llm.model, counts(reported) if reported else None))


class Guard(Plugin[PluginConfig]):
    """Refuses a word in questions, and replaces it in answers."""

    name, needs, on_uncovered = "guard", Needs.LLM, "deny"

    def on_request_body(self, exchange: Exchange) -> None:
        assert exchange.llm is not None
        for slot in exchange.llm.texts():
            exchange.llm.replace(slot, slot.text.replace("cat", "dog"))

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> str:
        return text.replace("cat", "dog")


Headers = list[tuple[str, str]]


def script(path: str, headers: Headers, body: bytes, answer_headers: Headers, answer: bytes) -> Script:
    answered = Scripted(headers=answer_headers, chunks=[answer[:7], answer[7:]])
    return Script(method="POST", path=path, headers=headers, body=[body], answer=answered)


EXCHANGES: list[tuple[Script, str, str, Any]] = [
    (
        script("/v1/embeddings", JSON, b'{ "model": "m", "input": [[1, 2]] }', JSON, b'{"usage": {"total_tokens": 2}}'),
        "openai-embeddings",
        "m",
        (2, 0, 2, 0, 0),
    ),
    (
        script("/v1/images/generations", JSON, b'{ "prompt": "a" }', JSON, json.dumps({"usage": IMAGE_USAGE}).encode()),
        "openai-other",
        "",
        (50, 1056, 1106, 40, 0),
    ),
    (
        script(
            "/v1/images/generations",
            JSON,
            b'{ "model": "m", "prompt": "a", "stream": true }',
            SSE,
            b'event: x\ndata: {"type": "image_generation.completed", %s}\n\n' % EVENT_USAGE,
        ),
        "openai-other",
        "m",
        (50, 1056, 1106, 40, 0),
    ),
    (
        script(
            "/v1/audio/speech",
            JSON,
            b'{ "model": "t", "input": "a" }',
            [("content-type", "audio/mpeg")],
            b"ID3\0\xff\xfb" * 9,
        ),
        "openai-other",
        "t",
        None,
    ),
    (script("/v1/audio/transcriptions", FORM, UPLOAD, JSON, b'{"text": "a"}'), "openai-media", "", None),
    (
        script("/v1/audio/translations", FORM, UPLOAD, [("content-type", "text/plain")], b"plain text"),
        "openai-media",
        "",
        None,
    ),
]


@pytest.mark.parametrize(("given_script", "dialect", "model", "usage"), EXCHANGES)
def test_exchanges_pass_untouched_and_are_counted(given_script: Script, dialect: str, model: str, usage: Any) -> None:
    made: list[Counting] = []

    def plugins() -> list[Plugin[Any]]:
        made.append(Counting())
        return [made[-1]]

    transcript = assert_same(run_everywhere(given_script, plugins))
    assert (transcript.status, transcript.outcomes) == (200, ["completed"])
    assert transcript.body == b"".join(given_script.answer.chunks)
    assert transcript.seen[0].body == b"".join(given_script.body)
    assert [seen for plugin in made for seen in plugin.seen] == [(dialect, model, usage)] * 8


@pytest.mark.parametrize("number", [0, 4, 5])
def test_a_guard_refuses_what_it_cannot_read(number: int) -> None:
    transcript = assert_same(run_everywhere(EXCHANGES[number][0], lambda: [Guard()]))
    assert (transcript.status, transcript.seen) == (400, [])
    assert json.loads(transcript.body)["error"]["code"] == "uncovered_call"


def test_a_spoken_answer_has_no_text_that_a_guard_could_miss() -> None:
    spoken, _, _, _ = EXCHANGES[3]
    transcript = assert_same(run_everywhere(spoken, lambda: [Guard()]))
    assert (transcript.status, transcript.body) == (200, b"".join(spoken.answer.chunks))


def test_what_nobody_reads_may_be_of_any_size() -> None:
    upload = script("/v1/audio/transcriptions", FORM, UPLOAD + b"x" * 2_000, JSON, b'{"text": "a"}')
    transcript = assert_same(
        run_everywhere(upload, lambda: [Counting()], config={"max_body_bytes": 1_000, "plugins": []})
    )
    assert (transcript.status, transcript.seen[0].body) == (200, b"".join(upload.body))


@pytest.mark.parametrize(
    ("path", "asked", "answered"),
    [
        ("/v1/embeddings", {"model": "m", "input": ["a cat", "b"]}, {"data": [{"embedding": [0.25, -1e-05]}]}),
        ("/v1/images/generations", {"prompt": "a cat"}, {"data": [{"url": "u", "revised_prompt": "the cat"}]}),
        ("/v1/moderations", {"input": [{"type": "text", "text": "cat"}]}, {"results": [{"flagged": False}]}),
        ("/v2/rerank", {"query": "cat", "documents": ["cats"]}, {"results": [{"document": {"text": "cats"}}]}),
    ],
)
def test_a_guard_reads_what_can_be_read(path: str, asked: Any, answered: Any) -> None:
    given_script = script(path, JSON, json.dumps(asked).encode(), JSON, json.dumps(answered).encode())
    transcript = assert_same(run_everywhere(given_script, lambda: [Guard()]))
    assert json.loads(transcript.seen[0].body) == json.loads(json.dumps(asked).replace("cat", "dog"))
    assert json.loads(transcript.body) == json.loads(json.dumps(answered).replace("cat", "dog"))


def test_a_conversation_there_is_none() -> None:
    class Decorator(Plugin[PluginConfig]):
        name, needs, on_uncovered = "decorator", Needs.LLM, "deny"

        def on_request_body(self, exchange: Exchange) -> None:
            assert exchange.llm is not None
            with pytest.raises(Uncovered, match="no conversation"):
                exchange.llm.insert([("system", "a")])

    given_script = script("/v1/embeddings", JSON, b'{"input": "a"}', JSON, b"{}")
    assert run_everywhere(given_script, lambda: [Decorator()], hosts=["asgi"])["asgi"].status == 200


@pytest.mark.parametrize("dialect", [EMBEDDINGS, OTHER, MEDIA])
def test_the_official_client_raises_on_a_refusal(dialect: Dialect) -> None:
    error = dialect.open().error_event(429, "rate", "Slow down.")
    transport = httpx2.MockTransport(lambda request: httpx2.Response(429, content=error[6:-2]))
    client = openai.OpenAI(
        api_key="k", base_url="http://a/v1", max_retries=0, http_client=httpx2.Client(transport=transport)
    )
    with client, pytest.raises(openai.RateLimitError, match="Slow down"):
        client.embeddings.create(model="m", input="a")


# ------------------------------------------------------------------ properties

NAMES = ["input", "prompt", "instructions", "query", "documents", "image", "input_reference", "type", "text", "url"]
NAMES += ["image_url", "data", "revised_prompt", "results", "document", "usage", "meta", "tokens", "total_tokens"]
NAMES += ["input_tokens", "error", "model", "id", "messages", "negative_prompt"]
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 4)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "text"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)


def comparable(delta: Delta) -> Any:
    pieces = [(*piece.place, piece.text) for piece in delta.pieces]
    return pieces, counts(delta.usage), delta.model, delta.identifier, delta.error


@given(anything, st.sampled_from([EMBEDDINGS, OTHER, MEDIA]))
def test_nothing_raises_and_both_readings_agree(body: Any, dialect: Dialect) -> None:
    data = json.dumps(body).encode()
    dialect.readable(body)
    dialect.hinted(body)
    for slot in [*dialect.texts(body), *dialect.answer_texts(body)]:
        assert isinstance(slot.text, str)
    for attachment in dialect.attachments(body):
        assert attachment.source
    assert len({slot.place for slot in dialect.answer_texts(body)}) == len(list(dialect.answer_texts(body)))
    assert comparable(dialect.read_answer(data)) == comparable(dialect.answered(body))
    reader = dialect.open()
    event = Event(b"data: " + data + b"\n\n")
    if reader.read(event) is None:
        reader.opaque(event)


def test_times_go_with_the_transcript_that_they_repeat() -> None:
    timed = {"segments": [{"id": 0, "text": "a secret"}], "words": [{"word": "secret"}]}
    body = {"text": "a secret", "language": "en", "duration": 1.5, **timed}
    media = DIALECTS["openai-media"]
    (slot,) = media.answer_texts(body)
    slot.container[slot.key] = "a secret"
    assert body["segments"] == timed["segments"]
    slot.container[slot.key] = "a ***"
    assert body == {"text": "a ***", "language": "en", "duration": 1.5, "segments": [], "words": []}
    assert slot.text == "a ***"
