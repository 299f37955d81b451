"""Export of semantic IDs from one pinned version of the store."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fuseid.core.errors import BadInput, StoreError
from fuseid.encoders.fusion import Fusion
from fuseid.pipelines.ledger import pinned_policy
from fuseid.pipelines.store import Store, rows_by_id, sql_string
from fuseid.tokenizers.rq_kmeans import RQKMeans

_ROWS_PER_FILE = 1_000_000
IDS = pa.schema(
    [
        ("content_id", pa.string()),
        ("kind", pa.string()),
        ("sid", pa.string()),
        ("codes", pa.list_(pa.int32())),
        ("suffix", pa.int32()),
    ]
)


def export_ids(uri: str, out: str | Path, tokenizer_id: str | None = None) -> dict[str, Any]:
    """Writes `ids-00000.parquet`, ... (schema `IDS`, each sorted by content_id) and `manifest.json` into `out`.

    Only items that are in the catalogue now; the ledger's rows of deleted items stay in the ledger. The same versions
    give the same bytes. Nothing half-written is left: all is made beside `out` and renamed.
    Raises BadInput where `out` exists and is not empty, StoreError where there are no IDs.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} exists and is not an empty folder; choose another --out or remove it")
    store = Store.open(uri)
    contents = store.dataset("contents")
    tokenizer_id = tokenizer_id or store.setting("champion")
    if tokenizer_id is None:
        raise StoreError(f"{uri} has no semantic IDs yet; `fuseid fit --db {uri}` gives them")
    tokenizer = store.get_artifact(RQKMeans, tokenizer_id)
    fusion = store.get_artifact(Fusion, store.setting("fusion"))
    ledger = store.dataset("assignments")
    files = 1 + contents.count_rows() // _ROWS_PER_FILE
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        written, count = {}, 0
        for number in range(files):
            rows = sorted(_rows(contents, ledger, tokenizer_id, number, files), key=lambda row: row["content_id"])
            path = scratch / f"ids-{number:05d}.parquet"
            pq.write_table(pa.Table.from_pylist(rows, schema=IDS), path, compression="zstd")
            written[path.name] = {
                "rows": len(rows),
                "blake2b": hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest(),
            }
            count += len(rows)
        manifest = {
            "format": "parquet",
            "items": count,
            "items_without_id": contents.count_rows() - count,
            "tokenizer_id": tokenizer.id,
            "codebook_sizes": list(tokenizer.codebook_sizes),
            "collisions": asdict(pinned_policy(store, tokenizer.id)),
            "fusion_id": fusion.id,
            "encoders": fusion.encoders,
            "versions": {"contents": contents.version, "assignments": ledger.version},
            "files": written,
        }
        (scratch / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        if out.exists():
            out.rmdir()
        scratch.chmod(0o755)
        scratch.rename(out)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return manifest


def _rows(contents: Any, ledger: Any, tokenizer_id: str, number: int, files: int) -> Iterator[dict[str, Any]]:
    """Rows whose content_id hashes to file `number`, so that memory holds one file's rows."""
    where = f"tokenizer_id = {sql_string(tokenizer_id)}"
    for batch in contents.to_batches(columns=["content_id", "kind"], batch_size=8192):
        pairs = zip(batch["content_id"].to_pylist(), batch["kind"].to_pylist(), strict=True)
        kinds = {name: kind for name, kind in pairs if zlib.crc32(name.encode()) % files == number}
        columns = ["content_id", "sid", "codes", "suffix"]
        for row in rows_by_id(ledger, list(kinds), columns, where):
            yield {**row, "kind": kinds[row["content_id"]]}
