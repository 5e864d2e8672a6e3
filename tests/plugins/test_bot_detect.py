"""bot-detect: people and programs, categories and what happens to them, labels, remembered verdicts, configuration errors."""

import json
import sys
from collections.abc import Iterable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware import ConfigError, Gateway, PluginSettings
from aigw_middleware.exchange import Exchange
from aigw_middleware.plugin import Plugin, PluginConfig
from aigw_middleware.plugins.security import bot_detect
from aigw_middleware.plugins.security.bot_detect import MAX_REMEMBERED_BYTES, MAX_VERDICTS, BotDetect, Verdict, Verdicts
from aigw_middleware.plugins.security.bots import CATEGORIES, MAX_BYTES, BotDetector, detector, read_names
from tests.plugins.service import Gated, Service

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
)
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
GPTBOT = "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; GPTBot/1.2; +https://openai.com/gptbot"


def status(gated: Gated, user_agent: str | bytes | None, path: str = "/") -> int | None:
    return gated.ask(path=path, headers=[] if user_agent is None else [("user-agent", user_agent)]).status


# ---------------------------------------------------------------------- who is who

PEOPLE = [
    CHROME,
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0 Safari/537.36 Edg/124.0 OPR/1",
    "Mozilla/5.0 (compatible; MSIE 10.0; Windows NT 6.2; Trident/6.0)",
    "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 5.1; Trident/4.0; .NET CLR 2.0.50727)",
    "Mozilla/5.0 (compatible; Konqueror/4.5; FreeBSD) KHTML/4.5.4 (like Gecko)",
    "Opera/9.80 (J2ME/MIDP; Opera Mini/7.1.32052/29.3709; U; en) Presto/2.8.119 Version/11.10",
    "Lynx/2.9.0dev.6 libwww-FM/2.14 SSL-MM/1.4.1 OpenSSL/1.1.1j",
    "Nokia6230/2.0 (04.44) Profile/MIDP-2.0 Configuration/CLDC-1.1",
    # devices and applications with the words of bots in their names
    "Mozilla/5.0 (Linux; Android 8.1.0; CUBOT_POWER) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/78.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; U; Android 4.2.2; it-it; S222 Build/CUBOT) AppleWebKit/534.30 Version/4.0 Mobile Safari/534.30",
    "Mozilla/5.0 (Linux; Android 7.1.1; M_bot_tab_1150 Build/N9F27F) AppleWebKit/537.36 Chrome/67.0 Safari/537.36",
    "Mozilla/5.0 (Linux; Android 8.1.0; XBot Junior) AppleWebKit/537.36 Chrome/87.0.4280.101 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 13; Spider 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
    "gPodder/3.5.2 (+http://gpodder.org/)",
    "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)",
    "XBMC/9.04 r19840 (Mac OS X; Darwin 9.6.0; http://www.xbmc.org)",
    "WhatsApp/2.17.427 Android/7.0 Device/motorola-Moto_C_Plus",
    "Mozilla/5.0 (Linux; Android 14; SM-A546V) AppleWebKit/537.36 Chrome/125.0 Mobile Safari/537.36 CamScanner/4.5.0",
    "ExampleApp/3.1 CFNetwork/1490.0.4 Darwin/23.2.0",
    "Dalvik/2.1.0 (Linux; U; Android 13; Pixel 7 Build/TQ1A.230105.002)",
    "Mozilla/5.0",  # says nothing
    "Mozilla/5.0 (compatible)",
    "Go-client",
    "Chrome",
]

