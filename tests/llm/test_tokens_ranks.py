"""tiktoken's ranks: found on this machine with their SHA-256, described by the installed package, never downloaded."""

import base64
import hashlib
import importlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aigw_middleware.llm import tokens
from aigw_middleware.llm.tokens import availability, counter_for, ranks
from aigw_middleware.llm.tokens.ladder import rung_of
from aigw_middleware.llm.tokens.ranks import NoRanks

MERGES = (b"he", b"ll", b"hell", b"hello", b" w", b"or", b"ld", b" wor", b" world")
RANKS = {bytes([byte]): byte for byte in range(256)} | {merge: 256 + place for place, merge in enumerate(MERGES)}
FILE = b"\n".join(base64.b64encode(token) + b" " + str(rank).encode() for token, rank in RANKS.items()) + b"\n"
URL = "https://ranks.invalid/o200k_base.tiktoken"
SHA256 = hashlib.sha256(FILE).hexdigest()
PATTERN = r" ?[a-z]+|[^a-z]"
SPECIAL = "<|end|>"


def load_tiktoken_bpe(url: str, expected_hash: str | None = None) -> dict[bytes, int]:
    raise AssertionError("tiktoken was asked to download")


def made_up():
    mergeable_ranks = load_tiktoken_bpe(URL, expected_hash=SHA256)
    return {
        "name": "o200k_base",
        "pat_str": "|".join([PATTERN]),
        "mergeable_ranks": mergeable_ranks,
        "special_tokens": {SPECIAL: 999},
        "explicit_n_vocab": 5,
    }


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty directory for ranks, and no network."""

    def refuse(*arguments, **options):
        raise AssertionError("something opened a socket")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("AIGW_TOKENS_DIR", str(tmp_path / "own"))
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    monkeypatch.delenv("DATA_GYM_CACHE_DIR", raising=False)
    (tmp_path / "own").mkdir()
    tokens.forget()
    yield tmp_path / "own"
    tokens.forget()


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let tiktoken describe `o200k_base` with a function of ours."""
    known = importlib.import_module("tiktoken_ext.openai_public").ENCODING_CONSTRUCTORS
    return lambda function: monkeypatch.setitem(known, "o200k_base", function)


def test_what_tiktoken_knows_is_taken_from_it_without_its_loader():
    for encoding in ("o200k_base", "cl100k_base", "p50k_base", "r50k_base"):
        about = ranks.published(encoding)
        assert about.url.startswith("https://")
        assert about.url.endswith(f"/{encoding}.tiktoken")
        assert len(bytes.fromhex(about.sha256)) == 32
        with pytest.raises(NoRanks, match="no file with its ranks"):
            ranks.load(encoding)


def test_the_name_in_tiktokens_cache_is_the_one_that_it_uses():
    about = ranks.published("cl100k_base")
    # known from directories that tiktoken has filled
    assert about.names("cl100k_base") == ("cl100k_base.tiktoken", "9b5ad71b2ce5302211f9c61530b329a4922fc6a4")


def test_ranks_on_this_machine_count(directory, described):
    described(made_up)
    (directory / "o200k_base.tiktoken").write_bytes(FILE)
    counter = counter_for("gpt-4o")
    assert rung_of("o200k_base") == counter.source == "tiktoken"
    assert counter.count("hello world") == 2
    assert counter.count("hello hello") == 3  # " hello" is no token of these ranks: a space and hello
    assert counter.count(SPECIAL) == len(SPECIAL)  # what users write is text
    assert counter.count("\ud800") == 3
    assert counter_for("claude-3").count("hello world") == 3
    assert availability(["gpt-4o"]) == [("OpenAI o200k", "tiktoken", "")]


@pytest.mark.parametrize("variable", ["TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"])
def test_directories_of_tiktoken_are_looked_in(tmp_path, described, monkeypatch, variable):
    described(made_up)
    (tmp_path / hashlib.sha1(URL.encode()).hexdigest()).write_bytes(FILE)
    monkeypatch.setenv(variable, str(tmp_path))
    assert ranks.load("o200k_base")("hello") == [259]
    monkeypatch.setenv(variable, "")
    with pytest.raises(NoRanks):
        ranks.load("o200k_base")


