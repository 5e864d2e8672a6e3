"""jwt-auth: dates of tokens, and what is remembered of them for how long."""

import json
from typing import Any

import pytest

from aigw_middleware.plugins.auth.jwt import verifier as jwt_verifier
from aigw_middleware.plugins.auth.jwt.verdicts import Verdict, Verdicts
from tests.plugins.jwt_case import ALICE, EARLY, EXPIRED, HS, INVALID, TOKEN, one, outcome, plugin_of
from tests.plugins.service import Gated
from tests.plugins.tokens import ISSUER, NOW, signer

GOOD_CLAIMS = json.dumps({"iss": ISSUER, "sub": "alice"})


@pytest.mark.parametrize(
    ("claims", "config", "expected"),
    [
        ({"exp": NOW + 1}, {}, ["alice"]),
        ({"exp": NOW - 59}, {}, ["alice"]),
        ({"exp": NOW - 60}, {}, EXPIRED),  # on or after, says RFC 7519
        ({"exp": NOW - 1}, {"clock_skew_seconds": 0}, EXPIRED),
        ({"exp": NOW}, {"clock_skew_seconds": 0}, EXPIRED),
        ({"exp": NOW + 0.5}, {"clock_skew_seconds": 0}, ["alice"]),
        ({"exp": 0}, {}, EXPIRED),
        ({"exp": None}, {}, ["alice"]),
        ({"exp": None}, {"require_exp": True}, INVALID),
        ({"exp": NOW + 1}, {"require_exp": True}, ["alice"]),
        ({"nbf": NOW + 60}, {}, ["alice"]),
        ({"nbf": NOW + 61}, {}, EARLY),
        ({"nbf": 0}, {}, ["alice"]),
        ({"iat": NOW + 61}, {}, EARLY),
        ({"iat": NOW + 1}, {"clockSkewSeconds": 0}, EARLY),
        ({"iat": None}, {}, ["alice"]),
        ({"exp": 253_402_300_799}, {}, ["alice"]),
        *(
            ({name: value}, {}, INVALID)
            for name in ("exp", "nbf", "iat")
            for value in (
                str(NOW + 60),
                "",
                True,
                False,
                [],
                [NOW],
                {},
                -1,
                1e300,
                (NOW + 60) * 1_000,
                10**30,
                -(10**30),
            )
        ),
    ],
)
def test_dates(claims: dict[str, Any], config: dict[str, Any], expected: object) -> None:
    gated = Gated("jwt-auth", one(**config))
    token = HS.token(**claims)
    assert outcome(gated, token) == expected
    assert outcome(gated, token) == expected


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "null", "0x10", "1_0", "+1", "01"]
)
@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
def test_numbers_that_are_none(name: str, number: str) -> None:
    gated = Gated("jwt-auth", one())
    assert outcome(gated, HS.raw(HS.header(), f'{GOOD_CLAIMS[:-1]},"{name}":{number}}}')) == INVALID


def test_a_remembered_token_ages() -> None:
    gated = Gated("jwt-auth", one(clock_skew_seconds=10))
    token = HS.token(exp=NOW + 100, nbf=NOW + 5)
    assert outcome(gated, token) == ["alice"]
    gated.clock.advance(109)
    assert outcome(gated, token) == ["alice"]
    gated.clock.advance(1)
    assert outcome(gated, token) == EXPIRED


# ---------------------------------------------------------------------- remembered tokens


def count_judgements(gated: Gated, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is verified from now on."""
    verifier = type(plugin_of(gated)._verifier)
    judged: list[bytes] = []
    original = verifier.judge

    def judge(self: Any, text: bytes, *arguments: Any, **options: Any) -> Any:
        judged.append(text)
        return original(self, text, *arguments, **options)

    monkeypatch.setattr(verifier, "judge", judge)
    return judged


def test_only_good_tokens_are_remembered_for_300_seconds_and_no_longer_than_they_are_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gated = Gated("jwt-auth", one())
    judged = count_judgements(gated, monkeypatch)
    long, short = HS.token(), HS.token(exp=NOW + 100)
    for _ in range(3):
        assert outcome(gated, long) == outcome(gated, short) == ["alice"]
    assert len(judged) == 2
    for bad in (HS.token(exp=NOW - 60), HS.token(iss="x"), signer("HS256", "other").token()):
        judged.clear()
        assert outcome(gated, bad) == outcome(gated, bad) != ["alice"]
        assert len(judged) == 2
    judged.clear()
    gated.clock.advance(99)
    assert outcome(gated, short) == ["alice"]
    assert not judged
    gated.clock.advance(1)
    assert outcome(gated, short) == ["alice"]  # within the tolerance, but looked at again
    gated.clock.advance(199)
    assert outcome(gated, long) == ["alice"]
    assert len(judged) == 1
    gated.clock.advance(1)
    assert outcome(gated, long) == ["alice"]
    assert len(judged) == 2


def test_a_clock_that_is_set_back_makes_tokens_be_looked_at_again() -> None:
    gated = Gated("jwt-auth", one(clock_skew_seconds=0))
    token = HS.token(iat=NOW + 50)
    gated.clock.advance(60)
    plugin = plugin_of(gated)
    assert outcome(gated, token) == ["alice"]
    gated.clock._elapsed = 40 * 10**9
    assert outcome(gated, token) == EARLY
    assert len(plugin._verifier.verdicts) == 1


def test_tokens_with_one_beginning_are_told_apart() -> None:
    consumers = [{**ALICE, "name": name, "claims": {"sub": name}} for name in ("alice", "bob")]
    gated = Gated("jwt-auth", {"consumers": consumers})
    filler = {"a": "x" * 2_000, "iss": ISSUER}
    alice, bob = (HS.raw(HS.header(), {**filler, "sub": name}) for name in ("alice", "bob"))
    assert alice[:2_000] == bob[:2_000]
    for _ in range(2):
        assert outcome(gated, alice) == ["alice"]
        assert outcome(gated, bob) == ["bob"]
    swapped = alice.rpartition(".")[0] + "." + bob.rpartition(".")[2]
    assert outcome(gated, swapped) == INVALID


def test_the_memory_of_tokens_is_bounded_and_holds_none_of_them() -> None:
    verdicts = Verdicts(10)
    verdict = Verdict((), 0, 1, [])
    for number in range(100):
        verdicts.keep(b"%d" % number, verdict)
        assert verdicts.get(b"0") is verdict  # asked for again and again, it stays
        assert len(verdicts) <= 10
    assert verdicts.get(b"99") is verdict
    assert verdicts.get(b"50") is None
    gated = Gated("jwt-auth", one())
    assert outcome(gated, TOKEN) == ["alice"]
    (digest,) = plugin_of(gated)._verifier.verdicts._young
    assert len(digest) == 32
    assert digest not in TOKEN.encode()


def test_tokens_of_an_older_configuration_are_not_remembered() -> None:
    gated = Gated("jwt-auth", one())
    assert outcome(gated, TOKEN) == ["alice"]
    core = gated.gateway.core
    core.source._given = {"plugins": [{"name": "jwt-auth", "config": one(claims={"sub": "bob"})}]}
    gated.gateway.reload()
    assert outcome(gated, TOKEN) == INVALID


def test_long_tokens_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:

    gated = Gated("jwt-auth", {**one(), "max_token_bytes": len(TOKEN)})
    assert outcome(gated, TOKEN) == ["alice"]

    def never(*_: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(jwt_verifier, "Token", never)
    monkeypatch.setattr(jwt_verifier, "sha256", never)
    assert outcome(gated, TOKEN + "A") == INVALID
