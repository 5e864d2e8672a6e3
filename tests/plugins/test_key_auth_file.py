"""key-auth with keys that end, and with a file of consumers."""

import gc
import hashlib
import json
import logging
import tracemalloc
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware import ConfigError, Gateway, KeyAuth
from aigw_middleware.config.secrets import Keyring
from aigw_middleware.consumers import Consumer, ConsumerTable
from aigw_middleware.plugins.auth.key import KeyAuthConfig
from aigw_middleware.plugins.auth.key import file as key_file
from aigw_middleware.plugins.auth.key.api_keys import keyed_digest
from aigw_middleware.plugins.auth.key.expiry import Expiring, expiry
from aigw_middleware.plugins.auth.key.file import FiledKeys
from tests.plugins.service import Gated, Service

ALICE, BOB = "alice-0123456789abcdef", "bob-0123456789abcdef"
INVALID, FORBIDDEN = (401, "invalid_api_key"), (403, "unauthorized_consumer")
SECRET = "s" * 32
MANY = 20_000
MAX_BYTES = 80  # 32 of digest, 8 to 16 of index, a name of 16 and its end


def sha(key: str) -> str:
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def key_of(number: int) -> str:
    return f"key-{number:016}"


def line(name: str, credential: str, **more: Any) -> str:
    return json.dumps({"name": name, "credential": credential, **more})


def numbered(count: int) -> bytes:
    return "\n".join(line(f"consumer-{number:07}", sha(key_of(number))) for number in range(count)).encode()


def outcome(gated: Gated, key: str) -> object:
    exchange = gated.ask(headers=[("k", key)])
    return (
        gated.service.header("x-mse-consumer") if exchange.status == 200 else (exchange.status, exchange.json()["code"])
    )