def test_another_file_of_that_name_does_not_count(tmp_path, directory, described, monkeypatch):
    described(made_up)
    path = directory / "o200k_base.tiktoken"
    path.write_bytes(FILE + b"\n")
    with pytest.raises(NoRanks, match="is not the file that is published"):
        ranks.find("o200k_base")
    assert counter_for("gpt-4o").source == "bpe-openai"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    (tmp_path / "o200k_base.tiktoken").write_bytes(FILE)
    assert ranks.find("o200k_base") == tmp_path / "o200k_base.tiktoken"
    assert path.read_bytes() == FILE + b"\n"  # left as it is


def test_a_huge_file_is_not_read(directory, described, monkeypatch):
    described(made_up)
    monkeypatch.setattr(ranks, "MOST_BYTES", len(FILE) - 1)
    (directory / "o200k_base.tiktoken").write_bytes(FILE)
    with pytest.raises(NoRanks, match="no file with its ranks"):
        ranks.find("o200k_base")


@pytest.mark.parametrize("text", [b"!!! 1\n", b"aGU= x\n", b"aGU=\n", b"aGU= 1 2\n", b"a 1\n"])
def test_a_published_file_that_holds_no_ranks(directory, described, text):
    other = hashlib.sha256(text).hexdigest()
    source = f"def other():\n    return {{'pat_str': '.', 'mergeable_ranks': load_tiktoken_bpe('u', expected_hash='{other}')}}"
    names: dict = {}
    exec(source, names)
    described(names["other"])
    (directory / "o200k_base.tiktoken").write_bytes(text)
    with pytest.raises(NoRanks):
        ranks.load("o200k_base")


def unknown_name():
    return other_loader(URL)  # noqa: F821 - that it is nowhere is the point


def imports():
    import requests

    return requests.get(URL)


def opens():
    return open(URL)


def other_keywords():
    return {"mergeable_ranks": load_tiktoken_bpe(URL, checksum=SHA256), "pat_str": "."}


def returns_nothing():
    load_tiktoken_bpe(URL, expected_hash=SHA256)


def without_pattern():
    return {"mergeable_ranks": load_tiktoken_bpe(URL, expected_hash=SHA256)}


@pytest.mark.parametrize(
    "function", [unknown_name, imports, opens, other_keywords, returns_nothing, without_pattern, len, None]
)
def test_a_tiktoken_that_is_made_otherwise_downloads_nothing(directory, described, function):
    described(function)
    (directory / "o200k_base.tiktoken").write_bytes(FILE)
    with pytest.raises(NoRanks):
        ranks.load("o200k_base")
    assert counter_for("gpt-4o").source == "bpe-openai"


def two_files():
    return {"mergeable_ranks": load_tiktoken_bpe(URL, SHA256) | load_tiktoken_bpe(URL, SHA256)}


def test_an_encoding_of_two_files_is_not_known(described):
    described(two_files)
    with pytest.raises(NoRanks, match="of 2 files"):
        ranks.published("o200k_base")


def test_where_ranks_are_put(monkeypatch, tmp_path):
    monkeypatch.delenv("AIGW_TOKENS_DIR")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    for platform, expected in (
        ("linux", tmp_path / "cache"),
        ("darwin", tmp_path / "Library" / "Caches"),
        ("win32", tmp_path / "local"),
    ):
        monkeypatch.setattr(ranks.sys, "platform", platform)
        assert ranks.own_directory() == expected / "aigw" / "tokens"
    monkeypatch.undo()


def test_a_user_without_a_home_has_no_directory(monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("AIGW_TOKENS_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(ranks.Path, "home", nowhere)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "nowhere")
    assert ranks.directories() == [Path("nowhere")]
    with pytest.raises(NoRanks):
        ranks.find("o200k_base")
