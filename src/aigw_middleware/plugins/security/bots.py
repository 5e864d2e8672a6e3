"""What a User-Agent says of the program that sent it: a person's browser or application, or which kind of bot.

Three looks at once, in one pass of RE2 over the lower-case text: names that programs give themselves (`known_bots.txt`,
and the list of the package crawler-user-agents where it is installed), words and forms by which bots tell what they are
(`bot`, `crawl`, `+https://`), and whether anything at all speaks of a browser, a device or an operating system. No network,
and no files but those lists, read on first use.

A User-Agent is a claim: this finds those who say what they are, not those who lie.

Source: RFC 9110, section 10.1.5 (product, comment); the documentation of the programs.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

AI_CRAWLER, HTTP_LIBRARY, SEARCH_ENGINE, LINK_PREVIEW = "ai-crawler", "http-library", "search-engine", "link-preview"
MONITORING, AUTOMATION, CRAWLER, UNIDENTIFIED = "monitoring", "automation", "crawler", "unidentified"
LLM_SDK: Final = "llm-sdk"

CATEGORIES: Final = {
    LLM_SDK: "the SDK of a language-model provider: OpenAI/Python, Anthropic/JS; allowed unless said otherwise",
    AI_CRAWLER: "gathers text for language models, or fetches pages for their users: GPTBot, ClaudeBot, CCBot",
    HTTP_LIBRARY: "a script or service with the name of its library: curl, python-requests",
    SEARCH_ENGINE: "builds an index for people to search: Googlebot, bingbot",
    LINK_PREVIEW: "fetches a page because somebody shared its address: Slackbot, WhatsApp",
    MONITORING: "measures whether and how fast a service answers: Pingdom, kube-probe",
    AUTOMATION: "a browser that no person looks at: HeadlessChrome, PhantomJS",
    CRAWLER: "any other program that says it is one",
    UNIDENTIFIED: "a name with a version or an address and nothing of a browser, a device or an operating system",
}
"""The categories, the first that fits counts."""

MAX_BYTES: Final = 2_048  # of a User-Agent; browsers send up to 700, and what is behind this is not looked at
_PEOPLE: Final = "people"

# Forms by which programs of any name give themselves away; all of them are matched against lower-case text.
_WORDS: Final = (
    r"bots?(?:[^a-z]|$)",
    r"b0t(?:[^a-z]|$)",
    r"crawl",
    r"spider",
    r"scrap[ei]",
    r"robot",
    r"archiver",
    r"indexer",
    r"slurp",
    r"fetch",
    r"headless",
    r"monitor",
    r"validator",
    r"check(?:er)?(?:[^a-z]|$)",
    r"(?:link|site|page|url|web) ?-?preview",
    r"favicon",
    r"(?:link|url|name|redirect)[a-z_ -]*resolver",
    r"expander",
    r"(?:^|[^a-z])feed",
    r"screen ?shot",
    r"synthetic",
    r"lighthouse",
    r"sitemap",
    r"optimi[sz]er",
    r"web ?-?hook",
    r"vulnerab",
    r"survey",
    r"measurement",
    r"[^a-z](?:scan|scanner)(?:[^a-z]|$)",
    r"(?:url|web|site|link|page|seo|rss|html|email)[ _-]?(?:test|scan|grab|download|copier|copy|suck|reap|capture|thumb"
    r"|snap|extract|audit|analy[sz]|verif|walk|rip|mirror|collect|index|harvest|track|search|agent|parser|reader)",
    r"(?:https?|html|url)[ _-]?(?:client|request|get|lib)",
    r"(?:^|[^a-z])python",
    r"libwww-perl",
    r"node\.js",
)
_ADDRESSES: Final = (
    r"\+ ?(?:https?:|www\.)",
    r"(?:[(;,] ?|- ?|^)https?://",
    r"[a-z0-9._-]+@[a-z0-9-]+\.[a-z]",
    r"[\[( ]at[\]) ] ?[a-z0-9-]+(?: ?(?:\.|dot) ?)(?:com|org|net|io|de|ru|fr|ai)(?:[^a-z]|$)",
)
# `(compatible; Name/1.0)` is how bots look like browsers; these are the browsers that did so.
_COMPATIBLE: Final = r"^mozilla/[0-9.]* ?\(compatible; *[^; )]"
_OLD_BROWSERS: Final = (
    r"\(compatible; *(?:ms|pocket|konqueror|netpositive|nc ?browser|acorn|u;|linux|lotus|opera|netscape|os/2|adobe|webtv|"
    r"win|gecko|kun/|go\.web|google ?toolbar|palm|escape|emuweb|icab|omniweb|avant|aol|yahoo! slurp\)|\)|;)"
)
_SHAPE: Final = (
    r"mozilla/|opera|opr/|android|iphone|ipad|ipod|ios|windows|win(?:nt|7|8|10|11|32|64)|linux|mac ?os|osx|macintosh|darwin|"
    r"cfnetwork|dalvik|symb|series ?[4-9]0|blackberry|nokia|midp|cldc|profile/|samsung|up\.browser|wap|netfront|obigo|"
    r"ucweb|ucbrowser|maui|playstation|nintendo|roku|webos|tizen|x11|watch ?os|tvos|huawei|sonyericsson|lg[-/]|docomo|"
    r"mobile|phone|brew|build/|applecoremedia|player|vlc|smarttv|kaios|chrome|safari|firefox|amiga|morphos|solaris|bsd|"
    r"beos|haiku|palm|lynx/|links|w3m|dillo|mosaic|amaya|omniweb|midori|hotjava|browser|voyager|ibrowse|arm64|fban/|fbav/|"
    r"hybridcast|webkit|presto|mozac|google fiber|citrix|bonecho|pocket internet explorer|^mot-|^lg|pantech|tianyu|"
    r"tpapi|sonos|hbbtv|kreatv|watch[0-9]|spotify|quicktime|itunes|podcast|steam|galaxy|htc|motorola|zte|alcatel|lenovo|"
    r"sagem|philips|sharp|sanyo|panasonic|teleca|sie-|airplay|echo/|aft[a-z]|microsoft office|outlook|thunderbird"
)
# The model of an Android device may be called Cubot X18, M_bot_tab or Spider 8; it stands behind the version.
_MODEL: Final = (
    r"android [0-9.]+; (?:[a-z][a-z][-_][a-z][a-z]; )?[a-z0-9_+ -]*(?:bot|spider|robot)[a-z0-9_+ -]*(?: build/|\)|; wv)"
)
_TAGS: Final = {
    "ai-crawler": AI_CRAWLER,
    "http-library": HTTP_LIBRARY,
    "search-engine": SEARCH_ENGINE,
    "social-preview": LINK_PREVIEW,
    "monitoring": MONITORING,
    "browser-automation": AUTOMATION,
}
"""Categories by the tags of crawler-user-agents; all others are crawlers."""
_BARE_NAME: Final = re.compile(rb"[A-Za-z_-]*\Z")
_TOKEN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_PRODUCT: Final = re.compile(rb"(?:.*?compatible; *)?([A-Za-z][A-Za-z0-9._-]*)")
_MAX_NAME: Final = 64  # bytes of a program's name as it is published


class BotDetector:
    """Tells bots from people by one RE2 set; immutable, so that every plug-in of a process uses the same one."""

    def __init__(self, names: dict[str, list[str]], listed: Mapping[str, Sequence[str]] = MappingProxyType({})) -> None:
        """`names` by category, as in `known_bots.txt`; `listed` are more of them, as patterns."""
        import re2

        options = re2.Options()
        options.log_errors = False
        options.encoding = re2.Options.Encoding.LATIN1
        options.max_mem = 16 << 20  # bytes that its states may take
        named = [category for category in CATEGORIES if category in names]
        general = f"{'|'.join((*_WORDS, *_ADDRESSES))}"
        people = f"{_pattern_of(names[_PEOPLE])}|{_MODEL}"
        known = (
            "|".join([_pattern_of(names[one]), *(f"(?i:{each})" for each in listed.get(one, ()))]) for one in named
        )
        patterns = (*known, general, _COMPATIBLE, _OLD_BROWSERS, _SHAPE, people)
        self._categories = named
        self._general, self._compatible, self._old, self._shape, self._people = range(len(named), len(patterns))
        self._patterns: list[Any] = [re2.compile(pattern.encode(), options) for pattern in patterns]
        self._set: Any = re2.Set.SearchSet(options)
        for pattern in patterns:
            self._set.Add(pattern.encode())
        self._set.Compile()

    def find(self, user_agent: bytes) -> str | None:
        """Return the category of a User-Agent; None for a person's, and for one that says nothing."""
        text = user_agent[:MAX_BYTES].strip()
        lower = text.lower()
        found = self._set.Match(lower)
        if found is None:  # nothing matches, or the set ran out of memory for its states: the two look alike
            found = [number for number, pattern in enumerate(self._patterns) if pattern.search(lower)]
        if len(found) == 1 and found[0] == self._shape:  # as nearly always
            return None
        first = min(found, default=self._shape)
        person = self._people in found
        if first < self._general:
            category = self._categories[first]
            if not (
                person and category in (LINK_PREVIEW, CRAWLER)
            ):  # applications of people show previews and read feeds
                return category
        elif not person and (first == self._general or (first == self._compatible and self._old not in found)):
            return CRAWLER
        return UNIDENTIFIED if self._shape not in found and not person and not _BARE_NAME.match(text) else None

    def name(self, user_agent: bytes, category: str) -> str:
        """Return how the program calls itself, of letters, digits and `._-` only; empty where it does not.

        `category` is what `find` said. That is the word by which it was known, else its first product.
        """
        text = user_agent[:MAX_BYTES].strip()
        numbers = [self._categories.index(category)] if category in self._categories else []
        for number in (*numbers, *([self._general] if category == CRAWLER else ())):
            match = self._patterns[number].search(text.lower())
            if match is not None:
                return _word_around(text, *match.span()) or _product(text)
        return _product(text)


