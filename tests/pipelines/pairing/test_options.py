"""Options of pairs: each method has its own, and a value outside its range is named."""

from __future__ import annotations

import math

import pytest

from fuseid.core.errors import BadInput
from fuseid.pipelines.pairing.options import DEFAULTS, METHODS, Options, parse_until


def test_a_method_has_its_own_options_with_their_values() -> None:
    assert set(DEFAULTS) == set(METHODS)
    shared = {"until": None, "leave_out": 0, "max_history": 500, "most": 50, "least": 2}
    for method in METHODS:
        assert Options(method).facts() == {"method": method, **shared, **DEFAULTS[method]}
    assert Options("window", window=7, by_distance=True).facts()["window"] == 7
    assert Options("swing", until=1_714_564_800_000_000).facts()["until"] == "2024-05-01T12:00:00+00:00"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "swng"}, "unknown method 'swng'; did you mean swing?"),
        ({"method": "swing", "window": 3}, "window= belongs to window and cooccurrence, not to swing"),
        ({"method": "window", "alpha": 1.0}, "alpha= belongs to swing, not to window"),
        ({"method": "cooccurrence", "popularity": 0.5}, "popularity= belongs to window, not to cooccurrence"),
        ({"method": "window", "window": 0}, "window= is 1 to 500, got 0"),
        ({"method": "window", "window": 9, "max_history": 8}, "window= is 1 to 8, got 9"),
        ({"method": "window", "session": 0.0}, "session= is above 0, got 0.0"),
        ({"method": "window", "popularity": 1.5}, "popularity= is 0 to 1, got 1.5"),
        ({"method": "window", "popularity": math.nan}, "popularity= is 0 to 1, got nan"),
        ({"method": "cooccurrence", "smoothing": -0.1}, "smoothing= is 0 to 1, got -0.1"),
        ({"method": "swing", "alpha": math.inf}, "alpha= is 0 or more, got inf"),
        ({"method": "swing", "alpha": -1.0}, "alpha= is 0 or more, got -1.0"),
        ({"method": "swing", "most_users": 1}, "most_users= is 2 to 2000, got 1"),
        ({"method": "swing", "most": 0}, "most= is 1 to 1000, got 0"),
        ({"method": "swing", "least": 0}, "least= is 1 to"),
        ({"method": "swing", "leave_out": -1}, "leave_out= is 0 to 10000, got -1"),
        ({"method": "swing", "max_history": 1}, "max_history= is 2 to 10000, got 1"),
    ],
)
def test_an_option_that_cannot_be_is_named_with_what_it_may_be(given, said) -> None:
    with pytest.raises(BadInput) as refused:
        Options(**given)
    assert said in str(refused.value)


def test_a_limit_is_a_time_stamp() -> None:
    assert parse_until(" 2024-05-01T12:00Z", None) == parse_until("2024-05-01T14:00", "Europe/Berlin")
    for text, said in (("yesterday", "takes a time stamp"), ("2024-05-01", "have no time zone"), ("0.8", "got '0.8'")):
        with pytest.raises(BadInput, match=said):
            parse_until(text, None)
