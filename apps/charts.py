"""Plots as inline SVG: lines, bars, and dots with intervals. Colours and fonts are the page's, by class names.

The functions return markup in which all text is escaped, so templates insert it unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Point:
    """x and y in the units of the axes, with an interval of y if there is one. tooltip: shown under the pointer. text:
    shown above a bar."""

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

    def place(self, value: float, start: float, end: float) -> float:
        """The pixel position of a value on an axis drawn from `start` to `end`; values beyond an end are at the end."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, max(value, self.low)))
        share = (min(value, high) - low) / ((high - low) or 1.0)
        return round(start + share * (end - start), 1)


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


_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 12, 46
# Of the room for a point, what its bars take.
_BAR_SHARE = 0.72


class Plot:
    """A frame with two axes; points are given in the units of the axes."""

    def __init__(self, label: str, x: Axis, y: Axis, width: int = 560, height: int = 300) -> None:
        self.label, self.x, self.y = label, x, y
        self.width, self.height = width, height
        self._left, self._right = _LEFT, width - _RIGHT
        self._top, self._bottom = _TOP, height - _BOTTOM
        self._parts: list[str] = []
        self._axes()

    def lines(self, series: Iterable[Series], marks: bool = True) -> Plot:
        """A line through each series' points; with an interval, a band behind it. marks: dots at the points."""
        for one in series:
            known = [p for p in one.points if p.low is not None and p.high is not None]
            if len(known) > 1:
                edge = [self._at(p.x, p.high or 0) for p in known] + [self._at(p.x, p.low or 0) for p in known[::-1]]
                self._add("polygon", cls=f"band {one.style}", points=_joined(edge))
            if len(one.points) > 1:
                self._add("polyline", cls=f"line {one.style}", points=_joined(self._at(p.x, p.y) for p in one.points))
            for p in one.points if marks else ():
                x, y = self._at(p.x, p.y)
                self._add("circle", p.tooltip, cls=f"dot {one.style}", cx=x, cy=y, r=4)
        return self

    def bars(self, series: Sequence[Series]) -> Plot:
        """A bar from zero for each point, those of several series side by side, with its text above it."""
        unit = self.x.place(1, self._left, self._right) - self.x.place(0, self._left, self._right)
        width = unit * _BAR_SHARE / len(series)
        for number, one in enumerate(series):
            for p in one.points:
                x, y = self._at(p.x, p.y)
                left = x - unit * _BAR_SHARE / 2 + number * width
                if p.text:
                    self._text(left + width / 2, y - 5, p.text, "middle")
                self._add(
                    "rect", p.tooltip, cls=f"bar {one.style}", x=round(left, 1), y=y, width=round(width - 1, 1),
                    height=round(self._bottom - y, 1), rx=2,
                )  # fmt: skip
        return self

    def rule(self, y: float, text: str) -> Plot:
        """A dashed horizontal line with a label."""
        at = self._at(self.x.low, y)[1]
        self._add("line", cls="rule", x1=self._left, x2=self._right, y1=at, y2=at)
        self._text(self._right, at - 5, text, "end")
        return self

    def svg(self) -> str:
        return _svg(self.width, self.height, self.label, self._parts)

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return self.x.place(x, self._left, self._right), self.y.place(y, self._bottom, self._top)

    def _axes(self) -> None:
        for value, text in self.y.ticks:
            at = self._at(self.x.low, value)[1]
            self._add("line", cls="grid", x1=self._left, x2=self._right, y1=at, y2=at)
            self._text(self._left - 8, at + 4, text, "end")
        for value, text in self.x.ticks:
            at = self._at(value, self.y.low)[0]
            self._text(at, self._bottom + 17, text, "middle")
        self._add("line", cls="axis", x1=self._left, x2=self._right, y1=self._bottom, y2=self._bottom)
        self._text((self._left + self._right) / 2, self.height - 8, self.x.title, "middle", "title")
        middle = (self._top + self._bottom) / 2
        turned = _tag(
            "text", self.y.title, cls="title", transform=f"translate(14 {middle}) rotate(-90)", anchor="middle"
        )
        self._parts.append(turned)

    def _add(self, name: str, tooltip: str = "", **attributes: str | float) -> None:
        self._parts.append(_tag(name, "", tooltip, **attributes))

    def _text(self, x: float, y: float, text: str, anchor: str, cls: str = "tick") -> None:
        self._parts.append(_tag("text", text, cls=cls, x=round(x, 1), y=round(y, 1), anchor=anchor))


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


