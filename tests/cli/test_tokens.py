"""`aigw tokens`: what counts tokens here; `aigw tokens fetch`: the only thing that downloads, and what it lets in."""

import base64
import hashlib
import importlib
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from aigw_middleware.cli import tokens as command
from aigw_middleware.llm import tokens
from aigw_middleware.llm.tokens import counter_for, ladder, ranks

RANKS = b"".join(base64.b64encode(bytes([byte])) + f" {byte}\n".encode() for byte in range(256))
SHA256 = hashlib.sha256(RANKS).hexdigest()
O200K = "https://ranks.invalid/o200k_base.tiktoken"
CL100K = "https://ranks.invalid/cl100k_base.tiktoken"
Serve = Callable[..., list[str]]


def load_tiktoken_bpe(url, expected_hash):
    raise AssertionError("tiktoken was asked to download")


def o200k_base():
    return {"pat_str": ".", "mergeable_ranks": load_tiktoken_bpe(O200K, expected_hash=SHA256)}


def cl100k_base():
    return {"pat_str": ".", "mergeable_ranks": load_tiktoken_bpe(CL100K, expected_hash=SHA256)}


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Made-up ranks, an own directory that is not there yet, and no package that carries any."""
    known = importlib.import_module("tiktoken_ext.openai_public").ENCODING_CONSTRUCTORS
    monkeypatch.setitem(known, "o200k_base", o200k_base)
    monkeypatch.setitem(known, "cl100k_base", cl100k_base)
    monkeypatch.setenv("AIGW_TOKENS_DIR", str(tmp_path / "own" / "tokens"))
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    monkeypatch.delenv("DATA_GYM_CACHE_DIR", raising=False)
    monkeypatch.setattr(ladder, "carried", lambda encoding: False)
    tokens.forget()
    yield tmp_path / "own" / "tokens"
    tokens.forget()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Answer what is fetched; returns the addresses that were asked for."""

    def answer_with(answer: Callable[[httpx.Request], httpx.Response] | httpx.Response) -> list[str]:
        asked: list[str] = []

        def handle(request: httpx.Request) -> httpx.Response:
            asked.append(str(request.url))
            return answer(request) if callable(answer) else answer

        monkeypatch.setattr(command, "client", lambda: httpx.Client(transport=httpx.MockTransport(handle)))
        return asked

    return answer_with


def served(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=RANKS)


# ---------------------------------------------------------------------- the list


def test_the_list(aigw):
    ran = aigw("tokens")
    assert (ran.code, ran.err) == (0, "")
    assert ran.lines[0].split() == ["encoding", "counted", "by", "families", "ranks"]
    assert ran.lines[1].split()[:2] == ["o200k_base", "estimate"]
    assert "no file with its ranks" in ran.lines[1]
    assert "  aigw tokens fetch" in ran.lines
    assert "  pip install 'aigw-middleware[tokens]'" in ran.lines


def test_the_list_as_json(aigw, directory, serve):
    serve(served)
    assert aigw("tokens", "fetch", "o200k_base").code == 0
    document = aigw("tokens", "--json").document
    assert document["ok"] is True
    assert document["directories"] == [str(directory)]
    rows = {row["encoding"]: row for row in document["encodings"]}
    assert list(rows) == ["o200k_base", "cl100k_base", "p50k_base", "r50k_base"]
    assert rows["o200k_base"]["rung"] == "tiktoken"
    assert rows["o200k_base"]["file"] == str(directory / "o200k_base.tiktoken")
    assert "Claude" in rows["o200k_base"]["families"]
    assert rows["cl100k_base"] == {
        "encoding": "cl100k_base",
        "rung": "estimate",
        "families": ["OpenAI cl100k"],
        "file": "",
        "missing": "no file with its ranks",
    }


def test_where_a_package_carries_ranks(aigw, monkeypatch):
    monkeypatch.setattr(ladder, "carried", lambda encoding: encoding == "o200k_base")
    ran = aigw("tokens")
    assert ran.lines[1].split()[:2] == ["o200k_base", "bpe-openai"]
    assert "come with bpe-openai" in ran.lines[1]
    monkeypatch.setattr(ladder, "carried", lambda encoding: True)
    assert aigw("tokens").lines[-1] == "Nothing is downloaded while serving."


def test_listing_downloads_nothing(aigw, serve):
    asked = serve(served)
    aigw("tokens")
    aigw("tokens", "--json")
    assert asked == []


# ---------------------------------------------------------------------- fetching


