"""The mixture: how often each document is seen, by source and language.

Section 2.2 of the paper's data description: languages that would take too much are cut to a size (Java and JavaScript
to 200 GB each), by weights and caps of a training recipe. A rule's cap makes a rate out of the release's sizes. Rates
are computed once and pinned in the pack: whether a document is taken is a function of (seed, epoch, document id)
against them, so a document that leaves a release later changes what is taken of no other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from starsmith.format.choice import Draw
from starsmith.format.released_files import Cell
from starsmith.format.settings import MixtureRule


@dataclass(frozen=True, kw_only=True, slots=True)
class CellRate:
    """How many documents and bytes there were of a source and language, and how often each is taken on average."""

    source: str
    language: str
    documents: int
    bytes: int
    rate: float

    @property
    def cell(self) -> Cell:
        return self.source, self.language


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Pinned rates. `share` is which part of the repositories is taken, for a pack of a limited size."""

    rules: tuple[MixtureRule, ...]
    cells: tuple[CellRate, ...]
    share: float = 1.0

    @cached_property
    def _by_cell(self) -> dict[Cell, float]:
        return {each.cell: each.rate for each in self.cells}

    def rate(self, cell: Cell) -> float:
        """Return how often a document is taken on average.

        What was not there when the rates were pinned has the least rate of what the same rule is about.
        """
        if cell in self._by_cell:
            return self._by_cell[cell]
        rule = _rule(self.rules, cell)
        rates = [each.rate for each in self.cells if _rule(self.rules, each.cell) is rule]
        return min([*rates, rule.weight if rule else 1.0])

    def copies(self, cell: Cell, draw: Draw) -> int:
        """Return how often a document is taken; `draw` is its own."""
        return draw.copies("mixture", self.rate(cell))

    @property
    def bytes(self) -> float:
        """What is taken of the release, by the rates."""
        return sum(each.bytes * each.rate for each in self.cells)


def rates_of(sizes: Mapping[Cell, tuple[int, int]], rules: Sequence[MixtureRule]) -> Rates:
    """Return the rates of what a release holds: (documents, bytes) by source and language."""
    together: dict[int | None, int] = {}
    for cell, (_, size) in sizes.items():
        number = _number(rules, cell)
        together[number] = together.get(number, 0) + size
    cells = []
    for (source, language), (documents, size) in sorted(sizes.items()):
        number = _number(rules, (source, language))
        rate = 1.0 if number is None else _capped(rules[number], together[number])
        cells.append(CellRate(source=source, language=language, documents=documents, bytes=size, rate=rate))
    return Rates(rules=tuple(rules), cells=tuple(cells))


def unused(rates: Rates) -> list[MixtureRule]:
    """Return the rules that no document falls under: most likely a name is misspelt."""
    used = {_number(rates.rules, each.cell) for each in rates.cells}
    return [rule for number, rule in enumerate(rates.rules) if number not in used]


def _capped(rule: MixtureRule, size: int) -> float:
    return min(rule.weight, rule.cap_gb * 1e9 / size) if rule.cap_gb and size else rule.weight


def _number(rules: Sequence[MixtureRule], cell: Cell) -> int | None:
    """Return the first rule that fits."""
    source, language = cell
    fits = (
        number for number, rule in enumerate(rules) if rule.source in ("", source) and rule.language in ("", language)
    )
    return next(fits, None)


def _rule(rules: Sequence[MixtureRule], cell: Cell) -> MixtureRule | None:
    number = _number(rules, cell)
    return None if number is None else rules[number]
