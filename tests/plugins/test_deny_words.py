"""Deny words in texts: what counts as the same word, where one begins and ends, and that cutting changes nothing."""

import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aigw_middleware.plugins.ai.data_masking.folding import (
    MAX_ATTACHED,
    attaches,
    fold,
    is_word,
    last_cluster,
    overlong,
    places,
)
from aigw_middleware.plugins.ai.data_masking.words import MAX_GAP, MAX_WORDS, START, DenyWords, check

ZERO_WIDTH = "\u200b\u200d\u2060\ufeff\u00ad\u034f\ufe0f\x00"


def denied(text: str, *deny: str, allow: Sequence[str] = (), boundaries: bool = True) -> str | None:
    """What is found in a text, None if nothing."""
    hit = DenyWords(deny, allow, boundaries=boundaries).find(text)
    return text[hit.start : hit.end] if hit is not None else None


@pytest.mark.parametrize(
    ("text", "word", "found"),
    [
        ("a bad word", "bad", "bad"),
        ("a BaD word", "bad", "BaD"),
        ("a bad word", "BAD", "bad"),
        ("a bàd word", "bad", None),
        ("ｂａｄ", "bad", "ｂａｄ"),
        ("𝐛𝐚𝐝 𝕓𝕒𝕕", "bad", "𝐛𝐚𝐝"),
        (f"b{ZERO_WIDTH}ad", "bad", f"b{ZERO_WIDTH}ad"),
        ("b\u0337a\u0337d\u0337!", "bad", "b\u0337a\u0337d\u0337"),
        ("Straße", "STRASSE", "Straße"),
        ("ﬁsh", "fish", "ﬁsh"),
        ("cafe\u0301", "café", "cafe\u0301"),
        ("café", "cafe\u0301", "café"),
        ("cafe", "café", None),
        ("ｶﾞｽ", "ガス", "ｶﾞｽ"),
        ("이것은 비밀이다", "비밀", "비밀"),
        ("这是敏\u200b感词。", "敏感词", "敏\u200b感词"),
        ("İstanbul", "istanbul", "İstanbul"),
        ("J\u030cot", "ǰot", "J\u030cot"),
        ("jot", "ǰot", None),
    ],
)
def test_what_counts_as_the_same(text: str, word: str, found: str | None) -> None:
    assert denied(text, word) == found


@pytest.mark.parametrize(
    ("text", "word", "found"),
    [
        ("class", "ass", None),
        ("assume", "ass", None),
        ("_ass", "ass", None),
        ("ass2", "ass", None),
        ("ass.", "ass", "ass"),
        ("an\nass\tit is", "ass", "ass"),
        ("ass", "ass", "ass"),
        ("glassass ass", "ass", "ass"),
        ("éass", "ass", None),
        ("我ass们", "ass", "ass"),
        ("非常敏感词语", "敏感词", "敏感词"),
        ("c++", "c++", "c++"),
        ("c++11", "c++", "c++"),
        ("xc++", "c++", None),
        ("प्रकरण", "कर", None),
        ("#tag", "#tag", "#tag"),
        ("a#tag", "#tag", "#tag"),
    ],
)
def test_where_words_begin_and_end(text: str, word: str, found: str | None) -> None:
    assert denied(text, word) == found


def test_anywhere_without_boundaries() -> None:
    assert denied("class", "ass", boundaries=False) == "ass"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("social security number", "social security"),
        ("Social \n\t Security", "Social \n\t Security"),
        ("social\u00a0security", "social\u00a0security"),
        ("socialsecurity", None),
        (f"social{' ' * MAX_GAP}security", f"social{' ' * MAX_GAP}security"),
        (f"social{' ' * (MAX_GAP + 1)}security", None),
        ("social, security", None),
    ],
)
def test_phrases(text: str, found: str | None) -> None:
    assert denied(text, " social  security ") == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("python", "python"),
        ("monty python", None),
        ("Monty   Python's", None),
        ("monty pythons", None),
        ("monty python and python", "python"),
        ("montypython python", "python"),
        ("monty python bites", "monty python bites"),
    ],
)
def test_allowed_words_around_denied_ones(text: str, found: str | None) -> None:
    assert denied(text, "python", "monty python bites", allow=["monty python", "unrelated"]) == found


def test_the_first_of_several_and_its_rule() -> None:
    words = DenyWords(["", "three", "two", " ", "two three"])
    hit = words.find("one two three")
    assert hit is not None
    assert (hit.rule, hit.start, hit.end) == (2, 4, 7)
    assert words.find("nothing of the kind") is None
    assert not DenyWords(["", " ", "\u200b"])