BOTS = [
    ("ai-crawler", GPTBOT),
    ("ai-crawler", "ClaudeBot/1.0"),
    ("ai-crawler", "Mozilla/5.0 (compatible; ClaudeBot/1.0; +claudebot@anthropic.com)"),
    ("ai-crawler", "CCBot/2.0 (https://commoncrawl.org/faq/)"),
    (
        "ai-crawler",
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; PerplexityBot/1.0; +https://perplexity.ai)",
    ),
    ("ai-crawler", "Google-Extended"),
    ("ai-crawler", "Mozilla/5.0 (compatible; Applebot-Extended/0.1)"),
    ("ai-crawler", "meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)"),
    ("ai-crawler", "Mozilla/5.0 (Linux; Android 5.0) AppleWebKit/537.36 Mobile Safari/537.36 (compatible; Bytespider)"),
    ("ai-crawler", "ChatGPT-User/1.0; +https://openai.com/bot"),
    ("search-engine", GOOGLEBOT),
    ("search-engine", "Googlebot/2.1"),
    ("search-engine", "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)"),
    ("search-engine", "BaiduMobaider/1.1.0"),
    ("link-preview", "facebookexternalhit/1.1"),
    ("link-preview", "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"),
    ("link-preview", "WhatsApp/2.23.20.0 A"),
    ("monitoring", "kube-probe/1.31"),
    ("monitoring", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/96.0 Safari/537.36 PTST/211202.211915"),
    ("monitoring", "YottaaMonitor"),
    ("automation", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/140.0.0.0 Safari/537.36"),
    ("automation", "Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/538.1 (KHTML, like Gecko) PhantomJS/2.1.1"),
    ("http-library", "curl/8.14.1"),
    ("http-library", "python-requests/2.32.4"),
    ("http-library", "Go-http-client/2.0"),
    ("http-library", "okhttp/4.12.0"),
    ("http-library", "Java/17.0.2"),
    ("llm-sdk", "OpenAI/Python 2.3.0"),
    ("http-library", "axios/1.9.0"),
    ("crawler", "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)"),
    ("crawler", "Ant-Tailsweep-1"),
    ("crawler", "indexer/1.2"),
    ("crawler", "SomeNewCrawler"),
    ("crawler", "Superspider 0.1"),
    ("crawler", "Mozilla/5.0 (compatible; Unheard-Of/1.0)"),
    (
        "crawler",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/120.0 Safari/537.36 (+https://unheard.example/about)",
    ),
    ("crawler", "Unheard (someone@unheard.example)"),
    ("crawler", "Mozilla/5.0 (Linux; Android 13; Pixel 7) AppleWebKit/537.36 Chrome/124.0 Safari/537.36 NewBot/1.0"),
    ("search-engine", f"Mozilla/5.0 (Linux; Android 8.1.0; CUBOT_POWER) {GOOGLEBOT}"),
    ("unidentified", "acme-sync/1.0"),
    ("unidentified", "Acme Sync 1.0 (build 77)"),
]


@pytest.mark.parametrize("user_agent", PEOPLE)
def test_people(user_agent: str) -> None:
    assert detector().find(user_agent.encode()) is None


@pytest.mark.parametrize(("category", "user_agent"), BOTS)
def test_bots(category: str, user_agent: str) -> None:
    find = detector().find
    assert find(user_agent.encode()) == category
    assert find(f"  {user_agent.upper()} ".encode()) == category


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (GOOGLEBOT, "Googlebot"),
        (GPTBOT, "GPTBot"),
        ("curl/8.14.1", "curl"),
        ("Foo (+https://foo.example)", "Foo"),
        ("Unheard (someone@unheard.example)", "Unheard"),
        ("Mozilla/5.0 (compatible; Unheard-Of/1.0)", "Unheard-Of"),
        ("acme-sync/1.0", "acme-sync"),
        ("Mozilla/5.0 (X11; Linux x86_64; Ghost Inspector) Chrome/1", "Ghost-Inspector"),
        ("(+https://1.2)", ""),
        ("x" * 100 + "bot/1", "x" * 64),
        ("SomeNewCrawler", "SomeNewCrawler"),
    ],
)
def test_names(user_agent: str, name: str) -> None:
    category = detector().find(user_agent.encode())
    assert category is not None
    assert detector().name(user_agent.encode(), category) == name


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_any_value_is_judged_and_every_name_fits_a_header(value: bytes) -> None:
    category = detector().find(value)
    assert category is None or category in CATEGORIES
    if category is not None:
        name = detector().name(value, category)
        assert len(name) <= 64
        assert name.replace("-", "").replace(".", "").replace("_", "").isalnum() or not name.strip("._-")
        assert name.isascii()


def test_what_is_behind_a_long_value_is_not_looked_at() -> None:
    padding = " " + "x" * MAX_BYTES
    assert detector().find((CHROME + padding + " Googlebot/2.1").encode()) is None
    assert detector().find(("Googlebot/2.1" + padding).encode()) == "search-engine"


def test_a_set_that_finds_nothing_is_checked_pattern_by_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    class OutOfMemory:
        def Match(self, text: bytes) -> None:  # noqa: N802 - RE2's name
            return None

    made = BotDetector({category: ["nothing-of-this"] for category in (*CATEGORIES, "people")})
    monkeypatch.setattr(made, "_set", OutOfMemory())
    assert made.find(CHROME.encode()) is None
    assert made.find(b"FooBot/1.0") == "crawler"
    assert made.find(b"") is None


@pytest.mark.parametrize(
    ("names", "user_agent", "found"),
    [
        ("acme", "x Acme/1.0", True),
        ("acme", "acmeist/1.0", False),
        ("acme", "xacme/1.0", False),
        ("acme*", "acmeist/1.0", True),
        ("acme*", "xacme/1.0", False),
        ("^acme", "acme/1.0", True),
        ("^acme", "x acme/1.0", False),
        ("^acme*", "acmeist/1.0", True),
        ("acme/", "x acme/1", True),
        ("acme/", "x acme 1", False),
        ("acme sync, other", "an Acme Sync 2", True),
        ("a.c+", "a.c+ 1", True),
        ("a.c+", "abcc 1", False),
    ],
)
def test_how_names_are_written(names: str, user_agent: str, found: bool) -> None:
    lines = ["# a comment", "", "[monitoring]", names, "[people]", "nobody"]
    made = BotDetector(read_names(lines))
    assert (made.find(f"{user_agent} Windows".encode()) == "monitoring") is found


def test_names_stand_below_a_category() -> None:
    with pytest.raises(ValueError, match="below no known category: 'acme'"):
        read_names(["[other]", "acme"])


def test_every_category_has_names_and_no_name_stands_twice() -> None:
    from importlib import resources

    text = resources.files("aigw_middleware.plugins.security").joinpath("known_bots.txt").read_text(encoding="utf-8")
    names = read_names(text.splitlines())
    assert set(names) == set(CATEGORIES) - {"unidentified"} | {"people"}
    listed = [name for some in names.values() for name in some]
    assert sorted(set(listed)) == sorted(listed)
    assert not [name for name in listed if "*" in name[:-1] or "^" in name[1:]]


# ---------------------------------------------------------------------- what happens to them


@pytest.mark.parametrize(
    ("config", "user_agent", "expected"),
    [
        ({}, CHROME, 200),
        ({}, GOOGLEBOT, 403),
        ({}, GPTBOT, 403),
        ({"blocked_code": 404}, GPTBOT, 404),
        ({}, None, 403),
        ({}, "", 403),
        ({}, "  ", 403),
        ({"missing_user_agent": "allow"}, None, 200),
        ({"missing_user_agent": "label"}, None, 200),
        ({"mode": "label"}, None, 200),
        ({"mode": "label", "missing_user_agent": "block"}, None, 403),
        ({"mode": "label"}, GOOGLEBOT, 200),
        ({"mode": "label", "categories": {"search-engine": "block"}}, GOOGLEBOT, 403),
        ({"categories": {"search-engine": "allow"}}, GOOGLEBOT, 200),
        ({"categories": {"search-engine": "allow"}}, GPTBOT, 403),
        ({"categories": {"ai-crawler": "allow"}}, GPTBOT, 200),
        ({"categories": {"ai-crawler": "allow"}}, GOOGLEBOT, 403),
        ({"allow": ["Googlebot"]}, GOOGLEBOT, 200),  # searched, not matched whole
        ({"allow": ["^Googlebot"]}, GOOGLEBOT, 403),
        ({"allow": [".*Go-http-client.*"]}, "Go-http-client/1.1", 200),
        ({"allow": "Go-http-client"}, "Go-http-client/1.1", 200),
        ({"deny": ["Chrome/140"]}, CHROME, 403),
        ({"deny": ["spd-tools.*"]}, "x Windows spd-tools/1.1", 403),
        ({"deny": ["chrome"]}, CHROME, 200),
        ({"deny": ["(?i)chrome"]}, CHROME, 403),
        ({"deny": ["Chrome"], "allow": ["Windows"]}, CHROME, 200),
        ({"deny": ["Googlebot"], "categories": {"search-engine": "allow"}}, GOOGLEBOT, 403),
        ({"deny": ["Chrome"], "categories": {"denied": "allow"}}, CHROME, 200),
    ],
)
def test_what_happens(config: dict[str, Any], user_agent: str | None, expected: int) -> None:
    gated = Gated("bot-detect", config)
    for _ in range(2):  # judged, and remembered
        assert status(gated, user_agent) == expected
    assert gated.service.calls == (2 if expected == 200 else 0)


def test_robots_txt_is_open_to_everybody() -> None:
    gated = Gated("bot-detect")
    assert [status(gated, GPTBOT, path) for path in ("/robots.txt", "/robots.txt/", "/x/robots.txt")] == [200, 403, 403]
    assert status(Gated("bot-detect", {"open_paths": ["/feed"]}), GPTBOT, "/feed") == 200
    assert status(Gated("bot-detect", {"open_paths": []}), GPTBOT, "/robots.txt") == 403


def test_the_answer() -> None:
    exchange = Gated("bot-detect").ask(headers=[("user-agent", GPTBOT)])
    assert (exchange.status, json.loads(exchange.body)["code"]) == (403, "bot_detected")
    exchange = Gated("bot-detect", {"blocked_message": "go away"}).ask(headers=[("user-agent", GPTBOT)])
    assert (exchange.body, exchange.header("content-type")) == (b"go away", "text/plain; charset=utf-8")
    exchange = Gated("bot-detect", error_format="upstream").ask(headers=[("user-agent", GPTBOT)])
    assert (exchange.status, exchange.body, exchange.header("content-type")) == (403, b"", None)


class Watch(Plugin[PluginConfig]):
    """Keeps what other plug-ins said of the last exchange."""

    name = "watch"

    def compile(self) -> None:
        self.seen: list[Any] = []

    def on_complete(self, exchange: Exchange) -> None:
        attributes = exchange.__dict__.get("attributes", {})
        records = [(line.plugin, line.decision, line.reason) for line in exchange.__dict__.get("records", ())]
        self.seen.append(({name: attributes.get(name) for name in ("bot-category", "bot-name")}, records))


def observed(config: dict[str, Any], user_agent: str | None) -> tuple[dict[str, str], list[Any]]:
    watch = Watch()
    gated = Gated("bot-detect", config)
    gated.gateway = Gateway(gated.service, gated.config, plugins=[watch], clock=gated.clock)
    status(gated, user_agent)
    ((attributes, records),) = watch.seen
    return attributes, records


def test_attributes_and_records() -> None:
    attributes, records = observed({"mode": "label"}, GPTBOT)
    assert attributes == {"bot-category": "ai-crawler", "bot-name": "GPTBot"}
    assert records == [("bot-detect", "changed", "ai-crawler GPTBot")]
    attributes, records = observed({}, GOOGLEBOT)
    assert attributes["bot-category"] == "search-engine"
    assert records[0] == ("bot-detect", "refused", "search-engine")
    assert observed({"categories": {"search-engine": "allow"}}, GOOGLEBOT) == (
        {"bot-category": "search-engine", "bot-name": "Googlebot"},
        [],
    )
    assert observed({}, CHROME) == ({"bot-category": None, "bot-name": None}, [])


# ---------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("user_agent", "label"),
    [
        (GPTBOT, ["ai-crawler"]),
        (GOOGLEBOT, ["search-engine"]),
        (None, ["missing"]),
        (CHROME, []),
        ("xChrome", ["denied"]),
    ],
)
@pytest.mark.parametrize("forged", ["x-bot-category", "X-Bot_Category", "x_bot_category"])
def test_labels_are_ours_alone(user_agent: str | None, label: list[str], forged: str) -> None:
    gated = Gated("bot-detect", {"mode": "label", "deny": ["xChrome"]})
    headers = [(forged, "search-engine"), *([("user-agent", user_agent)] if user_agent else [])]
    for _ in range(2):
        assert gated.ask(headers=headers).status == 200
        assert gated.service.header("x-bot-category") == label
        assert not [name for name, _ in gated.service.headers if "_" in name]


