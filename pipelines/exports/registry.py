"""The formats of exported IDs, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from fuseid.core.names import check_known
from fuseid.pipelines.exports.formats import (
    cornac,
    forge,
    grid,
    minionerec,
    openonerec,
    parquet,
    rectools,
    sidinspector,
    static,
    torcheasyrec,
)
from fuseid.pipelines.exports.formats.base import ExportFormat

Format = TypeVar("Format")
_ALL: list[ExportFormat] = [
    parquet, grid, minionerec, openonerec, forge, torcheasyrec, static, cornac, rectools, sidinspector,
]  # fmt: skip
FORMATS = {form.NAME: form for form in _ALL}


def format_named(name: str) -> ExportFormat:
    return chosen(FORMATS, name)


def chosen(formats: Mapping[str, Format], name: str) -> Format:
    """Raises BadInput, with the nearest names and all of them, for an unknown name."""
    check_known("format", name, formats)
    return formats[name]