@pytest.mark.parametrize("filler", ["some clean text, ", "un texte très propre, ", "很干净的文字，"])
@pytest.mark.parametrize("near", ["", "ébad ", "badé", "bad bad2 "])
def test_long_texts_with_what_is_nearly_a_word(filler: str, near: str) -> None:
    words, clean = DenyWords(["bad bad bad", "bad!"]), filler * 30 + near + filler
    assert words.find(clean) is None
    hit = words.find(f"{clean}bad\n BAD!")
    assert hit is not None
    assert (hit.rule, hit.start) == (1, len(clean) + 5)


def test_a_word_that_begins_inside_of_what_is_nearly_one() -> None:
    hit = DenyWords(["ab cd", "cd"]).find("clean text " * 20 + "éab cd.")
    assert hit is not None
    assert hit.rule == 1


def test_anywhere_in_long_texts() -> None:
    assert denied("clean text " * 20 + "class", "ass", boundaries=False) == "ass"
    assert denied("很干净的文字，" * 20 + "非常敏感词语", "敏感词") == "敏感词"


@pytest.mark.parametrize("count", [1, 40, 3_000])
def test_many_words_are_found_alike(count: int) -> None:
    words = DenyWords([f"word{number}x" for number in range(count)])
    text = "some clean text, " * 40
    assert words.find(text) is None
    hit = words.find(f"{text}WORD{count - 1}X")
    assert hit is not None
    assert (hit.rule, hit.start) == (count - 1, len(text))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fine", "\u093e"], "word 1 begins with a mark, which belongs to the character before it"),
        (["x"] * (MAX_WORDS + 1), "has 20,001 words: 20,000 are the most that are matched in linear time"),
    ],
)
def test_words_that_cannot_be_found(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(words)


def test_a_run_of_characters_that_nobody_sees_is_denied() -> None:
    words = DenyWords(["bad"])
    hidden = "\u200b" * (MAX_ATTACHED + 1)
    hit = words.find(f"b{hidden}ad")
    assert hit is not None
    assert (hit.rule, hit.start) == (-1, 1 + MAX_ATTACHED)
    assert words.scan(START, f"b{hidden}ad", final=True).release == 0
    assert words.scan(START, f"x{hidden}", final=False).release == 1 + MAX_ATTACHED
    assert words.find(f"x{hidden[1:]} {hidden[1:]}") is None


# ---------------------------------------------------------------------- folding


def test_folding_in_pieces_is_folding_the_whole() -> None:
    """For every character that attaches to nothing, in front of all that could be before it."""
    for code in [*range(0xD800), *range(0xE000, 0x30000, 3)]:
        char = chr(code)
        if not attaches(char):
            folded = fold(char)
            assert folded
            assert not attaches(unicodedata.normalize("NFKD", folded)[0])
            assert fold("か" + char) == "か" + folded


def test_composition_changes_no_boundary() -> None:
    """A character that grows by what attaches to it stays a part of a word, or none."""
    for code in range(0xC0, 0x30000):
        if 0xD800 <= code < 0xE000:
            continue
        apart = unicodedata.normalize("NFD", chr(code))
        if len(apart) > 1 and unicodedata.normalize("NFC", apart) == chr(code):
            assert all(map(attaches, apart[1:]))
            assert is_word(apart[0]) == is_word(chr(code))


BOUNDARY = 4  # folded characters of the longest cluster below, which may be held to know what follows a word
MIXED = "ab AB.\n_éée\u0301\u0327\u200b한하\u11ab\u1112\u1161か\u3099がﬁfi敏感\u093eक，´"
TEXTS = st.text(alphabet=MIXED, max_size=40)


@given(TEXTS)
def test_places_are_where_clusters_begin(text: str) -> None:
    where = places(text)
    assert len(where) == len(fold(text)) + 1
    assert where == sorted(where)
    for place in {*where[:-1]}:
        assert place == 0 or not attaches(text[place])
        assert len(fold(text[:place])) == where.index(place)


def test_the_last_cluster() -> None:
    assert last_cluster("") == 0
    assert last_cluster("abe\u0301\u200b") == 2
    assert last_cluster("\u200b\u0301") == 0


def test_overlong_runs() -> None:
    run = "\u0301" * MAX_ATTACHED
    assert overlong(f"a{run}b{run}") == -1
    assert overlong(f"a{run}\u200bb") == 1 + MAX_ATTACHED
    assert overlong("\u00e9" * 5 * MAX_ATTACHED) == -1


# ---------------------------------------------------------------------- whole and in pieces


def brute(text: str, deny: Sequence[str], allow: Sequence[str], boundaries: bool) -> tuple[str, bool]:
    """What may leave of a text, found by trying every place, and whether it was denied."""
    folded = fold(START + text) + "\n"

    def spans(words: Sequence[str]) -> list[tuple[int, int]]:
        wanted = {" ".join(fold(word).split()) for word in words} - {""}
        found = []
        for start in range(1, len(folded) - 1):
            for end in range(start + 1, len(folded)):
                word = _squeezed(folded[start:end])
                if word not in wanted:
                    continue
                left = boundaries and is_word(word[0]) and is_word(folded[start - 1])
                right = boundaries and is_word(word[-1]) and is_word(folded[end])
                if not left and not right:
                    found.append((start, end))
        return found

    allowed = spans(allow)
    hits = [start for start, end in spans(deny) if not any(begin <= start and end <= stop for begin, stop in allowed)]
    if not hits:
        return text, False
    cuts = [cut for cut in range(len(text) + 1) if cut == len(text) or not attaches(text[cut])]
    return text[: max(cut for cut in [0, *cuts] if len(fold(START + text[:cut])) <= min(hits))], True


def _squeezed(text: str) -> str:
    words: list[str] = []
    gap = 0
    for char in text:
        gap = gap + 1 if char.isspace() else 0
        if gap == 0 or gap % MAX_GAP == 1:
            words.append(" " if gap else char)
    return "".join(words)


def in_pieces(words: DenyWords, pieces: Sequence[str]) -> tuple[str, bool, int]:
    """What leaves of a text that comes in pieces, whether it was denied, and the most folded characters held back."""
    out, context, held, most = "", START, "", 0
    for number, piece in enumerate([*pieces, ""]):
        text = held + piece
        found = words.scan(context, text, final=number == len(pieces))
        out += text[: found.release]
        if found.hit is not None:
            return out, True, most
        passed = context + text[: found.release]
        context, held = passed[last_cluster(passed) :], text[found.release :]
        most = max(most, len(fold(held)))
    assert not held
    return out, False, most


WORDS = st.lists(st.text(alphabet=MIXED, min_size=1, max_size=6), max_size=4)


@settings(max_examples=600)
@given(WORDS, WORDS, st.booleans(), st.lists(st.text(alphabet=MIXED, max_size=5), max_size=12))
@example(["ᄒ"], [], False, ["ᄒा", "A"])
@example(["café"], [], True, ["a caf", "e", "\u0301", "."])
@example(["a b c", "b"], [], True, ["a b ", "c"])
@example(["a b c", "b"], [], True, ["a b ", "d"])
@example(["b"], ["a b c"], True, ["a ", "b", " ", "c"])
@example(["b"], ["a b c"], True, ["a ", "b", " ", "d"])
@example(["b"], ["b c"], True, ["b ", "c"])
@example(["b"], ["b c"], True, ["b ", "d"])
@example(["A"], ["Af"], False, ["A\ufb01"])
@example(["f", "ifA"], ["Af"], False, ["A\ufb01", "f"])
@example(["b", "bxz"], ["ab"], False, ["abx", "q"])
@example(["한"], [], True, ["하", "\u11ab"])
@example(["か"], [], True, ["か", "\u3099"])
@example(["\u0229"], [], False, ["\u00e9", "\u0327"])
@example(["\u0229"], [], False, ["e", "\u0301", "\u0327"])
def test_pieces_of_any_size_give_what_the_whole_text_gives(
    deny: list[str], allow: list[str], boundaries: bool, pieces: list[str]
) -> None:
    deny, allow = _findable(deny), _findable(allow)
    words = DenyWords(deny, allow, boundaries=boundaries)
    text = "".join(pieces)
    expected = brute(text, deny, allow, boundaries)
    whole = words.scan(START, text, final=True)
    assert (text[: whole.release], whole.hit is not None) == expected
    for cut in (pieces, list(text), [text]):
        out, hit, held = in_pieces(words, cut)
        assert (out, hit) == expected
        assert held <= words.longest + BOUNDARY


@settings(max_examples=200)
@given(st.lists(st.sampled_from(["ba", "d ", "bad", " ", "x", "worse ", "wor", "se", "\n", "b"]), max_size=60))
def test_long_texts_too(pieces: list[str]) -> None:
    deny, allow = ["bad worse", "worse bad", "bad bad"], ["x bad bad x"]
    words = DenyWords(deny, allow)
    text = "".join(pieces)
    expected = brute(text, deny, allow, True)
    padded = "clean " * 30
    found = words.scan(START, padded + text, final=True)
    assert ((padded + text)[: found.release].removeprefix(padded), found.hit is not None) == expected
    assert in_pieces(words, pieces)[:2] == expected
    assert in_pieces(words, pieces)[2] <= words.longest + 1


HIDDEN = "\u200b" * (MAX_ATTACHED // 2)


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["a", "\u0301", HIDDEN, f"{HIDDEN}{HIDDEN}\u200b", "b", "ad "]), max_size=8))
def test_hidden_characters_too(pieces: list[str]) -> None:
    words = DenyWords(["bad", "áb"])
    text = "".join(pieces)
    whole = words.scan(START, text, final=True)
    expected = (text[: whole.release], whole.hit is not None)
    assert in_pieces(words, pieces)[:2] == expected
    assert in_pieces(words, list(text))[:2] == expected


def _findable(words: Sequence[str]) -> list[str]:
    return [word for word in words if (folded := fold(word).strip()) and not attaches(folded[0])]
