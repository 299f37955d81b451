"""TSV is read as CSV with tabs, and a quote within a field is text in it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.pipelines.files.data_file import DataFile
from fuseid.pipelines.sources.delimited import delimited_rows

ROWS = st.lists(st.lists(st.text('ab ,"\t\n;é', max_size=6), min_size=2, max_size=2), min_size=1, max_size=6)


def read(path: Path, text: str) -> list[dict[str, str]]:
    path.write_text(text, newline="")
    file = DataFile(path, path.suffix[1:], str(path))
    return [row for _, row in delimited_rows(file, lambda names: None, lambda record, first, names: None)]


@pytest.mark.parametrize(("form", "delimiter"), [("csv", ","), ("tsv", "\t")])
@settings(max_examples=60, deadline=None)
@given(rows=ROWS)
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, form, delimiter, rows):
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter).writerows([["content_id", "caption"], *rows])
    found = read(tmp_path_factory.getbasetemp() / f"m.{form}", buffer.getvalue())
    assert [list(row.values()) for row in found] == rows


def test_a_quote_within_a_field_of_tsv_is_text(tmp_path):
    text = 'content_id\tcaption\na\t5" pipe, 3\' long\nb\t"in quotes"\nc\tsay "so"\n'
    assert [row["caption"] for row in read(tmp_path / "m.tsv", text)] == ["5\" pipe, 3' long", "in quotes", 'say "so"']


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('a\t"open\nb\tx\n', "line 2: the quote that opens here is never closed"),
        ('a\t"so" he said\n', "line 2: text follows the quote that closes a field"),
        ("a\n", "line 2 has fewer fields than the header: 1 of 2"),
    ],
)
def test_a_tsv_that_would_hide_rows_is_refused(tmp_path, text, said):
    with pytest.raises(BadInput, match=said):
        read(tmp_path / "m.tsv", f"content_id\tcaption\n{text}")
