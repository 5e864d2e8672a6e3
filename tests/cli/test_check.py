"""`aigw check`: problems, warnings, the summary, exit codes."""

import logging

import pytest

from aigw_middleware.cli.check import summary_of
from aigw_middleware.cli.loading import load
from aigw_middleware.plugin import Plugin, PluginConfig
from aigw_middleware.registry import Registry

GOOD = """
version: 1
consumers:
  - {name: alice, groups: [staff], tier: gold, credentials: {token-check: [0123456789abcdef]}}
routes:
  - {name: chat, path_prefix: /v1/chat, methods: [post], policies: {}}
plugins:
  - name: team-header
    rules:
      - {match: {route: [chat]}, config: {header: x-chat}}
    config: {header: x-any}
  - name: token-check
  - {name: page-rules, enabled: false}
outgoing:
  - {name: team-header, priority: 7}
"""


def test_a_sound_file(aigw, write):
    ran = aigw("check", write(GOOD))
    assert (ran.code, ran.err) == (0, "")
    assert ran.lines[0] == "Fine: 3 plug-ins, 1 for outgoing calls, 1 rule, 1 consumer, 1 route."
    start = ran.lines.index("Plug-ins around the service")
    assert ran.lines[start + 1].split() == ["plug-in", "stage", "priority", "rules", "if", "it", "fails"]
    assert [line.split()[0] for line in ran.lines[start + 2 : start + 5]] == [
        "token-check",
        "team-header",
        "page-rules",
    ]
    assert "enabled: false" in ran.lines[start + 4]
    assert "alice  staff   gold  token-check" in ran.lines
    assert "chat  path_prefix=/v1/chat, method=POST  auto" in ran.lines
    assert "default  memory, of this process" in ran.lines


def test_a_sound_file_as_json(aigw, write):
    document = aigw("check", write(GOOD), "--json").document
    assert (document["ok"], document["problems"], document["warnings"]) == (True, [], [])
    summary = document["summary"]
    assert [(entry["name"], entry["path"], entry["rules"]) for entry in summary["plugins"]] == [
        ("token-check", "plugins[1]", 0),
        ("team-header", "plugins[0]", 1),
        ("page-rules", "plugins[2]", 0),
    ]
    assert summary["outgoing"][0]["priority"] == 7
    assert summary["consumers"] == [
        {"name": "alice", "groups": ["staff"], "tier": "gold", "credentials": ["token-check"]}
    ]
    assert summary["routes"][0]["match"] == ["path_prefix=/v1/chat", "method=POST"]


def test_the_credentials_stay_in_the_file(aigw, write):
    file = write(GOOD)
    assert "0123456789abcdef" not in aigw("check", file).out + aigw("check", file, "--json").out


def test_a_store_is_shown_without_its_password(aigw, write):
    file = write("secret: 0123456789abcdef0123456789abcdef\nstores: {default: 'redis://user:hidden@db:6379/0'}\n")
    assert summary_of(load(file, Registry())[0])["stores"] == {"default": "redis://db:6379/0"}


def test_every_problem_at_once_with_path_and_nearest_key(aigw, write):
    file = write(
        """
plugins:
  - {name: team-header, config: {haeder: x}}
  - {name: tem-header}
  - {name: token-check, stage: authentification}
"""
    )
    ran = aigw("check", file)
    assert (ran.code, ran.err) == (1, "")
    assert ran.lines[0].startswith("aigw.yaml: plugins[2].stage: should be 'rbac', 'authorization', ")
    assert [line.split(":")[1].strip() for line in ran.lines[1:3]] == ["plugins[0].config.haeder", "plugins[1].name"]
    assert ran.lines[-1] == "3 problems."

    file = write(
        """
consumers: [{name: a}, {name: a}]
plugins:
  - {name: team-header, config: {haeder: x}}
  - {name: tem-header}
outgoing:
  - {name: token-check}
"""
    )
    ran = aigw("check", file)
    assert ran.code == 1
    assert ran.lines == [
        "aigw.yaml: consumers[1].name: consumer 'a' is declared twice",
        "aigw.yaml: plugins[0].config.haeder: unknown key (did you mean 'header'?)",
        "aigw.yaml: plugins[1].name: no plug-in is named 'tem-header' (did you mean 'team-header'?)",
        "aigw.yaml: outgoing[0].name: token-check is for inbound exchanges only (name it under `plugins`)",
        "4 problems.",
    ]
    document = aigw("check", file, "--json").document
    assert document["ok"] is False
    assert document["problems"][1] == {
        "path": "plugins[0].config.haeder",
        "message": "unknown key",
        "hint": "did you mean 'header'?",
    }


