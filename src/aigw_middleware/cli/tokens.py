"""`aigw tokens`: how tokens are counted here. `aigw tokens fetch [ENCODING ...]`: get ranks for exact counts.

Fetching is the only thing in this package that downloads ranks, and it does so only when it is asked to.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .outcome import OK, PROBLEMS, USAGE, Failed, counted
from .terminal import Column, Row, Terminal

if TYPE_CHECKING:
    import httpx

    from ..llm.tokens.ranks import Published
    from ..registry import Registry

COLUMNS: Final = (
    Column("encoding", style="bold"),
    Column("counted by"),
    Column("families"),
    Column("ranks", prose=True),
)
FETCHED: Final = ("o200k_base", "cl100k_base")
"""What is fetched when no encoding is named; the older ones are hardly asked for."""
TIMEOUT: Final = 30.0  # seconds, for each wait


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    fetch = actions.add_parser(
        "fetch",
        help="download the ranks of encodings, for exact counts",
        description="Download the ranks of encodings from where OpenAI publishes them.",
    )
    fetch.add_argument("encodings", metavar="ENCODING", nargs="*", help=f"default: {' '.join(FETCHED)}")
    fetch.add_argument("--directory", metavar="DIR", help="default: $AIGW_TOKENS_DIR, else the user's cache")
    # Also behind the action; left out there, what was said before it stands.
    fetch.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON document")


def run(arguments: argparse.Namespace, output: Terminal, registry: Registry | None) -> int:
    """List the encodings, or fetch some. Raises Failed."""
    if arguments.action == "fetch":
        return _fetch_all(arguments, output)
    rows = listing()
    if arguments.json:
        from ..llm.tokens.ranks import directories

        output.json({"ok": True, "directories": list(map(str, directories())), "encodings": rows})
        return OK
    output.table(
        COLUMNS, [Row((row["encoding"], row["rung"], ", ".join(row["families"]), _ranks(row))) for row in rows]
    )
    output.line()
    estimated = [row["encoding"] for row in rows if row["rung"] == "estimate" and row["encoding"] in FETCHED]
    if estimated:
        output.line(
            "Estimates are a few per cent off, more for single sentences. Exact counts, any of these:", "yellow"
        )
        output.line("  aigw tokens fetch")
        output.line("  pip install 'aigw-middleware[tokens]'")
    else:
        output.line("Nothing is downloaded while serving.", "dim")
    return OK


def listing() -> list[dict[str, Any]]:
    """Return what is there for each encoding."""
    from ..llm.tokens.families import ENCODINGS, families_of
    from ..llm.tokens.ladder import rung_of
    from ..llm.tokens.ranks import NoRanks, find

    rows: list[dict[str, Any]] = []
    for encoding in ENCODINGS:
        file, missing = "", ""
        try:
            file = str(find(encoding))
        except NoRanks as error:
            missing = str(error)
        families = families_of(encoding)
        row = {"encoding": encoding, "rung": rung_of(encoding), "families": families, "file": file, "missing": missing}
        rows.append(row)
    return rows


def _ranks(row: dict[str, Any]) -> str:
    return row["file"] or ("come with bpe-openai" if row["rung"] == "bpe-openai" else row["missing"])


# ---------------------------------------------------------------------- fetching


def client() -> httpx.Client:
    """Return the client that fetches."""
    import httpx

    return httpx.Client(timeout=TIMEOUT, follow_redirects=False)


def _fetch_all(arguments: argparse.Namespace, output: Terminal) -> int:
    from ..errors import nearest
    from ..llm.tokens.families import ENCODINGS
    from ..llm.tokens.ranks import NoRanks, own_directory, published

    wanted = list(dict.fromkeys(arguments.encodings or FETCHED))
    for encoding in wanted:
        if encoding not in ENCODINGS:
            raise Failed(
                USAGE, f"no encoding is named {encoding!r}", nearest(encoding, ENCODINGS) or " ".join(ENCODINGS)
            )
    try:
        directory = Path(arguments.directory) if arguments.directory else own_directory()
        known = {encoding: published(encoding) for encoding in wanted}
    except (NoRanks, RuntimeError) as error:  # RuntimeError: no home directory can be told
        raise Failed(PROBLEMS, str(error)) from None
    progress = Terminal.of(sys.stderr) if sys.stderr.isatty() and not arguments.json else None
    files = []
    with client() as session:
        for encoding, about in known.items():
            path = directory / about.names(encoding)[0]
            had = _is(path, about)
            if not had:
                _fetch(session, encoding, about, path, progress)
            size = path.stat().st_size
            files.append({"encoding": encoding, "file": str(path), "bytes": size, "sha256": about.sha256, "had": had})
            if not arguments.json:
                output.line(f"{encoding}: {path} ({'was there' if had else f'{size:,} bytes'})", "green")
    if arguments.json:
        output.json({"ok": True, "files": files})
        return OK
    output.line(f"{counted(len(files), 'encoding')} counted exactly from the next start on.", "bold")
    if arguments.directory:
        output.line(f"Services find them with AIGW_TOKENS_DIR={arguments.directory}", "dim")
    return OK


def _is(path: Path, about: Published) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == about.sha256
    except OSError:
        return False


def _fetch(session: httpx.Client, encoding: str, about: Published, path: Path, progress: Terminal | None) -> None:
    """Download one file; it takes its name only when its SHA-256 is the published one. Raises Failed."""
    import httpx

    digest = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{encoding}.")
        try:
            with os.fdopen(handle, "wb") as file:
                for piece in _pieces(session, encoding, about.url, progress):
                    digest.update(piece)
                    file.write(piece)
            if digest.hexdigest() != about.sha256:
                raise Failed(PROBLEMS, f"{encoding}: what came is not what is published", about.url)
            Path(name).chmod(0o644)  # a service that runs as another user reads it
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        hint = "where there is no network: pip install 'aigw-middleware[tokens]'"
        raise Failed(PROBLEMS, f"{encoding}: {about.url}: {reason}", hint) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise Failed(USAGE, f"{path}: {getattr(error, 'strerror', None) or error}", file=str(path)) from None


def _pieces(session: httpx.Client, encoding: str, url: str, progress: Terminal | None) -> Iterator[bytes]:
    from ..llm.tokens.ranks import MOST_BYTES

    with session.stream("GET", url) as answer:
        if answer.status_code != 200:
            raise Failed(PROBLEMS, f"{encoding}: {url} answered {answer.status_code}")
        total = answer.headers.get("content-length", "")
        size, tenth = 0, -1
        for piece in answer.iter_bytes():
            size += len(piece)
            if size > MOST_BYTES:
                raise Failed(PROBLEMS, f"{encoding}: {url} has more than {MOST_BYTES:,} bytes")
            if progress is not None and total.isdigit() and size * 10 // max(int(total), 1) > tenth:
                tenth = size * 10 // max(int(total), 1)
                progress.line(f"{encoding}: {size:,} of {int(total):,} bytes", "dim")
            yield piece
