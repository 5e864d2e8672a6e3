"""Keys from a file: JSON lines, read one by one, and kept as bytes, since there may be a million of them.

    {"name": "alice", "credential": "sha256:1ac111f493526f44cc719be37a020b6640948a3e7f363ca84cb377be0c45f3ca"}
    {"name": "bob", "credential": "sha256:...", "expires": "2027-01-31T00:00:00Z"}

Of a key are kept 32 bytes of digest, its consumer's name, and about twelve bytes of where these are found.
"""

from __future__ import annotations

import io
import sys
from array import array
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Annotated

import msgspec

from ....consumers import Consumer, ConsumerTable
from ....errors import Problem
from ....headers import header_value
from .api_keys import ApiKey, digest_of
from .consumers import MAX_NAME_LENGTH
from .expiry import NEVER, Expiring, expiry

MAX_PROBLEMS = 20
"""Problems of one file that are told; what is behind them is not read."""
SIZE = 32  # bytes of a digest
MAX_BUCKET_BITS = 24
MAX_MET = 4_096
"""Keys whose consumers are at hand because they called before; of more than that all are looked up again."""


class Line(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One line of the file."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
    credential: str
    expires: str | None = None


class FiledKeys:
    """The keys of a file, found by their digest.

    The digests stand one behind the other, those with the same first bits together; for each value of these, `starts`
    says where its digests begin. There are about as many such buckets as keys, so one or two digests are looked at.
    `problems` lists what is wrong, by line, naming consumers and no key.
    """

    def __init__(self, data: bytes, name: str, declared: ConsumerTable, plugin: str) -> None:
        self.problems: list[Problem] = []
        self.keyed = False
        """Whether there are `hmac-sha256:` digests among them."""
        self.short = 0
        """Keys that are shorter than they should be."""
        self.declared: dict[str, Consumer] = {}
        """Declared consumers with keys of their own that the file has keys for."""
        self._name = name
        self._consumers = declared
        self._met: dict[bytes, Consumer | Expiring] = {}
        self._with_keys = {consumer.name: consumer for consumer in declared.having(plugin)}
        digests, names = bytearray(), bytearray()
        ends, lines, expires = array("I"), array("I"), array("d")
        for number, owner, key in self._lines(data):
            digests += key.digest
            names += owner.encode()
            ends.append(len(names))
            lines.append(number)
            if key.expires != NEVER or expires:
                expires.extend([NEVER] * (len(ends) - 1 - len(expires)))
                expires.append(key.expires)
        self._names, self._ends, self._expires = bytes(names), ends, expires
        self._pack(digests, ends, lines)

    def __len__(self) -> int:
        return len(self._ends)

    def get(self, digest: bytes) -> Consumer | Expiring | None:
        """Return whose key has that digest, or what says until when it is whose."""
        met = self._met.get(digest)
        if met is not None:
            return met
        bucket = int.from_bytes(digest[:4], sys.byteorder) & self._mask
        start, end = self._starts[bucket], self._starts[bucket + 1]
        if start == end:
            return None
        place = self._digests.find(digest, start * SIZE, end * SIZE)
        while place % SIZE:  # not found, or found between two digests
            if place < 0:
                return None
            place = self._digests.find(digest, place + 1, end * SIZE)
        index = self._order[place // SIZE]
        name = self._owner(index).decode()
        owner = self._consumers.get(name) or Consumer(name)
        expires = self._expires[index] if self._expires else NEVER
        found = owner if expires == NEVER else Expiring(owner, expires)
        if len(self._met) >= MAX_MET:
            self._met.clear()
        self._met[digest] = found
        return found

    def _owner(self, index: int) -> bytes:
        return self._names[self._ends[index - 1] if index else 0 : self._ends[index]]

    # ------------------------------------------------------------------ reading

    def _lines(self, data: bytes) -> Iterator[tuple[int, str, ApiKey]]:
        decode = msgspec.json.Decoder(Line).decode
        for number, text in enumerate(io.BytesIO(data.removeprefix(b"\xef\xbb\xbf")), 1):
            if text.isspace():
                continue
            try:
                line = decode(text)
                key = self._key(line)
                header_value(line.name.encode())
            except ValueError as error:  # msgspec.DecodeError is one, and shows no values
                self._problem(number, str(error))
                if len(self.problems) >= MAX_PROBLEMS:
                    return
                continue
            if line.name in self._with_keys:
                self.declared[line.name] = self._with_keys[line.name]
            yield number, line.name, key

    def _key(self, line: Line) -> ApiKey:
        digest = digest_of(line.credential)
        if digest is not None:
            key = ApiKey(digest)
        else:
            # A file of data does not name other files and variables to be read.
            key = ApiKey.of(line.credential, local=False)
            self.keyed = self.keyed or key.keyed
            self.short += key.short
        if line.expires is not None:
            key.expires = expiry(line.expires)
        return key

    def _problem(self, number: int, message: str) -> None:
        self.problems.append(Problem("", f"consumers_file: line {number} of {self._name}: {message}"))

    def _pack(self, digests: bytearray, ends: array[int], lines: array[int]) -> None:
        """Bring the digests into the order of their buckets: count these, then put each key where the counts say."""
        count = len(ends)
        self._mask = mask = (1 << min(MAX_BUCKET_BITS, count.bit_length())) - 1
        # The first four bytes of each digest, as `get` reads them.
        buckets = array("I", (first & mask for first in memoryview(digests).cast("I")[:: SIZE // 4]))
        sizes = array("I", bytes(4 * (mask + 2)))
        for bucket in buckets:
            sizes[bucket + 1] += 1
        self._starts = array("I", accumulate(sizes))
        free = self._starts[:]
        self._order = order = array("I", bytes(4 * count))
        for index, bucket in enumerate(buckets):
            slot = free[bucket]
            order[slot] = index
            free[bucket] = slot + 1
        packed = bytearray()
        for index in order:
            packed += digests[index * SIZE : (index + 1) * SIZE]
        self._digests = bytes(packed)
        self._check(lines)

    def _check(self, lines: array[int]) -> None:
        """Note the keys that two consumers have. Equal digests are in one bucket."""
        digests = self._digests
        for start, end in pairwise(self._starts):
            if end - start < 2:
                continue
            found = [digests[slot * SIZE : (slot + 1) * SIZE] for slot in range(start, end)]
            if len(set(found)) == len(found):
                continue
            for slot, digest in enumerate(found, start):
                first, index = self._order[start + found.index(digest)], self._order[slot]
                if self._owner(first) != self._owner(index) and len(self.problems) < MAX_PROBLEMS:
                    self._problem(lines[index], f"has the same credential as line {lines[first]}")
