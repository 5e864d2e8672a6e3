"""Content codings: what a header says, any cut gives the same text, and nothing decodes beyond its bounds."""

import importlib
import random
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from itertools import pairwise, product
from types import ModuleType
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from aigw_middleware import codings
from aigw_middleware.codings import (
    MAX_KNOWN_CODINGS,
    RATIO_FLOOR,
    SLICE,
    Coding,
    CodingError,
    Decoder,
    coding_of,
    decode,
    formats,
)

brotli: Any = importlib.import_module("brotli")  # carries no types

MIB = 1 << 20
PLENTY = 1 << 28


class DeflateWriter:
    """Compress by zlib, and flush at will."""

    def __init__(self, window_bits: int) -> None:
        self.compressor = zlib.compressobj(wbits=window_bits)

    def write(self, text: bytes) -> bytes:
        return self.compressor.compress(text) + self.compressor.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self.compressor.flush()


class BrotliWriter:
    def __init__(self) -> None:
        self.compressor = brotli.Compressor(quality=4)

    def write(self, text: bytes) -> bytes:
        data: bytes = self.compressor.process(text) + self.compressor.flush()
        return data

    def end(self) -> bytes:
        data: bytes = self.compressor.finish()
        return data


class ZstdWriter:
    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(write_checksum=True).compressobj()

    def write(self, text: bytes) -> bytes:
        return self.compressor.compress(text) + self.compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def end(self) -> bytes:
        return self.compressor.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)


Writer = DeflateWriter | BrotliWriter | ZstdWriter

# What a body is written by, its coding, and the packages that must not be there for the one under test to be used.
STDLIB_ZSTD = ("compression.zstd", "backports.zstd")
KINDS: dict[str, tuple[Callable[[], Writer], str, tuple[str, ...]]] = {
    "gzip": (lambda: DeflateWriter(31), "gzip", ()),
    "deflate in zlib": (lambda: DeflateWriter(15), "deflate", ()),
    "deflate, raw": (lambda: DeflateWriter(-15), "deflate", ()),
    "br by brotli": (BrotliWriter, "br", ("brotlicffi",)),
    "br by brotlicffi": (BrotliWriter, "br", ("brotli",)),
    "zstd": (ZstdWriter, "zstd", ("zstandard",)),
    "zstd by zstandard": (ZstdWriter, "zstd", STDLIB_ZSTD),
}
each_kind = pytest.mark.parametrize("kind", KINDS)
BY_NAME = {"gzip": "gzip", "deflate": "deflate in zlib", "br": "br by brotli", "zstd": "zstd"}


@contextmanager
def without(*modules: str) -> Iterator[None]:
    """Run as if these packages were not installed, and none had been imported yet."""
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            patch.setitem(sys.modules, module, None)
        patch.setattr(formats, "_formats", {})
        patch.setattr(codings, "_codings", {})
        yield


def written(kind: str, *texts: bytes) -> bytes:
    writer = KINDS[kind][0]()
    return b"".join([*(writer.write(text) for text in texts), writer.end()])


def coded(names: Iterable[str], text: bytes) -> bytes:
    for name in names:
        text = written(BY_NAME[name], text)
    return text


def decoder(kind: str, max_output: int = PLENTY, max_ratio: float = 100) -> Decoder:
    _, name, others = KINDS[kind]
    with without(*others):
        coding = coding_of(name.encode())
        assert coding is not None
        return Decoder(coding, max_output, max_ratio)


def decoded(decoder: Decoder, chunks: Iterable[bytes]) -> bytes:
    return b"".join([*(decoder.feed(chunk) for chunk in chunks), decoder.finish()])


def outcome(decoder: Decoder, chunks: Iterable[bytes]) -> bytes | str:
    """The text, or the reason why there is none."""
    try:
        return decoded(decoder, chunks)
    except CodingError as error:
        return error.reason


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


TEXTS = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda part, times: part * times, st.binary(min_size=1, max_size=20), st.integers(0, 3000)),
    st.builds(noise, st.integers(0, 3 * SLICE)),
)
PLACES = st.lists(st.integers(0, 1 << 30), max_size=12)


