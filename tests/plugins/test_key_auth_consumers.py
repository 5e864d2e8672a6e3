"""key-auth with many consumers: what is kept of them, and that it is the same as what their models say."""

import copy
import gc
import hashlib
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aigw_middleware import ConfigError, KeyAuth
from aigw_middleware.plugins.auth import key as key_auth
from aigw_middleware.plugins.auth.key import KeyAuthConfig
from aigw_middleware.plugins.auth.key.consumers import KeyConsumer, PackedConsumers
from tests.plugins.service import Gated

MANY = 5_000
MAX_BYTES = 160  # what digest, table and tuples take; a Consumer each would be too much


def sha(key: str) -> str:
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def key_of(number: int) -> str:
    return f"key-{number:016}"


def numbered(count: int) -> list[dict[str, Any]]:
    return [{"name": f"c{number}", "credential": sha(key_of(number))} for number in range(count)]


def validated(consumers: Sequence[Any]) -> KeyAuthConfig:
    return KeyAuthConfig.model_validate({"keys": ["k"], "consumers": consumers})


MIXED: list[dict[str, Any]] = [
    {"name": "digest", "credential": sha(key_of(1))},
    {"name": "plain", "credential": key_of(2)},
    {"name": "short", "credential": "hunter2"},
    {"name": "two", "credentials": [key_of(4), key_of(5)]},
    {"name": "keyed", "credential": "hmac-sha256:" + "a" * 64},
    {"name": "placed", "credential": key_of(6), "in_query": False},
    {"name": "last", "credential": key_of(7)},
]


# ---------------------------------------------------------------------- what is kept


def test_a_consumer_with_a_digest_takes_little_memory() -> None:
    consumers = numbered(MANY)
    KeyAuth(keys=["k"], consumers=consumers[:10])
    gc.collect()
    tracemalloc.start()
    try:
        plugin = KeyAuth(keys=["k"], consumers=consumers)
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] / MANY
    finally:
        tracemalloc.stop()
    assert len(plugin.config.consumers) == MANY > key_auth._FEW
    assert taken < MAX_BYTES


def test_one_of_many_is_told_by_name() -> None:
    gated = Gated("key-auth", {"keys": ["k"], "consumers": numbered(key_auth._FEW + 1), "allow": ["c7"]})
    assert gated.ask(headers=[("k", f"Bearer {key_of(7)}")]).status == 200
    assert (gated.service.consumer.name, gated.service.header("x-mse-consumer")) == ("c7", ["c7"])
    assert gated.ask(headers=[("k", key_of(8))]).status == 403
    assert gated.ask(headers=[("k", key_of(key_auth._FEW + 1))]).status == 401


def test_one_of_many_that_is_declared_is_the_declared_one() -> None:
    config = {"keys": ["k"], "consumers": numbered(key_auth._FEW + 1), "allow": ["group:staff"]}
    gated = Gated("key-auth", config, consumers=[{"name": "c7", "groups": ["staff"]}])
    assert gated.ask(headers=[("k", key_of(7))]).status == 200
    assert gated.service.consumer is gated.gateway.core.snapshot.consumers.get("c7")


@pytest.mark.parametrize("count", [2, key_auth._FEW + 1])
@pytest.mark.parametrize("more", [{}, {"in_query": False}])
def test_a_key_has_one_owner_however_many_there_are(count: int, more: dict[str, Any]) -> None:
    consumers = [*numbered(count), {"name": "eve", "credential": key_of(1), **more}]
    with pytest.raises(ConfigError, match="consumers 'c1' and 'eve' have the same credential"):
        KeyAuth(keys=["k"], consumers=consumers)
    KeyAuth(keys=["k"], consumers=[*numbered(count), {"name": "c1", "credential": key_of(1), **more}])


# ---------------------------------------------------------------------- the same as models


def test_packed_consumers_are_their_models() -> None:
    packed = validated(MIXED).consumers
    models = [KeyConsumer.model_validate(item) for item in MIXED]
    assert isinstance(packed, PackedConsumers)
    assert list(packed) == models
    assert [packed[number] for number in range(len(MIXED))] == models
    assert packed[-2:] == tuple(models[-2:])
    assert [model.name for model in packed.models()] == ["short", "two", "keyed", "placed"]
    assert repr(packed) == repr(tuple(models))
    assert key_of(2) not in repr(packed)
    assert PackedConsumers.of(packed) is packed
    assert list(PackedConsumers.of(models)) == models


def test_configurations_are_compared_and_written_as_before() -> None:
    config = validated(MIXED)
    assert config == validated(copy.deepcopy(MIXED))
    assert config == copy.deepcopy(config)
    assert hash(config) == hash(validated(tuple(MIXED)))
    assert config == KeyAuthConfig.model_validate({"keys": ["k"], "consumers": config.consumers})
    assert config != validated([*MIXED[:-1], {"name": "last", "credential": key_of(8)}])
    assert config != validated([*MIXED[:-1], {"name": "lost", "credential": key_of(7)}])
    written = config.model_dump(mode="json", exclude_unset=True)["consumers"]
    assert written[0] == {"name": "digest", "credential": "***"}
    assert [item["name"] for item in written] == [item["name"] for item in MIXED]


def test_problems_are_counted_in_the_whole_list() -> None:
    wrong = [*numbered(3), {"name": "c3"}, *numbered(2), {"name": "c6", "credential": "sha256:12"}, "c7"]
    with pytest.raises(ConfigError) as caught:
        KeyAuth(keys=["k"], consumers=wrong)
    assert [problem.path for problem in caught.value.problems] == [
        "consumers[3]",
        "consumers[6].credential",
        "consumers[7]",
    ]


def test_what_is_no_list_is_refused() -> None:
    with pytest.raises(ConfigError, match="consumers"):
        KeyAuth(keys=["k"], consumers={"name": "alice", "credential": key_of(1)})
    assert len(validated(iter(numbered(2))).consumers) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "right"), [("", False), ("n", True), ("n" * 256, True), ("n" * 257, False)])
def test_names_have_a_length(name: str, right: bool) -> None:
    try:
        assert validated([{"name": name, "credential": sha("a")}]).consumers[0].name == name
        assert right
    except ValidationError:
        assert not right


@pytest.mark.parametrize(
    "digits", ["0" * 62, "0" * 66, "0 " * 32, " " + "0" * 63, "00 " * 21 + "0", "0" * 64 + "\n", "é" * 64]
)
def test_a_digest_has_64_digits_and_nothing_else(digits: str) -> None:
    with pytest.raises(ValidationError, match="should have 64 hexadecimal digits"):
        validated([{"name": "alice", "credential": f"sha256:{digits}"}])


values = st.one_of(
    st.sampled_from([sha("a"), "SHA256:" + "0" * 64, "sha256:" + "g" * 64, "hmac-sha256:" + "0" * 64, "env:NOT_SET_AT_ALL"]),
    st.text(max_size=20),
    st.text("abc\n\r\0é\ud800", max_size=300),
    st.integers(),
    st.none(),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["name", "credential", "credentials", "in_query", "Name"]), values, max_size=3))
def test_the_short_way_judges_as_the_model_does(item: dict[str, Any]) -> None:
    try:
        expected: object = KeyConsumer.model_validate(item)
    except ValidationError as error:
        expected = [problem["msg"] for problem in error.errors(include_input=False, include_url=False)]
    try:
        found: object = validated([item]).consumers[0]
    except ValidationError as error:
        found = [problem["msg"] for problem in error.errors(include_input=False, include_url=False)]
    assert found == expected
