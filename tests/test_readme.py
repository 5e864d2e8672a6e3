"""The README does what it says: its code runs, its configuration loads, its table is complete, its links lead somewhere."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml

from aigw_middleware import INBOUND, OUTBOUND
from aigw_middleware.gateway import Core
from aigw_middleware.registry import BUILT_IN
from aigw_middleware.testing import FakeProvider, client

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ALICE_KEY = "the key of alice, long enough"
MADE_BY_MAKE_DOCS = {"docs/configuration.md"}


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    code: str


BLOCKS = [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", README, re.M | re.S)]


def python_with(text: str) -> str:
    """The one Python block that contains `text`."""
    (block,) = (block for block in BLOCKS if block.language == "python" and text in block.code)
    return block.code


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the README's configuration as aigw.yaml."""
    (configuration,) = (block.code for block in BLOCKS if block.language == "yaml")
    (tmp_path / "aigw.yaml").write_text(configuration, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALICE_KEY", ALICE_KEY)
    return tmp_path


def run(code: str, **names: Any) -> dict[str, Any]:
    """Execute a block and return its names."""
    namespace: dict[str, Any] = {"__name__": "readme", **names}
    exec(compile(code, "README.md", "exec"), namespace)
    return namespace


def test_every_block_has_a_test() -> None:
    tested = ["FastAPI()", "MIDDLEWARE", "AsyncGatewayTransport(", "class TeamHeader", "test_the_service"]
    assert [block.code for block in BLOCKS if block.language == "python"] == [python_with(text) for text in tested]
    assert [block.language for block in BLOCKS if block.language != "python"] == ["console", "yaml"]


def test_the_configuration_loads_in_both_directions(folder: Path) -> None:
    configuration = yaml.safe_load((folder / "aigw.yaml").read_text(encoding="utf-8"))
    plugins = {plugin["name"] for plugin in configuration["plugins"] + configuration["outgoing"]}
    for direction in (INBOUND, OUTBOUND):
        assert {plugin.name for plugin in Core("aigw.yaml", direction=direction).snapshot.plugins} == plugins


@pytest.mark.anyio
async def test_the_fastapi_service_knows_its_caller(folder: Path) -> None:
    app = run(python_with("FastAPI()"))["app"]
    async with client(app) as http:
        assert (await http.get("/whoami")).status_code == 401
        response = await http.get("/whoami", headers={"authorization": f"Bearer {ALICE_KEY}"})
    assert response.json() == "alice"


def test_the_django_settings_put_the_gateway_in_front(folder: Path) -> None:
    from django.conf import settings
    from django.http import HttpRequest, HttpResponse
    from django.test import RequestFactory, override_settings
    from django.utils.module_loading import import_string

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="tests")
    names = run(python_with("MIDDLEWARE"))

    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.aigw.consumer.name)

    with override_settings(AIGW=names["AIGW"], MIDDLEWARE=names["MIDDLEWARE"]):
        middleware = import_string(settings.MIDDLEWARE[0])(view)
        requests = RequestFactory()
        assert middleware(requests.get("/")).status_code == 401
        response = middleware(requests.get("/", headers={"authorization": f"Bearer {ALICE_KEY}"}))
    assert response.content == b"alice"


@pytest.mark.servers
@pytest.mark.anyio
async def test_the_client_runs_what_is_outgoing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aigw_middleware.demo.serving import Server

    provider = FakeProvider()
    with Server(provider) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with run(python_with("AsyncGatewayTransport("))["client"] as sdk:
            assert isinstance(sdk, openai.AsyncOpenAI)
            await sdk.chat.completions.create(model="assistant", messages=[{"role": "user", "content": "Hello"}])
    assert [request.json["model"] for request in provider.requests] == ["gpt-5-mini"]


