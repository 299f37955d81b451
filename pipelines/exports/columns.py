"""Converts batches of items to the content of files: chunks of one size, code matrices, lines of text; Arrow and
NumPy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.pipelines.streams.batches import chunked

# The columns of an item in every format.
IDS = pa.schema([("content_id", pa.string()), ("codes", pa.list_(pa.int32())), ("suffix", pa.int32())])
CHUNK_ROWS = 1 << 16


def chunks(items: Iterable[pa.RecordBatch], info: ExportInfo, rows: int = CHUNK_ROWS) -> Iterator[pa.Table]:
    """`chunked`. Raises ValueError if there are not `info.items` items: some formats lay out their files by this
    number."""
    seen = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal seen
        for batch in items:
            seen += batch.num_rows
            yield batch

    yield from chunked(counted(), rows)
    if seen != info.items:
        raise ValueError(f"{info.items} items were announced, {seen} came")


def column(table: pa.Table, name: str) -> pa.Array:
    """The column as one array; for an extension type, its storage."""
    parts = table[name]
    whole = parts.chunk(0) if parts.num_chunks == 1 else parts.combine_chunks()
    return whole.storage if isinstance(whole, pa.ExtensionArray) else whole


def codes_of(lists: pa.Array, sizes: tuple[int, ...]) -> np.ndarray:
    """int32 [N, L]. Raises ValueError if a row does not have L codes, each below the size of its codebook."""
    codes_NL = matrix(lists, len(sizes))
    if len(codes_NL) and (codes_NL.min() < 0 or (codes_NL.max(axis=0) >= sizes).any()):
        raise ValueError(f"codes up to {codes_NL.max(axis=0).tolist()} do not fit codebooks of {list(sizes)}")
    return codes_NL


def matrix(lists: pa.Array, width: int) -> np.ndarray:
    """int32 [N, width]. Raises ValueError if a row has another number of values, or a value that is not an int32."""
    if not isinstance(lists, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        raise ValueError(f"codes are {lists.type}, not lists")
    values = lists.flatten()
    right = pc.all(pc.equal(pc.list_value_length(lists), width), skip_nulls=False, min_count=0).as_py()
    if width < 1 or not right or values.null_count:
        raise ValueError(f"not every row has {max(1, width)} codes")
    return values.cast(pa.int32()).to_numpy(zero_copy_only=False).reshape(-1, width)


def ids_of(table: pa.Table, sizes: tuple[int, ...]) -> np.ndarray:
    """int32 [N, L + 1]: codes, then the collision digit. Raises ValueError as `codes_of` does."""
    return np.column_stack([codes_of(column(table, "codes"), sizes), digits_of(column(table, "suffix"))])


def digits_of(suffixes: pa.Array) -> np.ndarray:
    """int32 [N]: the collision digit, 0 for the bare ID."""
    return suffixes.fill_null(0).to_numpy(zero_copy_only=False)


def suffixes_of(digits_N: np.ndarray) -> pa.Array:
    """The inverse of `digits_of`."""
    return pa.array(digits_N, pa.int32(), mask=digits_N == 0)


def lists_of(codes_NL: np.ndarray, of: pa.DataType | None = None) -> pa.ListArray:
    """Rows of a matrix as lists. of: the type of the list column, by default a list of int32."""
    rows, width = codes_NL.shape
    values = pa.array(codes_NL.reshape(-1)).cast(of or pa.int32())
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * np.int32(width)), values)


# Text


def joined(*pieces: Any) -> pa.Array:
    """Pieces side by side, row by row: each a text for all rows, an integer array [N], or an Arrow text array [N]."""
    return pc.binary_join_element_wise(*map(_text, pieces), pa.scalar("", pa.large_string()))


def _text(piece: Any) -> Any:
    if isinstance(piece, str):
        return pa.scalar(piece, pa.large_string())
    return pc.cast(pa.array(piece) if isinstance(piece, np.ndarray) else piece, pa.large_string())


def spelled(codes_NL: np.ndarray, tables: Sequence[pa.Array]) -> pa.Array:
    """The texts of each row's codes side by side, large_string [N]; tables: by level the text of each code."""
    texts = (table.take(pa.array(codes)) for table, codes in zip(tables, codes_NL.T, strict=True))
    return pc.binary_join_element_wise(*texts, pa.scalar("", pa.large_string()))


def write_text(file: BinaryIO, lines: pa.Array) -> None:
    """Writes the texts of a large_string array one after the other, without a copy."""
    offsets = np.frombuffer(lines.buffers()[1], np.int64)[lines.offset : lines.offset + len(lines) + 1]
    if offsets[0] != offsets[-1]:
        file.write(memoryview(lines.buffers()[2])[int(offsets[0]) : int(offsets[-1])])


def write_members(file: BinaryIO, members: pa.Array, first: bool) -> None:
    """Writes the members of a JSON object, each after a comma; the first of all is written after the brace instead."""
    if first:
        file.write(b"{" + members[0].as_py()[1:].encode())
        members = members.slice(1)
    write_text(file, members)


@dataclass(frozen=True)
class ExportInfo:
    """codebook_sizes: of each level; items: how many will come; largest_suffix: 0 if no item has a suffix."""

    codebook_sizes: tuple[int, ...]
    items: int
    largest_suffix: int
    tokenizer_id: str

    @property
    def levels(self) -> int:
        return len(self.codebook_sizes)
