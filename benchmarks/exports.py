"""The time of an export of IDs, compared with writing the same files with the plain library:
`python benchmarks/exports.py [--items 1000000] [--formats grid,parquet] [--repeats 3] [--work DIR] [--json OUT]`.

A database of `--items` rows is made directly with Lance: short captions, a title among the attributes, no vectors,
random codes of three levels of 256, with suffixes for collisions. `contents`, with its copy of the champion's IDs, and
the ledger are in two different orders, neither sorted. With `--work` the database is kept as `--work`/db-ITEMS. Then,
for each format, three measurements take turns, with all libraries loaded:

- `export_s` is `export_ids`, from opening the database to the renamed folder: reading both tables, joining, sorting,
  writing, hashing every file for the manifest, tagging. Each format runs in its own process: peak_mib is its peak
  memory, base_mib its memory before the first export.
- `plain_s` is writing the same files from memory. In memory is what the library returns when it reads the exported
  file (an Arrow table for Parquet, a tensor, an array, the rows of a CSV as lists, the object of a JSON document, the
  lines of a text), so reading, joining, sorting and making texts are not included. Each file is written by one call:
  `pyarrow.parquet.write_table` with the same compression, `torch.save`, `numpy.save`, `csv.writer.writerows`,
  `json.dumps` and a write (faster than `json.dump`), `writelines`. White space of JSON and row groups are the library's
  defaults, so sizes differ slightly: compare plain_mib with mib.
- `script_s` is plain_s plus what a script with plain libraries does before it: it reads both tables from Lance, only
  the columns that the format needs, joins them with `pyarrow.compute.index_in`, and sorts them like the format with
  `pyarrow.Table.sort_by`. Making tensors, texts and documents from the table is still not included.

ratio is export_s / plain_s and of_script is export_s / script_s, of medians over `--repeats` rounds after one that does
not count. `read_s` is the time that an export needs for reading, joining and sorting, without any format. All files are
written to the page cache, not synced.
"""

from __future__ import annotations

import argparse
import csv
import gc
import json
import multiprocessing
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from benchmarks.processes import own_peak_mib
from fuseid.apps.show import print_rows
from fuseid.encoders.fusion import Fusion
from fuseid.pipelines.assignment.placement import base_texts, lists
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.exports.registry import FORMATS
from fuseid.pipelines.exports.snapshot import Snapshot
from fuseid.pipelines.store.store import Store
from fuseid.tokenizers.buckets import bucket_ids
from fuseid.tokenizers.collisions import digits
from fuseid.tokenizers.rq_kmeans import RQKMeans

SIZES = (256, 256, 256)
_CHUNK = 100_000


