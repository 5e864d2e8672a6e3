"""The truth table of authentication, row by row."""

import pytest

from aigw_middleware.config.secrets import process_keyring
from aigw_middleware.consumers import ANONYMOUS, Consumer, ConsumerTable
from aigw_middleware.exchange import Exchange, Refusal, Request
from aigw_middleware.headers import Headers
from aigw_middleware.plugin import Build
from aigw_middleware.plugins.auth.policy import AuthConfig, AuthPolicy, challenge

ALICE, BOB, CAROL = Consumer("alice"), Consumer("bob"), Consumer("carol", groups=["staff"])


def policy(
    global_auth: bool | None, has_rules: bool, in_rule: bool, allow: list[str] | None, local: bool
) -> AuthPolicy:
    build = Build(ConsumerTable(()), process_keyring(), "key-auth", has_rules=has_rules, in_rule=in_rule)
    return AuthPolicy(
        AuthConfig.model_validate({"global_auth": global_auth, "allow": allow}), build, "key-auth", local=local
    )


def arrived() -> Exchange:
    exchange = Exchange()
    exchange.request = Request()
    exchange.request.headers = Headers([])
    return exchange


GLOBAL, UNMATCHED, MATCHED = (False, False), (True, False), (True, True)  # has_rules, in_rule


@pytest.mark.parametrize(
    ("global_auth", "rules", "allow", "local", "enforced"),
    [
        (None, GLOBAL, None, True, True),
        (None, GLOBAL, ["alice"], True, True),
        (None, UNMATCHED, None, True, False),
        (None, UNMATCHED, ["alice"], True, True),
        (None, MATCHED, ["alice"], False, True),
        (None, MATCHED, None, True, True),
        (None, MATCHED, None, False, True),  # a rule for these requests is a wish to authenticate them
        (True, GLOBAL, None, True, True),
        (True, UNMATCHED, None, True, True),
        (True, MATCHED, ["alice"], False, True),
        (True, MATCHED, None, True, True),
        (True, MATCHED, None, False, True),
        (False, GLOBAL, None, True, False),
        (False, GLOBAL, ["alice"], True, True),
        (False, UNMATCHED, None, True, False),
        (False, MATCHED, ["alice"], False, True),
        (False, MATCHED, [], False, True),
        (False, MATCHED, None, True, True),  # upstream lets these pass; a rule's own consumers mean something
        (False, MATCHED, None, False, False),
    ],
)
def test_who_must_be_authenticated(
    global_auth: bool | None, rules: tuple[bool, bool], allow: list[str] | None, local: bool, enforced: bool
) -> None:
    assert policy(global_auth, *rules, allow, local).enforced is enforced


@pytest.mark.parametrize(
    ("allow", "allowed"),
    [
        (None, [ALICE, BOB, CAROL, ANONYMOUS]),
        (["alice"], [ALICE, ANONYMOUS]),
        (["alice", "group:staff"], [ALICE, CAROL, ANONYMOUS]),
        (["staff", "group:alice"], [ANONYMOUS]),
        ([], [ANONYMOUS]),  # nobody; what has no name is no consumer
    ],
)
def test_who_may_enter(allow: list[str] | None, allowed: list[Consumer]) -> None:
    judge = policy(True, *GLOBAL, allow, True)
    assert [consumer for consumer in (ALICE, BOB, CAROL, ANONYMOUS) if judge.admit(arrived(), consumer)] == allowed


def test_who_enters_is_told_to_the_service_and_who_does_not_is_not() -> None:
    judge = policy(True, *GLOBAL, ["alice"], True)
    exchange = arrived()
    assert not judge.admit(exchange, BOB)
    assert (exchange.consumer, exchange.identified_by, list(exchange.request.headers)) == (ANONYMOUS, "", [])
    assert judge.admit(exchange, ALICE)
    assert judge.admit(exchange, ALICE)
    assert (exchange.consumer, exchange.identified_by) == (ALICE, "key-auth")
    assert list(exchange.request.headers) == [("x-mse-consumer", "alice")]


def test_who_is_known_already_needs_no_credential_here() -> None:
    judge = policy(True, *GLOBAL, ["alice"], True)
    missing, not_allowed = Refusal(401, "missing", ""), Refusal(403, "not_allowed", "")
    exchange = arrived()
    assert judge.without_credential(exchange, missing, not_allowed) is missing
    exchange.consumer = ALICE
    assert judge.without_credential(exchange, missing, not_allowed) is None
    exchange.consumer = BOB
    assert judge.without_credential(exchange, missing, not_allowed) is not_allowed


@pytest.mark.parametrize(
    ("global_auth", "rules", "allow", "local", "warning"),
    [
        (False, MATCHED, None, True, "in spite of global_auth: false"),
        (False, MATCHED, ["alice"], True, ""),
        (None, UNMATCHED, None, True, "set global_auth to true or to false"),
        (None, UNMATCHED, ["alice"], True, ""),
        (False, UNMATCHED, None, True, ""),
        (None, GLOBAL, None, True, ""),
    ],
)
def test_what_the_operator_may_not_have_meant(
    global_auth: bool | None, rules: tuple[bool, bool], allow: list[str] | None, local: bool, warning: str
) -> None:
    told = policy(global_auth, *rules, allow, local).warning
    assert warning in told
    assert bool(told) is bool(warning)


def test_realm_is_a_quoted_string() -> None:
    assert challenge("Key", 'a "b" \\c') == 'Key realm="a \\"b\\" \\\\c"'
