"""`ip-restriction` and `ip-access-control`: who comes in by address, and that no other spelling of one does."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware import ConfigError, Gateway, IpAccessControl, IpRestriction
from aigw_middleware.addresses import parse_address
from aigw_middleware.config.files import Files
from aigw_middleware.plugins.security.address_lists import AddressGate, AddressListsConfig
from aigw_middleware.testing.asgi import asgi_exchange
from tests.plugins.chat import example, problems
from tests.plugins.clients import Called
from tests.plugins.service import Service

XFF = "x-forwarded-for"
BOTH = pytest.mark.parametrize("name", ["ip-restriction", "ip-access-control"])
MESSAGE = "Your IP address is blocked."


def restricted(**config: Any) -> Called:
    """A gateway with an ip-restriction."""
    return Called({"name": "ip-restriction", "config": config})


@BOTH
@pytest.mark.parametrize(
    ("config", "let_in", "refused"),
    [
        ({"allow": ["10.0.0.0/8"]}, ["10.0.0.1", "::ffff:10.0.0.1"], ["11.0.0.1", "fd00::1", "::1"]),
        ({"allow": "10.0.0.1"}, ["10.0.0.1"], ["10.0.0.2"]),
        ({"deny": ["10.0.0.0/8"]}, ["11.0.0.1", "fd00::1"], ["10.0.0.1", "::ffff:10.0.0.1", "::ffff:a00:1"]),
        ({"deny": ["2001:db8::/32"]}, ["10.0.0.1", "2001:db9::1"], ["2001:db8::1", "2001:DB8:0::", "2001:db8::1%eth0"]),
        ({"deny": ["fe80::/10"]}, ["2001:db8::1"], ["fe80::1", "fe80::1%eth0", "fe80::1%25eth0"]),
        ({"deny": ["::ffff:10.0.0.0/104"]}, ["11.0.0.1"], ["10.9.9.9", "::ffff:10.9.9.9"]),
        ({"deny": ["::/0"]}, ["10.0.0.1", "::ffff:10.0.0.1"], ["::1", "2001:db8::1"]),
        ({"deny": ["0.0.0.0/0"]}, ["::1"], ["10.0.0.1", "::ffff:10.0.0.1"]),
        ({"allow": ["10.0.0.0/8"], "deny": ["10.1.0.0/16"]}, ["10.0.0.1"], ["10.1.0.1", "11.0.0.1"]),
        ({"allow": ["10.1.0.0/16"], "deny": ["10.0.0.0/8"]}, [], ["10.1.0.1", "10.0.0.1"]),
        ({"allow": [], "deny": ["10.0.0.1"]}, ["10.0.0.2"], ["10.0.0.1"]),  # as consoles write it
        ({"allow": ["10.0.0.1", "10.0.0.1"], "deny": []}, ["10.0.0.1"], ["10.0.0.2"]),
        ({"allow": ["10.1.2.3/8"]}, ["10.9.9.9"], ["11.1.2.3"]),
    ],
)
def test_who_comes_in(name: str, config: dict[str, Any], let_in: list[str], refused: list[str]) -> None:
    called = Called({"name": name, "config": config})
    for peers, status in ((let_in, 200), (refused, 403)):
        assert {peer: called.ask(peer).status for peer in peers} == dict.fromkeys(peers, status)
        assert {peer: called.ask_wsgi(peer).status for peer in peers} == dict.fromkeys(peers, status)


# ---------------------------------------------------------------------- other spellings

SHUT_OUT = "127.0.0.1"
# Of no spelling but the last ones is anybody sure what it means: they are no addresses.
SPELLINGS = [
    "0177.0.0.1",
    "127.0.0.01",
    "0127.0.0.1",
    "0x7f.0.0.1",
    "0x7f000001",
    "2130706433",
    "017700000001",
    "127.1",
    "127.0.1",
    "127.0.0.1.",
    "127.0.0.1%lo",
    "127.0.0.1/8",
    "127.0.0.256",
    "127.0.0.1\u0000",
    "\u0661\u0662\u0667.0.0.1",
    "127\u30020\u30020\u30021",
    "localhost",
    "::ffff:127.0.0.01",
    "::ffff:0x7f.0.0.1",
    "[127.0.0.1]",
    "unknown",
    "",
    "127.0.0.1",
    "127.0.0.1:80",
    '"127.0.0.1"',
    "::ffff:127.0.0.1",
    "::FFFF:7f00:1",
    "0:0:0:0:0:ffff:7f00:0001",
    "[::ffff:127.0.0.1]:80",
    "[::ffff:7f00:1%lo]",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_passes_a_deny_list(spelling: str) -> None:
    headers = {"ip_source_type": "header", "real_ip_from": ["10.0.0.0/8"]}
    named = restricted(deny=[SHUT_OUT], **headers)
    assert named.ask("10.0.0.1", [(XFF, spelling)]).status == 403
    assert named.ask("10.0.0.1", [(XFF, f"192.0.2.1, {spelling}")]).status == (403 if spelling else 200)
    behind = Called(
        {"name": "http-real-ip", "config": {"real_ip_from": ["10.0.0.0/8"]}},
        {"name": "ip-restriction", "config": {"allow": ["192.0.2.1"]}},
    )
    assert behind.ask("10.0.0.1", [(XFF, spelling)]).status == 403
    assert restricted(deny=[SHUT_OUT]).ask(spelling).status == 403


@given(st.text(max_size=30) | st.text('0123456789abcdefx.:%[]"/ ', max_size=30))
def test_any_text_is_judged(text: str) -> None:
    def judge(**config: Any) -> bool:
        checked = AddressListsConfig.model_validate(config)
        gate = AddressGate(checked, Files(), status=403, code="c", text="t", body=b"")
        return gate.judge(text) is None

    assert not judge(deny=["0.0.0.0/0", "::/0"])
    assert judge(allow=["0.0.0.0/0", "::/0"]) is (parse_address(text) is not None)
    assert judge(deny=["192.0.2.1"], on_unknown_client="allow") is (parse_address(text) != bytes([192, 0, 2, 1]))


# ---------------------------------------------------------------------- whom it judges


def test_the_client_behind_proxies() -> None:
    for top in ({"trusted_proxies": ["10.0.0.0/8"]}, {}):
        trusting = "trusted_proxies" in top
        called = Called({"name": "ip-restriction", "config": {"deny": ["192.0.2.1"]}}, **top)
        assert called.ask("10.0.0.1", [(XFF, "192.0.2.1")]).status == (403 if trusting else 200)
        assert called.ask("192.0.2.1", [(XFF, "198.51.100.1")]).status == 403
        assert called.ask("10.0.0.1", [(XFF, "198.51.100.1, 192.0.2.1, 10.0.0.3")]).status == (403 if trusting else 200)
        assert called.ask("10.0.0.1", [(XFF, "192.0.2.1, 198.51.100.1")]).status == 200


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(
    ("peer", "lines", "status"),
    [
        ("10.0.0.1", ["192.0.2.1"], 200),
        ("10.0.0.1", ["198.51.100.1, 192.0.2.1"], 200),
        ("10.0.0.1", ["198.51.100.1", "192.0.2.1, 10.0.0.2"], 200),
        ("10.0.0.1", ["192.0.2.1, 198.51.100.1"], 403),  # the first is what the client wrote
        ("10.0.0.1", ["192.0.2.1:80"], 200),
        ("10.0.0.1", [" 192.0.2.1 "], 200),
        ("10.0.0.1", ["[2001:db8::1]:80"], 200),
        ("10.0.0.1", [], 403),
        ("10.0.0.1", [""], 403),
        ("10.0.0.1", ["not-an-address"], 403),
        ("203.0.113.1", ["192.0.2.1"], 403),  # nobody has reason to believe it
        ("192.0.2.1", [], 403),
        ("192.0.2.1", ["192.0.2.1"], 403),
    ],
)
def test_an_address_in_a_header(own: bool, peer: str, lines: list[str], status: int) -> None:
    proxies = ["10.0.0.0/8"]
    config = {"ip_source_type": "header", "ip_header_name": "X-Source", "allow": ["192.0.2.1", "2001:db8::1"]}
    if own:
        config["real_ip_from"] = proxies
    called = Called({"name": "ip-restriction", "config": config}, **({} if own else {"trusted_proxies": proxies}))
    headers = [("X-Source", line) for line in lines]
    assert called.ask(peer, [(XFF, "192.0.2.1"), *headers]).status == status


def test_nobody_is_believed_by_default() -> None:
    for config in ({"allow": ["192.0.2.1"]}, {"deny": ["198.51.100.1"]}):
        called = restricted(ip_source_type="header", **config)
        refused = called.ask("10.0.0.1", [(XFF, "192.0.2.1")])
        assert (refused.status, refused.json()["code"]) == (403, "client_address_unknown")


@pytest.mark.parametrize("peer", [None, "", "testclient", "/run/app.sock", "unix:"])
@BOTH
def test_a_client_without_an_address(name: str, peer: str | None) -> None:
    for config, status in (
        ({"deny": ["10.0.0.1"]}, 403),
        ({"allow": ["0.0.0.0/0", "::/0"]}, 403),
        ({"deny": ["10.0.0.1"], "on_unknown_client": "allow"}, 200),
        ({"allow": ["0.0.0.0/0", "::/0"], "on_unknown_client": "allow"}, 403),
        ({"allow": ["10.0.0.1"], "deny": ["10.0.0.2"], "on_unknown_client": "allow"}, 403),
    ):
        answered = Called({"name": name, "config": config}).ask(peer)
        assert answered.status == status
        if status == 403:
            assert answered.json()["code"] == "client_address_unknown"


# ---------------------------------------------------------------------- what the others are told


def test_a_refusal() -> None:
    called = restricted(deny=["192.0.2.1"])
    refused = called.ask("192.0.2.1")
    assert (refused.status, refused.header("content-type")) == (403, "application/problem+json")
    assert (refused.json()["detail"], refused.json()["code"]) == (MESSAGE, "ip_address_blocked")
    assert called.service.calls == 0
    assert called.records == [("ip-restriction", "refused", "403 ip_address_blocked")]
    told = restricted(deny=["192.0.2.1"], status=451, message='"No" & <b>é')
    refused = told.ask("192.0.2.1", path="/v1/chat/completions")
    assert (refused.status, refused.json()["error"]["message"]) == (451, '"No" & <b>é')


def test_the_bytes_of_compatible_gateways() -> None:
    config = {"deny": ["192.0.2.1"], "message": 'No "é"', "status": 429}
    called = Called({"name": "ip-restriction", "config": config}, error_format="upstream")
    refused = called.ask("192.0.2.1")
    assert (refused.status, refused.body) == (429, '{"message":"No \\"é\\""}'.encode())
    policy = Called({"name": "ip-access-control", "config": {"deny": ["192.0.2.1"]}}, error_format="upstream")
    refused = policy.ask("192.0.2.1")
    assert (refused.status, refused.body) == (403, b"RBAC: access denied")
    assert refused.header("content-type") == "text/plain"


def test_the_policy_comes_before_everything() -> None:
    key = {"name": "key-auth", "config": {"keys": ["x-api-key"], "consumers": [{"name": "a", "credential": "k" * 20}]}}
    cors = {"name": "cors", "config": {"allow_origins": ["https://a.example"]}}
    lists = {"deny": ["192.0.2.1"]}
    called = Called(
        key, cors, {"name": "ip-restriction", "config": lists}, {"name": "ip-access-control", "config": lists}
    )
    preflight = [("origin", "https://a.example"), ("access-control-request-method", "POST")]
    refused = asyncio.run(asgi_exchange(called.gateway, "OPTIONS", headers=preflight, client=("192.0.2.1", 1)))
    assert (refused.status, refused.json()["code"]) == (403, "rbac_access_denied")
    assert refused.header("access-control-allow-origin") == "https://a.example"
    assert called.records == [("ip-access-control", "refused", "403 rbac_access_denied")]
    after = Called(key, {"name": "ip-restriction", "config": lists})
    assert after.ask("192.0.2.1").status == 401


def test_rules_by_route() -> None:
    config = {
        "name": "ip-access-control",
        "config": {"deny": ["198.51.100.0/24"]},
        "rules": [
            {"match": {"path_prefix": "/admin"}, "config": {"allow": ["10.0.0.0/8"]}},
            {"match": {"path": "/health"}, "enabled": False},
        ],
    }
    called = Called(config)
    asked = [("192.0.2.1", "/"), ("198.51.100.1", "/"), ("192.0.2.1", "/admin"), ("10.0.0.1", "/admin")]
    asked += [("198.51.100.1", "/admin"), ("198.51.100.1", "/health")]
    assert [called.ask(peer, path=path).status for peer, path in asked] == [200, 403, 403, 200, 403, 200]


def test_in_shadow_it_only_says_so() -> None:
    called = Called({"name": "ip-restriction", "config": {"deny": ["192.0.2.1"]}, "shadow": True})
    assert called.ask("192.0.2.1").status == 200
    assert called.records == [("ip-restriction", "would", "refuse: 403 ip_address_blocked")]


# ---------------------------------------------------------------------- files


def from_file(folder: Path, config: dict[str, Any], name: str = "ip-restriction", **files: str | bytes) -> Called:
    """A gateway whose configuration is a file in a folder with others."""
    for file, text in files.items():
        (folder / f"{file}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    path = folder / "aigw.yaml"
    path.write_text(yaml.safe_dump({"plugins": [{"name": name, "config": config}]}), encoding="utf-8")
    return Called(path=path)


LIST = """\ufeff# shut out
192.0.2.1
198.51.100.0/24   # a network
\t2001:db8::/32\r

