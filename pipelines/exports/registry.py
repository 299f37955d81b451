"""The formats of exported IDs, by name."""

from __future__ import annotations

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

_ALL: list[ExportFormat] = [parquet, grid, minionerec, openonerec, forge, torcheasyrec, static]
FORMATS = {form.NAME: form for form in _ALL}


def format_named(name: str) -> ExportFormat:
    """Raises BadInput, with the names of all formats, for an unknown name."""
    if name not in FORMATS:
        raise BadInput(f"no format is named {name!r}; there are {', '.join(FORMATS)}")
    return FORMATS[name]
