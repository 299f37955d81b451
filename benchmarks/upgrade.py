"""What an upgrade of a large database costs: `python benchmarks/upgrade.py [--rows N ...] [--json OUT]`.

Makes a database of schema version 3 with N ready-made vectors of 256 numbers, which `external` held then, and upgrades
it in a process of its own. The rows are written with plain Lance and not with the code of that time, so they have no
IDs and no vector index; an upgrade reads neither.

upgrade_s: seconds of `fuseid upgrade`, without its start. command_s: with it. peak_mib: peak memory of the process.
mib, added_mib: size of the database before, and what the upgrade added to it until old versions are cleaned up.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import lance
import numpy as np
import pyarrow as pa

from benchmarks.processes import fuseid
from fuseid.apps.show import print_rows
from fuseid.core.schemas import VERSION_KEY, contents_schema
from fuseid.pipelines.store.store import Store

DIM = 256
_BATCH = 10_000


def schema_3() -> pa.Schema:
    """Of `contents` in version 3: without the column of fingerprints, in the order that it had then."""
    now = contents_schema({"external": DIM})
    return pa.schema([field for field in now if field.name != "external_fp"], metadata={VERSION_KEY: "3"})


def batches(rows: int) -> Iterator[pa.RecordBatch]:
    schema, rng = schema_3(), np.random.default_rng(0)
    for start in range(0, rows, _BATCH):
        count = min(_BATCH, rows - start)
        vectors = rng.standard_normal((count, DIM), dtype=np.float32)
        hashes = [hashlib.blake2b(row.tobytes(), digest_size=8).hexdigest() for row in vectors]
        columns = {
            "content_id": pa.array([f"item-{number:09d}" for number in range(start, start + count)]),
            "kind": pa.repeat("text", count),
            "external": pa.FixedSizeListArray.from_arrays(vectors.reshape(-1), DIM),
            "source_stat": pa.array([f"vector={value}" for value in hashes]),
        }
        arrays = [columns.get(field.name, pa.nulls(count, field.type)) for field in schema]
        yield pa.record_batch(arrays, schema=schema)


def make(db: Path, rows: int) -> None:
    store = Store.create(db)
    reader = pa.RecordBatchReader.from_batches(schema_3(), batches(rows))
    lance.write_dataset(reader, store.path("contents")).create_scalar_index("content_id", "BTREE")


def measure(db: Path, rows: int) -> dict[str, Any]:
    make(db, rows)
    mib = size_mib(db)
    command = fuseid("upgrade", "--db", db)
    counts = command.output["counts"]
    if counts != {"rows": rows, "changed": rows} or Store.open(db).schema_version() != "4":
        raise RuntimeError(f"of {rows} rows the upgrade changed {counts}")
    return {
        "rows": rows, "upgrade_s": command.output["seconds"]["total"], "command_s": command.seconds,
        "peak_mib": command.peak_mib, "mib": mib, "added_mib": size_mib(db) - mib,
    }  # fmt: skip


def size_mib(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / (1 << 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--work", type=Path, help="folder for the databases, some 1.1 GB for a million rows")
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    arguments = parser.parse_args()
    rows = []
    for count in arguments.rows:
        with tempfile.TemporaryDirectory(prefix="fuseid-bench-", dir=arguments.work) as folder:
            rows.append(measure(Path(folder) / "db", count))
    print_rows(rows, ("rows", "upgrade_s", "command_s", "peak_mib", "mib", "added_mib"))
    if arguments.json:
        arguments.json.write_text(json.dumps({"dim": DIM, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
