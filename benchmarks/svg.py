"""Line charts as an SVG file, for documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from fuseid.apps.charts import Axis

WIDTH, HEIGHT, LEFT, TOP = 340, 230, 70, 30


@dataclass(frozen=True)
class Chart:
    """lines: by name, points (x, y) or (x, y, what is written beside it)."""

    x: Axis
    y: Axis
    lines: Mapping[str, Sequence[tuple[float, float] | tuple[float, float, str]]]


def write_svg(path: Path, charts: Sequence[Chart], colours: Mapping[str, str]) -> None:
    """Charts side by side; the names of the lines stand in the first one. colours: of lines, by name."""
    parts = []
    for number, chart in enumerate(charts):
        parts.append(f'<g transform="translate({LEFT + number * (WIDTH + LEFT)} {TOP})">')
        parts += [*_frame(chart.x, chart.y), *_lines(chart, colours), "</g>"]
    names = [name for name in colours if any(chart.lines.get(name) for chart in charts)]
    for number, name in enumerate(names):
        y = TOP + 16 + 16 * number
        parts.append(f'<text x="{LEFT + 12}" y="{y}" fill="{colours[name]}" font-weight="bold">{escape(name)}</text>')
    size = f"{len(charts) * (WIDTH + LEFT) + 20} {HEIGHT + TOP + 50}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" font-family="sans-serif" font-size="12">'
    path.write_text("\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>"]) + "\n")


def _frame(x: Axis, y: Axis) -> Iterator[str]:
    yield f'<text x="0" y="-12">{escape(y.title)}</text>'
    yield f'<text x="{WIDTH}" y="{HEIGHT + 38}" text-anchor="end">{escape(x.title)}</text>'
    for value, text in y.ticks:
        at = y.place(value, HEIGHT, 0)
        yield f'<line x1="0" x2="{WIDTH}" y1="{at}" y2="{at}" stroke="#ddd"/>'
        yield f'<text x="-8" y="{at + 4}" text-anchor="end">{escape(text)}</text>'
    for value, text in x.ticks:
        yield f'<text x="{x.place(value, 0, WIDTH)}" y="{HEIGHT + 18}" text-anchor="middle">{escape(text)}</text>'


def _lines(chart: Chart, colours: Mapping[str, str]) -> Iterator[str]:
    for name, points in chart.lines.items():
        colour = colours[name]
        places = [(chart.x.place(x, 0, WIDTH), chart.y.place(y, HEIGHT, 0), *text) for x, y, *text in points]
        line = " ".join(f"{at},{up}" for at, up, *_ in places)
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for at, up, *text in places:
            yield f'<circle cx="{at}" cy="{up}" r="3" fill="{colour}"/>'
            if text:
                yield f'<text x="{at + 6}" y="{up - 6}" fill="{colour}" font-size="10">{escape(text[0])}</text>'
