"""The estimate: near the exact count of ordinary texts of any script, linear, and never above the number of bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigw_middleware.llm.tokens import carried
from aigw_middleware.llm.tokens.estimate import estimate

TEXTS = {
    "English": (
        "Whoever plans a journey should first think about what the weather will be like. In the mountains it can snow in "
        "June, while people down by the lake are swimming. We left early, took the slow train along the river and had "
        "bread, cheese and apples in the shade of an old chestnut. In the evening the whole village met at the harbour."
    ),
    "German": (
        "Wer eine Reise plant, sollte zuerst überlegen, wie das Wetter sein wird. In den Bergen kann es im Juni schneien, "
        "während unten am See schon gebadet wird. Wir fuhren früh los, nahmen den langsamen Zug am Fluss entlang und aßen "
        "Brot, Käse und Äpfel im Schatten einer alten Kastanie. Am Abend traf sich das ganze Dorf am Hafen."
    ),
    "Russian": (
        "Тому, кто собирается в путешествие, стоит сначала подумать о погоде. В горах в июне может идти снег, а внизу у "
        "озера люди уже купаются. Мы выехали рано, сели на медленный поезд вдоль реки и ели хлеб, сыр и яблоки в тени "
        "старого каштана. Вечером вся деревня собралась в гавани."
    ),
    "Chinese": (
        "计划旅行的人应该先想一想天气会怎么样。山里六月也可能下雪，而山下的湖边已经有人游泳了。我们很早就出发，坐上沿着河走的慢车，"
        "在一棵老栗子树的树荫下吃面包、奶酪和苹果。晚上，全村的人都在港口见面。"
    ),
    "Japanese": (
        "旅行を計画する人は、まず天気がどうなるかを考えるべきです。山では六月に雪が降ることもありますが、下の湖ではもう人々が"
        "泳いでいます。私たちは早く出発し、川沿いの遅い列車に乗って、古い栗の木の陰でパンとチーズとりんごを食べました。"
    ),
    "Arabic": (
        "على من يخطط لرحلة أن يفكر أولا في حالة الطقس. في الجبال قد يتساقط الثلج في يونيو، بينما يسبح الناس في البحيرة. "
        "انطلقنا مبكرا وركبنا القطار البطيء على طول النهر وأكلنا الخبز والجبن والتفاح في ظل شجرة قديمة."
    ),
    "code": (
        "def find(self, name: str) -> Path | None:\n"
        '    """Return the first file of that name."""\n'
        "    for directory in self.directories:\n"
        "        path = directory / name\n"
        "        if path.exists() and path.stat().st_size <= MAX_SIZE:\n"
        "            return path.resolve()\n"
        "    raise FileNotFoundError(f'{name!r} is not in {len(self.directories)} directories')\n"
    ),
    "JSON": (
        '{"id": "order-20391", "created": 1718023381, "customer": {"name": "Ada Byron", "city": "London", "vip": true}, '
        '"items": [{"sku": "A-17", "price": 12.5, "count": 3}, {"sku": "B-204", "price": 7.99, "count": 1}], "total": 45.49}'
    ),
}


@pytest.mark.parametrize("encoding", carried.ENCODINGS)
@pytest.mark.parametrize("name", TEXTS)
def test_ordinary_texts(name, encoding):
    exact = carried.load(encoding)(TEXTS[name])
    assert abs(estimate(TEXTS[name], encoding) - exact) <= 0.25 * exact


@pytest.mark.parametrize("encoding", carried.ENCODINGS)
def test_all_of_them_together(encoding):
    errors = [estimate(text, encoding) / carried.load(encoding)(text) - 1 for text in TEXTS.values()]
    assert sum(map(abs, errors)) / len(errors) < 0.1


@pytest.mark.parametrize("unit", ["a", "A", "1", "word ", "字", "か", "한", "ж", "ع", "ש", "😀", "aB1_"])
def test_long_runs_are_not_taken_for_little(unit):
    text = unit * 2_000
    assert estimate(text) >= 0.4 * carried.load("o200k_base")(text)


@given(st.text(st.characters(codec=None)), st.sampled_from(["o200k_base", "cl100k_base", "r50k_base"]))
def test_within_one_and_the_bytes(text, encoding):
    size = len(text.encode("utf-8", "surrogatepass"))
    assert min(1, size) <= estimate(text, encoding) <= size
    assert estimate(text, encoding) == estimate(text, encoding)


def test_numbers_that_stand_for_themselves():
    assert estimate("") == 0
    assert estimate("a") == 1
    assert estimate("What is the capital of France?") == 7
