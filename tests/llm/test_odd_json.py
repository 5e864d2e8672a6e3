"""JSON of any shape in every place of every dialect: read as far as it can be, and never a failure of ours."""

from __future__ import annotations

import copy
import json
import logging
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigw_middleware import Channel, Exchange, Needs, Plugin, PluginConfig, Stage
from aigw_middleware.testing.matrix import Script, Scripted, run_everywhere
from tests.llm.calls import ANSWER, CALLS, FULL, Call

EVERY = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.id)

scalars = st.none() | st.booleans() | st.integers(-2, 10**20) | st.floats(allow_nan=False) | st.text(max_size=5)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "content", "index", "parts", "function", "id"]), inner)
    ),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all parts of a document."""
    found = [path] if path else []
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            found += places(item, (*path, key))
    return found


def changed(document: Any, data: st.DataObject) -> Any:
    """Return the document with a part of it replaced, taken out or told twice."""
    document = copy.deepcopy(document)
    paths = places(document)
    if not paths:
        return document
    *way, last = data.draw(st.sampled_from(paths))
    holder = document
    for key in way:
        holder = holder[key]
    if data.draw(st.booleans()):
        holder[last] = data.draw(values)
    elif isinstance(holder, list):
        holder.insert(last, copy.deepcopy(holder[last]))
    else:
        del holder[last]
    return document


class Edit(Plugin[PluginConfig]):
    """Reads and changes all there is."""

    name, stage, needs = "edit", Stage.DEFAULT, Needs.LLM | Needs.USAGE

    def on_request_body(self, exchange: Exchange) -> None:
        call = exchange.llm
        assert call is not None
        for slot in list(call.texts()):
            call.replace(slot, slot.text.replace("bird", "horse"))
        list(call.attachments())
        _ = call.model, call.streams, call.output_limit, call.prompt_bound()
        exchange.meter.keep_text = 1_000
        if call.dialect.conversation:
            call.insert([("system", "a"), ("user", "b"), ("assistant", "c")])
            call.insert([("user", "d")], at_end=True)

    def on_text(self, exchange: Exchange, text: str, channel: Channel) -> str:
        return text.replace("bird", "horse")

    def on_complete(self, exchange: Exchange) -> None:
        _ = exchange.meter.usage, exchange.meter.tool_calls(), exchange.meter.answer


PLUGINS = [
    {"name": "model-router", "config": {"model_to_header": "x-model"}},
    {"name": "model-mapper", "config": {"model_mapping": {"m": "n"}}},
    {"name": "ai-prompt-decorator", "config": {"append": [{"role": "system", "content": "Be brief."}]}},
    {"name": "ai-data-masking", "config": {"deny_words": ["never"]}},
    {"name": "ai-context-limit", "config": {"max_context_tokens": 100, "policy": "keep_system"}},
    {"name": "ai-statistics", "config": {"use_default_attributes": True}},
]


def run(script: Script, caplog: pytest.LogCaptureFixture, config: dict[str, Any] | None) -> Any:
    """Run the exchange, and see that no plug-in failed."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "aigw_middleware"):
        plugins = [Edit()] if config is None else []
        transcript = run_everywhere(script, lambda: plugins, config=config, hosts=["asgi"])["asgi"]
    assert [record.getMessage() for record in caplog.records if record.name == "aigw_middleware"] == []
    return transcript


@EVERY
@pytest.mark.parametrize("config", [None, {"plugins": PLUGINS}], ids=["edits", "plug-ins"])
def test_requests_of_any_shape(call: Call, config: Any, caplog: pytest.LogCaptureFixture) -> None:
    answer = call.script(ANSWER).answer

    @settings(max_examples=40)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        body = changed(changed(call.body, data), data)
        odd = replace(call, body=body)
        script = Script(**{**vars(call.script(ANSWER)), "answer": answer, "body": [json.dumps(odd.body).encode()]})
        assert run(script, caplog, config).status in (200, 400)

    check()


@EVERY
@pytest.mark.parametrize("config", [None, {"plugins": PLUGINS}], ids=["edits", "plug-ins"])
def test_answers_of_any_shape(call: Call, config: Any, caplog: pytest.LogCaptureFixture) -> None:
    given_script = call.script(FULL if call.thinks else ANSWER)

    @settings(max_examples=40)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        chunks = list(given_script.answer.chunks)
        number = data.draw(st.integers(0, len(chunks) - 1))
        text = chunks[number].decode()
        start, end = text.find("{"), text.rfind("}") + 1
        if start < 0:
            return
        odd = json.dumps(changed(json.loads(text[start:end]), data))
        chunks[number] = f"{text[:start]}{odd}{text[end:]}".encode()
        answer = Scripted(status=200, headers=given_script.answer.headers, chunks=chunks)
        transcript = run(Script(**{**vars(given_script), "answer": answer}), caplog, config)
        assert transcript.status in (200, 502)

    check()
