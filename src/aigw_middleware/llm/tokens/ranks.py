"""tiktoken with ranks that are on this machine already: here nothing is ever downloaded.

tiktoken's own way to an encoding downloads its ranks when they are not in its cache, with a blocking call in the middle of
whatever asked. So its description of an encoding (pattern, address and SHA-256 of the ranks) is taken from the installed
package by running the function that makes it with a loader of ours in place of tiktoken's, and nothing else within reach:
what it has no name for it cannot call. The loader reads a file, and only one with the published SHA-256.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, Final, NamedTuple

OWN_DIRECTORY: Final = "AIGW_TOKENS_DIR"
TIKTOKEN_DIRECTORIES: Final = ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")
MOST_BYTES: Final = 16 * 2**20
"""What a file of ranks may have; the largest one published has 3.6 MB."""

Loader = Callable[..., dict[bytes, int]]


class NoRanks(Exception):
    """An encoding cannot be had from tiktoken; the message says why."""


class Published(NamedTuple):
    """Where the ranks of an encoding are published."""

    url: str
    sha256: str

    def names(self, encoding: str) -> tuple[str, str]:
        """Return the names a file of them has: ours, and the one that tiktoken gives it in its cache."""
        return f"{encoding}.tiktoken", hashlib.sha1(self.url.encode(), usedforsecurity=False).hexdigest()


def own_directory() -> Path:
    """Return where `aigw tokens fetch` puts ranks: `AIGW_TOKENS_DIR`, else `aigw/tokens` in the user's cache."""
    named = os.environ.get(OWN_DIRECTORY)
    if named:
        return Path(named)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "aigw" / "tokens"


def directories() -> list[Path]:
    """Return where ranks are looked for, in order."""
    try:
        own = [own_directory()]
    except RuntimeError:  # no home directory can be told
        own = []
    return [*own, *(Path(named) for name in TIKTOKEN_DIRECTORIES if (named := os.environ.get(name)))]


def published(encoding: str) -> Published:
    """Return what the installed tiktoken knows of an encoding's ranks. Raises NoRanks."""
    asked: list[Published] = []

    def note(url: str, expected_hash: str) -> dict[bytes, int]:
        asked.append(Published(url, expected_hash))
        return {}

    _described(encoding, note)
    if len(asked) != 1:
        raise NoRanks(f"tiktoken makes {encoding} of {len(asked)} files")
    return asked[0]


def find(encoding: str) -> Path:
    """Return the file that holds an encoding's ranks, its SHA-256 checked. Raises NoRanks."""
    return _found(encoding, published(encoding))[0]


def load(encoding: str) -> Callable[[str], list[int]]:
    """Return a function that encodes text, special tokens as ordinary text. Raises NoRanks.

    Reads some megabytes and takes a quarter of a second or so: not for an event loop.
    """

    def read(url: str, expected_hash: str) -> dict[bytes, int]:
        path, data = _found(encoding, Published(url, expected_hash))
        try:
            pairs = [line.split() for line in data.splitlines() if line]
            return {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}
        except (ValueError, binascii.Error) as error:
            raise NoRanks(f"{path} holds no ranks") from error

    described = _described(encoding, read)
    import tiktoken

    try:
        made = tiktoken.Encoding(
            encoding, pat_str=described["pat_str"], mergeable_ranks=described["mergeable_ranks"], special_tokens={}
        )
    except (KeyError, ValueError, AssertionError) as error:
        raise NoRanks(f"tiktoken does not take the ranks of {encoding}: {error}") from error
    return made.encode_ordinary


def _described(encoding: str, loader: Loader) -> dict[str, Any]:
    try:
        known = importlib.import_module("tiktoken_ext.openai_public").ENCODING_CONSTRUCTORS
    except ImportError as error:
        raise NoRanks("tiktoken is not installed") from error
    made = known.get(encoding)
    if not isinstance(made, FunctionType):
        raise NoRanks(f"tiktoken does not know {encoding}")
    constants = {name: value for name, value in made.__globals__.items() if isinstance(value, str)}
    confined = FunctionType(made.__code__, {**constants, "__builtins__": {}, "load_tiktoken_bpe": loader})
    try:
        described = confined()
    except (NameError, ImportError, AttributeError, TypeError, KeyError) as error:
        raise NoRanks(f"this tiktoken describes {encoding} in a way that is not known here: {error}") from error
    if not isinstance(described, dict):
        raise NoRanks(f"this tiktoken describes {encoding} in a way that is not known here")
    return described


def _found(encoding: str, wanted: Published) -> tuple[Path, bytes]:
    damaged = ""
    for path in _places(encoding, wanted):
        try:
            if path.stat().st_size > MOST_BYTES:
                continue
            data = path.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(data).hexdigest() == wanted.sha256:
            return path, data
        damaged = damaged or f"{path} is not the file that is published"
    raise NoRanks(damaged or "no file with its ranks")


def _places(encoding: str, wanted: Published) -> Iterator[Path]:
    for directory in directories():
        for name in wanted.names(encoding):
            yield directory / name
