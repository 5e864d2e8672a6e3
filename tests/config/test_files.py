"""Files that plug-ins read: found beside the configuration, looked at for changes, kept in force when they break."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from aigw_middleware import Field, Plugin, PluginConfig, Registry
from aigw_middleware.config.files import Files, WatchedFile
from aigw_middleware.errors import ConfigError
from aigw_middleware.gateway import Core


class WordsConfig(PluginConfig):
    file: str = Field(description="Path of the words.")
    other: str = Field("", description="Something else.")


class Words(Plugin[WordsConfig]):
    """Reads its words from a file."""

    name = "words"

    def compile(self) -> None:
        self.words = self.context.files.read(self.config.file, "file").split()


def registry() -> Registry:
    made = Registry()
    made.register(Words)
    return made


def core(folder: Path, *, as_mapping: bool = False) -> Core:
    entries = [{"name": "words", "config": {"file": "words.txt"}}]
    config: Any = {"plugins": entries, "reload_interval": 5}
    if as_mapping:
        entries[0]["config"] = {"file": str(folder / "words.txt")}
        return Core(config, registry=registry())
    path = folder / "aigw.yaml"
    path.write_text("reload_interval: 5\nplugins: [{name: words, config: {file: words.txt}}]\n")
    return Core(path, registry=registry())


def plugin_of(core: Core) -> Words:
    (plugin,) = core.snapshot.plugins
    assert isinstance(plugin, Words)
    return plugin


@pytest.mark.parametrize("as_mapping", [False, True])
def test_a_file_is_found_and_watched(tmp_path: Path, as_mapping: bool) -> None:
    words = tmp_path / "words.txt"
    words.write_text("one two")
    made = core(tmp_path, as_mapping=as_mapping)
    first = plugin_of(made)
    assert first.words == [b"one", b"two"]
    assert made.look_due
    made.reload()
    assert plugin_of(made) is first, "nothing changed, so the same object goes on"
    words.write_text("three")
    made.reload()
    assert plugin_of(made).words == [b"three"]


def test_a_touched_file_is_not_a_changed_one(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("one")
    made = core(tmp_path)
    first = plugin_of(made)
    os.utime(words, ns=(1, 1))
    made.reload()
    assert plugin_of(made) is first


def test_a_file_that_goes_away_changes_nothing_but_is_told(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("one")
    made = core(tmp_path)
    first = plugin_of(made)
    words.unlink()
    with pytest.raises(ConfigError, match=r"plugins\[0\]\.config: file: .*words\.txt cannot be read"):
        made.reload()
    assert plugin_of(made) is first
    assert made.reload_error is not None


def test_a_missing_file_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"words\.txt cannot be read: No such file"):
        core(tmp_path)


def test_nothing_is_looked_at_without_files() -> None:
    assert not Core({"plugins": []}).look_due


def test_what_watching_sees(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a")
    file = WatchedFile(path)
    assert file.changed(), "it was never read"
    assert file.read() == b"a"
    assert not file.changed()
    path.write_bytes(b"b")
    assert file.changed()
    path.unlink()
    assert file.changed()


def test_a_file_beyond_the_bound_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aigw_middleware.config.files.MAX_NAMED_BYTES", 3)
    (tmp_path / "big").write_bytes(b"1234")
    with pytest.raises(ConfigError, match="deny_files: big is larger than"):
        Files(tmp_path).read("big", "deny_files")


@pytest.mark.parametrize("as_mapping", [False, True])
def test_a_change_is_noticed_by_itself(tmp_path: Path, as_mapping: bool) -> None:
    words = tmp_path / "words.txt"
    words.write_text("one")
    made = core(tmp_path, as_mapping=as_mapping)
    words.write_text("one two")
    made.look()
    for thread in threading.enumerate():
        if thread.name == "aigw-reload":
            thread.join(10)
    assert plugin_of(made).words == [b"one", b"two"]