def make_database(uri: str, count: int) -> None:
    """Items and their IDs in two different orders, neither of them sorted."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((4 * max(SIZES), 8)).astype(np.float32)
    store = Store.create(uri)
    fusion = store.put_artifact(Fusion.fit({"external": vectors}, None, 8, {"external": None}))
    tokenizer = store.put_artifact(RQKMeans.fit(vectors, SIZES, iterations=1, refinements=0, fusion=fusion))
    store.ensure_vectors({})
    contents, ledger = (store.dataset(name) for name in ("contents", "assignments"))
    # Squared, so that low codes have more items and some IDs collide.
    codes_NL = (rng.random((count, len(SIZES))) ** 2 * SIZES).astype(np.int32)
    buckets, first = bucket_ids(codes_NL)
    digits_N = digits(buckets, np.zeros(len(first), np.int64))
    for table, columns in ((contents, items), (ledger, given)):
        order = rng.permutation(count)
        for start in range(0, count, _CHUNK):
            numbers = order[start : start + _CHUNK]
            rows = ids(codes_NL[numbers], digits_N[numbers], tokenizer) | columns(numbers)
            filled = [rows.get(field.name, pa.nulls(len(numbers), field.type)) for field in table.schema]
            lance.write_dataset(pa.Table.from_arrays(filled, schema=table.schema), table.uri, mode="append")
    store.put_settings({"fusion": fusion, "champion": tokenizer}, store.settings())


def ids(codes_NL: np.ndarray, digits_N: np.ndarray, tokenizer_id: str) -> dict[str, pa.Array]:
    base = base_texts(codes_NL)
    sids = [f"{text}.{digit}" if digit else text for text, digit in zip(base.to_pylist(), digits_N, strict=True)]
    return {
        "tokenizer_id": pa.array([tokenizer_id] * len(codes_NL)),
        "codes": lists(codes_NL),
        "suffix": pa.array(digits_N, pa.int32(), mask=digits_N == 0),
        "base": base,
        "sid": pa.array(sids),
    }


def content_ids(numbers: np.ndarray) -> pa.Array:
    return pa.array([f"item-{number:010d}" for number in numbers.tolist()])


def given(numbers: np.ndarray) -> dict[str, pa.Array]:
    return {"content_id": content_ids(numbers)}


def items(numbers: np.ndarray) -> dict[str, pa.Array]:
    return {
        "content_id": content_ids(numbers),
        "kind": pa.array(["image"] * len(numbers)),
        "caption": pa.array([f"thing {n % 9973} beside thing {n % 7919}" for n in numbers.tolist()]),
        "attributes": pa.array([json.dumps({"title": f"Thing {n}"}) for n in numbers.tolist()], pa.json_()),
    }


def timed_export(uri: str, out: str, name: str) -> dict[str, float]:
    started = time.perf_counter()
    manifest = export_ids(uri, out, name)
    return {
        "export_s": time.perf_counter() - started, "peak_mib": own_peak_mib(),
        "mib": sum(facts["bytes"] for facts in manifest["files"].values()) / (1 << 20),
    }  # fmt: skip


def timed_read(uri: str) -> float:
    started = time.perf_counter()
    with Snapshot.open(uri).items() as (_, batches):
        for _ in batches:
            pass
    return time.perf_counter() - started


def timed_plain(uri: str, folder: str, out: str, name: str) -> dict[str, float]:
    """Reads every file of an export before the clock starts, then measures writing them; also times `script_s`."""
    started = time.perf_counter()
    rows = len(sorted_table(uri, name))
    table_s = time.perf_counter() - started
    if rows != json.loads((Path(folder) / "manifest.json").read_text())["items"]:
        raise RuntimeError(f"{name}: the script reads {rows} items, the export has another number")
    found = [path for path in sorted(Path(folder).rglob("*")) if path.is_file() and path.name != "manifest.json"]
    writers = [plain(path) for path in found]
    Path(out).mkdir()
    # The garbage collector's work on millions of lists that were read must not count as writing.
    gc.collect()
    started = time.perf_counter()
    for number, write in enumerate(writers):
        write(Path(out) / str(number))
    plain_s = time.perf_counter() - started
    written = sum(path.stat().st_size for path in Path(out).iterdir())
    return {"plain_s": plain_s, "script_s": table_s + plain_s, "plain_mib": written / (1 << 20)}


def sorted_table(uri: str, name: str) -> pa.Table:
    """All items with their IDs, in the order of the format, made with plain libraries."""
    (tokenizer,) = (path.name for path in (Path(uri) / "artifacts").rglob("rq-kmeans-*"))
    contents, ledger = (lance.dataset(f"{uri}/{part}.lance") for part in ("contents", "assignments"))
    own = [column for column in FORMATS[name].EXTRA if column != "sid"]
    table = contents.to_table(columns=["content_id", *own])
    given = ledger.to_table(columns=["content_id", "codes", "suffix", "sid"], filter=f"tokenizer_id = '{tokenizer}'")
    ids = given.take(pc.index_in(table["content_id"], value_set=given["content_id"].combine_chunks()))
    for column in ("codes", "suffix", *(["sid"] if "sid" in FORMATS[name].EXTRA else [])):
        table = table.append_column(column, ids[column])
    if FORMATS[name].SORTED:
        return table.sort_by("content_id")
    keys = {f"level {level}": pc.list_element(table["codes"], level) for level in range(len(SIZES))}
    keys["digit"] = pc.fill_null(table["suffix"], 0)
    for key, values in keys.items():
        table = table.append_column(key, values)
    return table.sort_by([(key, "ascending") for key in keys]).drop_columns(list(keys))


def plain(path: Path) -> Callable[[Path], Any]:
    """Reads a file; -> a function that writes the same content with the file format's library."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return lambda out: pq.write_table(table, out, compression="zstd")
    if path.suffix == ".pt":
        tensor = torch.load(path, weights_only=True)
        return lambda out: torch.save(tensor, out)
    if path.suffix == ".npy":
        array = np.load(path)
        return lambda out: save_array(array, out)
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        return lambda out: save_rows(rows, out)
    if path.suffix == ".json":
        document = json.loads(path.read_text(encoding="utf-8"))
        return lambda out: out.write_text(json.dumps(document), encoding="utf-8")
    if path.suffix == ".txt":
        with path.open(newline="\n", encoding="utf-8") as file:
            lines = file.readlines()
        return lambda out: save_lines(lines, out)
    raise ValueError(f"no plain library is named for {path.name}")


