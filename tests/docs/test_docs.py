"""The documentation does what it says: its code runs, its configurations load, what is generated is that of the code."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import aigw_middleware
from aigw_middleware import ConfigError, KeyAuth, Plugin
from aigw_middleware.config.models import GatewayConfig
from aigw_middleware.order import DEFAULT_ORDER
from aigw_middleware.plugin import HOOKS
from aigw_middleware.registry import BUILT_IN
from tests.docs.pages import LANGUAGES, Runner, blocks_of

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCES = str(Path(aigw_middleware.__file__).parents[1])
WRITTEN = sorted(path.name for path in DOCS.glob("*.md") if path.name != "configuration.md")
SECONDS = 120.0


def load_generator() -> ModuleType:
    """Import docs/generate.py."""
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = load_generator()
PAGES: dict[Path, str] = GENERATOR.pages()


def python(arguments: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a Python of its own, in which every warning is an error."""
    environment = {**os.environ, "PYTHONPATH": SOURCES, "PYTHONDONTWRITEBYTECODE": "1", **variables}
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS)


# ---------------------------------------------------------------------- what is written by hand


@pytest.mark.parametrize("name", WRITTEN)
def test_a_page_runs_from_top_to_bottom(name: str, tmp_path: Path) -> None:
    done = python([str(Path(__file__).with_name("pages.py")), str(DOCS / name)], tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", WRITTEN)
def test_every_block_is_of_a_language_that_is_looked_at(name: str) -> None:
    assert {block.language for block in blocks_of(DOCS / name)} <= LANGUAGES


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ("```python\nprint(1 + 1)  # 3\n```\n", "line 2 prints '2', not '3'"),
        ("```python\nif False:\n    print(1)  # 1\n```\n", "lines that print nothing: [3]"),
        ("```python\ndef test_it():\n    assert False, 'so it is called'\n```\n", "so it is called"),
        ("```python\nasync def test_it():\n    assert False, 'so it is awaited'\n```\n", "so it is awaited"),
        ("```yaml\nplugins: [{name: corz}]\n```\n", "did you mean 'cors'?"),
        ("```yaml\noutgoing: [{name: cors}]\n```\n", "inbound exchanges only"),
        ("```console\n$ aigw check nowhere.yaml\n```\n", "exit code 2"),
        ('```yaml title="a.yaml"\nplugins: []\n```\n```console\n$ aigw check a.yaml\nFine.\n```\n', "a.yaml prints:"),
        ("<!-- compiled, not run: it needs a server -->\n```python\nprint(\n```\n", "was never closed"),
        ("```python {.odd}\n```\n", "a fence that is not understood"),
    ],
)
def test_what_is_wrong_in_a_page_is_found(
    page: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.md").write_text(page, encoding="utf-8")
    with pytest.raises((AssertionError, ConfigError, SyntaxError, ValueError)) as caught:
        Runner(tmp_path / "page.md").run()
    assert problem in str(caught.value)


def test_a_block_that_is_only_compiled_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("<!-- compiled, not run: why -->\n```python\n1 / 0\n```\n", encoding="utf-8")
    Runner(tmp_path / "page.md").run()


def test_links_between_pages_lead_somewhere() -> None:
    for name in WRITTEN:
        for target in re.findall(r"\]\(([^)#:]+\.md)", (DOCS / name).read_text(encoding="utf-8")):
            assert (DOCS / target) in PAGES or (DOCS / target).exists(), f"{name}: {target}"


def test_the_guide_names_every_hook() -> None:
    guide = (DOCS / "writing-a-plugin.md").read_text(encoding="utf-8")
    assert [hook for hook in HOOKS if f"| `{hook}(" not in guide] == []


# ---------------------------------------------------------------------- what is generated


def test_generated_sections_are_up_to_date() -> None:
    stale = [path.name for path, text in PAGES.items() if path.name in WRITTEN and path.read_text("utf-8") != text]
    assert stale == [], "run `python docs/generate.py`"


def test_generation_is_the_same_every_time(tmp_path: Path) -> None:
    code = (
        "import generate, hashlib; print(hashlib.sha256(repr(sorted(generate.pages().items())).encode()).hexdigest())"
    )
    ours = hashlib.sha256(repr(sorted(PAGES.items())).encode()).hexdigest()
    for seed in ("1", "2"):
        done = python(["-c", code], tmp_path, PYTHONHASHSEED=seed, PYTHONPATH=os.pathsep.join([SOURCES, str(DOCS)]))
        assert done.stdout.strip() == ours, done.stderr


def test_every_plugin_has_a_page_with_its_keys_and_an_example_at_work() -> None:
    for name in BUILT_IN:
        page = PAGES[DOCS / "plugins" / f"{name}.md"]
        assert page.startswith(f"# {name}\n")
        for key in GENERATOR.REGISTRY.get(name).Config.model_fields:
            assert f"| `{key}` |" in page
        assert "\n```yaml\nplugins:\n" in page
        assert "The caller gets:\n\n```http\nHTTP/1.1 " in page


def test_the_configuration_page_has_every_key_and_runs(tmp_path: Path) -> None:
    page = PAGES[DOCS / "configuration.md"]
    for key in GatewayConfig.model_fields:
        assert f"| `{key}` |" in page
    (tmp_path / "configuration.md").write_text(page, encoding="utf-8")
    done = python([str(Path(__file__).with_name("pages.py")), "configuration.md"], tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_order_page_lists_the_order() -> None:
    listed = re.findall(r"^\| (\w+) \| (-?\d+) \| \[?([\w-]+)", PAGES[DOCS / "order.md"], re.M)
    assert listed == [(stage.value, str(priority), name) for name, stage, priority in DEFAULT_ORDER]


def test_an_example_that_does_not_load_is_no_page() -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        GENERATOR.check_example(KeyAuth, {"plugins": [{"name": "key-auth", "config": {"kees": ["x-api-key"]}}]})


def test_an_example_that_does_something_else_is_no_page() -> None:
    example = {"plugins": [{"name": "custom-response", "config": {"status_code": 204}}]}
    with pytest.raises(GENERATOR.ExampleFailed, match="status 204, not 200"):
        GENERATOR.run_exchange("custom-response", example, {"title": "One", "status": 200})


def test_a_plugin_without_an_example_has_no_page() -> None:
    class Bare(Plugin[Any]):
        """In a module whose docstring has no example."""

        name = "bare"

    with pytest.raises(GENERATOR.ExampleFailed, match="no example"):
        GENERATOR.plugin_page(Bare)


def test_out_of_date_pages_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stale = {tmp_path / "docs" / "one.md": "new", tmp_path / "docs" / "two.md": "same"}
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "one.md").write_text("old", encoding="utf-8")
    (tmp_path / "docs" / "two.md").write_text("same", encoding="utf-8")
    generator = load_generator()
    generator.__dict__.update(DOCS=tmp_path / "docs", pages=lambda: stale)
    assert generator.main(["--check"]) == 1
    assert capsys.readouterr().out == "docs/one.md is out of date: run `python docs/generate.py`\n"
    assert generator.main([]) == 0
    assert (tmp_path / "docs" / "one.md").read_text(encoding="utf-8") == "new"
    assert generator.main(["--check"]) == 0
