"""A figure of how processor time grows with documents, as SVG: both axes logarithmic, a line for each engine and stage.

Only the standard library is needed. Used by `decisions_at_scale.py`.
"""

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 790, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 270, 30, 60
COLOURS = {
    "licences and facts": "#1b6ca8",
    "exact and filters": "#c4572b",
    "near": "#2f8f4e",
    "ledger": "#7b4fa3",
    "removal": "#555555",
}
DASHES = {"local": "", "spark": "7 4"}
NAMES = {"local": "DuckDB, 2 GB", "spark": "Spark, 2 × 2 GB"}


Lines = Mapping[tuple[str, str], Sequence[tuple[float, float]]]
"""(documents, seconds) by engine and stage."""


def draw(lines: Lines) -> str:
    """Return the figure of some lines."""
    points = [point for line in lines.values() for point in line]
    axes = _Axes(
        documents=(min(x for x, _ in points), max(x for x, _ in points)),
        seconds=(min(y for _, y in points), max(y for _, y in points)),
    )
    shapes = [*axes.grid(), *(shape for key, line in lines.items() for shape in axes.line(*key, line)), *_legend(lines)]
    font = 'font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {font}>'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *shapes, "</svg>", ""])


class _Axes:
    """Two logarithmic axes, each from one power of ten to another."""

    def __init__(self, *, documents: tuple[float, float], seconds: tuple[float, float]) -> None:
        self.x = math.floor(math.log10(documents[0])), math.ceil(math.log10(documents[1]))
        self.y = math.floor(math.log10(seconds[0])), math.ceil(math.log10(seconds[1]))

    def place(self, documents: float, seconds: float) -> tuple[float, float]:
        x = (math.log10(documents) - self.x[0]) / max(self.x[1] - self.x[0], 1)
        y = (math.log10(seconds) - self.y[0]) / max(self.y[1] - self.y[0], 1)
        return LEFT + x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)

    def grid(self) -> list[str]:
        shapes = []
        for power in range(self.x[0], self.x[1] + 1):
            x, bottom = self.place(10.0**power, 10.0 ** self.y[0])
            shapes.append(_stroke(x, TOP, x, bottom, "#ddd"))
            shapes.append(_power(x, bottom + 20, power, "middle"))
        for power in range(self.y[0], self.y[1] + 1):
            left, y = self.place(10.0 ** self.x[0], 10.0**power)
            shapes.append(_stroke(left, y, WIDTH - RIGHT, y, "#ddd"))
            shapes.append(_power(left - 8, y + 4, power, "end"))
        middle = (LEFT + WIDTH - RIGHT) / 2
        shapes.append(_text(middle, HEIGHT - 15, "documents", "middle"))
        shapes.append(_text(LEFT - 45, TOP - 12, "seconds of processor time", "start"))
        return shapes

    def line(self, engine: str, stage: str, points: Sequence[tuple[float, float]]) -> list[str]:
        placed = [self.place(*point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        colour, dash = COLOURS[stage], DASHES[engine]
        shapes = [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
        ]
        return shapes + [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in placed]


def _legend(lines: Lines) -> list[str]:
    shapes = []
    for number, (engine, stage) in enumerate(lines):
        x, y = WIDTH - RIGHT + 20, TOP + 10 + 22 * number
        dash, colour = DASHES[engine], COLOURS[stage]
        shapes.append(_stroke(x, y, x + 36, y, colour, dash=dash, width=2))
        shapes.append(_text(x + 44, y + 4, f"{stage}, {NAMES[engine]}", "start"))
    return shapes


def _stroke(x: float, y: float, to_x: float, to_y: float, colour: str, *, dash: str = "", width: int = 1) -> str:
    return (
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}" stroke-width="{width}" '
        f'stroke-dasharray="{dash}"/>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _power(x: float, y: float, power: int, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">10<tspan dy="-5" font-size="9">{power}</tspan></text>'