def test_labels_on_wsgi() -> None:
    gated = Gated("bot-detect", {"categories": {"ai-crawler": "label"}, "label_header": "X-Kind"})
    assert gated.ask_wsgi(headers=[("user-agent", GPTBOT), ("x-kind", "forged")]).status == 200
    assert gated.service.header("x-kind") == ["ai-crawler"]
    assert gated.ask_wsgi(headers=[("user-agent", CHROME), ("x-kind", "forged")]).status == 200
    assert gated.service.header("x-kind") == []
    assert gated.ask_wsgi(headers=[("user-agent", GOOGLEBOT)]).status == 403


def test_without_labels_the_header_is_the_callers() -> None:
    gated = Gated("bot-detect")
    gated.ask(headers=[("user-agent", CHROME), ("x-bot-category", "mine")])
    assert gated.service.header("x-bot-category") == ["mine"]


def test_in_shadow_nothing_happens() -> None:
    gated = Gated("cors", plugins=[{"name": "bot-detect", "shadow": True}])
    assert status(gated, GPTBOT) == 200


# ---------------------------------------------------------------------- remembered verdicts


def test_a_verdict_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[bytes] = []
    original = BotDetector.find

    def find(self: BotDetector, user_agent: bytes) -> str | None:
        looked.append(user_agent)
        return original(self, user_agent)

    monkeypatch.setattr(BotDetector, "find", find)
    gated = Gated("bot-detect")
    for user_agent in (CHROME, GPTBOT) * 5:
        status(gated, user_agent)
    assert looked == [CHROME.encode(), GPTBOT.encode()]
    for _ in range(2):
        status(gated, CHROME + " " * MAX_REMEMBERED_BYTES + "x")
    assert len(looked) == 4  # too long to be kept


