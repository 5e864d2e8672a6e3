"""The command line as a whole: help, usage, exit codes, lazy imports, pipes."""

import importlib
import os
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest

import aigw_middleware
from aigw_middleware.cli import COMMANDS, main
from aigw_middleware.registry import REGISTRY


def python(code, **options):
    """Run code in a process of its own, whose output is buffered as it is by default."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("PYTHONUNBUFFERED", None)
    return subprocess.run([sys.executable, "-c", code], text=True, check=False, env=environment, **options)


def test_help_names_every_command(aigw):
    ran = aigw("--help")
    assert (ran.code, ran.err) == (0, "")
    words = " ".join(ran.out.split())
    for name, text in COMMANDS.items():
        assert f" {name} {text} " in words
    assert words.endswith(
        "Exit codes: 0 fine, 1 problems in the configuration, 2 wrong usage or a file that is not there."
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(aigw, command):
    ran = aigw(command, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"usage: aigw {command} ")
    assert "--json" in ran.out


def test_version(aigw):
    ran = aigw("--version")
    assert (ran.code, ran.out) == (0, f"aigw-middleware {aigw_middleware.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: aigw "),
        (["chekc"], "usage: aigw "),
        (["check"], "usage: aigw check "),
        (["check", "a.yaml", "--bad"], "usage: aigw "),
        (["explain", "a.yaml", "--path"], "usage: aigw explain "),
        (["demo", "--port", "70000"], "usage: aigw demo "),
    ],
)
def test_wrong_usage(aigw, arguments, message):
    ran = aigw(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(message)


def test_help_imports_no_command_and_no_library():
    code = """
import sys
from aigw_middleware.cli import main
main(["--help"])
loaded = [name for name in sys.modules if name.startswith("aigw_middleware.cli.")]
assert loaded == ["aigw_middleware.cli.outcome"], loaded
assert not {"pydantic", "yaml", "re2", "msgspec", "asyncio"} & set(sys.modules)
"""
    ran = python(code, capture_output=True)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("argument", ["plugins", "--help"])
def test_a_reader_that_stops_is_no_error(argument):
    read, write = os.pipe()
    os.close(read)
    try:
        code = f"import sys; from aigw_middleware.cli import main; sys.exit(main(['{argument}']))"
        ran = python(code, stdout=write, stderr=subprocess.PIPE)
    finally:
        os.close(write)
    assert (ran.returncode, ran.stderr) == (141, "")


def test_an_interrupt_is_no_traceback(aigw, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("aigw_middleware.cli.plugins.run", interrupted)
    ran = aigw("plugins")
    assert (ran.code, ran.err) == (130, "")


def test_the_arguments_come_from_the_process(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["aigw", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("aigw-middleware ")


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of a user's own, which registers a plug-in, in the folder where the command runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    before = set(sys.modules)
    (tmp_path / "plugins_of_mine.py").write_text(
        '''
from aigw_middleware import Plugin, PluginConfig
from aigw_middleware.registry import REGISTRY


class Mine(Plugin[PluginConfig]):
    """Do what I want."""

    name = "mine"

    def on_request(self, exchange):
        return None


REGISTRY.register(Mine)
'''
    )
    (tmp_path / "mine.yaml").write_text("plugins: [{name: mine}]\n")
    yield "plugins_of_mine"
    for name in set(sys.modules) - before:
        if name.startswith("plugins_of_mine"):
            del sys.modules[name]


def test_plugins_of_ones_own_are_imported_from_here(module, capsys, monkeypatch):
    monkeypatch.setattr(REGISTRY, "_registered", {})
    assert main(["check", "mine.yaml"]) == 1
    assert "no plug-in is named 'mine'" in capsys.readouterr().out
    assert main(["check", "mine.yaml", "--import", module]) == 0
    assert main(["explain", "mine.yaml", "--import", module]) == 0
    assert main(["plugins", "mine", "--import", module]) == 0
    assert "Do what I want." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No module named 'plugins_of_mine'"),
        ("import nothing_like_this", "No module named 'nothing_like_this'"),
        ("1 / 0", "division by zero"),
        ("raise ValueError", "ValueError"),
    ],
)
def test_a_module_that_cannot_be_imported(aigw, module, tmp_path, text, reason):
    path = tmp_path / "plugins_of_mine.py"
    path.unlink()
    if text is not None:
        path.write_text(text)
    ran = aigw("plugins", "--import", module)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"aigw: module {module} cannot be imported: {reason}\n"


class Demo:
    """Stands for the demo, and remembers how it was called."""

    def __init__(self):
        self.argv = None

    def main(self, argv):
        self.argv = argv
        return 0


@pytest.fixture
def demo(monkeypatch):
    found = Demo()
    module = types.ModuleType("aigw_middleware.demo")
    module.main = found.main
    monkeypatch.setitem(sys.modules, "aigw_middleware.demo", module)
    return found


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        ([], []),
        (["--keep"], ["--keep"]),
        (["--port", "8080", "--json"], ["--port", "8080", "--json"]),
    ],
)
def test_the_demo_gets_its_arguments(aigw, demo, arguments, passed):
    assert aigw("demo", *arguments).code == 0
    assert demo.argv == passed


def test_the_console_script_is_main():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    module, _, name = project["project"]["scripts"]["aigw"].partition(":")
    assert getattr(importlib.import_module(module), name) is main