@functools.cache
def detector() -> BotDetector:
    """Return the detector with the names that come with this package; made once in a process."""
    text = resources.files(__package__).joinpath("known_bots.txt").read_text(encoding="utf-8")
    return BotDetector(read_names(text.splitlines()), _listed())


def _listed() -> dict[str, list[str]]:
    """Return the patterns of crawler-user-agents by category; nothing where it is not installed."""
    try:
        from crawleruseragents import CRAWLER_USER_AGENTS_DATA
    except ImportError:
        return {}
    listed: dict[str, list[str]] = {}
    for entry in CRAWLER_USER_AGENTS_DATA:
        category = next((_TAGS[tag] for tag in entry.get("tags", ()) if tag in _TAGS), CRAWLER)
        pattern = entry["pattern"]  # many are parts of words that other programs and devices have in their names
        listed.setdefault(category, []).append(f"(?:^|[^a-z0-9]){pattern}" if pattern[0].isalnum() else pattern)
    return listed


def read_names(lines: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of each category of a file such as `known_bots.txt`. Raises ValueError for a line outside of one."""
    names: dict[str, list[str]] = {}
    category = ""
    for line in lines:
        if line.startswith("[") and line.rstrip().endswith("]"):
            category = line.strip()[1:-1]
        elif line.strip() and not line.startswith("#"):
            if category not in CATEGORIES and category != _PEOPLE:
                raise ValueError(f"names stand below no known category: {line[:40]!r}")
            names.setdefault(category, []).extend(name.strip().lower() for name in line.split(",") if name.strip())
    return names


def _pattern_of(names: Iterable[str]) -> str:
    """Return the RE2 pattern of names: `^` is the start of the text, `*` any ending, else both ends are those of a word."""
    forms: dict[tuple[bool, bool], list[str]] = {}
    for name in names:
        whole = not name.endswith(("*", "/", ".", "("))
        text = re.escape(name.strip("^*")).replace(r"\ ", " ")
        forms.setdefault((name.startswith("^"), whole), []).append(text)
    alternatives = []
    for (anchored, whole), texts in sorted(forms.items()):
        start = "^" if anchored else "(?:^|[^a-z0-9])"
        alternatives.append(f"{start}(?:{'|'.join(texts)}){'(?:[^a-z0-9]|$)' if whole else ''}")
    return "|".join(alternatives)


def _word_around(text: bytes, start: int, end: int) -> str:
    """Return the word of which `text[start:end]` is a part; empty where that is an address."""
    while start < end and text[start] not in _TOKEN:
        start += 1
    if b"@" in text[start:end] or text[start:end].lower().startswith((b"http:", b"https:", b"www.")):
        return ""
    while end > start and text[end - 1] not in _TOKEN:
        end -= 1
    while start and text[start - 1] in _TOKEN:
        start -= 1
    while end < len(text) and text[end] in _TOKEN:
        end += 1
    return _clean(text[start:end])


def _product(text: bytes) -> str:
    match = _PRODUCT.match(text)
    return _clean(match[1]) if match is not None else ""


def _clean(name: bytes) -> str:
    words = bytes(letter if letter in _TOKEN else 0x20 for letter in name[:_MAX_NAME]).split()
    return b"-".join(words).strip(b"._-").decode()