def test_verdicts_are_bounded_and_what_is_asked_for_stays() -> None:
    verdicts = Verdicts()
    verdicts.keep(b"kept", Verdict("allow"))
    for number in range(5 * MAX_VERDICTS):
        verdicts.keep(b"%d" % number, Verdict("block"))
        if number % 1_000 == 0:
            assert (verdicts.newest.get(b"kept") or verdicts.find(b"kept")) == Verdict("allow")
    assert len(verdicts) <= 2 * MAX_VERDICTS
    assert verdicts.find(b"1") is None


def test_two_entries_judge_each_for_themselves() -> None:
    rules = [{"match": {"path_prefix": "/api"}, "config": {"categories": {"http-library": "allow"}}}]
    gated = Gated("bot-detect", {}, rules=rules)
    for _ in range(2):
        assert [status(gated, "curl/8.0", path) for path in ("/", "/api/x")] == [403, 200]


# ---------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"allow": ["("]}, ".allow: is no RE2 pattern: "),
        ({"deny": ["(?=x)"]}, ".deny: is no RE2 pattern: "),
        ({"blocked_code": 100}, ".blocked_code: should be greater than or equal to 200"),
        ({"mode": "allow"}, ".mode: should be 'block' or 'label'"),
        ({"label_header": "a b"}, ".label_header: 'a b' is not a header name"),
        ({"categories": {"ai-crawler": "drop"}}, ".categories.ai-crawler: should be 'allow', 'block' or 'label'"),
        ({"categories": {"ai": "allow"}}, ".categories.ai"),
        ({"missing_user_agent": "x"}, ".missing_user_agent: should be 'allow', 'block' or 'label'"),
        ({"denied": []}, ".denied: unknown key"),
    ],
)
def test_what_is_refused_at_load(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Gateway(Service(), {"plugins": [{"name": "bot-detect", "config": config}]})
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"plugins[0].config{expected}")


