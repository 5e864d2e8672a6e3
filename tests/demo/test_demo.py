"""The demo itself: a real server on loopback, the official client, and what the user reads."""

import importlib.util
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from aigw_middleware import demo

ROOT = Path(__file__).parents[2]
STEPS = (
    "chat call, as alice",
    "streamed call, as alice",
    "call without a key",
    "preflight of a browser",
    "burst of 6 calls, as bob",
    "denied word, as alice",
    "the gateway's books",
)


@pytest.mark.servers
def test_every_step_goes_as_expected(capsys: pytest.CaptureFixture[str]) -> None:
    code = demo.main(["--json"])
    output = capsys.readouterr()
    document = json.loads(output.out)
    assert [step["step"] for step in document["steps"] if not step["ok"]] == []
    assert (code, document["ok"], output.err) == (0, True, "")
    assert tuple(step["step"] for step in document["steps"]) == STEPS
    assert all(step["expected"] and step["got"] for step in document["steps"])
    assert_recorded(document["recorded"])


def assert_recorded(recorded: dict[str, Any]) -> None:
    """Callers, models, tokens and times of what `main` did."""
    answered = [(item["consumer"], item["answer"], item["calls"], item["outcome"]) for item in recorded["calls"]]
    assert answered == [
        ("alice", "normal", 1, "completed"),
        ("alice", "stream", 1, "completed"),
        ("bob", "normal", 3, "completed"),
    ]
    assert {item["model"] for item in recorded["calls"]} == {"gpt-5-mini"}
    stream = recorded["calls"][1]
    assert stream["output_tokens"] == 25  # the words of the answer, as the provider counted them
    assert stream["first_token_ms"] is not None
    refused = [(item["plugin"], item["consumer"], item["status"], item["calls"]) for item in recorded["turned_down"]]
    assert refused == [
        ("key-auth", "none", 401, 1),
        ("key-rate-limit", "bob", 429, 3),
        ("ai-data-masking", "alice", 200, 1),
    ]


@pytest.mark.servers
def test_a_person_reads_tables_of_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert demo.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("\x1b" in line for line in lines)
    for title in ("What happened", "What the gateway recorded", "What plug-ins answered in place of the service"):
        assert title in lines
    assert sum(line.endswith("  ok") for line in lines) == len(STEPS)
    assert re.fullmatch(r"All 7 steps went as expected, in \d+\.\d s\.", lines[-1])


@pytest.mark.servers
def test_what_is_not_as_expected_is_said_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from aigw_middleware.demo import steps

    monkeypatch.setattr(steps, "ALICE", "a key of nobody")
    assert demo.main([]) == 1
    output = capsys.readouterr()
    assert "FAILED" in output.out
    failed = "chat call, as alice; streamed call, as alice; denied word, as alice; the gateway's books"
    assert f"Not as expected: {failed}." in " ".join(output.out.split())
    assert output.err == f"aigw demo: not as expected: {failed}\n"


@pytest.mark.servers
def test_a_taken_port_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert demo.main(["--port", str(port)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"aigw demo: 127.0.0.1:{port}: ")


@pytest.mark.parametrize("missing", [("uvicorn",), ("fastapi", "openai")])
def test_missing_packages_are_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: tuple[str, ...]
) -> None:
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    assert demo.main([]) == 1
    line = f"aigw demo: needs {', '.join(missing)}, not installed here: pip install 'aigw-middleware[demo]'\n"
    assert capsys.readouterr() == ("", line)


@pytest.mark.servers
def test_kept_up_it_serves_the_printed_curl_lines_until_interrupted() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1", "COLUMNS": "80"}
    program = "import sys; from aigw_middleware.demo import main; sys.exit(main(['--keep']))"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        text = ""
        for line in process.stdout:
            text += line
            if line.startswith("curl -i"):
                break
        commands = [part.replace("\\\n", " ") for part in text.split("\n\n") if part.startswith("# ")]
        assert [command.split("\n")[0] for command in commands] == [
            "# who am I",
            "# an answer",
            "# a stream",
            "# a denied word",
            "# no key",
        ]
        for command in commands:
            check_curl(command.split("\n", 1)[1])
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert process.returncode == 0
    assert max(map(len, (text + rest).splitlines())) <= 80
    assert "What the gateway recorded" in rest


def check_curl(command: str) -> None:
    """Do what the curl line would do, and look at what comes."""
    import shlex

    words = shlex.split(command)
    url = next(word for word in words if word.startswith("http://"))
    headers = [tuple(words[place + 1].split(": ", 1)) for place, word in enumerate(words) if word == "-H"]
    data = words[words.index("-d") + 1] if "-d" in words else None
    with httpx.Client(timeout=30, trust_env=False) as client:
        response = client.request("POST" if data else "GET", url, headers=headers, content=data)
    if not headers:
        assert response.status_code == 401
    elif data is None:
        assert response.json()["name"] == "alice"
    elif json.loads(data).get("stream"):
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.text.endswith("data: [DONE]\n\n")
    else:
        assert response.json()["choices"][0]["message"]["content"]
    assert response.status_code == (200 if headers else 401)


def test_what_is_served_is_the_example() -> None:
    folder = Path(demo.__file__).parent
    for name in ("app.py", "aigw.yaml"):
        assert (folder / name).read_bytes() == (ROOT / "examples" / "fastapi_app" / name).read_bytes()


def test_importing_the_demo_imports_nothing_that_may_be_missing() -> None:
    program = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); import aigw_middleware.demo; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert set(demo.NEEDED).isdisjoint(loaded)
    assert all(importlib.util.find_spec(name) for name in demo.NEEDED)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.servers
@pytest.mark.parametrize("no_color", ["", "1"])
def test_colours_are_for_terminals_and_for_those_who_want_them(monkeypatch: pytest.MonkeyPatch, no_color: str) -> None:
    screen = _Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    assert demo.main([]) == 0
    assert ("\x1b[" in screen.getvalue()) is not bool(no_color)
