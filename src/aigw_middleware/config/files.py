"""Files that configurations are read from: noticed when they change, by their stamp first and by their hash then."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import ConfigError, Problem

MAX_NAMED_BYTES = 512 << 20  # of a file that a plug-in reads: a million consumers with a digest each, and room to spare


class WatchedFile:
    """A file, and whether it differs from what was last read."""

    __slots__ = ("_digest", "_stamp", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None
        self._digest = b""

    def read(self) -> bytes:
        """Return the bytes as they are now. Raises OSError."""
        stamp = self._stat()
        data = self.path.read_bytes()
        self._stamp, self._digest = stamp, hashlib.sha256(data).digest()
        return data

    def changed(self) -> bool:
        """Whether it is different now, or cannot be read any more: reading it will say why."""
        try:
            stamp = self._stat()
            if stamp == self._stamp:
                return False
            if hashlib.sha256(self.path.read_bytes()).digest() != self._digest:
                return True
        except OSError:
            return True
        self._stamp = stamp
        return False

    def _stat(self) -> tuple[int, int, int]:
        stat = self.path.stat()
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


class Files:
    """The files that one plug-in's configuration names, relative to the folder of the configuration itself."""

    __slots__ = ("_directory", "_read")

    def __init__(self, directory: str | Path = ".") -> None:
        self._directory = Path(directory)
        self._read: list[WatchedFile] = []

    def __bool__(self) -> bool:
        return bool(self._read)

    def read(self, name: str, key: str) -> bytes:
        """Return the bytes of a file, and watch it from now on. `key` names the setting. Raises ConfigError."""
        file = WatchedFile(self._directory / name)
        try:
            if file.path.stat().st_size > MAX_NAMED_BYTES:
                raise ConfigError([Problem("", f"{key}: {name} is larger than {MAX_NAMED_BYTES >> 20} MiB")])
            data = file.read()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConfigError([Problem("", f"{key}: {file.path} cannot be read: {reason}")]) from None
        self._read.append(file)
        return data

    def changed(self) -> bool:
        """Whether a file that was read is different now."""
        return any(file.changed() for file in self._read)