def save_array(array: np.ndarray, out: Path) -> None:
    with out.open("wb") as file:
        np.save(file, array)


def save_rows(rows: list[list[str]], out: Path) -> None:
    with out.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def save_lines(lines: list[str], out: Path) -> None:
    with out.open("w", newline="\n", encoding="utf-8") as file:
        file.writelines(lines)


def alone() -> ProcessPoolExecutor:
    """One separate process, so that its peak memory is that of its work."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def measured(uri: str, name: str, repeats: int, folder: Path) -> dict[str, Any]:
    runs: list[dict[str, float]] = []
    with alone() as exporting, alone() as writing:
        base_mib = exporting.submit(own_peak_mib).result()
        for number in range(repeats + 1):
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                out = f"{scratch}/{name}"
                run = exporting.submit(timed_export, uri, out, name).result()
                run |= writing.submit(timed_plain, uri, out, f"{scratch}/plain", name).result()
            if number:
                runs.append(run)
                print(f"{name} {number}/{repeats}: {run}", file=sys.stderr)
    row = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    ratios = {key: row["export_s"] / row[f"{of}_s"] for key, of in (("ratio", "plain"), ("of_script", "script"))}
    return {"format": name, "base_mib": base_mib, **ratios, **row, "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, help="folder for the database, kept, and the exports, 1 GB for a million")
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    arguments = parser.parse_args()
    if arguments.work:
        arguments.work.mkdir(parents=True, exist_ok=True)
    kept = nullcontext(arguments.work) if arguments.work else tempfile.TemporaryDirectory(prefix="fuseid-bench-")
    with kept as name:
        folder = Path(name)
        database = folder / f"db-{arguments.items}"
        with alone() as process:
            if not database.exists():
                made = database.with_name(f"{database.name}-unfinished")
                shutil.rmtree(made, ignore_errors=True)
                process.submit(make_database, str(made), arguments.items).result()
                made.rename(database)
            reads = [process.submit(timed_read, str(database)).result() for _ in range(arguments.repeats + 1)]
        read_s = statistics.median(reads[1:])
        formats = arguments.formats.split(",")
        rows = [measured(str(database), name, arguments.repeats, folder) for name in formats]
    print(f"{arguments.items:,} items; reading, joining and sorting them alone: {read_s:.2f} s")
    columns = (
        "format", "export_s", "plain_s", "ratio", "script_s", "of_script", "mib", "plain_mib", "base_mib", "peak_mib",
    )  # fmt: skip
    print_rows(rows, columns)
    if arguments.json:
        document = {"items": arguments.items, "codebook_sizes": SIZES, "read_s": read_s, "rows": rows}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
