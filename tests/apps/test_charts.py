"""Charts as SVG: points are drawn where the axes say, and text is escaped."""

from __future__ import annotations

from fuseid.apps.charts import Axis, Dot, Panel, Plot, Point, Series, dots, linear, logarithmic

from .markup import HOSTILE, parsed


def test_axes_hold_their_data_and_have_round_ticks():
    axis = linear("x", 0.0, 0.47, "{:g}".format)
    assert (axis.low, axis.high) == (0.0, 0.5)
    assert [text for _, text in axis.ticks] == ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]
    assert [text for _, text in logarithmic("x", 0.3, 3.0, "{:g}".format).ticks] == ["0.2", "0.5", "1", "2", "5"]
    wide = logarithmic("x", 0.001, 900.0, "{:g}".format)
    assert (wide.low, wide.high) == (0.001, 1000.0)
    assert len(wide.ticks) == 7
    for low, high in ((0.0, 0.0), (5.0, 5.0), (-0.3, 0.1)):
        axis = linear("x", low, high, str)
        assert axis.low <= low < axis.high
        assert high <= axis.high


def test_points_lie_where_the_axes_say_and_text_is_escaped():
    x, y = Axis("<x>", 0.0, 10.0, [(0.0, "0")]), Axis("y", 0.0, 1.0, [(0.0, "0")])
    svg = str(
        Plot("<label>", x, y, 200, 100).lines([Series("s", "s1", [Point(0, 0), Point(10, 1, tooltip=HOSTILE)])]).svg()
    )
    assert '<circle class="dot s1" cx="62.0" cy="54.0" r="4"></circle>' in svg
    assert 'cx="184.0" cy="12.0"' in svg
    assert "&lt;x&gt;" in svg
    assert HOSTILE not in svg
    parsed(svg)


def test_a_dot_without_an_interval_has_no_whisker():
    axis = Axis("x", 0.0, 1.0, [(0.0, "0")])
    svg = str(dots("l", ["a"], [Panel(axis, [[Dot(0.5, None, None, "s1", ""), Dot(0.5, 0.4, 0.6, "s2", "")]])]))
    assert svg.count("whisker") == 1
    parsed(svg)
