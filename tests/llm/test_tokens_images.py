"""Images: the formulas with the examples that providers publish, and sizes from the first bytes."""

import base64
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.llm.tokens import dimensions, image_tokens
from aigw_middleware.llm.tokens.dimensions import size_of_bytes, size_of_source

SIZES = st.tuples(st.integers(1, 20_000), st.integers(1, 20_000))
MODELS = (
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4.1-mini",
    "gpt-5",
    "gpt-5.4",
    "o1",
    "claude-3",
    "claude-opus-4-7",
    "gemini-2.5",
    "x",
)


@pytest.mark.parametrize(
    ("model", "size", "detail", "tokens"),
    [
        # OpenAI's own examples
        ("gpt-4o", (1024, 1024), "high", 765),
        ("gpt-4o", (2048, 4096), "high", 1105),
        ("gpt-4o", (4096, 8192), "low", 85),
        ("gpt-4.1-mini", (1024, 1024), "", 1659),  # 1024 patches x 1.62
        ("gpt-4.1-mini", (1800, 2400), "", 2353),  # 1452 patches x 1.62
        # from the formulas
        ("gpt-4o", (512, 512), "", 255),
        ("gpt-4o", (513, 512), "auto", 425),
        ("gpt-4o-mini", (512, 512), "high", 2833 + 5667),
        ("gpt-4o-mini", (512, 512), "low", 2833),
        ("gpt-4-turbo", (512, 512), "high", 255),
        ("gpt-4.1", (512, 512), "high", 255),
        ("gpt-4.1-nano", (32, 32), "low", 3),
        ("o4-mini", (512, 512), "", 441),  # 256 x 1.72
        ("o1", (512, 512), "high", 225),
        ("o3", (512, 512), "low", 75),
        ("gpt-5", (512, 512), "high", 210),
        ("gpt-5-mini", (512, 512), "high", 415),
        ("gpt-5.2", (512, 512), "high", 308),
        ("gpt-5.4", (1600, 1600), "high", 3000),
        ("claude-sonnet-4-5", (200, 200), "", 54),  # Anthropic's own examples
        ("claude-sonnet-4-5", (1000, 1000), "", 1334),
        ("claude-sonnet-4-5", (4000, 3000), "", 1600),
        ("claude-opus-4-7", (2000, 1500), "", 4000),
        ("claude-opus-4-7", (9000, 9000), "", 4784),
        ("gemini-2.5-pro", (384, 384), "", 258),
        ("gemini-2.5-pro", (385, 384), "", 258),
        ("gemini-2.5-pro", (1536, 769), "", 4 * 258),
        ("gemini-2.5-pro", (9000, 9000), "", 16 * 258),
        ("gemini-3-pro", (10, 10), "", 1120),
        ("gemini-3-pro", (10, 10), "low", 280),
        ("house-model", (512, 512), "", 255),
        # sizes that are not known: the largest image there is
        ("gpt-4o", None, "", 1445),
        ("gpt-4o", None, "low", 85),
        ("gpt-4o", (0, 5), "", 1445),
        ("gpt-4.1-mini", None, "", 2489),
        ("claude-3", None, "", 1600),
        ("gemini-2.5-flash", None, "", 4128),
    ],
)
def test_formulas(model, size, detail, tokens):
    assert image_tokens(model, size, detail) == tokens


@given(size=SIZES, model=st.sampled_from(MODELS), detail=st.sampled_from(["", "low", "high", "auto", "?"]))
def test_no_image_takes_more_than_one_of_unknown_size(size, model, detail):
    assert 0 < image_tokens(model, size, detail) <= image_tokens(model, None, detail)


@given(size=SIZES, model=st.sampled_from(MODELS))
def test_turning_an_image_changes_nothing(size, model):
    assert image_tokens(model, size) == image_tokens(model, size[::-1])


# ---------------------------------------------------------------------- sizes


def png(width: int, height: int) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"IDAT..."


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\xf7\0\0"


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(width: int, height: int, before: bytes = b"", frame: int = 0xC2) -> bytes:
    size = struct.pack(">BHHB", 8, height, width, 3) + bytes(9)
    return b"\xff\xd8" + segment(0xE0, b"JFIF\0") + before + segment(frame, size) + segment(0xDA, b"\0" * 10)


def webp(kind: bytes, content: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 100) + b"WEBP" + kind + struct.pack("<I", len(content)) + content + bytes(20)


def lossy(width: int, height: int) -> bytes:
    return webp(b"VP8 ", b"\x30\x01\0\x9d\x01\x2a" + struct.pack("<HH", width | 0x4000, height))


def lossless(width: int, height: int) -> bytes:
    return webp(b"VP8L", b"\x2f" + struct.pack("<I", width - 1 | height - 1 << 14))


def extended(width: int, height: int) -> bytes:
    return webp(b"VP8X", bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


def padded(width: int, height: int) -> bytes:
    return jpeg(width, height, segment(0xE1, bytes(60_000)) + segment(0xC4, b"tables") + b"\xff\xff\xff" * 3)


MAKERS = (png, gif, jpeg, padded, lossy, lossless, extended)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("form", ["data:image/x;base64,", "DATA:image/x;charset=a;BASE64,", ""])
def test_sizes_are_read(make, form):
    data = make(640, 400)
    assert size_of_bytes(data) == (640, 400)
    assert size_of_source(form + base64.b64encode(data + bytes(500_000)).decode()) == (640, 400)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "https://example.com/a.png",
        "file:///a.png",
        "data:image/png",
        "data:image/png,abc",
        "data:image/png;base64,",
        "data:image/png;base64,!!!!",
        "data:image/png;base64,äöü",
        "file-abc123",
        "\ud800",
    ],
)
def test_what_cannot_be_told_is_not_guessed(source):
    assert size_of_source(source) is None


@pytest.mark.parametrize(
    "data",
    [
        png(0, 5),
        gif(5, 0),
        jpeg(5, 0),
        jpeg(5, 5, segment(0xE1, b"x") * dimensions.MOST_SEGMENTS),
        jpeg(5, 5, b"\0"),
        jpeg(5, 5, b"\xff\xe1\0\1"),
        b"\xff\xd8" + segment(0xDA, bytes(20)),
        b"\xff\xd8" + b"\xff" * 1_000,
        lossy(0, 5),
        webp(b"VP9 ", bytes(30)),
        b"BM" + bytes(100),
    ],
)
def test_malformed_images_have_no_size(data):
    assert size_of_bytes(data) is None


@pytest.mark.parametrize("make", MAKERS)
def test_cut_short_anywhere(make):
    data = make(640, 400)
    whole = [size_of_bytes(data[:length]) for length in range(min(len(data), 400))]
    assert set(whole) <= {None, (640, 400)}
    assert whole[0] is None


@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8", b"RIFF1234WEBPVP8L", b""]), st.binary(max_size=300)
)
def test_any_bytes(head, tail):
    size = size_of_bytes(head + tail)
    assert size is None or min(size) > 0
    assert size_of_source(base64.b64encode(head + tail).decode()) == size_of_bytes(head + tail)
