"""Time stamps: every kind becomes the same instant, and an ambiguous one is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.pipelines.sequences.clock import Clock
from fuseid.pipelines.sequences.options import parse_cuts

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SECONDS = int(NOON.timestamp())


@pytest.mark.parametrize(
    "column",
    [
        pa.array([SECONDS]),
        pa.array([SECONDS], pa.int32()),
        pa.array([SECONDS * 10**3]),
        pa.array([SECONDS * 10**6]),
        pa.array([SECONDS * 10**9], pa.uint64()),
        pa.array([float(SECONDS)]),
        pa.array([str(SECONDS)]),
        pa.array([f"{SECONDS}.0"]),
        pa.array([f"{SECONDS}000000000"]),
        pa.array([f" {SECONDS}000 "], pa.large_string()),
        pa.array([NOON], pa.timestamp("s", "UTC")),
        pa.array([NOON], pa.timestamp("ns", "Asia/Tokyo")),
        pa.array(["2024-05-01T12:00:00Z"]),
        pa.array(["2024-05-01 14:00+02:00"]),
        pa.array(["2024-05-01T07:00:00.000000000-0500"]),
        pa.array(["2024-05-01T14:00:00.000+02"]),
        pa.array(["2024-05-01 12:00:00 UTC"]),  # bq extract
        pa.array(["2024-05-01 12:00:00.000000 UTC"]),
        pa.array(["2024-05-01 14:00:00.000 +0200"]),  # Snowflake
        pa.array(["2024-05-01 12:00:00+0000"]),
        pa.array(["2024-05-01 12:00:00+00"]),  # PostgreSQL
        pa.array(["2024-05-01 12:00:00utc"]),
        pa.array(["2024-05-01t12:00:00z"]),
        pa.array(["2024-05-01 12:00 GMT"], pa.string_view()),
        pa.array([b"2024-05-01 12:00:00 UTC"]),
    ],
    ids=lambda column: f"{column.type} {column[0]}",
)
def test_every_kind_of_time_stamp_is_the_same_instant(column):
    assert Clock().read(column).to_pylist() == [NOON]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["2024-05-01 14:00:00"]),
        pa.array([datetime(2024, 5, 1, 14)], pa.timestamp("ms")),
    ],
)
def test_local_times_need_a_zone(column):
    assert Clock(zone="Europe/Berlin").read(column).to_pylist() == [NOON]
    with pytest.raises(BadInput, match=r"'2024-05-01 14:00:00'.*name it with time_zone="):
        Clock().read(column)


def test_a_date_is_its_midnight():
    midnight = [datetime(2024, 5, 1, tzinfo=UTC)]
    assert Clock(zone="UTC").read(pa.array([date(2024, 5, 1)])).to_pylist() == midnight
    assert Clock(zone="UTC").read(pa.array(["2024-05-01"])).to_pylist() == midnight


def test_fractions_of_a_second_are_kept_to_the_microsecond():
    found = Clock().read(pa.array(["2024-05-01T12:00:00.123456789Z", "2024-05-01T12:00:00.5Z"])).to_pylist()
    assert found == [NOON + timedelta(microseconds=123456), NOON + timedelta(microseconds=500000)]
    assert Clock().read(pa.array([SECONDS + 0.25])).to_pylist() == [NOON + timedelta(microseconds=250000)]


def test_what_is_no_time_stamp_is_null():
    column = pa.array(["2024-05-01T12:00Z", "yesterday", "2024-13-01T12:00Z", "", None, "2024-05-01T12:00Z"])
    assert Clock().read(column).to_pylist() == [NOON, None, None, None, None, NOON]
    column = pa.array(["2024-05-01 12:00:00 UTC", "2024-05-01 12:00:00 CET", "2024-05-01T12:00Z", "2024-05-01 UTC"])
    assert Clock().read(column).to_pylist() == [NOON, None, NOON, None]
    # Milliseconds among seconds, and texts among numbers.
    assert Clock().read(pa.array([SECONDS, SECONDS * 1000, None])).to_pylist() == [NOON, None, None]
    assert Clock().read(pa.array([str(SECONDS), "2024-05-01T12:00Z", "x"])).to_pylist() == [NOON, None, None]
    assert Clock().read(pa.array([float(SECONDS), float("nan"), float("inf")])).to_pylist() == [NOON, None, None]


def test_the_first_batch_decides_the_unit_for_all():
    clock = Clock()
    clock.read(pa.array([SECONDS]))
    assert clock.unit == "s"
    assert clock.read(pa.array([SECONDS * 1000])).to_pylist() == [None]


@pytest.mark.parametrize("value", [0, 12, 99_999_999, -SECONDS, 20240501])
def test_a_number_that_may_count_anything_needs_a_unit(value):
    with pytest.raises(BadInput, match=f"time stamp {value} may count anything; name what with time_unit="):
        Clock().read(pa.array([value]))
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value)
    assert Clock("s").read(pa.array([value])).to_pylist() == [instant]


def test_hours_that_clocks_skip_or_repeat_are_refused():
    for text in ("2024-03-31 02:30:00", "2024-10-27 02:30:00"):
        with pytest.raises(BadInput, match="names no instant in Europe/Berlin"):
            Clock(zone="Europe/Berlin").read(pa.array([text]))


def test_other_types_units_and_zones_are_refused():
    with pytest.raises(BadInput, match="cannot be of type bool"):
        Clock().read(pa.array([True]))
    with pytest.raises(BadInput, match="unknown time unit 'h'; there are s, ms, us, ns"):
        Clock("h")
    with pytest.raises(BadInput, match="unknown time zone 'Moon/Sea'"):
        Clock(zone="Moon/Sea")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    when=st.datetimes(datetime(1980, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
    hours=st.integers(-12, 14),
)
def test_text_number_and_typed_columns_agree(when, hours):
    local = when.astimezone(timezone(timedelta(hours=hours)))
    micros = (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert Clock().read(pa.array([local.isoformat()])).to_pylist() == [when]
    assert Clock("us").read(pa.array([micros])).to_pylist() == [when]


def test_cuts_are_shares_or_instants():
    assert parse_cuts("0.8, 0.9", None) == (Fraction(4, 5), Fraction(9, 10))
    noon = SECONDS * 10**6
    assert parse_cuts("2024-05-01T12:00Z,2024-05-01T14:00+02:00", None) == (noon, noon)
    assert parse_cuts("2024-05-01 14:00", "Europe/Berlin") == (noon,)
    assert parse_cuts("2024-05-01 12:00:00 UTC,2024-05-01 12:00:00 +0000", None) == (noon, noon)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1.5,2", "between 0 and 1, got 1.5"),
        ("soon", "shares like 0.8 or time stamps"),
        ("2024-05-01", r"have no time zone \(one is '2024-05-01'\)"),
    ],
)
def test_invalid_cuts_are_refused(text, said):
    with pytest.raises(BadInput, match=said):
        parse_cuts(text, None)