# What Content-Encoding says


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, None),
        (b"", None),
        (b" ", None),
        (b",", None),
        (b"identity", None),
        (b" Identity , IDENTITY,", None),
        (b"gzip", ("gzip",)),
        (b"GZip", ("gzip",)),
        (b"x-gzip", ("gzip",)),
        (b"deflate", ("deflate",)),
        (b"br", ("br",)),
        (b"zstd", ("zstd",)),
        (b"\tgzip ,, identity,br", ("gzip", "br")),
        (b"gzip,gzip,gzip", ("gzip", "gzip", "gzip")),
    ],
)
def test_coding(value: bytes | None, names: tuple[str, ...] | None) -> None:
    assert coding_of(value) == (None if names is None else Coding(names))
    assert names is None or Coding(names).decodable


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"compress", "unknown content coding 'compress'"),
        (b"gzip, aws-chunked", "unknown content coding 'aws-chunked'"),
        (b"snappy, br", "unknown content coding 'snappy'"),
        (b"gzip;q=1", "unknown content coding"),
        (b"\xff\r\n", "unknown content coding"),
        (b"a" * 33, "unknown content coding"),
        (b"gzip,gzip,identity,gzip,gzip", "more than 3 content codings"),
        (b"gzip," * 1000, "the Content-Encoding is too long"),
    ],
)
def test_unknown_coding(value: bytes, text: str) -> None:
    coding = coding_of(value)
    assert coding is not None
    assert (coding.decodable, coding.reason, coding.text) == (False, "unknown", text)
    for attempt in (lambda: Decoder(coding, 100), lambda: decode(b"", value, 100)):
        with pytest.raises(CodingError) as caught:
            attempt()
        assert (caught.value.reason, caught.value.text, str(caught.value)) == ("unknown", text, text)


@given(st.binary(max_size=150))
def test_any_value_has_an_answer(value: bytes) -> None:
    coding_of(value)
    coding_of(b"gzip, " + value)


@pytest.mark.parametrize(
    ("name", "modules", "needs"),
    [
        ("br", ("brotli", "brotlicffi"), "brotli 1.2 or later"),
        ("zstd", (*STDLIB_ZSTD, "zstandard"), "Python 3.14 or backports.zstd"),
    ],
)
def test_missing_package(name: str, modules: tuple[str, ...], needs: str) -> None:
    value = f"gzip, {name}".encode()
    text = f"content coding {name} needs {needs}: pip install 'aigw-middleware[codings]'"
    with without(*modules):
        assert coding_of(value) == Coding(("gzip", name), "missing_package", text)
        with pytest.raises(CodingError, match="pip install") as caught:
            decode(b"", value, 100)
        assert caught.value.reason == "missing_package"
        sys.modules.pop(modules[0])  # it gets installed
        if name == "br":
            assert coding_of(value) == Coding(("gzip", name))


def test_a_brotli_that_cannot_bound_its_output_does_not_count() -> None:
    old = ModuleType("brotli")
    vars(old)["Decompressor"] = type("Decompressor", (), {"process": lambda self, data: data})
    with without("brotlicffi"), pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "brotli", old)
        coding = coding_of(b"br")
        assert coding is not None
        assert coding.reason == "missing_package"