def problems(config: Mapping[str, Any], **top: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Gateway(Service(), {"plugins": [{"name": "key-auth", "config": {"keys": ["k"], **config}}], **top})
    return [str(problem) for problem in caught.value.problems]


def in_file(folder: Path, lines: bytes | str, config: Mapping[str, Any] | None = None, **top: Any) -> Gated:
    path = folder / "keys.jsonl"
    path.write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    return Gated("key-auth", {"keys": ["k"], "consumers_file": str(path), **(config or {})}, **top)


# ---------------------------------------------------------------------- keys that end


def until(gated: Gated, seconds: float) -> str:
    return datetime.fromtimestamp(gated.clock.now() + seconds, UTC).isoformat()


def test_a_key_ends_at_its_time() -> None:
    gated = Gated("key-auth", {"keys": ["k"]})
    expires = until(gated, 60)
    config = {
        "keys": ["k"],
        "consumers": [
            {"name": "alice", "credential": ALICE, "expires": expires},
            {"name": "bob", "credentials": [BOB, {"credential": sha("old-0123456789abcdef"), "expires": expires}]},
            {"name": "carol", "credentials": {"credential": "carol-0123456789abcdef", "expires": expires}},
        ],
        "allow": ["alice", "bob"],
    }
    declared = [
        {"name": "bob", "credentials": {"key-auth": {"credential": "third-0123456789abcdef", "expires": expires}}}
    ]
    gated = Gated("key-auth", config, consumers=declared)
    keys = [ALICE, BOB, "old-0123456789abcdef", "third-0123456789abcdef", "carol-0123456789abcdef"]
    assert [outcome(gated, key) for key in keys] == [["alice"], ["bob"], ["bob"], ["bob"], FORBIDDEN]
    gated.clock.advance(59.9)
    assert outcome(gated, f"Bearer {ALICE}") == ["alice"]
    gated.clock.advance(0.2)
    assert [outcome(gated, key) for key in keys] == [INVALID, ["bob"], INVALID, INVALID, INVALID]


def test_the_record_says_what_the_caller_is_not_told() -> None:
    config = {"keys": ["k"], "consumers": [{"name": "alice", "credential": ALICE, "expires": "2001-01-01T00:00:00Z"}]}
    gated = Gated("key-auth", config)
    expired, unknown = gated.ask(headers=[("k", ALICE)]), gated.ask(headers=[("k", BOB)])
    assert (expired.status, expired.body, expired.headers) == (unknown.status, unknown.body, unknown.headers)
    (plugin,) = gated.gateway.core.snapshot.plugins
    assert isinstance(plugin, KeyAuth)

    class Recorded:
        ports = type("Ports", (), {"clock": gated.clock})
        decided: list[tuple[object, ...]] = []  # noqa: RUF012 - one test's

        def decide(self, *what: object) -> None:
            self.decided.append(what)

    exchange: Any = Recorded()
    assert plugin._in_time(exchange, Expiring("alice", 1.0)) is None
    assert exchange.decided == [(plugin, "skipped", "a key of 'alice' has expired")]


def test_an_ended_key_in_one_place_does_not_hide_a_good_one_in_another() -> None:
    consumers = [
        {"name": "alice", "credential": ALICE, "expires": "2001-01-01T00:00:00Z"},
        {"name": "bob", "credential": BOB},
    ]
    gated = Gated("key-auth", {"keys": ["k"], "consumers": consumers})
    assert gated.ask("GET", f"/?k={BOB}", [("k", ALICE)]).status == 200


def test_of_a_key_written_twice_the_earlier_end_counts() -> None:
    ends = [{"credential": ALICE, "expires": "2001-01-01T00:00:00Z"}, ALICE]
    for credentials in (ends, ends[::-1]):
        gated = Gated("key-auth", {"keys": ["k"], "consumers": [{"name": "alice", "credentials": credentials}]})
        assert outcome(gated, ALICE) == INVALID


def test_one_key_has_one_owner_whenever_it_ends() -> None:
    consumers = [
        {"name": "alice", "credential": ALICE, "expires": "2001-01-01T00:00:00Z"},
        {"name": "eve", "credential": sha(ALICE)},
    ]
    assert problems({"consumers": consumers}) == [
        "plugins[0].config: consumers 'alice' and 'eve' have the same credential"
    ]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1970-01-01T00:01:00Z", 60),
        ("1970-01-01t00:01:00.5z", 60.5),
        ("1970-01-01 01:01:00+01:00", 60),
        ("1969-12-31T23:01:00-01:00", 60),
        (datetime(1970, 1, 1, 0, 1, tzinfo=UTC), 60),
        (datetime(1970, 1, 1, 2, 1, tzinfo=timezone(timedelta(hours=2))), 60),
    ],
)
def test_times_that_are_read(written: object, seconds: float) -> None:
    assert expiry(written) == seconds
    model = {"name": "a", "credential": ALICE, "expires": written}
    config = KeyAuthConfig.model_validate({"keys": ["k"], "consumers": [model]})
    dumped = config.model_dump(mode="json")["consumers"][0]["expires"]
    assert expiry(dumped) == seconds


@pytest.mark.parametrize(
    "written",
    [
        "2027-01-31",
        "2027-01-31T00:00:00",
        "2027-13-31T00:00:00Z",
        "2027-01-31T00:00Z",
        "20270131T000000Z",
        "2027-01-31T00:00:00+0100",
        "tomorrow",
        1_800_000_000,
        datetime(2027, 1, 31),
        None,
    ],
)
def test_times_that_are_not_read(written: object) -> None:
    with pytest.raises(ValueError, match="should be a time with its offset from UTC"):
        expiry(written)


def test_yaml_has_times_of_its_own() -> None:
    (entry,) = yaml.safe_load(f"[{{name: alice, credential: {ALICE}, expires: 2001-01-01T00:00:00Z}}]")
    gated = Gated("key-auth", {"keys": ["k"], "consumers": [entry]})
    assert outcome(gated, ALICE) == INVALID


