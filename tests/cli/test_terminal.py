"""Tables, wrapping, widths, colours."""

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.cli.terminal import NARROWEST, Column, Row, Terminal, printable, width, wrap

TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
WORDS = st.text("ab 漢字e\u0301-", max_size=60)


def written(limit, columns, rows, *, colour=False):
    stream = io.StringIO()
    Terminal(stream, limit, colour=colour).table(columns, rows)
    return stream.getvalue().splitlines()


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("plain", 5),
        ("", 0),
        ("漢字", 4),
        ("ｆｕｌｌ", 8),
        ("cafe\u0301", 4),
        ("\u2764\ufe0f", 2),
        ("👩\u200d💻", 2),
        ("한글", 4),
        ("naïve", 5),
    ],
)
def test_width(text, cells):
    assert width(text) == cells


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc", "a\\tb\\nc"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b2J", "\\x9b2J"),
        ("user\u202egpj.exe", "user\\u202egpj.exe"),
        ("\ud800", "\\ud800"),
        ("a\u2028b", "a\\u2028b"),
        ("漢字 é 👩\u200d💻", "漢字 é 👩\u200d💻"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text):
    assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in printable(text))


@given(WORDS, st.integers(2, 40))
def test_wrapped_lines_fit_and_lose_nothing_but_spaces(text, limit):
    lines = wrap(text, limit)
    assert all(width(line) <= limit for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_lines_break_between_words():
    assert wrap("one two three", 8) == ["one two", "three"]
    assert wrap("one incomprehensible", 8) == ["one", "incompre", "hensible"]
    assert wrap("one two three", None) == ["one two three"]


def test_columns_are_aligned_by_cells_not_by_characters():
    columns = [Column("name"), Column("n", right=True), Column("what")]
    lines = written(None, columns, [Row(("漢字", 7, "x")), Row(("abc", 123, "y"))])
    assert lines == ["name    n  what", "漢字    7  x", "abc   123  y"]
    assert {width(line[: line.index(last)]) for line, last in zip(lines[1:], "xy", strict=True)} == {11}


def test_a_column_that_is_empty_everywhere_is_left_out():
    assert written(None, [Column("a"), Column("b"), Column("c")], [Row((1, "", 3))]) == ["a  c", "1  3"]


def test_notes_stand_below_their_row_and_cells_wrap():
    rows = [Row(("first", "some words that do not fit here"), ["a note of the whole width"]), Row(("second", "short"))]
    assert written(24, [Column("name"), Column("text")], rows) == [
        "name    text",
        "first   some words that",
        "        do not fit here",
        "    a note of the whole",
        "    width",
        "second  short",
    ]


def test_columns_do_not_tear_words_while_another_one_can_give_way():
    rows = [Row(("ai-prompt-decorator", "one or two words", "and some more of them"))]
    assert written(45, [Column("a"), Column("b"), Column("c")], rows) == [
        "a                    b            c",
        "ai-prompt-decorator  one or two   and some",
        "                     words        more of",
        "                                  them",
    ]


def test_sentences_stand_below_their_row_when_there_is_no_room_at_its_side():
    columns = [Column("name"), Column("stage"), Column("meaning", prose=True)]
    rows = [Row(("timeout", "router", "Ends a call that takes longer than it may."), ["a note"])]
    assert written(60, columns, rows) == [
        "name     stage   meaning",
        "timeout  router  Ends a call that takes longer than it may.",
        "    a note",
    ]
    assert written(40, columns, rows) == [
        "name     stage",
        "timeout  router",
        "    Ends a call that takes longer than",
        "    it may.",
        "    a note",
    ]


def test_a_table_without_room_becomes_a_list():
    columns = [*(Column(f"column {number}") for number in range(4)), Column("why", prose=True)]
    lines = written(20, columns, [Row(("aaaaaaaaaa", "bbbbbbbbbb", "", "dddddddddd", "because it is so"), ["note"])])
    assert lines == [
        "column 0: aaaaaaaaaa",
        "column 1: bbbbbbbbbb",
        "column 3: dddddddddd",
        "  because it is so",
        "  note",
        "",
    ]


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=4), st.integers(NARROWEST, 90), st.booleans())
def test_no_line_is_wider_than_the_terminal(cells, limit, prose):
    rows = [Row(line, [line[0]]) for line in cells]
    lines = written(limit, [Column("name"), Column("number", right=True), Column("meaning", prose=prose)], rows)
    assert all(width(line) <= limit for line in lines)


def test_pairs_align_their_second_halves():
    stream = io.StringIO()
    Terminal(stream, 30).pairs([("route", "chat"), ("client", "an address that needs two lines")])
    assert stream.getvalue().splitlines() == ["route   chat", "client  an address that needs", "        two lines"]


def test_pairs_without_room_stand_one_below_the_other():
    stream = io.StringIO()
    Terminal(stream, 16).pairs([("client", "an address")])
    assert stream.getvalue().splitlines() == ["client: an", "address"]


def test_prose_is_filled_and_examples_are_kept():
    stream = io.StringIO()
    Terminal(stream, 30).prose("Some words\nin short\nlines.\n\n    key: [1,\n      2]\n\n* item\n* other\n")
    assert stream.getvalue().splitlines() == [
        "Some words in short lines.",
        "",
        "    key: [1,",
        "      2]",
        "",
        "* item",
        "* other",
        "",
    ]


class Tty(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def environment(monkeypatch):
    for name in ("NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return monkeypatch


def coloured(stream):
    Terminal.of(stream).line("text", "bold red")
    return stream.getvalue()


def test_colour_only_on_a_terminal(environment):
    assert coloured(Tty()) == "\033[1;31mtext\033[0m\n"
    assert coloured(io.StringIO()) == "text\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colour_when_it_is_not_wanted(environment, name, value):
    environment.setenv(name, value)
    assert coloured(Tty()) == "text\n"


def test_an_empty_no_color_means_nothing(environment):
    environment.setenv("NO_COLOR", "")
    assert coloured(Tty()) == "\033[1;31mtext\033[0m\n"


def test_colour_takes_no_cells(environment):
    columns, rows = [Column("a", style="bold"), Column("b")], [Row(("x", "y"))]
    plain = written(None, columns, rows)
    assert [
        line.replace("\033[1m", "").replace("\033[2m", "").replace("\033[0m", "")
        for line in written(None, columns, rows, colour=True)
    ] == plain


@pytest.mark.parametrize(("columns", "limit"), [("72", 72), ("0", None), ("wide", None), ("", None)])
def test_columns_sets_the_width_of_a_pipe(environment, columns, limit):
    environment.setenv("COLUMNS", columns)
    assert Terminal.of(io.StringIO()).limit == limit


def test_what_the_encoding_does_not_have_is_replaced():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Terminal(stream).line("naïve 漢")
    stream.flush()
    assert raw.getvalue() == b"na?ve ?\n"


def test_json_is_ascii_and_one_document():
    stream = io.StringIO()
    Terminal(stream, 10).json({"name": "漢\x1b"})
    assert stream.getvalue() == '{\n  "name": "\\u6f22\\u001b"\n}\n'