def test_made_up_values_are_not_kept() -> None:
    with without():
        for spaces in range(2 * MAX_KNOWN_CODINGS):
            assert coding_of(b"gzip" + b" " * (spaces % 100) + b"," * (spaces // 100)) == Coding(("gzip",))
            assert coding_of(b"made-up-%d" % spaces) is not None
        assert len(codings._codings) == MAX_KNOWN_CODINGS


def test_packages_are_imported_only_when_met() -> None:
    script = (
        "import sys; from aigw_middleware.codings import coding_of, decode; "
        "coding_of(b'gzip, deflate, identity'); decode(b'', b'gzip', 1); "
        "print([name for name in sys.modules if 'brotli' in name or 'zst' in name]); "
        "coding_of(b'br'); print('brotli' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["[]", "True"]


# Text


@each_kind
@given(texts=st.lists(TEXTS, max_size=3), places=PLACES)
@settings(max_examples=40)
def test_any_cut_gives_the_same_text(kind: str, texts: list[bytes], places: list[int]) -> None:
    data = written(kind, *texts)
    assert decoded(decoder(kind), [data]) == b"".join(texts)
    assert decoded(decoder(kind), cut(data, places)) == b"".join(texts)


@pytest.mark.parametrize("names", [*product(BY_NAME, repeat=2), ("gzip", "br", "zstd"), ("zstd", "gzip", "deflate")])
def test_codings_on_one_another(names: tuple[str, ...]) -> None:
    text = b"data: hello\n\n" * 1000 + noise(20_000)
    data, value = coded(names, text), ", ".join(names).encode()
    coding = coding_of(value)
    assert coding is not None
    assert decode(data, value, len(text)) == text
    assert decoded(Decoder(coding, len(text)), cut(data, range(0, len(data), 997))) == text
    assert outcome(Decoder(coding, len(text) - 1), [data]) == "too_large"
    assert outcome(Decoder(coding, len(text)), [data[:-1]]) == "truncated"
    assert decode(b"", value, 0) == b""


@each_kind
def test_flushed_text_comes_with_the_chunk_that_carried_it(kind: str) -> None:
    events = [b"data: %d\n\n" % number for number in range(50)] + [noise(200_000), b"x" * 500_000, b"data: [DONE]\n\n"]
    writer, reader = KINDS[kind][0](), decoder(kind)
    for event in events:
        assert reader.feed(writer.write(event)) == event
    assert reader.feed(writer.end()) + reader.finish() == b""


def test_flushed_text_comes_through_two_codings() -> None:
    inner, outer = BrotliWriter(), DeflateWriter(31)
    coding = coding_of(b"br, gzip")
    assert coding is not None
    reader = Decoder(coding, PLENTY)
    for number in range(20):
        event = b"data: %d\n\n" % number
        assert reader.feed(outer.write(inner.write(event))) == event


@each_kind
def test_byte_by_byte_holds_nothing(kind: str) -> None:
    text = noise(5000)
    data = written(kind, text)
    reader = decoder(kind)
    held = b"".join([reader.feed(bytes([byte])) for byte in data[:1000]])
    rest = bytearray(len(text) - len(held))
    place = 0
    tracemalloc.start()
    for byte in data[1000:]:
        piece = reader.feed(bytes([byte]))
        rest[place : place + len(piece)] = piece
        place += len(piece)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held + rest == text
    assert kept < 2000


@each_kind
def test_no_bytes_are_an_empty_body(kind: str) -> None:
    assert decoded(decoder(kind, max_output=0), []) == b""
    assert decoded(decoder(kind, max_output=0), [b"", b""]) == b""
    assert decoded(decoder(kind, max_output=0), [written(kind, b"")]) == b""


def test_a_body_without_coding_has_the_same_bound() -> None:
    assert decode(b"abc", None, 3) == b"abc"
    assert decode(b"abc", b"identity", 3) == b"abc"
    with pytest.raises(CodingError) as caught:
        decode(b"abc", None, 2)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("kind", ["gzip", "zstd", "zstd by zstandard"])
def test_members_are_joined(kind: str) -> None:
    texts = [b"one", b"", b"two" * 40_000, noise(SLICE), b"", b"end"]
    data = b"".join(written(kind, text) for text in texts)
    assert decoded(decoder(kind), [data]) == b"".join(texts)
    assert decoded(decoder(kind), cut(data, range(0, len(data), 7))) == b"".join(texts)


@pytest.mark.parametrize("kind", ["zstd", "zstd by zstandard"])
def test_frames_to_skip_are_skipped(kind: str) -> None:
    skipped = b"\x50\x2a\x4d\x18\x05\x00\x00\x00hello"
    data = skipped + written(kind, b"one") + skipped + written(kind, b"two") + skipped
    for size in (len(data), 1):
        assert decoded(decoder(kind), cut(data, range(0, len(data), size))) == b"onetwo"


@pytest.mark.parametrize("kind", ["gzip", "zstd", "zstd by zstandard"])
def test_members_have_a_bound(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_MEMBERS", 20)
    member = written(kind, b"a")
    assert decoded(decoder(kind), [member * 20]) == b"a" * 20
    assert outcome(decoder(kind), [member * 21]) == "too_large"


@pytest.mark.parametrize("kind", ["gzip", "zstd", "zstd by zstandard"])
def test_members_share_one_bound(kind: str) -> None:
    data = written(kind, bytes(MIB)) * 8
    assert len(data) < SLICE
    reader = decoder(kind, max_output=MIB + 1)
    assert outcome(reader, [data]) == "too_large"
    reader = decoder(kind, max_output=MIB + 1)
    assert peak_of(partial(outcome, reader, [data])) < 4 * MIB


# Broken bodies


@pytest.mark.parametrize(("name", "kind"), [("gzip", "deflate in zlib"), ("deflate", "gzip"), ("zstd", "gzip")])
def test_another_coding_than_said(name: str, kind: str) -> None:
    with pytest.raises(CodingError) as caught:
        decode(written(kind, b"text"), name.encode(), 100)
    assert caught.value.reason == "broken"


@each_kind
@given(text=TEXTS.filter(bool), length=st.integers(1, 1 << 30))
@settings(max_examples=25)
def test_part_of_a_body_is_truncated(kind: str, text: bytes, length: int) -> None:
    data = written(kind, text)
    part = data[: 1 + length % (len(data) - 1)]
    reader = decoder(kind)
    assert text.startswith(reader.feed(part))
    with pytest.raises(CodingError) as caught:
        reader.finish()
    assert caught.value.reason == "truncated"


@each_kind
@pytest.mark.parametrize("garbage", [b"\0", b"\0" * 100, b"garbage", b"data: x\n\n", b"\xff" * SLICE])
def test_garbage_after_the_end(kind: str, garbage: bytes) -> None:
    data = written(kind, b"text")
    # One byte does not say yet that no other member begins.
    expected = {"broken"} if len(garbage) > 4 or KINDS[kind][1] in ("deflate", "br") else {"broken", "truncated"}
    assert outcome(decoder(kind), [data + garbage]) in expected
    assert outcome(decoder(kind), [data, garbage]) in expected


@pytest.mark.parametrize(
    ("kind", "place"),
    [("gzip", -8), ("gzip", -4), ("deflate in zlib", -1), ("zstd", -1), ("zstd by zstandard", -1)],
)
def test_checksums_count(kind: str, place: int) -> None:
    data = bytearray(written(kind, b"text" * 100))
    data[place] ^= 1
    assert outcome(decoder(kind), [bytes(data)]) == "broken"


@pytest.mark.parametrize("kind", ["zstd", "zstd by zstandard"])
def test_a_window_above_8_mib_is_refused(kind: str) -> None:
    def body(window_log: int) -> bytes:
        parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log)
        compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        return compressor.compress(b"abc") + compressor.flush()

    assert decoded(decoder(kind), [body(23)]) == b"abc"
    assert outcome(decoder(kind), [body(24)]) == "broken"


@each_kind
@given(data=st.data(), places=PLACES)
@settings(max_examples=100)
def test_whatever_comes_only_coding_errors_leave(kind: str, data: st.DataObject, places: list[int]) -> None:
    if data.draw(st.booleans()):
        body = data.draw(st.binary(max_size=200))
    else:
        changed = bytearray(written(kind, b"data: hello\n\n" * 20, noise(100)))
        for place, value in data.draw(st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4)):
            changed[place % len(changed)] = value
        body = bytes(changed)
    text = outcome(decoder(kind, max_output=10_000), cut(body, places))
    assert text in ("broken", "truncated", "too_large") if isinstance(text, str) else len(text) <= 10_000


@each_kind
def test_an_error_stays(kind: str) -> None:
    data = written(kind, b"text")
    reader = decoder(kind, max_output=3)
    for attempt in (partial(reader.feed, data), partial(reader.feed, data), partial(reader.feed, b""), reader.finish):
        with pytest.raises(CodingError, match="longer than 3 bytes") as caught:
            attempt()
        assert caught.value.reason == "too_large"


# Bounds


@cache
def zeros(kind: str) -> bytes:
    """Much more text than any bound here, coded: 100 MiB of zeros by gzip, 20 MiB by the others."""
    writer = KINDS[kind][0]()
    text = bytes(MIB)
    return b"".join([*(writer.write(text) for _ in range(100 if kind == "gzip" else 20)), writer.end()])


def peak_of(attempt: Callable[[], object]) -> int:
    """Bytes of Python memory that this took at most."""
    tracemalloc.start()
    try:
        attempt()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@each_kind
@pytest.mark.parametrize("size", [PLENTY, 1000, 7])
def test_a_bomb_is_too_large(kind: str, size: int) -> None:
    chunks = cut(zeros(kind), range(0, len(zeros(kind)), size))
    assert len(zeros(kind)) < MIB // 8
    reader = decoder(kind, max_output=MIB, max_ratio=1e9)
    assert outcome(reader, chunks) == "too_large"
    reader = decoder(kind, max_output=MIB, max_ratio=1e9)
    assert peak_of(lambda: outcome(reader, chunks)) < 4 * MIB


@each_kind
def test_a_bomb_exceeds_the_ratio(kind: str) -> None:
    data = zeros(kind)
    reader = decoder(kind, max_output=PLENTY, max_ratio=10)
    assert outcome(reader, [data]) == "ratio"
    reader = decoder(kind, max_output=PLENTY, max_ratio=10)
    assert peak_of(lambda: outcome(reader, [data])) < 5 * MIB
    assert len(decoded(decoder(kind, max_output=PLENTY, max_ratio=1e9), [data])) >= 20 * MIB


@pytest.mark.parametrize("outer", BY_NAME)
@pytest.mark.parametrize("inner", BY_NAME)
def test_a_bomb_in_a_bomb(inner: str, outer: str) -> None:
    coding = coding_of(f"{inner}, {outer}".encode())
    assert coding is not None
    for bomb in (coded([outer], zeros(BY_NAME[inner])), zeros(BY_NAME[outer])):
        for max_output, max_ratio, expected in ((MIB, 1e9, "too_large"), (PLENTY, 20, "ratio")):
            assert outcome(Decoder(coding, max_output, max_ratio), [bomb]) == expected
            reader = Decoder(coding, max_output, max_ratio)
            assert peak_of(partial(outcome, reader, [bomb])) < 8 * MIB


@each_kind
def test_the_bound_is_exact(kind: str) -> None:
    for size in (1, SLICE, 3 * SLICE + 1, MIB):
        text = noise(size)
        data = written(kind, text)
        assert outcome(decoder(kind, max_output=size), [data]) == text
        assert outcome(decoder(kind, max_output=size - 1), [data]) == "too_large"


@each_kind
def test_a_small_body_may_have_any_ratio(kind: str) -> None:
    data = written(kind, bytes(RATIO_FLOOR))
    assert decoded(decoder(kind, max_ratio=1), [data]) == bytes(RATIO_FLOOR)
    assert outcome(decoder(kind, max_ratio=1), [written(kind, bytes(RATIO_FLOOR + 1))]) == "ratio"


@each_kind
@given(places=PLACES, zeros_first=st.booleans(), max_ratio=st.floats(1, 120))
@settings(max_examples=15)
def test_no_cut_decides_the_ratio(kind: str, places: list[int], zeros_first: bool, max_ratio: float) -> None:
    texts = [bytes(2 * MIB), noise(3 * SLICE)]
    data = written(kind, *(texts if zeros_first else reversed(texts)))
    whole = outcome(decoder(kind, max_ratio=max_ratio), [data])
    assert outcome(decoder(kind, max_ratio=max_ratio), cut(data, places)) == whole


@each_kind
def test_what_a_slice_begins_with_does_not_exceed_the_ratio(kind: str) -> None:
    text = bytes(1_200_000) + noise(2 * SLICE)
    data = written(kind, text)
    assert decoded(decoder(kind), [data]) == text
    assert decoded(decoder(kind), cut(data, range(0, len(data), 97))) == text


def test_the_ratio_is_that_of_the_bytes_so_far() -> None:
    noisy, empty = noise(4 * SLICE), bytes(3 * MIB)
    assert outcome(decoder("gzip", max_ratio=50), [written("gzip", noisy, empty)]) == noisy + empty
    assert outcome(decoder("gzip", max_ratio=50), [written("gzip", empty, noisy)]) == "ratio"


@pytest.mark.parametrize(("max_output", "max_ratio"), [(-1, 100), (10, 0.5), (10, float("nan"))])
def test_bounds_that_are_none(max_output: int, max_ratio: float) -> None:
    with pytest.raises(ValueError, match="max_output must not be negative"):
        Decoder(Coding(("gzip",)), max_output, max_ratio)


def test_no_bound_is_too_large_for_a_decompressor() -> None:
    for name in BY_NAME:
        assert decode(coded([name], b"text"), name.encode(), 1 << 200, float("inf")) == b"text"
