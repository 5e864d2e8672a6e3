"""`aigw explain`: what it prints, for people and for machines."""

import pytest

CHAT = "/v1/chat/completions"
CONFIG = """
routes:
  - {name: chat, path_prefix: /v1/chat, methods: [POST]}
plugins:
  - {name: page-rules}
  - name: team-header
    priority: 995
    config: {header: x-any}
    rules:
      - {match: {route: [chat]}, config: {header: x-chat}}
  - {name: token-check}
  - name: prompt-edit
    rules:
      - {match: {consumer: [alice]}, config: {}}
  - {name: token-count, shadow: true}
  - {name: bare, enabled: false}
"""
STACK = """\
#  plug-in      stage           priority  configuration  hooks
1  page-rules   authorization        340  config         req refusal
   authorization is the first stage that has a plug-in here
2  token-check  authentication       310  config         req
   stage authentication comes after authorization
   the caller is known from here on
3  team-header  default              995  rules[0]       req
   stage default comes after authentication; the file sets its priority, its own is 120
   rules[0]: route=chat
4  token-count  default              990  config         end
   priority 990 comes after 995 of team-header
   shadow: it decides nothing, and records what it would do
5  prompt-edit  default              450  late           body
   priority 450 comes after 990 of token-count
   decided at its turn by consumer=alice (rules[0]); else config
   body is loaded here, before its on_request_body: at its turn

Hooks: req = on_request, body = on_request_body, refusal = on_refusal, end = on_complete.

Does not run
plug-in  where       why
bare     plugins[5]  the file switches it off: `enabled: false`
"""


def with_default(text):
    return text.replace("- name: prompt-edit\n", "- name: prompt-edit\n    config: {}\n")


def test_the_stack_for_people(aigw, write):
    ran = aigw("explain", write(with_default(CONFIG)), "--host", "api.example.com", "--client", "192.0.2.1")
    assert (ran.code, ran.err) == (0, "")
    facts, _, stack = ran.out.partition(
        "\nThe stack: a request passes it downwards to the service, its answer upwards\n"
    )
    assert stack == STACK
    assert facts.splitlines() == [
        f"POST {CHAT}",
        "host       api.example.com",
        "route      chat: routes[0] is the first that matches: path_prefix=/v1/chat, method=POST",
        "LLM call   openai-chat: the path ends with /chat/completions",
        "errors as  openai: JSON as OpenAI's API sends errors; the path ends with /chat/completions",
        "client     192.0.2.1: the other end of the connection; no `trusted_proxies` are configured",
        "caller     known when on_request of token-check has returned; anonymous before",
        "body       read before on_request_body of prompt-edit, at its turn; at most 10,000,000 bytes; "
        "wanted by token-count, prompt-edit",
        "assumed    content-type: application/json",
    ]


def test_the_stack_for_machines(aigw, write):
    document = aigw("explain", write(CONFIG), "--json").document
    assert (document["ok"], document["file"], document["method"], document["path"]) == (True, "aigw.yaml", "POST", CHAT)
    steps = document["steps"]
    assert [step["name"] for step in steps] == [
        "page-rules",
        "token-check",
        "team-header",
        "token-count",
        "prompt-edit",
    ]
    assert steps[2]["choice"]["label"] == "rules[0]"
    assert steps[4]["choice"]["why"] == "decided at its turn by consumer=alice (rules[0]); else it does not run"
    assert (document["body"]["place"], document["caller"]["value"]) == (5, "token-check")
    assert [item["name"] for item in document["absent"]] == ["bare"]


def test_the_arguments_make_the_request(aigw, write):
    file = write(
        """
routes: [{name: team, header: {x-team: search}, methods: [GET], domain: api.example.com}]
plugins: [{name: team-header}]
"""
    )
    arguments = [
        "--method",
        "get",
        "--path",
        "/a%20b?c=d",
        "--host",
        "API.example.com:8443",
        "--header",
        "X-Team: search",
    ]
    document = aigw("explain", file, *arguments, "--json").document
    assert (document["method"], document["path"], document["domain"]) == ("GET", "/a b", "api.example.com")
    assert document["route"]["value"] == "team"


