"""Plots as inline SVG and HTML: lines, bars, and dots with intervals. Colours and fonts are the page's, by class names.

A plot is as wide as its place. Horizontal positions are shares of the width, while heights and text are in pixels, so
that text has one size on every screen; labels that would touch on a narrow one are left out there. The functions return
markup in which all text is escaped, so templates insert it unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise


@dataclass(frozen=True)
class Point:
    """x and y in the units of the axes, with an interval of y if there is one. tooltip: shown under the pointer. text:
    shown beside a bar."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    tooltip: str = ""
    text: str = ""


@dataclass(frozen=True)
class Series:
    """style: a class of the style sheet, which gives the colour."""

    name: str
    style: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`; ticks: (place, text) each."""

    title: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    log: bool = False

    def place(self, value: float, start: float = 0.0, end: float = 100.0) -> float:
        """The position of a value on an axis drawn from `start` to `end`, by default in percent; values beyond an end
        are at the end."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, max(value, self.low)))
        share = (min(value, high) - low) / ((high - low) or 1.0)
        return round(start + share * (end - start), 2)


def linear(title: str, low: float, high: float, text: Callable[[float], str], count: int = 5) -> Axis:
    """Ticks at round numbers, about `count` of them; `low` and `high` are extended to such numbers."""
    step = _round_step((high - low) / count or 1.0)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return Axis(title, first * step, last * step, [(n * step, text(n * step)) for n in range(first, last + 1)])


def logarithmic(title: str, low: float, high: float, text: Callable[[float], str]) -> Axis:
    """Ticks at powers of ten, and between them at 2 and 5 if there are few; the axis ends at such values, too."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    places = [base * 10.0**power for power in powers for base in (1, 2, 5)]
    start = max(place for place in places if place <= low * (1 + 1e-9))
    end = min(place for place in places if place >= high * (1 - 1e-9) and place > start)
    inside = [place for place in places if start <= place <= end]
    if len(inside) > 7:
        inside = [place for place in inside if math.log10(place) == round(math.log10(place))]
    return Axis(title, start, end, [(place, text(place)) for place in inside], log=True)


def named(title: str, names: Sequence[str]) -> Axis:
    """One place for each name, at 0, 1, 2, ..."""
    return Axis(title, -0.4, len(names) - 0.6, list(enumerate(names)))


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough - 1e-12)


# Pixels that a character takes at most in a row of digits, and between two labels.
_CHARACTER, _GAP = 7.7, 7
# Pixels of the part between the axes in the narrowest place, on a phone of 320 pixels, and in the narrowest of those
# that the style sheet calls wide (`report.css`).
_NARROW, _WIDE = 185, 360


def _labels(axis: Axis, y: float, narrow: int = _NARROW, wide: int = _WIDE) -> list[str]:
    """The labels of a horizontal axis at the height `y`: as many as there is room for, on a narrow and on a wide
    screen. narrow, wide: the pixels of the axis there."""
    parts = []
    here = {screen: _apart(axis, room) for screen, room in (("narrow", narrow), ("wide", wide))}
    for number, (value, text) in enumerate(axis.ticks):
        screens = [screen for screen, step in here.items() if number % step == 0]
        if text and screens:
            only = f" only-{screens[0]}" if len(screens) == 1 else ""
            parts.append(_text(f"{axis.place(value)}%", y, text, "middle", "tick" + only))
    return parts


def _apart(axis: Axis, room: float) -> int:
    """Every how many labels of an axis of so many pixels are shown, so that none touches the next."""
    for step in range(1, len(axis.ticks)):
        shown = [(axis.place(value, 0, room), len(text) * _CHARACTER / 2) for value, text in axis.ticks[::step] if text]
        if all(at + half + _GAP <= after - next_half for (at, half), (after, next_half) in pairwise(shown)):
            return step
    return max(1, len(axis.ticks))


# Lines are drawn in units of this many to the width, and stretched.
_UNITS = 1000


class Plot:
    """A frame with two axes; points are given in the units of the axes. height: pixels between top and bottom axis."""

    def __init__(self, label: str, x: Axis, y: Axis, height: int = 242) -> None:
        self.label, self.x, self.y, self.height = label, x, y, height
        self._parts: list[str] = []
        for value, text in y.ticks:
            at = y.place(value, height, 0)
            self._parts += [_line("grid", 0, 100, at), _text("0", at + 4, text, "end", "tick", dx=-8)]
        self._parts += [*_labels(x, height + 18), _line("axis", 0, 100, height)]

    def lines(self, series: Iterable[Series], marks: bool = True) -> Plot:
        """A line through each series' points; with an interval, a band behind it. marks: dots at the points."""
        stretched, dots = [], []
        for one in series:
            known = [p for p in one.points if p.low is not None and p.high is not None]
            if len(known) > 1:
                edge = [self._at(p.x, p.high or 0) for p in known] + [self._at(p.x, p.low or 0) for p in known[::-1]]
                stretched.append(_tag("polygon", cls=f"band {one.style}", points=_joined(edge)))
            if len(one.points) > 1:
                points = _joined(self._at(p.x, p.y) for p in one.points)
                stretched.append(_tag("polyline", cls=f"line {one.style}", points=points))
            for p in one.points if marks else ():
                x, y = f"{self.x.place(p.x)}%", self.y.place(p.y, self.height, 0)
                dots.append(_tag("circle", tooltip=p.tooltip, cls=f"dot {one.style}", cx=x, cy=y, r=4))
        box = f'<svg viewBox="0 0 {_UNITS} {self.height}" preserveAspectRatio="none" height="{self.height}">'
        self._parts += [box, *stretched, "</svg>", *dots]
        return self

    def rule(self, y: float, text: str) -> Plot:
        """A dashed horizontal line with a label."""
        at = self.y.place(y, self.height, 0)
        self._parts += [_line("rule", 0, 100, at), _text("100%", at - 5, text, "end")]
        return self

    def drawn(self) -> str:
        left = 12 + math.ceil(_CHARACTER * max(len(text) for _, text in self.y.ticks))
        return _chart(
            self.label,
            [
                _tag("div", self.y.title, cls="axis-title"),
                f'<svg class="framed" style="--left: {left}px" height="{self.height}">',
                *self._parts,
                "</svg>",
                _tag("div", self.x.title, cls="axis-title below"),
            ],
        )

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return self.x.place(x, 0, _UNITS), self.y.place(y, self.height, 0)


def bars(label: str, title: str, names: Sequence[str], series: Sequence[Series]) -> str:
    """A row for each name, with a horizontal bar from zero for each series. A point's x is the number of its name, y
    its value, at least 0."""
    most = max((point.y for one in series for point in one.points), default=0.0) or 1.0
    parts = [_tag("div", title, cls="axis-title")]
    for number, name in enumerate(names):
        found = [(one.style, p) for one in series for p in one.points if p.x == number]
        parts += ['<div class="bars">', _tag("span", name, cls="name"), f'<svg height="{6 + 18 * len(found)}">']
        for place, (style, p) in enumerate(found):
            wide, y = f"{round(100 * p.y / most, 2)}%", 3 + 18 * place
            parts.append(_tag("rect", tooltip=p.tooltip, cls=f"bar {style}", x=0, y=y, width=wide, height=16, rx=2))
            parts.append(_text(wide, y + 12.5, p.text, "start", dx=6))
        parts += ["</svg>", "</div>"]
    return _chart(label, parts, _wide_names(names))


@dataclass(frozen=True)
class Dot:
    """A value with its interval, in one row of one panel."""

    value: float
    low: float | None
    high: float | None
    style: str
    tooltip: str


@dataclass(frozen=True)
class Panel:
    """dots: for each row the dots in it. reference: a value to compare with, drawn as a line through all rows."""

    axis: Axis
    dots: Sequence[Sequence[Dot]]
    reference: float | None = None


# Pixels between two dots of one row, and of an axis among several panels side by side.
_APART, _BESIDE = 9, 78


def dots(label: str, rows: Sequence[str], panels: Sequence[Panel], row: int = 26) -> str:
    """Dots with intervals: a line for each row. Where there is room, the panels are side by side and the names of the
    rows at the left; else the panels are one below the other, and each name is above its line.

    row: the height of a row in pixels, where the panels are side by side.
    """
    least = _APART * max((len(line) for panel in panels for line in panel.dots), default=0) + 8
    names = [_tag("div", name, cls="name", title=name) for name in rows]
    parts = ['<div class="names-at-left">', *names, "</div>"]
    for panel in panels:
        parts += ['<div class="panel">', _tag("div", panel.axis.title, cls="axis-title")]
        for name, line in zip(rows, panel.dots, strict=True):
            parts += [_tag("div", name, cls="name"), "<svg>", *_row(panel, line), "</svg>"]
        wide = _BESIDE if len(panels) > 1 else _WIDE
        parts += ['<svg height="24">', *_labels(panel.axis, 16, wide=wide), "</svg>", "</div>"]
    many = " many" if len(panels) > 3 else ""
    return _chart(
        label,
        [f'<div class="panels{many}">', *parts, "</div>"],
        f"{_wide_names(rows)}; --row: {max(row, least)}px; --least: {least}px",
    )


def _row(panel: Panel, line: Sequence[Dot]) -> list[str]:
    parts = [_upright("grid", panel.axis.place(value)) for value, _ in panel.axis.ticks]
    parts.append(_line("grid", 0, 100, "50%"))
    if panel.reference is not None:
        parts.append(_upright("rule", panel.axis.place(panel.reference)))
    for position, dot in enumerate(line):
        parts.append(f'<g transform="translate(0 {_APART * (position - (len(line) - 1) / 2):g})">')
        if dot.low is not None and dot.high is not None:
            parts.append(_line(f"whisker {dot.style}", panel.axis.place(dot.low), panel.axis.place(dot.high), "50%"))
        x = f"{panel.axis.place(dot.value)}%"
        parts += [_tag("circle", tooltip=dot.tooltip, cls=f"dot {dot.style}", cx=x, cy="50%", r=4), "</g>"]
    return parts


def _wide_names(names: Sequence[str]) -> str:
    """The width of the names at the left of the rows; longer ones are cut there, and shown under the pointer."""
    return f"--names: {min(220, math.ceil(_CHARACTER * max(map(len, names), default=0)) + 12)}px"


def _joined(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _chart(label: str, parts: Iterable[str], style: str = "") -> str:
    opening = f'<div class="chart" role="img" aria-label="{escape(label)}" style="{style}">'
    return "\n".join([opening, *parts, "</div>"])


def _line(cls: str, start: float, end: float, y: float | str) -> str:
    return _tag("line", cls=cls, x1=f"{start}%", x2=f"{end}%", y1=y, y2=y)


def _upright(cls: str, x: float) -> str:
    return _tag("line", cls=cls, x1=f"{x}%", x2=f"{x}%", y1="0", y2="100%")


def _text(x: str, y: float, text: str, anchor: str, cls: str = "tick", dx: int = 0) -> str:
    return _tag("text", text, cls=cls, x=x, y=round(y, 1), anchor=anchor, dx=dx)


_NAMES = {"cls": "class", "anchor": "text-anchor"}


def _tag(name: str, text: str = "", tooltip: str = "", **attributes: str | float) -> str:
    """An element, its text escaped. tooltip: shown under the pointer."""
    written = "".join(f' {_NAMES.get(key, key)}="{escape(str(value))}"' for key, value in attributes.items())
    title = f"<title>{escape(tooltip)}</title>" if tooltip else ""
    return f"<{name}{written}>{title}{escape(text)}</{name}>"
