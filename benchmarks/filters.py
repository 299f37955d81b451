"""The time of filters and facets on attributes: `python benchmarks/filters.py --work FOLDER [--rows N] [--json OUT]`.

The database is made under `--work`: N items with a fused vector of 256 numbers and eight attributes (about 250 bytes of
JSON), of which one in 101 lacks the text. `maintain` makes its indexes. Each question is asked `--times` times in turn
with the others, after one that is not counted. cpu_ms: of all threads, which other work on the machine changes little.
peak_mib: of the process, at the end.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import lance
import numpy as np
import pyarrow as pa

from fuseid.apps.show import print_rows
from fuseid.core.schemas import contents_schema
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.search.filters import Filter
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.vector_columns import to_fixed

DIM, BLOCK = 256, 20_000
STYLES = [f"style {number}" for number in range(50)]
TAGS = [f"tag {number}" for number in range(500)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--times", type=int, default=11)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    store = made(arguments.work / f"filters-{arguments.rows}", arguments.rows)
    catalog = Catalog(store)
    vector = np.random.default_rng(1).standard_normal(DIM).astype(np.float32)
    tenth, hundredth = Filter.attr("style", "=", STYLES[0]), Filter.attr("views", ">=", 990_000)
    questions: dict[str, Callable[[], Any]] = {
        "vector": lambda: catalog.search(vector=vector),
        "vector, kind": lambda: catalog.search(vector=vector, filter=Filter.kind("image")),
        "vector, style=": lambda: catalog.search(vector=vector, filter=tenth),
        "vector, views>=": lambda: catalog.search(vector=vector, filter=hundredth),
        "vector, tag": lambda: catalog.search(vector=vector, filter=Filter.tag(TAGS[3])),
        "vector, title~": lambda: catalog.search(vector=vector, filter=Filter.attr("title", "~", "number 77")),
        "list, style= and views>=": lambda: catalog.search(filter=tenth & hundredth),
        "facet kind": lambda: catalog.facets(["kind"]),
        "facet attr:style": lambda: catalog.facets(["attr:style"]),
        "facet tag": lambda: catalog.facets(["tag"]),
        "facet attr:title (all distinct)": lambda: catalog.facets(["attr:title"]),
        "facets kind, attr:style, tag, style=": lambda: catalog.facets(["kind", "attr:style", "tag"], filter=tenth),
    }
    seconds: dict[str, list[float]] = {name: [] for name in questions}
    cpu: dict[str, list[float]] = {name: [] for name in questions}
    for turn in range(arguments.times + 1):
        for name, ask in questions.items():
            begun, used = time.perf_counter(), time.process_time()
            ask()
            if turn:
                seconds[name].append(time.perf_counter() - begun)
                cpu[name].append(time.process_time() - used)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    found = [
        {
            "question": name,
            "p50_ms": round(1000 * float(np.median(each)), 1),
            "p95_ms": round(1000 * float(np.quantile(each, 0.95)), 1),
            "cpu_ms": round(1000 * float(np.median(cpu[name])), 1),
        }
        for name, each in seconds.items()
    ]
    print_rows(found, ("question", "p50_ms", "p95_ms", "cpu_ms"), title=f"{arguments.rows:,} items; peak {peak:,} MiB")
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": arguments.rows, "peak_mib": peak, "questions": found}))


def made(folder: Path, rows: int) -> Store:
    """The database of so many items; that of an earlier run, if it is there."""
    if folder.exists():
        return Store.open(folder)
    store = Store.create(folder)
    schema = contents_schema({"fused": DIM})
    random = np.random.default_rng(0)
    centres = random.standard_normal((2000, DIM), dtype=np.float32)
    for start in range(0, rows, BLOCK):
        numbers = range(start, min(start + BLOCK, rows))
        vectors = centres[random.integers(0, 2000, len(numbers))] + random.standard_normal(
            (len(numbers), DIM), dtype=np.float32
        )
        columns: dict[str, Any] = {name: pa.nulls(len(numbers), schema.field(name).type) for name in schema.names}
        columns |= {
            "content_id": [f"item-{number:09d}" for number in numbers],
            "kind": ["text" if number % 10 else "image" for number in numbers],
            "attributes": pa.array([json.dumps(attributes(number, random)) for number in numbers], pa.json_()),
            "fused": to_fixed(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)),
            "codes": pa.array([[number % 256, number // 256 % 256] for number in numbers], pa.list_(pa.int32())),
            "sid": [f"{number % 256}-{number // 256 % 256}" for number in numbers],
        }
        mode = "append" if start else "create"
        lance.write_dataset(pa.table(columns, schema=schema), store.path("contents"), mode=mode)
    store.put_settings({"champion": "rq_kmeans-0"}, store.settings())
    maintain(store)
    return store


def attributes(number: int, random: np.random.Generator) -> dict[str, Any]:
    found = {
        "style": STYLES[int(50 * random.random() ** 2)],
        "tags": [TAGS[int(500 * random.random() ** 3)] for _ in range(3)],
        "views": int(random.integers(0, 1_000_000)),
        "price": round(100 * random.random(), 2),
        "listed": f"2026-{1 + number % 12:02d}-{1 + number % 28:02d}",
        "organic": bool(number % 3),
        "maker": {"name": f"maker {number % 1000}", "country": ["IE", "EC", "NL", "DE"][number % 4]},
    }
    return found if number % 101 == 0 else {**found, "title": f"Something that has the number {number}"}


if __name__ == "__main__":
    main()