@pytest.mark.parametrize(
    ("consumer", "expected"),
    [
        ({"credential": ALICE, "expires": "2027-01-31"}, "[0].expires: should be a time with its offset"),
        (
            {"credentials": [ALICE], "expires": "2027-01-31T00:00:00Z"},
            "[0]: consumer 'a' should have `expires` in each",
        ),
        ({"credentials": [{"credential": ALICE}]}, "[0].credentials[0]: should have `credential` and `expires`"),
        ({"credentials": [{"credential": ALICE, "expires": "x"}]}, "[0].credentials[0]: should be a time"),
        ({"credentials": [{"credential": ALICE, "expires": "x", "to": 1}]}, "[0].credentials[0]: should have `cred"),
        (
            {"credentials": [{"credential": {"credential": ALICE}, "expires": "x"}]},
            "[0].credentials[0]: should be a key",
        ),
    ],
)
def test_ends_that_are_refused_at_load(consumer: dict[str, Any], expected: str) -> None:
    (problem,) = problems({"consumers": [{"name": "a", **consumer}]})
    assert problem.startswith(f"plugins[0].config.consumers{expected}")
    assert ALICE not in problem


# ---------------------------------------------------------------------- a file of consumers


def test_a_file_of_consumers(tmp_path: Path) -> None:
    keyring = Keyring([SECRET.encode()])
    lines = [
        line("alice", sha(ALICE)),
        "",
        line("alice", "second-0123456789abcdef"),
        line("爱丽丝", keyed_digest("third-0123456789abcdef", keyring)),
        line("bob", sha(BOB), expires="2001-01-01T00:00:00Z"),
        line("carol", sha("carol-0123456789abcdef"), expires="2999-01-01T00:00:00Z"),
        line("dave", sha("dave-0123456789abcdef")),
    ]
    inline = [
        {"name": "eve", "credential": "eve-0123456789abcdef"},
        {"name": "frank", "credential": "f" * 20, "keys": ["f"]},
    ]
    gated = in_file(
        tmp_path,
        "\ufeff" + "\r\n".join(lines),
        {"consumers": inline, "allow": ["alice", "爱丽丝", "carol", "eve", "frank"]},
        secret=SECRET,
    )
    for key, expected in [
        (ALICE, ["alice"]),
        (f"Bearer {ALICE}", ["alice"]),
        ("second-0123456789abcdef", ["alice"]),
        ("third-0123456789abcdef", ["爱丽丝".encode().decode("latin-1")]),
        (BOB, INVALID),
        ("carol-0123456789abcdef", ["carol"]),
        ("dave-0123456789abcdef", FORBIDDEN),
        ("eve-0123456789abcdef", ["eve"]),
        ("f" * 20, INVALID),
        (sha(ALICE), INVALID),
        (ALICE[:-1], INVALID),
    ]:
        for _ in range(2):  # looked up, and met before
            assert outcome(gated, key) == expected
    assert gated.ask(headers=[("f", "f" * 20)]).status == 200
    assert gated.ask("GET", f"/?k={ALICE}").status == 200


def test_who_is_declared_is_the_declared_one(tmp_path: Path) -> None:
    declared = [
        {"name": "alice", "groups": ["staff"], "credentials": {"key-auth": ["second-0123456789abcdef"]}},
        {"name": "bob", "credentials": {"key-auth": ["not-in-the-file-0123"]}},
    ]
    gated = in_file(tmp_path, line("alice", sha(ALICE)), {"allow": ["group:staff"]}, consumers=declared)
    assert outcome(gated, ALICE) == ["alice"]
    assert gated.service.consumer is gated.gateway.core.snapshot.consumers.get("alice")
    assert outcome(gated, "second-0123456789abcdef") == ["alice"]
    assert outcome(gated, "not-in-the-file-0123") == INVALID  # whom the file does not name has no keys here