@pytest.mark.parametrize(
    ("arguments", "assumed"),
    [
        ([], True),
        (["--method", "patch"], True),
        (["--method", "GET"], False),
        (["--header", "Content-Type: text/plain"], False),
    ],
)
def test_a_body_is_taken_for_json_unless_a_header_says_otherwise(aigw, write, arguments, assumed):
    ran = aigw("explain", write("plugins: [{name: prompt-edit}]"), "--path", "/other", *arguments)
    assert ("assumed    content-type: application/json" in ran.lines) is assumed
    read = assumed and "patch" not in arguments
    assert ("its shape tells whether this is an LLM call" in ran.out) is read


def test_rules_that_do_not_match_say_why(aigw, write):
    ran = aigw("explain", write(CONFIG), "--path", "/other")
    assert "   config: no rule matches" in ran.lines
    assert "   rules[0] does not match (route=chat): route is *" in ran.lines


def test_what_is_taken_away_is_said(aigw, write):
    ran = aigw("explain", write(CONFIG), "--header", "X-Mse-Consumer: eve")
    assert "taken away  x-mse-consumer: only this gateway may set it" in ran.lines


def test_a_refused_path(aigw, write):
    ran = aigw("explain", write(CONFIG), "--path", "/v1/../admin")
    assert ran.code == 0
    assert ran.lines[:3] == [
        "POST /v1/../admin",
        "This request is refused with 400, before any hook.",
        "  ambiguous_path: The path is ambiguous: a dot segment.",
    ]


def test_an_ambiguous_path_that_passes_is_said(aigw, write):
    ran = aigw("explain", write("plugins: [{name: bare}]"), "--path", "/v1//a")
    assert "path       the path is ambiguous (an empty segment), but nothing here matches on paths" in ran.lines


def test_a_body_that_is_not_read(aigw, write):
    ran = aigw("explain", write("plugins: [{name: team-header}]"))
    assert "body       not read: no plug-in needs it" in ran.lines


def test_outgoing_calls(aigw, write):
    file = write("plugins: [{name: token-check}]\noutgoing: [{name: team-header}]")
    ran = aigw("explain", file, "--outgoing")
    assert "The stack: a request passes it downwards to the API, its answer upwards" in ran.lines
    assert "1  team-header  default       120  config         req" in ran.lines
    assert "token-check" not in ran.out


def test_nothing_runs(aigw, write):
    ran = aigw("explain", write("outgoing: []"), "--outgoing")
    assert (ran.code, ran.lines[-1]) == (0, "No plug-in runs for this request.")


def test_a_file_without_outgoing(aigw, write):
    ran = aigw("explain", write(CONFIG), "--outgoing")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines() == [
        "aigw.yaml: outgoing: is missing: no plug-ins are named for outgoing calls (add `outgoing: []`)",
        "aigw: aigw.yaml has nothing for outgoing calls",
    ]


def test_a_configuration_with_problems(aigw, write):
    file = write("plugins: [{name: team-haeder}]")
    ran = aigw("explain", file)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines() == [
        "aigw.yaml: plugins[0].name: no plug-in is named 'team-haeder' (did you mean 'team-header'?)",
        "aigw: aigw.yaml: 1 problem (aigw check aigw.yaml)",
    ]
    document = aigw("explain", file, "--json").document
    assert (document["ok"], document["problems"][0]["path"]) == (False, "plugins[0].name")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--header", "no colon"], "aigw: --header 'no colon': no name and value (--header 'x-team: search')"),
        (["--header", ": value"], "aigw: --header ': value': no name and value (--header 'x-team: search')"),
        (["--header", "a b: c"], "aigw: --header: 'a b' is not a header name"),
        (["--header", "a: 漢"], "aigw: --header: a header value has characters outside latin-1"),
        (["--path", "v1"], "aigw: --path v1: a path begins with a slash (--path /v1)"),
        (["--client", "localhost"], "aigw: --client localhost: not an IP address"),
    ],
)
def test_arguments_that_make_no_request(aigw, write, arguments, message):
    ran = aigw("explain", write(CONFIG), *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"{message}\n"


@pytest.mark.parametrize("columns", [30, 52, 80])
def test_the_output_fits_the_terminal(aigw, write, columns):
    ran = aigw("explain", write(CONFIG), columns=columns)
    assert max(map(len, ran.lines)) <= columns
    for name in ("page-rules", "token-check", "team-header", "token-count", "prompt-edit", "bare"):
        assert name in ran.out
