"""What was measured, as rows of a table with their targets, for people and for machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace

from .measure import BARE, PEER, PEER_BARE, Readings

COLUMNS = ("what", "median", "least", "of one BHM", "target", "")
_INDENT = "  "


@dataclass(frozen=True, slots=True)
class Target:
    """What a row should not exceed; `measured` is the row's figure for it, in the unit of `limit`."""

    text: str
    limit: float
    measured: float

    @property
    def met(self) -> bool:
        """Whether the figure keeps the limit."""
        return self.measured <= self.limit


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: its median and least value in `unit`, and its part of what one BaseHTTPMiddleware adds."""

    what: str
    median: float
    unit: str = "µs"
    least: float | None = None
    ratio: float | None = None
    target: Target | None = None

    @classmethod
    def whole(cls, readings: Readings, what: str, case: str, *, peer: str = "") -> Row:
        """Return the row of a case's whole cost; its ratio is to the whole cost of `peer`, if one is named."""
        ratio = readings.quotient(case, peer) if peer else None
        return cls(what, readings.median(case), least=readings.least(case), ratio=ratio)

    @classmethod
    def added(
        cls, readings: Readings, what: str, case: str, *, over: str = BARE, peer: str = PEER, peer_over: str = PEER_BARE
    ) -> Row:
        """Return the row of what a case adds to `over`; its ratio is to what `peer` adds to `peer_over`, if measured."""
        ratio = readings.ratio(case, peer, over, peer_over) if peer in readings.rounds else None
        return cls(what, readings.added(case, over), least=readings.least_added(case, over), ratio=ratio)

    def ratio_within(self, text: str, limit: float) -> Row:
        """Return the row with a target for its ratio."""
        assert self.ratio is not None
        return replace(self, target=Target(text, limit, self.ratio))

    def within(self, text: str, limit: float) -> Row:
        """Return the row with a target for its median, in the row's unit."""
        return replace(self, target=Target(text, limit, self.median))


@dataclass(slots=True)
class Section:
    """The rows of one subject, with notes to read them by."""

    name: str
    title: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """Return the section as JSON values; each target with its verdict."""
        rows = []
        for row in self.rows:
            values = asdict(row)
            if row.target is not None:
                values["target"]["met"] = row.target.met
            rows.append(values)
        return {"name": self.name, "title": self.title, "notes": self.notes, "rows": rows}


def number(value: float) -> str:
    """Return three significant figures, thousands separated."""
    if isinstance(value, int):
        return f"{value:,}"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 1:
        return f"{value:.2f}"
    return f"{value:.3f}"


def render(sections: Sequence[Section]) -> Iterator[str]:
    """Yield the lines of the table."""
    cells = [[_cells(row) for row in section.rows] for section in sections]
    widths = [
        max(len(line[column]) for line in (COLUMNS, *(row for rows in cells for row in rows))) for column in range(6)
    ]
    for section, rows in zip(sections, cells, strict=True):
        yield f"{section.name}  {section.title}"
        yield _INDENT + _line(COLUMNS, widths)
        yield _INDENT + _line(["-" * width for width in widths], widths)
        for row in rows:
            yield _INDENT + _line(row, widths)
        for note in section.notes:
            yield f"{_INDENT}* {note}"
        yield ""


def markdown(sections: Sequence[Section]) -> Iterator[str]:
    """Yield the lines of the table as Markdown, for the documentation."""
    for section in sections:
        yield f"**{section.name}** {section.title}"
        yield ""
        yield "| what | median | least | of one BHM | target | |"
        yield "|---|---:|---:|---:|---|---|"
        for row in section.rows:
            yield f"| {' | '.join(_cells(row))} |".replace("  ", " ")
        yield ""
        for note in section.notes:
            yield f"{note[0].upper()}{note[1:]}."
            yield ""


def summary(sections: Sequence[Section]) -> Iterator[str]:
    """Yield how many targets were met, and each one that was not."""
    targets = [(section, row) for section in sections for row in section.rows if row.target is not None]
    missed = [(section, row) for section, row in targets if row.target is not None and not row.target.met]
    if targets:
        yield f"{len(targets) - len(missed)} of {len(targets)} targets met."
    for section, row in missed:
        assert row.target is not None
        yield f"NOT met: {section.name} {row.what}: {number(row.target.measured)}, target {row.target.text}"


def _cells(row: Row) -> list[str]:
    target = row.target
    return [
        row.what,
        f"{number(row.median)} {row.unit}".rstrip(),
        f"{number(row.least)} {row.unit}".rstrip() if row.least is not None else "",
        number(row.ratio) if row.ratio is not None else "",
        target.text if target is not None else "",
        ("met" if target.met else "NOT met") if target is not None else "",
    ]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The first column and the target are words, the others figures."""
    parts = [
        cell.ljust(width) if column in (0, 4, 5) else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(parts).rstrip()
