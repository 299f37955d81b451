"""Items sorted by their codes, in parts that fit into memory."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fuseid.pipelines.exports.formats.by_codes import by_codes

from .format_items import info_of, item, many, table_of


@pytest.mark.parametrize("part_rows", [7, 400, 5000])
def test_a_sort_in_parts_is_the_sort_of_all(part_rows, tmp_path):
    table = many(3000)
    facts = info_of(table, (12, 12, 12))
    shuffled = table.take(np.random.default_rng(7).permutation(3000))
    parts = list(by_codes(iter(shuffled.to_batches(100)), tmp_path, facts, part_rows))
    rows = [
        (*codes, digit, name)
        for part in parts
        for codes, digit, name in zip(
            part.codes_NL.tolist(), part.digits_N.tolist(), part.content_ids.to_pylist(), strict=True
        )
    ]
    assert rows == sorted((*row["codes"], row["suffix"] or 0, row["content_id"]) for row in table.to_pylist())
    assert (len(parts) > 1) == (part_rows < 3000)
    owners = Counter(codes for part in parts for codes in set(map(tuple, part.codes_NL.tolist())))
    assert set(owners.values()) == {1}
    assert list(tmp_path.iterdir()) == []


def test_a_sort_of_codes_that_fill_more_than_one_key(tmp_path):
    rng = np.random.default_rng(2)
    sizes = (1 << 30,) * 5
    codes_NL = rng.integers(0, 1 << 30, (200, 5)).tolist()
    twins = table_of([item(f"{n:03d}{twin}", codes) for n, codes in enumerate(codes_NL) for twin in ("", "b")])
    shuffled = twins.take(rng.permutation(400))
    (part,) = by_codes(iter(shuffled.to_batches()), tmp_path, info_of(twins, sizes))
    assert part.codes_NL.tolist() == sorted(twins["codes"].to_pylist())
    names = part.content_ids.to_pylist()
    assert [name + "b" for name in names[::2]] == names[1::2]