def test_the_file_is_watched(tmp_path: Path) -> None:
    keys, config = tmp_path / "keys.jsonl", tmp_path / "aigw.yaml"
    keys.write_text(line("alice", sha(ALICE)))
    config.write_text("plugins: [{name: key-auth, config: {keys: [k], consumers_file: keys.jsonl}}]")
    gated = Gated("key-auth", {"keys": ["k"]})
    gated.gateway = Gateway(gated.service, config)
    assert outcome(gated, ALICE) == ["alice"]
    before = gated.gateway.core.snapshot.plugins
    gated.gateway.reload()
    assert gated.gateway.core.snapshot.plugins == before
    keys.write_text(line("bob", sha(BOB)))
    gated.gateway.reload()
    assert outcome(gated, ALICE) == INVALID
    assert outcome(gated, BOB) == ["bob"]
    keys.write_text("{")
    with pytest.raises(ConfigError):
        gated.gateway.reload()
    assert outcome(gated, BOB) == ["bob"]


def test_an_empty_file_lets_nobody_in(tmp_path: Path) -> None:
    declared = [{"name": "alice", "credentials": {"key-auth": [ALICE]}}]
    assert outcome(in_file(tmp_path, "\n", consumers=declared), ALICE) == INVALID


def test_what_is_wrong_is_told_by_line(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    lines = [
        line("alice", sha(ALICE)),
        "{",
        "[]",
        line("", sha(BOB)),
        line("n" * 257, sha(BOB)),
        line("bob", "sha256:12"),
        line("bob", "hmac-sha256:" + "g" * 64),
        line("bob", "env:HOME"),
        line("bob", ""),
        line("bob", sha(BOB), keys=["k"]),
        '{"name": "bob"}',
        line("bob", sha(BOB), expires="tomorrow"),
        line("b\nob", sha(BOB)),
        line("bob", 7),
        '{"name": "bob", "credential": "\xff"}',
        line("eve", ALICE),
        line("alice", ALICE),
    ]
    path.write_bytes("\n".join(lines).encode("latin-1"))
    found = [problem.partition(f" of {path}: ")[::2] for problem in problems({"consumers_file": str(path)})]
    assert [where.removeprefix("plugins[0].config: consumers_file: ") for where, _ in found] == [
        f"line {number}" for number in range(2, 17)
    ]
    told = [what for _, what in found]
    assert told[-1] == "has the same credential as line 1"
    for number, part in {4: "64 hexadecimal", 6: "only read from local", 9: "required field", 10: "a time"}.items():
        assert part in told[number]
    assert not any(secret in text for text in told for secret in (ALICE, BOB, sha(BOB), "tomorrow"))


def test_at_most_20_problems_are_told(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    path.write_text("wrong\n" * 1_000)
    found = problems({"consumers_file": str(path)})
    assert len(found) == 20
    assert "line 20 of" in found[-1]
    path.write_text("\n".join(line(f"c{number}", ALICE) for number in range(1_000)))
    assert len(problems({"consumers_file": str(path)})) == 20


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"consumers_file": "keys.jsonl", "credentials": [ALICE]},
            "should have either `consumers_file` or `credentials`",
        ),
        ({"consumers_file": "no such file"}, "consumers_file: no such file cannot be read: No such file"),
        (
            {"keys": [], "consumers_file": "x", "consumers": [{"name": "a", "credential": ALICE, "keys": ["a"]}]},
            "`keys` is required",
        ),
    ],
)
def test_configurations_that_are_refused(config: dict[str, Any], expected: str) -> None:
    (problem,) = problems(config)
    assert problem.startswith(f"plugins[0].config: {expected}")


def test_a_key_of_the_file_and_of_the_configuration_has_one_owner(tmp_path: Path) -> None:
    inline = {"consumers": [{"name": "eve", "credential": ALICE, "keys": ["e"]}, {"name": "bob", "credential": BOB}]}
    with pytest.raises(ConfigError, match="consumers 'alice' and 'eve' have the same credential"):
        in_file(tmp_path, f"{line('alice', sha(ALICE))}\n{line('bob', sha(BOB))}", inline)


