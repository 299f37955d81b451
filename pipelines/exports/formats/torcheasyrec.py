"""The format of TorchEasyRec: a generation of its SID bundle, to which its tool appends new items.

tzrec/utils/sid/bundle.py lays a bundle out as `<root>/<generation>/<artifact>/part-*.parquet` with a manifest that is
written last; tzrec/tools/sid/resolve_sid_collisions.py (`--output_path DIR --from_generation v1`) reads item_to_sid
(item_id, origin_codebook, codebook, index) and sid_to_items (codebook, itemids), one row for each ID, ascending.
`offset_codebook` has the codes in one vocabulary, each level after the one before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fuseid.pipelines.exports.columns import (
    CHUNK_ROWS,
    ExportInfo,
    column,
    joined,
    lists_of,
    matrix,
    suffixes_of,
)
from fuseid.pipelines.exports.folder import file_hash
from fuseid.pipelines.exports.formats.by_codes import Part, by_codes
from fuseid.pipelines.streams.prefetch import in_background

NAME = "torcheasyrec"
COLLISIONS = (
    "Items of equal codes are one row of sid_to_items, in the order of their digits, and `index` of item_to_sid is an "
    "item's place in it, from 1 on; `suffix`, which TorchEasyRec does not read, keeps the digit, for places move up "
    "when an item is deleted and digits do not."
)
EXTRA: tuple[str, ...] = ()
SORTED = False
GENERATION = "v1"
_CODES = pa.list_(pa.int64())
_ITEM_TO_SID = pa.schema(
    [
        ("item_id", pa.string()),
        ("origin_codebook", _CODES),
        ("codebook", _CODES),
        ("offset_codebook", _CODES),
        ("index", pa.int64()),
        ("suffix", pa.int32()),
    ]
)
_SID_TO_ITEMS = pa.schema([("codebook", _CODES), ("offset_codebook", _CODES), ("itemids", pa.list_(pa.string()))])
# Columns whose values repeat.
_DICTIONARIES = [
    *(f"{name}.list.element" for name in ("origin_codebook", "codebook", "offset_codebook")),
    "index",
    "suffix",
]


def write(items: Iterator[pa.RecordBatch], folder: Path, info: ExportInfo) -> None:
    """`v1/item_to_sid`, `v1/sid_to_items`, each with `part-0.parquet`, sorted by codes, and `v1/manifest.json`, last.

    Memory holds a few parts of the sort.
    """
    places, rows = _path(folder, "item_to_sid"), _path(folder, "sid_to_items")
    most = 1
    for path in (places, rows):
        path.parent.mkdir(parents=True)
    with (
        pq.ParquetWriter(places, _ITEM_TO_SID, compression="zstd", use_dictionary=_DICTIONARIES) as item_to_sid,
        pq.ParquetWriter(rows, _SID_TO_ITEMS, compression="zstd", use_dictionary=_DICTIONARIES) as sid_to_items,
        in_background(item_to_sid.write_table) as write_items,
        in_background(sid_to_items.write_table) as write_groups,
    ):
        for part in by_codes(items, folder, info):
            starts_G = _starts(part.codes_NL)
            counts_G = np.diff(starts_G)
            most = max(most, int(counts_G.max()))
            index_N = np.arange(len(part.codes_NL)) - np.repeat(starts_G[:-1], counts_G) + 1
            write_items(_items_table(part, index_N, info), CHUNK_ROWS)
            groups = pa.ListArray.from_arrays(pa.array(starts_G.astype(np.int32)), part.content_ids)
            write_groups(_groups_table(part.codes_NL[starts_G[:-1]], groups, info), CHUNK_ROWS)
    _write_manifest(folder, info, most)


def write_delta(changes: Iterator[pa.RecordBatch], folder: Path, info: ExportInfo) -> None:
    """Adds `delta_item_to_sid` and `delta_sid_to_items` to the generation that `write` left in `folder`.

    changes: of items since an earlier export. The first table has the items that were added or whose ID changed; the
    second has all IDs that gained or lost an item, with all items that they have now, which may be none (TorchEasyRec
    itself only appends). Memory grows with the changes.
    """
    given, touched = [pa.array([], pa.string())], [np.empty((0, info.levels), np.int32)]
    for batch in changes:
        given.append(batch["content_id"].filter(batch["new_codes"].is_valid()))
        touched += [matrix(batch[name].drop_null(), info.levels) for name in ("old_codes", "new_codes")]
    touched_GL = np.unique(np.concatenate(touched), axis=0)
    places = _filtered(_path(folder, "item_to_sid"), lambda table: pc.is_in(table["item_id"], pa.concat_arrays(given)))
    keys = _keys(touched_GL)
    groups = _filtered(
        _path(folder, "sid_to_items"),
        lambda table: pc.is_in(_keys(matrix(column(table, "codebook"), info.levels)), keys),
    )
    left_GL = matrix(column(groups, "codebook"), info.levels)
    gone_GL = touched_GL[~pc.is_in(keys, _keys(left_GL)).to_numpy(zero_copy_only=False)]
    none = pa.ListArray.from_arrays(pa.array(np.zeros(len(gone_GL) + 1, np.int32)), pa.array([], pa.string()))
    groups = pa.concat_tables([groups, _groups_table(gone_GL, none, info)]).combine_chunks()
    codes_GL = np.concatenate([left_GL, gone_GL])
    groups = groups.take(pa.array(np.lexsort(codes_GL.T[::-1])))
    manifest = _manifest_path(folder)
    most = json.loads(manifest.read_text(encoding="utf-8"))["max_observed_items_per_sid"]
    manifest.unlink()
    for name, table in (("delta_item_to_sid", places), ("delta_sid_to_items", groups)):
        _path(folder, name).parent.mkdir()
        pq.write_table(table, _path(folder, name), compression="zstd")
    _write_manifest(folder, info, most)


def _items_table(part: Part, index_N: np.ndarray, info: ExportInfo) -> pa.Table:
    codes = lists_of(part.codes_NL, pa.int64())
    columns = [part.content_ids, codes, codes, _offset(part.codes_NL, info), pa.array(index_N)]
    return pa.Table.from_arrays([*columns, suffixes_of(part.digits_N)], schema=_ITEM_TO_SID)


def _groups_table(codes_GL: np.ndarray, groups: pa.ListArray, info: ExportInfo) -> pa.Table:
    columns = [lists_of(codes_GL, pa.int64()), _offset(codes_GL, info), groups]
    return pa.Table.from_arrays(columns, schema=_SID_TO_ITEMS)


def _offset(codes_NL: np.ndarray, info: ExportInfo) -> pa.ListArray:
    return lists_of(codes_NL + np.cumsum([0, *info.codebook_sizes[:-1]]), pa.int64())


def _starts(codes_NL: np.ndarray) -> np.ndarray:
    """int64 [G + 1]: where each of G groups of equal rows begins, and the end."""
    new_N = (codes_NL[1:] != codes_NL[:-1]).any(axis=1)
    return np.concatenate([[0], np.flatnonzero(new_N) + 1, [len(codes_NL)]])


def _keys(codes_NL: np.ndarray) -> pa.Array:
    return joined(*(piece for codes in codes_NL.T for piece in ("-", codes)))


def _filtered(path: Path, keep: Any) -> pa.Table:
    file = pq.ParquetFile(path)
    groups = [pa.Table.from_batches([batch]) for batch in file.iter_batches(CHUNK_ROWS)]
    kept = [group.filter(keep(group)) for group in groups]
    return pa.concat_tables([file.schema_arrow.empty_table(), *kept]).combine_chunks()


def _path(folder: Path, artifact: str) -> Path:
    return folder / GENERATION / artifact / "part-0.parquet"


def _manifest_path(folder: Path) -> Path:
    return folder / GENERATION / "manifest.json"


def _write_manifest(folder: Path, info: ExportInfo, most: int) -> None:
    """The bundle's own manifest; its id is a hash of the files, where TorchEasyRec makes a random one."""
    paths = sorted((folder / GENERATION).glob("*/part-0.parquet"))
    digest = hashlib.blake2b(info.tokenizer_id.encode(), digest_size=16)
    for path in paths:
        digest.update(bytes.fromhex(file_hash(path)))
    document = {
        "bundle_uuid": digest.hexdigest(),
        "codebook": list(info.codebook_sizes),
        "capacity": most,
        "max_observed_items_per_sid": most,
        "artifacts": {
            path.parent.name: {
                "save_type": "parquet",
                "rows": pq.read_metadata(path).num_rows,
                "location": path.parent.relative_to(folder).as_posix(),
            }
            for path in paths
        },
        "item_id_type": "string",
    }
    _manifest_path(folder).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
