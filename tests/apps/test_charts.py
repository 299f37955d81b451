"""Charts: points are drawn where the axes say, and text is escaped."""

from __future__ import annotations

from fuseid.apps.charts import Axis, Dot, Panel, Plot, Point, Series, bars, dots, linear, logarithmic, named

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
    series = Series("s", "s1", [Point(0, 0), Point(2.5, 1, tooltip=HOSTILE)])
    drawn = Plot("<label>", x, y, height=100).lines([series]).drawn()
    assert '<circle class="dot s1" cx="0.0%" cy="100.0" r="4"></circle>' in drawn
    assert 'cx="25.0%" cy="0.0"' in drawn
    assert 'points="0,100 250,0"' in drawn
    assert "&lt;x&gt;" in drawn
    assert HOSTILE not in drawn
    parsed(drawn)


def test_labels_without_room_are_left_out_on_narrow_screens_and_then_on_wide_ones():
    def shown(count: int) -> tuple[int, int]:
        drawn = Plot("p", named("x", [f"2026-{n:02d}" for n in range(count)]), Axis("y", 0.0, 1.0, [(0, "0")])).drawn()
        both, narrow, wide = (drawn.count(f'class="tick{only}" x="') for only in ("", " only-narrow", " only-wide"))
        return both - 1 + narrow, both - 1 + wide

    assert shown(3) == (3, 3)
    assert shown(5) == (3, 5)
    narrow, wide = shown(60)
    assert 2 <= narrow < wide < 8


def test_bars_have_their_text_beside_them():
    points = [Point(0, 0.5, text="50%"), Point(1, 0.25, text=HOSTILE)]
    drawn = bars("<label>", "share", ["1", "<2>"], [Series("s", "s1", points)])
    assert 'x="0" y="3" width="100.0%"' in drawn
    assert 'x="0" y="3" width="50.0%"' in drawn
    assert "&lt;2&gt;" in drawn
    assert HOSTILE not in drawn
    parsed(drawn)


def test_a_dot_without_an_interval_has_no_whisker():
    axis = Axis("x", 0.0, 1.0, [(0.0, "0")])
    drawn = dots("l", [HOSTILE], [Panel(axis, [[Dot(0.5, None, None, "s1", ""), Dot(0.5, 0.4, 0.6, "s2", HOSTILE)]])])
    assert drawn.count("whisker") == 1
    assert HOSTILE not in drawn
    parsed(drawn)