def test_what_is_fetched_counts(aigw, directory, serve):
    asked = serve(served)
    ran = aigw("tokens", "fetch")
    assert (ran.code, ran.err) == (0, "")
    assert asked == [O200K, CL100K]
    file = directory / "o200k_base.tiktoken"
    assert ran.lines[0] == f"o200k_base: {file} ({len(RANKS):,} bytes)"
    assert ran.lines[-1] == "2 encodings counted exactly from the next start on."
    assert file.read_bytes() == RANKS
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert sorted(path.name for path in directory.iterdir()) == ["cl100k_base.tiktoken", "o200k_base.tiktoken"]
    counter = counter_for("gpt-4o")
    assert counter.source == "tiktoken"
    assert counter.count("abc") == 3


def test_what_is_there_is_not_fetched_again(aigw, serve, directory):
    serve(served)
    aigw("tokens", "fetch", "o200k_base")
    asked = serve(served)
    document = aigw("tokens", "fetch", "o200k_base", "o200k_base", "--json").document
    assert asked == []
    facts = {"encoding": "o200k_base", "bytes": len(RANKS), "sha256": SHA256, "had": True}
    assert document == {"ok": True, "files": [{**facts, "file": str(directory / "o200k_base.tiktoken")}]}
    (directory / "o200k_base.tiktoken").write_bytes(b"damaged")
    assert aigw("tokens", "--json", "fetch", "o200k_base").document["files"][0]["had"] is False
    assert (directory / "o200k_base.tiktoken").read_bytes() == RANKS


def test_another_directory(aigw, serve, tmp_path):
    serve(served)
    ran = aigw("tokens", "fetch", "cl100k_base", "--directory", tmp_path / "other")
    assert ran.code == 0
    assert (tmp_path / "other" / "cl100k_base.tiktoken").read_bytes() == RANKS
    assert ran.lines[-1] == f"Services find them with AIGW_TOKENS_DIR={tmp_path / 'other'}"


def broken(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("no route to host")


def huge(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=iter([bytes(2**20)] * 20))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (broken, f"{O200K}: no route to host (where there is no network: pip install 'aigw-middleware[tokens]')"),
        (huge, f"{O200K} has more than {ranks.MOST_BYTES:,} bytes"),
        (httpx.Response(404), f"{O200K} answered 404"),
        (httpx.Response(302, headers={"location": "https://elsewhere.invalid/"}), f"{O200K} answered 302"),
        (httpx.Response(200, content=RANKS + b"\n"), f"what came is not what is published ({O200K})"),
    ],
)
def test_what_is_not_published_never_gets_its_name(aigw, directory, serve, answer, message):
    asked = serve(answer)
    ran = aigw("tokens", "fetch")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"aigw: o200k_base: {message}\n"
    assert asked == [O200K]
    assert list(directory.iterdir()) == []


def test_a_failure_as_json(aigw, serve):
    serve(broken)
    ran = aigw("tokens", "fetch", "--json")
    assert ran.code == 1
    assert ran.document["ok"] is False
    assert ran.document["error"] == f"o200k_base: {O200K}: no route to host"


def test_unknown_encodings_are_wrong_usage(aigw, serve):
    asked = serve(served)
    ran = aigw("tokens", "fetch", "o200k_bsae")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "aigw: no encoding is named 'o200k_bsae' (did you mean 'o200k_base'?)\n"
    assert asked == []
    assert aigw("tokens", "delete").code == 2


def test_a_directory_that_cannot_be(aigw, serve, tmp_path):
    serve(served)
    (tmp_path / "file").write_text("")
    ran = aigw("tokens", "fetch", "--directory", tmp_path / "file" / "sub")
    assert ran.code == 2
    assert ran.err.startswith(f"aigw: {tmp_path / 'file' / 'sub' / 'o200k_base.tiktoken'}: ")


def test_a_tiktoken_that_describes_otherwise(aigw, serve, monkeypatch):
    known = importlib.import_module("tiktoken_ext.openai_public").ENCODING_CONSTRUCTORS
    monkeypatch.delitem(known, "cl100k_base")
    asked = serve(served)
    ran = aigw("tokens", "fetch")
    assert (ran.code, ran.err) == (1, "aigw: tiktoken does not know cl100k_base\n")
    assert asked == []


def test_progress_is_shown_on_a_terminal(aigw, serve, monkeypatch):
    monkeypatch.setattr(command.sys.stderr.__class__, "isatty", lambda self: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    serve(httpx.Response(200, content=RANKS))
    ran = aigw("tokens", "fetch", "o200k_base", columns=100)
    assert f"o200k_base: {len(RANKS):,} of {len(RANKS):,} bytes" in ran.err
    assert ran.code == 0