@pytest.mark.anyio
async def test_the_plugin_and_its_test_run(folder: Path) -> None:
    plugin = run(python_with("class TeamHeader"))
    assert len(python_with("class TeamHeader").splitlines()) <= 20
    names = run(python_with("test_the_service"), **plugin, ALICE_KEY=ALICE_KEY)
    await names["test_the_service_knows_the_team"]()
    broken = run(python_with("class TeamHeader").replace('get("team"', 'get("town"'))
    names = run(python_with("test_the_service"), **broken, ALICE_KEY=ALICE_KEY)
    with pytest.raises(AssertionError):
        await names["test_the_service_knows_the_team"]()


def inline(begin: str) -> list[str]:
    """Everything between backquotes that begins so."""
    return [code for code in re.findall(r"`([^`\n]+)`", README) if code.startswith(begin)]


def test_a_wsgi_application_is_wrapped_as_it_says(folder: Path) -> None:
    from flask import Flask

    from aigw_middleware import WSGIGateway

    app = Flask("readme")
    app.add_url_rule("/", view_func=lambda: "hello")
    (line,) = inline("app.wsgi_app")
    run(line, app=app, WSGIGateway=WSGIGateway)
    with app.test_client() as http:
        assert http.get("/").status_code == 401
        assert http.get("/", headers={"authorization": f"Bearer {ALICE_KEY}"}).text == "hello"


@pytest.mark.anyio
async def test_a_plugin_alone_is_an_ordinary_middleware() -> None:
    from starlette.applications import Starlette

    from aigw_middleware import KeyAuth

    app = Starlette()
    (line,) = inline("app.add_middleware")
    consumers = [{"name": "alice", "credential": ALICE_KEY}]
    run(line.replace("[...]", "consumers"), app=app, KeyAuth=KeyAuth, consumers=consumers)
    async with client(app) as http:
        assert (await http.get("/")).status_code == 401
        assert (await http.get("/", headers={"x-api-key": ALICE_KEY})).status_code == 404


@pytest.mark.anyio
async def test_a_plugin_of_ones_own_joins_the_stack_of_the_file(folder: Path) -> None:
    from starlette.applications import Starlette

    from aigw_middleware import install

    (line,) = inline("install(app, config=")
    app = Starlette()
    run(line, app=app, install=install, TeamHeader=run(python_with("class TeamHeader"))["TeamHeader"])
    names = {plugin.name for plugin in app.state.aigw_gateway.core.snapshot.plugins}
    assert {"team-header", "key-auth", "ai-statistics"} <= names


def test_the_command_lines_work(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from aigw_middleware.cli import main

    commands = {command.split()[1]: command for command in inline("aigw ")}
    assert set(commands) == {"check", "explain", "init", "plugins"}
    for name in ("check", "explain", "plugins"):
        arguments = commands[name].replace("NAME", "key-auth").split()[1:]
        if name == "explain" and "aigw.yaml" not in arguments:
            arguments.append("aigw.yaml")
        assert main(arguments) == 0, capsys.readouterr()
    assert main(["init", "new.yaml"]) == 0
    assert (folder / "new.yaml").exists()


def test_the_table_lists_the_plugins_that_exist() -> None:
    assert set(re.findall(r"^\| `([\w-]+)` \|", README, re.M)) == set(BUILT_IN)


def test_the_code_of_the_first_screen_is_short() -> None:
    lines = [
        line
        for text in ("FastAPI()", "MIDDLEWARE", "AsyncGatewayTransport(")
        for line in python_with(text).splitlines()
    ]
    assert len([line for line in lines if line.strip()]) <= 15


def test_the_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = re.findall(r"(?:`|\$ )make (\w+)", README)
    assert {"demo", "test", "docs"} <= set(commands)
    for command in commands:
        assert re.search(rf"^{command}:", makefile, re.M), command


def test_the_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(targets) > 10
    missing = [target for target in targets if not (ROOT / target).exists() and target not in MADE_BY_MAKE_DOCS]
    assert missing == []
    assert httpx.URL(targets[0]).is_relative_url


def test_no_line_is_too_long_to_read() -> None:
    prose = [line for line in README.splitlines() if not line.startswith("|")]
    assert max(map(len, prose)) <= 130
