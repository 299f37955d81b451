"""The registry of formats of ID exports."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fuseid.core.errors import BadInput
from fuseid.pipelines.exports.formats import parquet
from fuseid.pipelines.exports.registry import FORMATS, format_named


def test_the_registry_names_every_format_and_an_unknown_name_is_bad_input():
    folder = Path(parquet.__file__).parent
    written = {path.stem for path in folder.glob("*.py") if re.search(r"^NAME = ", path.read_text(), re.MULTILINE)}
    assert set(FORMATS) == written
    assert [format_named(name).NAME for name in FORMATS] == list(FORMATS)
    with pytest.raises(BadInput, match="unknown format 'csv'; there are parquet, grid, minionerec, openonerec"):
        format_named("csv")
