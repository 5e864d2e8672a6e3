"""`aigw init`: a starter file that works as it is and is never lost."""

import asyncio
import json
import re

import httpx
import pytest
import yaml

from aigw_middleware import Gateway
from aigw_middleware.cli.init import STARTER
from aigw_middleware.config.loading import parse


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_starter_passes_check_without_a_warning(aigw, folder):
    ran = aigw("init")
    assert (ran.code, ran.err) == (0, "")
    assert ran.lines == [
        "aigw.yaml is written.",
        "Next: aigw check aigw.yaml, then install(app, config='aigw.yaml') in the service.",
    ]
    checked = aigw("check", "aigw.yaml", "--strict")
    assert (checked.code, checked.err) == (0, ""), checked.out
    assert checked.lines[0] == "Fine: 5 plug-ins, 0 rules, 2 consumers, 1 route."
    names = ["cors", "model-mapper", "key-auth", "ai-statistics", "key-rate-limit"]
    assert [step["name"] for step in aigw("explain", "aigw.yaml", "--json").document["steps"]] == names


def test_the_starter_does_what_its_comments_say(aigw, folder):
    aigw("init")
    gateway = Gateway(echo, config=folder / "aigw.yaml")
    alice = {"authorization": "Bearer alice-demo-key-change-me"}
    bob = {"x-api-key": "bob-demo-key-change-me"}
    body = {"model": "assistant", "messages": [{"role": "user", "content": "hello"}]}

    async def statuses():
        transport = httpx.ASGITransport(gateway)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            path = "/v1/chat/completions"
            preflight = {"origin": "https://app.example.com", "access-control-request-method": "POST"}
            yield (await client.options(path, headers=preflight)).headers["access-control-allow-origin"]
            yield (await client.post(path, json=body)).status_code
            yield (await client.post(path, json=body, headers=alice)).json()
            for _ in range(60):
                answer = await client.post(path, json=body, headers=bob)
            yield answer.status_code
            yield (await client.post(path, json=body, headers=bob)).status_code
        await gateway.aclose()

    async def collected():
        return [status async for status in statuses()]

    allowed, without_key, echoed, last, limited = asyncio.run(collected())
    assert allowed == "https://app.example.com"
    assert (without_key, last, limited) == (401, 200, 429)
    assert (echoed["consumer"], echoed["model"]) == ("alice", "gpt-5-mini")


async def echo(scope, receive, send):
    """Answer with who calls and which model is asked for."""
    data = b""
    while True:
        message = await receive()
        data += message["body"]
        if not message.get("more_body"):
            break
    consumer = dict(scope["headers"])[b"x-mse-consumer"].decode()
    answer = json.dumps({"consumer": consumer, "model": json.loads(data)["model"]}).encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def test_what_is_commented_out_is_right_too(aigw, folder, monkeypatch):
    monkeypatch.setenv("AIGW_SECRET", "0123456789abcdef0123456789abcdef")
    keys = "secret|stores|trusted_proxies|rules|match|name|config|outgoing"
    commented = re.compile(rf"^( *)# ( *(?:- )?\{{?(?:{keys}):.*)$", re.M)
    text = commented.sub(r"\1\2", STARTER)
    config = parse(yaml.safe_load(text))
    assert config.secret is not None
    assert config.stores == {"default": "memory://"}
    assert "ai-prompt-decorator" in [entry.name for entry in config.plugins]
    assert config.plugins[2].rules
    assert [entry.name for entry in config.outgoing or ()] == ["timeout"]
    (folder / "all.yaml").write_text(text)
    checked = aigw("check", "all.yaml", "--strict")
    assert checked.code == 0, checked.out


def test_a_file_that_exists_is_left_alone(aigw, folder):
    (folder / "mine.yaml").write_text("version: 1\n")
    ran = aigw("init", "mine.yaml")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "aigw: mine.yaml exists, and is left as it is (--force overwrites it)\n"
    assert (folder / "mine.yaml").read_text() == "version: 1\n"
    assert aigw("init", "mine.yaml", "--json").document["ok"] is False


def test_force_overwrites(aigw, folder):
    (folder / "mine.yaml").write_text("version: 1\n" * 10_000)
    ran = aigw("init", "mine.yaml", "--force", "--json")
    assert (ran.code, ran.document) == (0, {"ok": True, "file": "mine.yaml"})
    text = (folder / "mine.yaml").read_text()
    assert text == STARTER.replace("@FILE@", "mine.yaml")
    assert "aigw check mine.yaml" in text


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("aigw.json", "aigw.json: the starter file is YAML (aigw init aigw.yaml)"),
        ("aigw.TOML", "aigw.TOML: the starter file is YAML (aigw init aigw.yaml)"),
        ("nowhere/aigw.yaml", "nowhere/aigw.yaml: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_written(aigw, folder, file, message):
    ran = aigw("init", file)
    assert (ran.code, ran.out, ran.err) == (2, "", f"aigw: {message}\n")
    assert not (folder / file).exists()


def test_the_lines_fit_an_editor():
    assert max(map(len, STARTER.splitlines())) <= 120
