"""Figures of a report as text: three digits, and their unit."""

from __future__ import annotations

import pytest

from fuseid.apps.figures import figure, interval


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0984, "share", "9.84%"), (1.0, "share", "100%"), (0.99996, "share", "100%"), (4.1e-6, "share", "0.00041%"),
        (0, "share", "0%"), (39.0, "count", "39"), (2.4, "count", "2.40"), (1_234_567.0, "count", "1,234,567"),
        (-0.235, "number", "-0.235"), (96.87, "number", "96.9"), (None, "share", ""),
    ],
)  # fmt: skip
def test_figures_have_three_digits_and_their_unit(value, unit, text):
    assert figure(value, unit) == text


def test_an_interval_names_its_unit_once():
    assert interval({"low": 0.0942, "high": 0.103}, "share") == "9.42 to 10.3%"
    assert interval({"low": None, "high": None}, "share") == ""