_GUTTER = 24


def dots(
    label: str, rows: Sequence[str], panels: Sequence[Panel], width: int = 560, names: int = 120, row: int = 26
) -> str:
    """Dots with intervals: a line for each row, with its name at the left; the panels are side by side.

    names: the width of the names, row: the height of a row, both in pixels.
    """
    height = _TOP + 8 + row * len(rows) + _BOTTOM
    bottom = height - _BOTTOM
    parts: list[str] = []
    for number, name in enumerate(rows):
        at = _TOP + 8 + row * (number + 0.5)
        shown = name if len(name) * 6.3 < names else name[: int(names / 6.3) - 1] + "…"
        parts.append(
            _tag("text", shown, tooltip=name if shown != name else "", cls="name", x=names - 8, y=at + 4, anchor="end")
        )
        parts.append(_tag("line", cls="grid", x1=names, x2=width - _RIGHT, y1=at, y2=at))
    room = (width - names - _RIGHT) / len(panels)
    for number, panel in enumerate(panels):
        left, right = names + number * room + _GUTTER, names + (number + 1) * room - _GUTTER
        parts += _panel(panel, left, right, bottom, row)
    return _svg(width, height, label, parts)


def _panel(panel: Panel, left: float, right: float, bottom: float, row: int) -> list[str]:
    parts = []
    for value, text in panel.axis.ticks:
        at = panel.axis.place(value, left, right)
        parts.append(_tag("line", cls="grid", x1=at, x2=at, y1=_TOP, y2=bottom))
        parts.append(_tag("text", text, cls="tick", x=at, y=bottom + 17, anchor="middle"))
    if panel.reference is not None:
        at = panel.axis.place(panel.reference, left, right)
        parts.append(_tag("line", cls="rule", x1=at, x2=at, y1=_TOP, y2=bottom))
    parts.append(
        _tag("text", panel.axis.title, cls="title", x=round((left + right) / 2, 1), y=bottom + 38, anchor="middle")
    )
    for number, line in enumerate(panel.dots):
        for position, dot in enumerate(line):
            at = _TOP + 8 + row * (number + 0.5) + 9 * (position - (len(line) - 1) / 2)
            if dot.low is not None and dot.high is not None:
                low, high = (panel.axis.place(v, left, right) for v in (dot.low, dot.high))
                parts.append(_tag("line", cls=f"whisker {dot.style}", x1=low, x2=high, y1=at, y2=at))
            x = panel.axis.place(dot.value, left, right)
            parts.append(_tag("circle", tooltip=dot.tooltip, cls=f"dot {dot.style}", cx=x, cy=at, r=4))
    return parts


def _joined(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _svg(width: int, height: float, label: str, parts: Iterable[str]) -> str:
    opening = f'<svg viewBox="0 0 {width} {height:g}" role="img" aria-label="{escape(label)}">'
    return "\n".join([opening, *parts, "</svg>"])


_NAMES = {"cls": "class", "anchor": "text-anchor"}


def _tag(name: str, text: str = "", tooltip: str = "", **attributes: str | float) -> str:
    """An SVG element, its text escaped. tooltip: shown under the pointer."""
    written = "".join(f' {_NAMES.get(key, key)}="{escape(str(value))}"' for key, value in attributes.items())
    title = f"<title>{escape(tooltip)}</title>" if tooltip else ""
    return f"<{name}{written}>{title}{escape(text)}</{name}>"
