"""The set of the ids of a source: which occur more than once, and where."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.pipelines.sources.key_set import KeySet


@settings(max_examples=20)
@given(st.lists(st.text("abc", max_size=3), max_size=40), st.integers(1, 7), st.integers(1, 4), st.integers(1, 4))
def test_repeated_ids_are_counted_and_the_first_are_named_with_their_rows(ids, size, most, most_rows):
    parts = [pa.array(ids[at : at + size], pa.string()) for at in range(0, len(ids), size)]
    expected: dict[str, list[int]] = {}
    times = Counter(ids)
    for number, one in enumerate(ids):
        if times[one] > 1 and (one in expected or len(expected) < most):
            expected.setdefault(one, []).append(number)
    with TemporaryDirectory() as folder:
        keys = KeySet(Path(folder))
        assert keys.gather(parts) == sum(count > 1 for count in times.values())
        assert keys.count == len(ids)
        found = keys.repeated(parts, most, most_rows)
    assert list(found.items()) == [(one, rows[:most_rows]) for one, rows in expected.items()]