@pytest.mark.parametrize(
    ("name", "text", "start"),
    [
        ("aigw.yaml", "plugins: [", "aigw.yaml: configuration: is not valid YAML: "),
        (
            "aigw.yaml",
            "version: 1\nversion: 1\n",
            "aigw.yaml: configuration: is not valid YAML: key 'version' is written twice",
        ),
        ("aigw.json", "{", "aigw.json: configuration: is not valid JSON: "),
        ("aigw.toml", "=", "aigw.toml: configuration: is not valid TOML: "),
        ("aigw.yaml", "- a\n", "aigw.yaml: configuration: should be a mapping of keys to values"),
        ("aigw.yaml", "plugns: []\n", "aigw.yaml: plugns: unknown key (did you mean 'plugins'?)"),
    ],
)
def test_a_file_that_cannot_be_read_as_a_configuration(aigw, write, name, text, start):
    ran = aigw("check", write(text, name))
    assert (ran.code, ran.err) == (1, "")
    assert ran.lines[0].startswith(start)


def test_a_missing_file_is_wrong_usage(aigw, write):
    write("")
    ran = aigw("check", "nowhere.yaml")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "aigw: nowhere.yaml: No such file or directory (`aigw init` writes one)\n"
    assert aigw("check", "nowhere.yaml", "--json").document["error"] == "nowhere.yaml: No such file or directory"
    assert aigw("check", ".").code == 2
    assert aigw("check", "a\0b").code == 2


WARNINGS = [
    ("plugins: []", "plugins: warning: no plug-in is named: every request passes as it is"),
    ("secret: 0123456789abcdef0123456789abcdef", "secret: warning: is written in the file itself"),
    ("trusted_proxies: [10.0.0.0/8, '::/0']", "trusted_proxies[1]: warning: ::/0 believes everybody"),
    ("trust_identity_from: 0.0.0.0/0", "trust_identity_from[0]: warning: 0.0.0.0/0 believes everybody"),
    ("consumers: [{name: a}]\nplugins: [{name: team-header}]", "consumers: warning: no plug-in identifies callers"),
    (
        "consumers: [{name: a, credentials: {page-rules: x}}]\nplugins: [{name: token-check}]",
        "consumers[0].credentials.page-rules: warning: page-rules is not among the plug-ins",
    ),
    (
        "routes: [{name: a, path_prefix: [/a, /b]}, {name: b, path_prefix: /a, methods: GET}]",
        "routes[1]: warning: is never chosen: route 'a' before it takes all that it matches",
    ),
    ("plugins: [{name: team-header, shadow: true}]", "plugins[0].shadow: warning: team-header decides nothing"),
    ("plugins: [{name: bare}]", "plugins[0]: warning: bare has no effect: its class has no hook"),
    (
        "plugins: [{name: token-check, on_failure: allow}]",
        "plugins[0].on_failure: warning: token-check lets callers in unchecked when it breaks (deny)",
    ),
    (
        "plugins: [{name: team-header, rules: [{match: {method: GET}, enabled: false}]}]",
        "plugins[0]: warning: team-header never runs: no part of it is switched on",
    ),
    (
        "plugins: [{name: team-header, rules: [{match: {domain: '*'}}, {match: {domain: a.b, method: GET}}]}]",
        "plugins[0].rules[1]: warning: is never chosen: rules[0] before it takes all that it matches",
    ),
    (
        "plugins: [{name: team-header, rules: [{match: {header: {x-a: '*'}}}, {match: {header: {X-A: b}}}]}]",
        "plugins[0].rules[1]: warning: is never chosen: rules[0] before it takes all that it matches",
    ),
    (
        "plugins: [{name: team-header, rules: [{match: {service: a}}]}]",
        "plugins[0].rules[0].match.service: warning: never matches",
    ),
    (
        "plugins: [{name: team-header, rules: [{match: {consumer: a}}]}]",
        "plugins[0].rules[0].match: warning: consumer=a never holds: no plug-in identifies callers",
    ),
    (
        "consumers: [{name: alice}]\n"
        "plugins: [{name: token-check}, {name: team-header, rules: [{match: {consumer: alcie}}]}]",
        "plugins[1].rules[0].match.consumer: warning: no consumer is named 'alcie' (did you mean 'alice'?)",
    ),
    (
        "plugins: [{name: team-header}, {name: team-header}]",
        "plugins: warning: team-header is named 2 times",
    ),
]


