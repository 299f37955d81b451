"""The formats of exported IDs, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from fuseid.core.errors import BadInput
from fuseid.pipelines.exports.formats import (
    forge,
    grid,
    minionerec,
    openonerec,
    parquet,
    static,
    torcheasyrec,
)
from fuseid.pipelines.exports.formats.base import ExportFormat

Format = TypeVar("Format")
_ALL: list[ExportFormat] = [parquet, grid, minionerec, openonerec, forge, torcheasyrec, static]
FORMATS = {form.NAME: form for form in _ALL}


def format_named(name: str) -> ExportFormat:
    return chosen(FORMATS, name)


def chosen(formats: Mapping[str, Format], name: str) -> Format:
    """Raises BadInput, with the names of all formats, for an unknown name."""
    if name not in formats:
        raise BadInput(f"no format is named {name!r}; there are {', '.join(formats)}")
    return formats[name]