def test_keyed_digests_of_a_file_need_the_secret(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    path.write_text(line("alice", keyed_digest(ALICE, Keyring([SECRET.encode()]))))
    assert "need the secret they were made with" in problems({"consumers_file": str(path)})[0]


def test_short_keys_of_a_file_are_counted_in_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        in_file(tmp_path, "\n".join(line("alice", f"short-{number}") for number in range(3)))
    (record,) = caplog.records
    assert record.getMessage() == f"key-auth: 3 keys of {tmp_path / 'keys.jsonl'} have less than 16 characters"


# ---------------------------------------------------------------------- how they are kept


def filed(data: bytes, declared: ConsumerTable | None = None) -> FiledKeys:
    made = FiledKeys(data, "keys.jsonl", declared or ConsumerTable(()), "key-auth")
    assert made.problems == []
    return made


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1_000])
def test_every_key_is_found_and_no_other(count: int) -> None:
    keys = filed(numbered(count))
    assert len(keys) == count
    for number in range(count):
        found = keys.get(digest(key_of(number)))
        assert isinstance(found, Consumer)
        assert found.name == f"consumer-{number:07}"
    assert all(keys.get(digest(key_of(number))) is None for number in range(count, count + 1_000))


def test_a_key_takes_little_memory() -> None:
    data = numbered(MANY)
    gc.collect()
    tracemalloc.start()
    try:
        keys = filed(data)
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] / MANY
    finally:
        tracemalloc.stop()
    assert len(keys) == MANY
    assert taken < MAX_BYTES


def test_who_called_is_at_hand_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_file, "MAX_MET", 3)
    keys = filed(numbered(10))
    first = keys.get(digest(key_of(0)))
    assert keys.get(digest(key_of(0))) is first
    for number in range(10):
        keys.get(digest(key_of(number)))
        assert len(keys._met) <= 3
    again = keys.get(digest(key_of(0)))
    assert again is not first
    assert isinstance(again, Consumer)
    assert again.name == "consumer-0000000"
    assert keys.get(digest("unknown")) is None
    assert len(keys._met) <= 3


def test_digests_that_begin_alike_are_told_apart() -> None:
    digests = [bytes(24) + bytes([number] * 8) for number in range(1, 9)]
    data = "\n".join(line(f"c{number}", "sha256:" + one.hex()) for number, one in enumerate(digests))
    keys = filed(data.encode())
    assert [getattr(keys.get(one), "name", None) for one in digests] == [f"c{number}" for number in range(8)]
    for unknown in (bytes(32), bytes(8) + digests[0][:24], digests[0][8:] + bytes(8), digests[7][1:] + b"\0"):
        assert keys.get(unknown) is None  # also where it stands between two of them


entries = st.lists(
    st.tuples(
        st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1, max_size=5),
        st.integers(0, 999).map(key_of),
        st.none() | st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)),
    ),
    max_size=30,
    unique_by=lambda entry: entry[1],
)


@given(entries)
def test_the_file_is_read_as_it_is_written(written: list[tuple[str, str, datetime | None]]) -> None:
    lines = [
        line(name, sha(key), **({"expires": f"{end.isoformat()}Z"} if end is not None else {}))
        for name, key, end in written
    ]
    keys = filed("\n".join(lines).encode())
    for name, key, end in written:
        found = keys.get(digest(key))
        if end is not None:
            assert isinstance(found, Expiring)
            assert found.expires == end.replace(tzinfo=UTC).timestamp()
            found = found.owner if isinstance(found.owner, Consumer) else None
        assert isinstance(found, Consumer)
        assert found.name == name


@given(st.lists(st.binary(max_size=40) | st.text(max_size=40).map(str.encode), max_size=5))
def test_whatever_stands_in_the_file_is_read_or_told(lines: list[bytes]) -> None:
    data = b"\n".join([*lines, line("alice", sha(ALICE)).encode()])
    keys = FiledKeys(data, "keys.jsonl", ConsumerTable(()), "key-auth")
    found = keys.get(digest(ALICE))
    assert isinstance(found, Consumer)
    assert found.name == "alice"
