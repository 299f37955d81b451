"""Ready-made vectors: made elsewhere, brought by content_id, and used from fusion on; nothing is decoded or encoded."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fuseid.core.config import SourceConfig
from fuseid.core.errors import BadInput
from fuseid.core.modalities import EXTERNAL, check_name, ready_made
from fuseid.core.schemas import contents_schema
from fuseid.pipelines.sources.item import MANIFEST_COLUMNS
from fuseid.pipelines.sources.parts import find_parts
from fuseid.pipelines.sources.patterns import allowed_uri
from fuseid.pipelines.sources.texts import id_texts
from fuseid.pipelines.sources.vector_parts import (
    LancePart,
    NpyPart,
    ParquetPart,
    VectorPart,
    ids_of_npy,
    mapped,
    npy_stat,
    opened,
    reading,
)

_FORMATS = ("parquet", "npy")
_LANCE = "lance:"
_WHAT = "ready-made vectors are .parquet or .npy files, a folder or pattern of them, or lance:PATH"
# Row groups are joined until a part has so many rows.
_PART_ROWS = 1 << 17
# How many rows are read at a time to see how long vectors are.
_FEW = 64
_MOST_NUMBERS = 1 << 16
# How many numbers a part may have beyond those of vectors of the right length.
_MOST_SURPLUS = 1 << 24


class Vectors:
    """A source of ready-made vectors, which become the modality `name`.

    A `.parquet` file with `content_id`, `vector` (lists of one length, of floats or integers) and any columns of a
    manifest, or `.npy` float [N, D] beside a `.ids.txt` of the same stem with one content_id a line; a folder or
    pattern of them, local or at a uri of `source.schemes` (Parquet alone); or `lance:` and a Lance dataset or a table
    of LanceDB. `#COLUMN` at the end names another column than `vector`.

    base: see `Source`. dim: how many numbers a vector has. ignored: columns that are not read, folders `KEY=VALUE`
    included. incomplete: why parts may be missing.
    """

    def __init__(self, path: str | Path, config: SourceConfig | None = None, name: str = EXTERNAL) -> None:
        """Raises BadInput for a name that vectors cannot have, and for a source that cannot be opened."""
        config = config or SourceConfig()
        check_name(name, contents_schema({}).names)
        self.modality = ready_made(name)
        self.path = path
        self.incomplete: str | None = None
        folders: tuple[str, ...] = ()
        text, column = _column_of(str(path))
        if text.startswith(_LANCE):
            self.base: Path | str = text
            uri = _anywhere(text.removeprefix(_LANCE))
            if "://" in uri:
                allowed_uri(text, uri, config)
            self.parts = _lance_parts(uri, column)
        else:
            found = find_parts(text, _FORMATS, config, _WHAT)
            self.base, self.incomplete = found.base, found.incomplete
            self.parts = [part for one in found.parts for part in _parts(_anywhere(one.file), column, config)]
            folders = tuple(dict.fromkeys(name for one in found.parts for name, _ in one.columns))
        self.ignored = (*_ignored(self.parts), *folders)
        if not self.parts:
            raise BadInput(f"{path} lists no items")
        _check_sizes(self.parts, _MOST_NUMBERS)
        self.dim = _usual_length(self.parts, self.path)
        _check_sizes(self.parts, self.dim)

    def ids(self) -> Iterator[pa.Array]:
        """All content_ids, in order. Raises BadInput for one that is missing, or neither text nor a number."""
        for part in self.parts:
            first = part.first
            for ids in part.ids():
                yield id_texts(ids, part.shown, first)
                first += len(ids)

    def places(self, rows: Collection[int]) -> dict[int, str]:
        """How a message names rows, which are counted from 0 over all files."""
        several = len({part.shown for part in self.parts}) > 1
        found, start = {}, 0
        for part in self.parts:
            count = sum(len(ids) for ids in part.ids())
            for number in rows:
                if start <= number < start + count:
                    row = f"row {part.first + number - start + 1}"
                    found[number] = f"{row} of {part.shown}" if several else row
            start += count
        return found


def _column_of(text: str) -> tuple[str, str]:
    path, mark, column = text.rpartition("#")
    return (path, column) if mark and column and not os.path.exists(text) else (text, "vector")


def _anywhere(path: str) -> str:
    """A path as a process in another folder finds it too."""
    return path if "://" in path else os.path.abspath(path)


def _parts(file: str, column: str, config: SourceConfig) -> Iterator[VectorPart]:
    if file.lower().endswith(".npy"):
        yield _npy_part(file)
        return
    with opened(file, config) as (parquet, stat):
        others = _check_columns(parquet.schema_arrow, column, file)
        listed = tuple(name for name in MANIFEST_COLUMNS if name in parquet.schema_arrow.names)
        groups: list[int] = []
        first = rows = numbers = 0
        for number in range(parquet.metadata.num_row_groups):
            group = parquet.metadata.row_group(number)
            groups.append(number)
            rows += group.num_rows
            numbers += _numbers_of(group, column)
            if rows >= _PART_ROWS or number == parquet.metadata.num_row_groups - 1:
                if rows > 0:
                    yield ParquetPart(file, column, tuple(groups), first, rows, numbers, listed, stat, config, others)
                groups, first, rows, numbers = [], first + rows, 0, 0


def _numbers_of(group: pq.RowGroupMetaData, column: str) -> int:
    """How many numbers the vectors of a row group have together."""
    chunks = map(group.column, range(group.num_columns))
    return sum(chunk.num_values for chunk in chunks if chunk.path_in_schema.split(".")[0] == column)


def _npy_part(file: str) -> NpyPart:
    path = Path(file)
    if "://" in file:
        raise BadInput(f"{file}: vectors at a uri are Parquet; .npy is read from local files only")
    if not ids_of_npy(path).is_file():
        raise BadInput(f"{path} needs {ids_of_npy(path).name} beside it, one content_id a line")
    with reading(file):
        vectors = mapped(path)
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not vectors.shape[1]:
        raise BadInput(f"{path} must hold floats [N, D], got {vectors.dtype} {list(vectors.shape)}")
    return NpyPart(file, npy_stat(path))


def _lance_parts(uri: str, column: str) -> list[VectorPart]:
    import lance

    with reading(uri):
        dataset = lance.dataset(uri)
    others = _check_columns(dataset.schema, column, uri)
    parts: list[VectorPart] = []
    first = 0
    for fragment in dataset.get_fragments():
        parts.append(LancePart(uri, column, uri, dataset.version, fragment.fragment_id, first, others))
        first += fragment.count_rows()
    return parts if first else []


def _check_columns(schema: pa.Schema, column: str, shown: str) -> tuple[str, ...]:
    """The columns that are not read. Raises BadInput if one is missing or of the wrong type."""
    for needed in ("content_id", column):
        if needed not in schema.names:
            other = "; write FILE#COLUMN for another one" if needed == column else ""
            raise BadInput(f"{shown} has no column {needed}; it has {', '.join(schema.names)}{other}")
    for name in (*MANIFEST_COLUMNS, column):
        if schema.names.count(name) > 1:
            raise BadInput(f"{shown} has {schema.names.count(name)} columns named {name}")
    kind = schema.field(column).type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not is_list or not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        raise BadInput(f"{shown}: column {column} must hold lists of floats, got {kind}")
    return tuple(name for name in schema.names if name not in (*MANIFEST_COLUMNS, column))


def _ignored(parts: Iterable[VectorPart]) -> tuple[str, ...]:
    names = dict.fromkeys(name for part in parts for name in part.other_columns)
    return tuple(names)


def _usual_length(parts: Iterable[VectorPart], shown: object) -> int:
    """The length of most vectors of the first rows that have any."""
    rows = 0
    for part in parts:
        for batch in part.batches(_FEW):
            rows += batch.num_rows
            lengths = Counter(pc.list_value_length(batch["vector"]).drop_null().to_pylist())
            del lengths[0]
            if lengths:
                return lengths.most_common(1)[0][0]
    raise BadInput(f"{shown}: every vector is null or empty" if rows else f"{shown} lists no items")


def _check_sizes(parts: Iterable[VectorPart], dim: int) -> None:
    """A few bytes of Parquet may stand for billions of equal numbers. Raises BadInput for a part that has many more
    numbers than vectors of `dim`, and for vectors that are too long for any."""
    for part in parts:
        if dim > _MOST_NUMBERS:
            raise BadInput(f"{part.shown} has vectors of {dim} numbers; {_MOST_NUMBERS} is the most")
        if isinstance(part, ParquetPart) and part.numbers > part.rows * dim + _MOST_SURPLUS:
            raise BadInput(
                f"{part.shown} has {part.numbers} numbers in {part.rows} rows, far more than vectors of {dim} have"
            )
