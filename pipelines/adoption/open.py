"""Opens a file or folder of IDs, whichever form it has."""

from __future__ import annotations

from pathlib import Path

from fuseid.core.config import SourceConfig
from fuseid.core.errors import BadInput
from fuseid.core.surface import option
from fuseid.pipelines.adoption.base import IdFile
from fuseid.pipelines.adoption.grid import SUFFIX as TENSOR
from fuseid.pipelines.adoption.grid import Grid
from fuseid.pipelines.adoption.item_map import ItemMap
from fuseid.pipelines.adoption.minionerec import SUFFIX as INDEX
from fuseid.pipelines.adoption.minionerec import MiniOneRec
from fuseid.pipelines.adoption.tables import Tables
from fuseid.pipelines.exports.folder import MANIFEST, read_manifest
from fuseid.pipelines.exports.formats import grid, minionerec, numbering, parquet
from fuseid.pipelines.files.data_file import NAMES, TABLES, format_of
from fuseid.pipelines.sources.parts import find_parts, holds_parts

# The file of an export that holds the IDs, by format.
_OF_EXPORT = {grid.NAME: grid.FILE, minionerec.NAME: minionerec.INDEX}


def open_ids(path: Path, item_map: Path | None, scratch: Path) -> IdFile:
    """item_map: names the items of files that have numbers in place of names; by default `items.parquet` beside such a
    file. scratch: a folder for copies. Raises BadInput for a file of another form."""
    if not path.exists():
        raise BadInput(f"no such file of IDs: {path}")
    if path.is_dir():
        return _folder(path, item_map, scratch)
    if path.suffix in (TENSOR, INDEX):
        beside = path.with_name(numbering.FILE)
        chosen = item_map or (beside if beside.is_file() else None)
        items = None if chosen is None else ItemMap(chosen, scratch)
        return Grid(path, items) if path.suffix == TENSOR else MiniOneRec(path, items)
    if format_of(path.name) not in TABLES:
        raise BadInput(f"{path}: IDs are in {NAMES}, {INDEX} (MiniOneRec), {TENSOR} (GRID) or a folder")
    _refuse(item_map)
    return Tables([path])


def _folder(path: Path, item_map: Path | None, scratch: Path) -> IdFile:
    """An export of IDs, whose files are compared with its manifest; or a folder of Parquet files."""
    sizes = None
    if (path / MANIFEST).is_file():
        manifest = read_manifest(path)
        sizes = tuple(manifest.get("codebook_sizes", ())) or None
        name = manifest.get("format")
        if name in _OF_EXPORT:
            found = open_ids(path / _OF_EXPORT[name], item_map, scratch)
            found.sizes = sizes
            return found
        if name != parquet.NAME:
            raise BadInput(
                f"{path} is an export in the format {name}; IDs are adopted from {parquet.NAME}, "
                f"{', '.join(_OF_EXPORT)}"
            )
    _refuse(item_map)
    if not holds_parts(str(path), ("parquet",)):
        raise BadInput(f"{path} holds no .parquet file of IDs")
    parts = find_parts(str(path), ("parquet",), SourceConfig(), "").parts
    return Tables([Path(part.file) for part in parts], sizes)


def _refuse(item_map: Path | None) -> None:
    if item_map is not None:
        raise BadInput(
            f"{option('item_map', item_map)} belongs to IDs of {INDEX} or {TENSOR}, which name items by numbers"
        )
