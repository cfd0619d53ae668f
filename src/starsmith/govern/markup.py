"""Markup: HTML from nested calls, in which everything is escaped that was not made here.

A page is built of `element(...)` only, so a hostile name has no way into it: whatever is not `Markup` is text. Bars are
SVG, whose sizes are attributes; the page needs no style attribute and no script, and its policy forbids both.
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from starsmith.govern.foreign_text import shortened, visible


class Markup(str):
    """HTML that was made here and is not escaped again."""

    __slots__ = ()


_VOID: Final = frozenset({"meta", "link", "wbr", "br"})


def escaped(value: object) -> Markup:
    r"""Return a value as HTML; text has its special, control and bidirectional characters made visible.

    >>> escaped("<b>\u202e"), escaped(Markup("<b>"))
    ('&lt;b&gt;\\u202e', '<b>')
    """
    return value if isinstance(value, Markup) else Markup(html.escape(visible(str(value))))


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """Return one element. Attributes that are None are left out; `class_` and `aria_label` lose or change their `_`.

    >>> element("p", "1 < 2", class_="note")
    '<p class="note">1 &lt; 2</p>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(visible(str(value)))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{joined(children)}</{name}>")


def joined(children: Iterable[object]) -> Markup:
    """Return children one after the other; None is nothing."""
    return Markup("".join(escaped(child) for child in children if child is not None))


def path(text: str) -> Markup:
    """Return a foreign name as code that may break after a slash, and that turns no text around it."""
    pieces = shortened(text).split("/")
    parts: list[object] = [pieces[0]]
    for piece in pieces[1:]:
        parts += ["/", element("wbr"), piece]
    return element("code", element("bdi", *parts))


def bar(fraction: float, *, kind: str = "kept") -> Markup:
    """Return a bar that is filled to `fraction`. The number stands beside it, so it is hidden from screen readers."""
    width = f"{100 * min(max(fraction, 0.0), 1.0):.2f}"
    filled = element("rect", width=width, height=8, class_=kind)
    ground = element("rect", width=100, height=8, class_="ground")
    return element(
        "svg", ground, filled, class_="bar", viewBox="0 0 100 8", preserveAspectRatio="none", aria_hidden="true"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """One part of a whole in a stacked bar."""

    amount: int
    kind: str


def stacked(slices: Sequence[Slice], *, label: str) -> Markup:
    """Return one bar cut into slices, with `label` for those who do not see it."""
    whole = sum(each.amount for each in slices) or 1
    rectangles, left = [], 0.0
    for each in slices:
        width = 1000 * each.amount / whole
        rectangles.append(element("rect", x=f"{left:.2f}", width=f"{width:.2f}", height=30, class_=each.kind))
        left += width
    return element(
        "svg",
        element("title", label),
        *rectangles,
        class_="stacked",
        viewBox="0 0 1000 30",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


def key(kind: str) -> Markup:
    """Return the square that stands for a slice in a legend."""
    square = element("rect", width=12, height=12, class_=kind)
    return element("svg", square, class_="key", viewBox="0 0 12 12", aria_hidden="true")


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of a table. Numbers are set to the right; a `wide` column is left out on a small screen."""

    title: str
    number: bool = False
    wide: bool = False

    @property
    def classes(self) -> str | None:
        return " ".join(name for name, given in (("n", self.number), ("wide", self.wide)) if given) or None


def table(caption: str, columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> Markup:
    """Return a table. The first cell of every row is its header."""
    head = [element("th", column.title, scope="col", class_=column.classes) for column in columns]
    body = [
        element(
            "tr",
            *(
                element("td" if number else "th", cell, class_=column.classes, scope=None if number else "row")
                for number, (column, cell) in enumerate(zip(columns, row, strict=True))
            ),
        )
        for row in rows
    ]
    return element(
        "table",
        element("caption", caption) if caption else None,
        element("thead", element("tr", *head)),
        element("tbody", *body),
    )
