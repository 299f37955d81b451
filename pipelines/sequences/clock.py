"""Converts time stamps of every kind to microseconds since 1970 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import BadInput
from fuseid.core.names import check_known
from fuseid.core.nearest import nearest
from fuseid.core.reasons import reason
from fuseid.core.surface import option
from fuseid.pipelines.sources.texts import is_text, texts_of

UTC_TIME = pa.timestamp("us", "UTC")
# The unit of a number by its size: each range covers the years 1973 to 5138 in that unit; the ranges do not overlap.
_UNITS = {"s": (10**8, 10**11), "ms": (10**11, 10**14), "us": (10**14, 10**17), "ns": (10**17, 2**63 - 1)}
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# Years 1 to 9999, those that Python and Parquet readers can show.
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
_NUMBER = r"^-?\d{1,19}$"
_DECIMAL = r"^-?\d{1,19}(\.\d*)?$"
_LOCAL = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?)?$"
_AWARE = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)$"
# Other spellings of these: BigQuery writes `2024-05-01 14:00:00 UTC`, Snowflake a space before the offset.
_SPELLINGS = ((r"(?i)^(\d{4}-\d\d-\d\d)t", r"\1T"), (r"(?i) ?(UTC|GMT|Z)$", "Z"), (r" ([+-]\d\d(:?\d\d)?)$", r"\1"))


class Clock:
    """Reads time stamps batch by batch; the first one decides the unit of all numbers.

    unit: of numbers; None derives it from their size. zone: of time stamps without one; None refuses these.
    """

    def __init__(self, unit: str | None = None, zone: str | None = None) -> None:
        if unit is not None:
            check_known("time unit", unit, _UNITS)
        if zone is not None:
            zone_named(zone)
        self.unit = unit
        self._given = unit is not None
        self.zone = zone
        self._numbers: bool | None = None

    def read(self, column: pa.Array) -> pa.Array:
        """-> timestamp[us, UTC], null for a time stamp that is missing or invalid.

        Raises BadInput for a column of another type, for numbers of no clear unit, and for local times without a zone.
        """
        kind = column.type
        if pa.types.is_integer(kind):
            return self._of_numbers(column.cast(pa.int64(), safe=False))
        if pa.types.is_floating(kind):
            return self._of_numbers(column.cast(pa.float64()))
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            return self._of_times(column)
        if is_text(kind):
            return self._of_texts(pc.utf8_trim_whitespace(texts_of(column)))
        raise BadInput(f"a timestamp cannot be of type {kind}; times, dates, numbers and ISO 8601 texts are read")

    def _of_numbers(self, column: pa.Array) -> pa.Array:
        if column.null_count == len(column):
            return pa.nulls(len(column), UTC_TIME)
        if self.unit is None:
            self.unit = _unit_of(column.drop_null()[0].as_py())
        values = column.fill_null(0).to_numpy(zero_copy_only=False)
        low, high = (-np.inf, np.inf) if self._given else _UNITS[self.unit]
        per_second = _PER_SECOND[self.unit]
        with np.errstate(invalid="ignore"):
            micros = values * (10**6 / per_second)
            good = column.is_valid().to_numpy(zero_copy_only=False) & (values >= low) & (values < high)
            good &= (micros >= _FIRST) & (micros <= _LAST)
        values = np.where(good, values, 0)
        if values.dtype.kind == "f":
            found = np.rint(values * (10**6 / per_second)).astype(np.int64)
        else:
            found = values * (10**6 // per_second) if per_second <= 10**6 else values // (per_second // 10**6)
        return pa.array(found, mask=~good).cast(UTC_TIME)

    def _of_times(self, column: pa.Array) -> pa.Array:
        if pa.types.is_date(column.type):
            column = column.cast(pa.timestamp("ms"))
        if column.type.tz is None:
            self._need_zone(column.drop_null())
            column = self._in_zone(column)
        try:
            found = column.cast(UTC_TIME, safe=column.type.unit != "ns")
        except pa.ArrowInvalid as error:
            raise BadInput(f"a time stamp lies too far away: {reason(error)}") from None
        ticks = found.cast(pa.int64())
        return pc.if_else(pc.and_(pc.greater_equal(ticks, _FIRST), pc.less_equal(ticks, _LAST)), found, None)

    def _need_zone(self, local: pa.Array) -> None:
        if len(local) and self.zone is None:
            raise BadInput(
                f"time stamps have no time zone (one is {str(local[0])!r}); name it with {option('time_zone')}, UTC "
                "for instance"
            )

    def _in_zone(self, local: pa.Array) -> pa.Array:
        try:
            return pc.assume_timezone(local, self.zone or "UTC", ambiguous="raise", nonexistent="raise")
        except (pa.ArrowInvalid, OSError) as error:
            raise BadInput(
                f"a time stamp names no instant in {self.zone}, where clocks are changed: "
                f"{reason(error)}; write it with its offset"
            ) from None

    def _of_texts(self, texts: pa.Array) -> pa.Array:
        some = texts.drop_null()
        if not len(some):
            return pa.nulls(len(texts), UTC_TIME)
        if self._numbers is None:
            self._numbers = pc.match_substring_regex(some[:1], _DECIMAL)[0].as_py()
        if self._numbers:
            return self._of_numeric_texts(texts)
        local, aware = _matches(texts, _LOCAL), _matches(texts, _AWARE)
        if (pc.sum(local).as_py() or 0) + (pc.sum(aware).as_py() or 0) < len(some):
            for spelling, usual in _SPELLINGS:
                texts = pc.replace_substring_regex(texts, spelling, usual)
            local, aware = _matches(texts, _LOCAL), _matches(texts, _AWARE)
        self._need_zone(texts.filter(local))
        return pc.coalesce(
            self._iso(pc.if_else(aware, texts, None), UTC_TIME), self._iso(pc.if_else(local, texts, None), None)
        )

    def _of_numeric_texts(self, texts: pa.Array) -> pa.Array:
        whole = pc.match_substring_regex(texts, _NUMBER)
        if pc.all(whole).as_py():
            return self._of_numbers(texts.cast(pa.int64()))
        numeric = pc.fill_null(pc.match_substring_regex(texts, _DECIMAL), False)
        return self._of_numbers(pc.if_else(numeric, texts, None).cast(pa.float64()))

    def _iso(self, texts: pa.Array, kind: pa.DataType | None) -> pa.Array:
        """ISO 8601 texts with an offset (kind UTC_TIME) or without one (None)."""
        if texts.null_count == len(texts):
            return pa.nulls(len(texts), UTC_TIME)
        if pc.any(pc.match_substring_regex(texts, r"\.\d{7}")).as_py():
            texts = pc.replace_substring_regex(texts, r"(\.\d{6})\d{1,3}", r"\1")
        try:
            times = texts.cast(kind or pa.timestamp("us"))
        except pa.ArrowInvalid:
            # At least one is not a date: finds out which.
            times = pa.array([_iso_or_none(text) for text in texts.to_pylist()], kind or pa.timestamp("us"))
        return times if kind is not None else self._of_times(times)


def instant(text: str, zone: str | None) -> int | None:
    """A time stamp as text -> microseconds since 1970 in UTC; None for any other text. zone: of one without a zone.

    Raises BadInput for a local time without a zone, and for one that its zone skips or repeats.
    """
    clock = Clock(zone=zone)
    clock._numbers = False
    return clock.read(pa.array([text])).cast(pa.int64())[0].as_py()


def zone_named(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = " or ".join(nearest(name, available_timezones()))
        meant = f"did you mean {near}?" if near else "names are like UTC or Europe/Berlin"
        raise BadInput(f"unknown time zone {name!r}; {meant}") from None


def _matches(texts: pa.Array, pattern: str) -> pa.Array:
    return pc.fill_null(pc.match_substring_regex(texts, pattern), False)


def _unit_of(value: float) -> str:
    for unit, (low, high) in _UNITS.items():
        if low <= value < high:
            return unit
    raise BadInput(
        f"the time stamp {value} may count anything; name what with {option('time_unit')} ({', '.join(_UNITS)}), "
        "since 1970"
    )


def _iso_or_none(text: str | None) -> datetime | None:
    try:
        when = datetime.fromisoformat(text or "")
        # On the first or last day of the range, an offset may lead outside it.
        return when.astimezone(UTC) if when.tzinfo else when
    except (ValueError, OverflowError):
        return None


def shown(micros: int) -> str:
    """An instant as ISO 8601 in UTC."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).isoformat()
