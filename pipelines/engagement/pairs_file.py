"""Pairs of items that the same people use, in a Parquet file: its writer, and the reader that also takes ready-made
ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fuseid.core.config import SourceConfig
from fuseid.core.errors import BadInput
from fuseid.pipelines.engagement.numbering import Numbering
from fuseid.pipelines.files.data_file import DataFile
from fuseid.pipelines.sources.columns import column_batches, schema_of
from fuseid.pipelines.sources.parts import find_parts, opened_part
from fuseid.pipelines.sources.rows import reading
from fuseid.pipelines.sources.texts import id_texts, plain_type
from fuseid.pipelines.streams.batches import chunked, folded

PAIRS = pa.schema([("content_id", pa.string()), ("partner_id", pa.string()), ("weight", pa.float32())])
# Of the metadata that `fuseid pairs` writes.
KEY = b"fuseid.pairs"
VERSION = 1
READY_MADE = "ready-made"
_FORMATS = ("parquet", "csv", "tsv")
_WHAT = "pairs are .parquet, .csv or .tsv files (the last two also .gz or .zst), or a folder or pattern of them"
_GROUP_ROWS = 1 << 17
# Rows that are numbered at a time; each time makes a hash table of all ids.
_NUMBERED_ROWS = 1 << 19
_HASHED_ROWS = 1 << 20


@dataclass(frozen=True)
class Pairs:
    """P pairs of I items, each unordered pair once. content_ids: string [I], in the order of their bytes; every one is
    in a pair. first_P < second_P: int32, rows of content_ids; pairs are ordered by both. weight_P: float32, above 0.
    about: what `fuseid pairs` wrote about them, empty for ready-made pairs."""

    content_ids: pa.Array
    first_P: np.ndarray
    second_P: np.ndarray
    weight_P: np.ndarray
    about: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.first_P)

    @property
    def method(self) -> str:
        """`window`, `swing` or `cooccurrence`; `ready-made` for pairs from elsewhere."""
        return str(self.about.get("method", READY_MADE))

    @property
    def until(self) -> str | None:
        """The time in ISO 8601 at and after which no event was used; None if it is not known or there was no limit."""
        return self.about.get("until")

    @cached_property
    def fingerprint(self) -> str:
        """Hex of BLAKE2b-128 over the rows: the same for any order in which a file has them."""
        rows = RowHash()
        for start in range(0, len(self), _HASHED_ROWS):
            piece = slice(start, start + _HASHED_ROWS)
            rows.update(_table(self.content_ids, self.first_P[piece], self.second_P[piece], self.weight_P[piece]))
        return rows.hexdigest()

    def facts(self) -> dict[str, Any]:
        """For the metadata of what is fitted to them. until, leave_out, last_event: which events they were made from;
        each None if it is not known."""
        kept = {name: self.about.get(name) for name in ("until", "leave_out", "last_event")}
        return {"fingerprint": self.fingerprint, "method": self.method, **kept, "count": len(self)}


class RowHash:
    """The fingerprint of rows of `PAIRS`, which come in pieces of any size."""

    def __init__(self) -> None:
        self._parts = [hashlib.blake2b(digest_size=16) for _ in range(5)]

    def update(self, rows: pa.Table) -> None:
        for place, name in enumerate(("content_id", "partner_id")):
            texts = rows[name].combine_chunks()
            self._parts[2 * place].update(pc.binary_length(texts).to_numpy().astype("<i4"))
            self._parts[2 * place + 1].update(_bytes_of(texts))
        self._parts[4].update(rows["weight"].to_numpy().astype("<f4"))

    def hexdigest(self) -> str:
        whole = b"".join(part.digest() for part in self._parts)
        return hashlib.blake2b(whole, digest_size=16).hexdigest()


def _bytes_of(texts: pa.StringArray) -> memoryview | bytes:
    _, offsets, data = texts.buffers()
    if data is None or not len(texts):
        return b""
    ends = np.frombuffer(offsets, np.int32)[[texts.offset, texts.offset + len(texts)]].tolist()
    return memoryview(data)[ends[0] : ends[1]]


def _table(content_ids: pa.Array, first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> pa.Table:
    columns = [content_ids.take(pa.array(first)), content_ids.take(pa.array(second)), pa.array(weight, pa.float32())]
    return pa.Table.from_arrays(columns, schema=PAIRS)


# Writing

Piece = tuple[np.ndarray, np.ndarray, np.ndarray]


def write_pairs(
    path: Path, content_ids: pa.Array, pieces: Iterable[Piece], about: Callable[[], Mapping[str, Any]]
) -> str:
    """Writes `PAIRS` -> the fingerprint. content_ids: string, in the order of their bytes. pieces: first_P, second_P
    and weight_P as in `Pairs`; all pieces together are ordered. about: called after the last piece -> the metadata.

    How the rows are divided into pieces does not change the bytes.
    """
    rows = RowHash()
    batches = (
        batch
        for first, second, weight in pieces
        for batch in _table(content_ids, first, second, weight).to_batches(max_chunksize=_GROUP_ROWS)
    )
    with pq.ParquetWriter(path, PAIRS, compression="zstd") as writer:
        for table in chunked(batches, _GROUP_ROWS):
            writer.write_table(table)
            rows.update(table)
        text = json.dumps({"version": VERSION, **about()}, sort_keys=True, ensure_ascii=False)
        writer.add_key_value_metadata({KEY.decode(): text})
    return rows.hexdigest()


# Reading


def read_pairs(path: str | Path) -> Pairs:
    """The pairs in a file, folder or pattern: columns content_id and partner_id, and weight, which is 1 where there is
    no such column. Rows may be in any order; the weights of rows of the same two items, in either order, are added.

    Memory: about 40 bytes for each row, and each id twice. Raises BadInput, with file and row, for files that cannot be
    read, ids that are missing, an item with itself, and a weight that is not above 0 and finite.
    """
    parts = find_parts(str(path), _FORMATS, SourceConfig(), _WHAT).parts
    ids = Numbering()
    pieces: list[Piece] = []
    abouts: list[dict[str, Any]] = []
    for part in parts:
        with opened_part(part, SourceConfig()) as file, reading(file):
            schema = schema_of(part)
            _check_columns(file, schema)
            abouts.append(_about(file))
            names = [name for name in PAIRS.names if name in schema.names]
            types = pa.schema([("weight", pa.float64())]) if file.format != "parquet" else pa.schema([])
            first = 0
            for rows in folded(column_batches(part, file, names, types), _NUMBERED_ROWS):
                pieces.append(_numbered(rows, ids, file, first))
                first += len(rows)
    if not sum(len(piece[0]) for piece in pieces):
        raise BadInput(f"{path} has no pairs; name a file with at least one")
    content_ids, rank = ids.ranked()
    one, other = (rank[np.concatenate([piece[side] for piece in pieces])] for side in (0, 1))
    weight = np.concatenate([piece[2] for piece in pieces])
    del pieces
    keys, sums = _summed(one, other, weight)
    about = abouts[0] if len(abouts) == 1 else {}
    first_P, second_P = (keys >> 32).astype(np.int32), (keys & 0xFFFFFFFF).astype(np.int32)
    return Pairs(content_ids, first_P, second_P, sums, about)


def _summed(one: np.ndarray, other: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int32 [N] twice, float64 [N] -> the keys of the distinct pairs, ascending, int64; their weights, float32. Equal
    pairs are added in the order of their weights, so that the order of rows does not change a sum."""
    keys = np.minimum(one, other).astype(np.int64) << 32 | np.maximum(one, other)
    if (keys[1:] <= keys[:-1]).any():
        order = np.lexsort((weight, keys))
        keys, weight = keys[order], weight[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    return keys[starts], np.add.reduceat(weight, starts).astype(np.float32)


def _numbered(rows: pa.Table, ids: Numbering, file: DataFile, first: int) -> Piece:
    """int32 [N] twice, the numbers of both items; float64 [N], weights. first: the number of the first row, from 0."""
    texts = [id_texts(rows[name].combine_chunks(), file.shown, first, name) for name in ("content_id", "partner_id")]
    itself = pc.equal(*texts)
    if pc.any(itself).as_py():
        row = pc.index(itself, True).as_py()
        raise BadInput(
            f"{file.shown}, row {first + row + 1}: {texts[0][row].as_py()!r} is paired with itself; remove such rows"
        )
    weight = np.ones(len(rows))
    if "weight" in rows.column_names:
        weight = _weights(rows["weight"].combine_chunks())
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            narrow = weight.astype(np.float32)
        if not (good := np.isfinite(narrow) & (narrow > 0)).all():
            row = int(np.argmin(good))
            got = rows["weight"][row].as_py()
            raise BadInput(f"{file.shown}, row {first + row + 1}: weight is {got}; weights are above 0 and finite")
    return ids.of(texts[0]), ids.of(texts[1]), weight


def _weights(column: pa.Array) -> np.ndarray:
    """float64 [N], NaN for a weight that is missing."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _check_columns(file: DataFile, schema: pa.Schema) -> None:
    if missing := [name for name in ("content_id", "partner_id") if name not in schema.names]:
        has = f"only {', '.join(schema.names)}" if schema.names else "and no other"
        raise BadInput(f"{file.shown} has no column {' and '.join(missing)}, {has}; rename what holds it")
    if "weight" in schema.names:
        kind = plain_type(schema.field("weight").type)
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
            raise BadInput(f"{file.shown}: column weight must hold numbers, got {kind}")


def _about(file: DataFile) -> dict[str, Any]:
    """What `fuseid pairs` wrote; empty for other files. Raises BadInput if it is damaged or of a later version."""
    if file.format != "parquet":
        return {}
    text = (pq.read_metadata(file.path).metadata or {}).get(KEY)
    if text is None:
        return {}
    try:
        about = json.loads(text)
        version, until = int(about["version"]), about.get("until")
        good = until is None or datetime.fromisoformat(until).tzinfo is not None
    except (ValueError, TypeError, LookupError, AttributeError):
        good, version = False, VERSION
    if version > VERSION:
        raise BadInput(f"{file.shown} was written by a later fuseid (version {version} of pairs); update this one")
    if not good:
        raise BadInput(f"{file.shown}: its metadata {KEY.decode()} is damaged; write it again, or without metadata")
    return about