@pytest.mark.parametrize(("text", "warning"), WARNINGS)
def test_what_is_suspicious_is_a_warning_and_with_strict_a_problem(aigw, write, text, warning):
    file = write(text)
    ran = aigw("check", file)
    assert ran.code == 0
    assert any(line.startswith(f"aigw.yaml: {warning}") for line in ran.lines), ran.out
    assert aigw("check", file, "--strict").code == 1
    document = aigw("check", file, "--strict", "--json").document
    assert (document["ok"], document["problems"]) == (False, [])
    assert document["warnings"]


NO_WARNING = [
    "trust_identity_from: 10.0.0.1\nconsumers: [{name: a}]\nplugins: [{name: team-header}]",
    "routes: [{name: a, path_prefix: /a, methods: GET}, {name: b, path_prefix: /a}]\nplugins: [{name: team-header}]",
    "plugins: [{name: team-header, rules: [{match: {domain: a.b, method: GET}}, {match: {domain: a.b}}]}]",
    "plugins: [{name: team-header, rules: [{match: {header: {x-a: b}}}, {match: {header: {x-a: '*'}}}]}]",
    "plugins: [{name: team-header, rules: [{match: {header: {x-a: b}}}, {match: {header: {x-b: b}}}]}]",
    "plugins: [{name: token-check}, {name: team-header, rules: [{match: {consumer: a}}, {match: {consumer: b}}]}]",
    "plugins: [{name: token-check}, {name: team-header, rules: [{match: {consumer: a}}, {match: {path: /a}}]}]",
    "plugins: [{name: team-header, id: a}, {name: team-header, id: b}]",
    "plugins: [{name: team-header}]\noutgoing: [{name: team-header}]",
    "routes: [{name: a, path: /a}]\nplugins: [{name: team-header}]",
    "outgoing: [{name: team-header}]",
]


@pytest.mark.parametrize("text", NO_WARNING)
def test_what_is_meant_is_no_warning(aigw, write, text):
    ran = aigw("check", write(text), "--strict", "--json")
    assert (ran.code, ran.document["warnings"]) == (0, [])


def test_what_plugins_warn_of_is_a_warning_here(aigw, write, registry, caplog):
    class Loud(Plugin[PluginConfig]):
        """Warn."""

        name = "loud"

        def compile(self):
            logging.getLogger("aigw_middleware.plugins").warning("loud: a short key")

        def on_request(self, exchange):
            return None

    registry.register(Loud)
    ran = aigw("check", write("plugins: [{name: loud}]"))
    assert (ran.code, ran.err) == (0, "")
    assert caplog.records == []  # it is not printed a second time
    assert ran.lines[0] == "aigw.yaml: warning: loud: a short key"
    assert ran.lines[1] == "1 warning: 1 plug-in, 0 rules, 0 consumers, 0 routes."


@pytest.mark.parametrize("columns", [30, 48, 80])
def test_the_output_fits_the_terminal(aigw, write, columns):
    ran = aigw("check", write(GOOD), columns=columns)
    assert max(map(len, ran.lines)) <= columns
    assert "token-check" in ran.out


def test_control_characters_of_the_file_do_not_reach_the_terminal(aigw, write):
    ran = aigw("check", write('plugins: [{name: "\\e[2Jx"}]'))
    assert ran.code == 1
    assert "\x1b" not in ran.out
    assert "\\x1b[2Jx" in ran.out


def test_names_that_a_file_of_keys_may_have_are_not_suspicious(aigw, write, tmp_path):
    keys = tmp_path / "keys.jsonl"
    keys.write_text('{"name": "alcie", "credential": "the-key-of-alcie-0123"}\n')
    config = (
        "consumers: [{name: alice}]\n"
        f"plugins: [{{name: key-auth, config: {{keys: [x], consumers_file: '{keys}'}}}}, "
        "{name: team-header, rules: [{match: {consumer: alcie}}]}]"
    )
    ran = aigw("check", write(config))
    assert "no consumer is named" not in ran.out + ran.err
