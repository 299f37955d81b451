"""The time of a look-up, compared with LanceDB's own search: `python benchmarks/lookup.py --work FOLDER [--json OUT]`.

The database is made once under `--work` and kept there: pictures with captions, the last tenth only captions; `--rows`
of them have a fused vector, one item in 101 has none. Indexes are those that `maintain` makes. Vectors are mixtures of
two rows of `--vectors` (.npy, the first 256 numbers of each row), with noise; without such a file, of 2,000 random
centres. Words are drawn with a realistic distribution. Text and pictures are encoded by the fake CLIP, and a picture is
decoded in a separate process; both are part of a look-up's time.

`lancedb`: `table.search(vector).distance_type("cosine").limit(10)` of LanceDB alone, for the columns that a look-up
shows. All kinds of query take turns in one process; `ratio` compares medians with LanceDB's for the same `where`.
first_ms: the first look-up of its kind, by a newly opened catalogue.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import lance
import lancedb
import numpy as np
import pyarrow as pa
from PIL import Image

from fuseid.apps.show import print_rows
from fuseid.core.config import ClipConfig
from fuseid.core.schemas import contents_schema
from fuseid.encoders.models import load_clip
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.lookup import RESULT_COLUMNS, Catalog
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.vector_columns import to_fixed

DIM = 256
CLIP = ClipConfig(model=f"fake:{DIM}")
_BLOCK = 50_000
_WORDS = 20_000
_WHERE = "kind = 'image'"


class Mixtures:
    """Unit vectors in clusters, like real ones."""

    def __init__(self, file: Path | None, seed: int | list[int], dim: int = DIM) -> None:
        self._random = np.random.default_rng(seed)
        self._dim = dim
        if file is None:
            self._rows = np.random.default_rng(0).standard_normal((2000, dim), dtype=np.float32)
        else:
            self._rows = np.load(file, mmap_mode="r")[:, :dim].astype(np.float32)
        self._rows -= self._rows.mean(0)
        self._rows /= np.linalg.norm(self._rows, axis=1, keepdims=True)

    def draw(self, count: int) -> np.ndarray:
        """float32 [count, dim]"""
        one, other = self._random.integers(0, len(self._rows), (2, count))
        share = self._random.uniform(0.5, 1, (count, 1)).astype(np.float32)
        noise = self._random.standard_normal((count, self._dim), dtype=np.float32) * np.float32(0.3 / self._dim**0.5)
        vectors = share * self._rows[one] + (1 - share) * self._rows[other] + noise
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def captions(random: np.random.Generator, count: int) -> list[str]:
    numbers = np.minimum(random.zipf(1.3, (count, 8)), _WORDS)
    return [" ".join(f"word{number}" for number in row) for row in numbers.tolist()]


def make(uri: str, rows: int, vectors: Path | None) -> None:
    store = Store.create(uri)
    store.ensure_vectors({"clip_image": DIM, "clip_text": DIM, "fused": DIM})
    schema = contents_schema({"clip_image": DIM, "clip_text": DIM, "fused": DIM})
    random, mixtures = np.random.default_rng(1), Mixtures(vectors, 1)
    rows += rows // 100
    fingerprint = load_clip(CLIP).fingerprint
    for start in range(0, rows, _BLOCK):
        numbers = np.arange(start, min(start + _BLOCK, rows))
        count = len(numbers)
        clip, fused = mixtures.draw(count), mixtures.draw(count)
        text = numbers >= rows * 9 // 10
        fused[numbers % 101 == 100] = np.nan
        codes = random.integers(0, 256, (count, 3))
        columns: dict[str, Any] = {
            "content_id": [f"item-{number:08d}" for number in numbers],
            "kind": np.where(text, "text", "image"),
            "uri": [None if bare else f"media/{number}.jpg" for number, bare in zip(numbers, text, strict=True)],
            "caption": captions(random, count),
            "clip_image": to_fixed(np.where(text[:, None], np.float32(np.nan), clip)),
            "clip_text": to_fixed(np.where(text[:, None], clip, np.float32(np.nan))),
            "clip_fp": [fingerprint] * count,
            "fused": to_fixed(fused),
            "codes": pa.array(codes.tolist(), pa.list_(pa.int32())),
            "sid": [f"{a}-{b}-{c}.{number + 1}" for (a, b, c), number in zip(codes.tolist(), numbers, strict=True)],
        }
        missing = {field.name: pa.nulls(count, field.type) for field in schema if field.name not in columns}
        table = {name: pa.array(values, schema.field(name).type) for name, values in columns.items()} | missing
        lance.write_dataset(
            pa.table([table[name] for name in schema.names], schema=schema), store.path("contents"), mode="append"
        )
    maintain(store)
    store.put_settings({"champion": "rq_kmeans-0000000000000000", "clip": CLIP.model_dump()}, store.settings())


def milliseconds(work: Callable[[], pa.Table]) -> float:
    started = time.perf_counter()
    if not work().num_rows:
        raise RuntimeError("a look-up found nothing")
    return 1e3 * (time.perf_counter() - started)


def measure(uri: str, vectors: Path | None, queries: int, picture: Path) -> list[dict[str, Any]]:
    catalog, table = Catalog.open(uri), lancedb.connect(uri).open_table("contents")
    rows = table.count_rows()
    random, drawn = np.random.default_rng(2), Mixtures(vectors, 2).draw(queries)
    words, items = captions(random, queries), random.integers(0, rows, queries)
    items -= items % 101 == 100

    def plain(number: int, where: str | None) -> pa.Table:
        search = table.search(drawn[number], vector_column_name="fused").distance_type("cosine").limit(10)
        if where:
            search = search.where(where, prefilter=True)
        return search.select([*RESULT_COLUMNS, "_distance"]).to_arrow()

    ways: dict[str, Callable[[int, str | None], pa.Table]] = {
        "lancedb": plain,
        "vector": lambda number, where: catalog.search(vector=drawn[number], where=where),
        "like": lambda number, where: catalog.search(like=f"item-{items[number]:08d}", where=where),
        "text": lambda number, where: catalog.search(text=" ".join(words[number].split()[:3]), where=where),
        "image": lambda number, where: catalog.search(image=picture, where=where),
    }
    kinds = [(name, where) for where in (None, _WHERE) for name in ways]
    first = {kind: milliseconds(lambda kind=kind: ways[kind[0]](0, kind[1])) for kind in kinds}
    spent: dict[Any, list[float]] = {kind: [] for kind in kinds}
    for number in range(queries):
        for name, where in kinds:
            spent[name, where].append(milliseconds(lambda: ways[name](number, where)))  # noqa: B023
    table_rows = []
    for name, where in kinds:
        p50, p95 = np.percentile(spent[name, where], [50, 95])
        ratio = p50 / np.percentile(spent["lancedb", where], 50)
        table_rows.append(
            {"rows": rows, "query": name, "where": where, "first_ms": first[name, where], "p50_ms": p50, "p95_ms": p95,
             "ratio": ratio}
        )  # fmt: skip
    return table_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--vectors", type=Path, default=Path("../shared/data/text_embeddings_60k_384.f16.npy"))
    parser.add_argument("--work", type=Path, required=True, help="folder for the database, 3 GB for a million items")
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    arguments = parser.parse_args()
    vectors = arguments.vectors if arguments.vectors.exists() else None
    folder = arguments.work / f"lookup-{arguments.rows}"
    folder.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((64, 64), 80).convert("RGB").save(folder / "query.png")
    if not (folder / "made").exists():
        make(str(folder / "db"), arguments.rows, vectors)
        (folder / "made").touch()
    rows = measure(str(folder / "db"), vectors, arguments.queries, folder / "query.png")
    print_rows(rows, tuple(rows[0]))
    if arguments.json:
        arguments.json.write_text(json.dumps({"dim": DIM, "queries": arguments.queries, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