def test_a_plug_in_that_breaks_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: BotDetector, user_agent: bytes) -> None:
        raise LookupError

    monkeypatch.setattr(BotDetector, "find", broken)
    assert status(Gated("bot-detect"), CHROME) == 503
    assert status(Gated("cors", plugins=[{"name": "bot-detect", "on_failure": "allow"}]), CHROME) == 200


def test_the_example_of_the_documentation() -> None:
    (entry,) = yaml.safe_load((bot_detect.__doc__ or "").split("\n\n")[1])["plugins"]
    gated = Gated(entry["name"], entry["config"])
    expected: Iterable[tuple[str | None, int]] = [
        ("acme-uptime/1.0", 200),
        (f"{CHROME} BadBot", 403),
        (GOOGLEBOT, 200),
        (GPTBOT, 200),
        ("curl/8.0", 403),
        (None, 403),
    ]
    for user_agent, code in expected:
        assert status(gated, user_agent) == code


def test_as_a_middleware_of_its_own() -> None:
    gated = Gated("cors")
    gated.gateway = BotDetect(gated.service, settings=PluginSettings(), categories={"ai-crawler": "allow"})._gateway
    assert [status(gated, user_agent) for user_agent in (GPTBOT, GOOGLEBOT)] == [200, 403]


def test_sdks_of_llm_providers_are_let_in_unless_said_otherwise() -> None:
    sdk = "AsyncOpenAI/Python 2.3.0"
    assert status(Gated("bot-detect", {}), sdk) == 200
    assert status(Gated("bot-detect", {"categories": {"llm-sdk": "block"}}), sdk) == 403
    assert status(Gated("bot-detect", {}), "curl/8.5.0") == 403


def test_the_longer_list_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package crawler-user-agents knows programs by names that tell nothing."""
    obscure = (
        b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/62.0 Safari/537.36 DareBoost"
    )
    assert detector().find(obscure) == "monitoring"
    monkeypatch.setitem(sys.modules, "crawleruseragents", None)
    alone = detector.__wrapped__()
    assert alone.find(obscure) is None
    assert alone.find(b"Googlebot/2.1") == "search-engine"