::ffff:203.0.113.0/120#mapped
"""


@BOTH
def test_lists_from_files(name: str, tmp_path: Path) -> None:
    config = {"deny_files": ["a.txt", "b.txt"], "deny": ["10.0.0.9"]}
    called = from_file(tmp_path, config, name, a=LIST, b="10.0.0.8")
    peers = ["192.0.2.1", "198.51.100.7", "2001:db8::7", "203.0.113.7", "10.0.0.8", "10.0.0.9", "192.0.2.2"]
    assert [called.ask(peer).status for peer in peers] == [403] * 6 + [200]
    called = from_file(tmp_path, {"allow_files": "a.txt", "allow": ["10.0.0.9"], "deny": ["192.0.2.1"]}, name)
    assert [called.ask(peer).status for peer in peers] == [403, 200, 200, 200, 403, 200, 403]


@pytest.mark.parametrize("content", ["", "# nobody yet\n", "\n\n"])
def test_an_empty_list_of_who_may_come_in_lets_nobody_in(content: str, tmp_path: Path) -> None:
    assert from_file(tmp_path, {"allow_files": ["a.txt"]}, a=content).ask("10.0.0.1").status == 403
    assert from_file(tmp_path, {"deny_files": ["a.txt"]}, a=content).ask("10.0.0.1").status == 200


def test_a_file_that_changes_is_read_again_and_one_that_breaks_is_not(tmp_path: Path) -> None:
    called = from_file(tmp_path, {"deny_files": ["a.txt"]}, a="192.0.2.1\n")
    core = called.gateway.core
    assert (core.look_due, len(core.snapshot.files)) == (True, 1)
    (tmp_path / "a.txt").write_text("192.0.2.2\n", encoding="utf-8")
    assert core.snapshot.files[0].changed()
    core.reload()
    assert [called.ask(f"192.0.2.{number}").status for number in (1, 2)] == [200, 403]
    (tmp_path / "a.txt").write_text("192.0.2.2\n192.0.2.300\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"deny_files: a.txt, line 2: should be an address or a network"):
        core.reload()
    assert [called.ask(f"192.0.2.{number}").status for number in (1, 2)] == [200, 403]


def test_a_list_that_did_not_change_is_carried_over(tmp_path: Path) -> None:
    called = from_file(tmp_path, {"deny_files": ["a.txt"]}, a="192.0.2.1\n")
    core = called.gateway.core
    before = [entry.plugins for entry in core.snapshot.inbound.entries]
    core.reload()
    assert [entry.plugins for entry in core.snapshot.inbound.entries] == before


def found_wrong(folder: Path, config: dict[str, Any], **files: str | bytes) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        from_file(folder, config, **files)
    return [(problem.path, problem.message) for problem in caught.value.problems]


WRONG = "should be an address or a network such as 192.0.2.0/24"


def test_every_wrong_line_is_named_up_to_twenty(tmp_path: Path) -> None:
    lines = "192.0.2.1\nexample.com\n# x\n10.0.0.0/33\n"
    where = "plugins[0].config"
    config = {"deny_files": ["a.txt"], "allow_files": ["missing.txt", "b.txt"]}
    found = found_wrong(tmp_path, config, a=lines, b=b"\xff\xfe\n10.0.0.1:80\n010.0.0.1\n")
    assert {path for path, _ in found} == {where}
    messages = [message for _, message in found]
    assert messages[0].startswith("allow_files: ")
    assert messages[0].endswith("missing.txt cannot be read: No such file or directory")
    assert messages[1:] == [
        *(f"allow_files: b.txt, line {line}: {WRONG}" for line in (1, 2, 3)),
        *(f"deny_files: a.txt, line {line}: {WRONG}" for line in (2, 4)),
    ]
    found = found_wrong(tmp_path, {"deny_files": ["a.txt"]}, a="secret-of-another-file\n" * 50)
    assert len(found) == 21
    assert found[19:] == [(where, f"deny_files: a.txt, line 20: {WRONG}"), (where, "and 30 more lines")]
    assert "secret" not in str(found)


# ---------------------------------------------------------------------- many


def test_a_hundred_thousand_networks(tmp_path: Path) -> None:
    texts = [f"{100 + n // 65_536}.{n // 256 % 256}.{n % 256}.{n % 4 * 64}/26" for n in range(100_000)]
    texts += [f"2001:db8:{n:x}::/48" for n in range(0, 50_000, 2)]
    called = from_file(tmp_path, {"deny_files": ["a.txt"]}, a="\n".join(texts))
    inside = ["100.0.0.0", "100.0.1.64", "100.0.1.127", "101.134.159.192", "2001:db8:2::1", "2001:db8:c34e:ffff::"]
    outside = ["100.0.0.64", "100.0.1.63", "100.0.1.128", "101.134.160.1", "2001:db8:1::1", "2001:db8:c350::", "::1"]
    assert [called.ask(peer).status for peer in inside] == [403] * len(inside)
    assert [called.ask(peer).status for peer in outside] == [200] * len(outside)


def test_what_is_remembered_is_bounded() -> None:
    gate = IpRestriction(deny=["10.0.0.0/9"])._gate
    judged = [gate.judge(f"10.{n >> 8 & 255}.{n & 255}.1") is None for n in range(0, 1 << 16, 7)]
    assert judged == [n >= 1 << 15 for n in range(0, 1 << 16, 7)]
    assert gate._admits.cache_info().currsize == 4_096


# ---------------------------------------------------------------------- configuration

NOTHING = "should have `allow` or `deny`, for example `deny: [192.0.2.0/24]`, or files of them"


@pytest.mark.parametrize(
    ("config", "path", "message"),
    [
        ({}, "", NOTHING),
        ({"allow": [], "deny": []}, "", NOTHING),
        ({"allow": ["10.0.0.0/33", "x"]}, ".allow", "not an IP address or network: '10.0.0.0/33', 'x'"),
        ({"deny": ["010.0.0.1"]}, ".deny", "not an IP address or network: '010.0.0.1'"),
        ({"deny": ["10.0.0.1-10.0.0.9"]}, ".deny", "not an IP address or network: '10.0.0.1-10.0.0.9'"),
        ({"deny": ["::1"], "status": 1}, ".status", "should be greater than or equal to 200"),
        ({"deny": ["::1"], "ip_source_type": "x"}, ".ip_source_type", "should be 'origin-source' or 'header'"),
        ({"deny": ["::1"], "ip_header_name": "a b"}, ".ip_header_name", "'a b' is not a header name"),
        (
            {"deny": ["::1"], "real_ip_from": ["10.0.0.1"]},
            "",
            "`real_ip_from` is for `ip_source_type: header`; elsewhere name proxies in `http-real-ip`",
        ),
        (
            {"deny": ["::1"], "ip_source_type": "header", "real_ip_from": ["*"]},
            ".real_ip_from",
            "not an IP address or network: '*'",
        ),
        ({"deny": ["::1"], "on_unknown_client": "x"}, ".on_unknown_client", "should be 'deny' or 'allow'"),
        ({"denied": ["::1"]}, ".denied", "unknown key"),
    ],
)
def test_problems(config: dict[str, Any], path: str, message: str) -> None:
    assert problems({"name": "ip-restriction", "config": config})[0] == (f"plugins[0].config{path}", message)


def test_it_judges_those_who_come_in() -> None:
    with pytest.raises(ConfigError, match="inbound exchanges only"):
        Called(outgoing=[{"name": "ip-restriction", "config": {"deny": ["::1"]}}])


def test_camel_case() -> None:
    config = {"ipSourceType": "header", "ipHeaderName": "X-Source", "realIpFrom": ["10.0.0.1"], "allow": ["192.0.2.1"]}
    assert restricted(**config).ask("10.0.0.1", [("x-source", "192.0.2.1")]).status == 200


def test_the_examples() -> None:
    called = Called(*example(IpRestriction)["plugins"])
    peers = ["10.0.0.1", "2001:db8::1", "10.66.0.1", "192.0.2.1"]
    answers = [called.ask(peer) for peer in peers]
    assert [answer.status for answer in answers] == [200, 200, 403, 403]
    assert json.loads(answers[3].body)["detail"] == "Only from the office."
    policy = Called(*example(IpAccessControl)["plugins"], routes=[{"name": "admin-ui", "path_prefix": "/admin"}])
    asked = [("192.0.2.1", "/"), ("198.51.100.1", "/"), ("192.0.2.1", "/admin"), ("10.0.0.1", "/admin")]
    assert [policy.ask(peer, path=path).status for peer, path in asked] == [200, 403, 403, 200]


def test_the_class_alone_is_an_application() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    for peer, status in (("10.0.0.1", 204), ("192.0.2.1", 403)):
        alone = IpAccessControl(app, allow=["10.0.0.0/8"])
        assert asyncio.run(asgi_exchange(alone, path="/", client=(peer, 1))).status == status


def test_a_policy_of_a_route_shuts_out_by_address() -> None:
    """`policies.ip_access_control` of a route, or of all, is an entry of the plug-in, before every other one."""
    routes = [
        {"name": "admin", "path_prefix": ["/admin"], "policies": {"ip_access_control": {"allow": ["10.0.0.0/8"]}}}
    ]
    gateway = Gateway(Service(), {"routes": routes, "policies": {"ip_access_control": {"deny": ["198.51.100.7"]}}})

    def status(path: str, client: str) -> int:
        return asyncio.run(asgi_exchange(gateway, path=path, scope={"client": (client, 1)})).status

    assert status("/", "203.0.113.1") == 200
    assert status("/", "198.51.100.7") == 403
    assert status("/admin", "203.0.113.1") == 403
    assert status("/admin", "10.1.2.3") == 200
