"""Look-ups beside LanceDB's own search and FAISS: `python benchmarks/lookup.py --rows N [--work FOLDER]
[--vectors FILE] [--json OUT]`.

The database is made once under `--work` and kept there: pictures with captions, 1 in 100 of them a video, the last
tenth only captions; `--rows` of them have a fused vector, one item in 101 has none. Vectors are mixtures of two rows of
`--vectors` (.npy, the first 256 numbers of each row), with noise; without such a file, of 2,000 random centres. Words
are drawn with a realistic distribution. Text and pictures are encoded by the fake CLIP, and a picture is decoded in a
separate process; both are part of a look-up's time. Queries are further mixtures, which are no items.

JSON is a list of systems, each with recall@10 against a matrix product, p50 and p95 of the time, and the same under
filters that 10% (`kind = 'text'`) and 1% (`kind = 'video'`) of the rows pass:

fuseid         `Catalog.search(vector=...)` after `maintain`; also `like`, `text` and `image`, the first answer of a
               newly opened catalogue, pages of 20 below prefixes by depth and by cursor, children, and `maintain`:
               seconds and memory at first, with 10,000 more rows, and with nothing to do
lancedb        `table.search(vector).distance_type("cosine").limit(10)` on a copy with LanceDB's default index (IVF_PQ)
lancedb-tuned  the settings of `GRID` with the best p95 among those of recall 0.95 or more, for each filter of its own,
               on that copy or on the index that fuseid made
faiss-ivf      IndexIVFFlat with as many partitions as rows have a square root, the fewest probes of `FAISS_PROBES` with
               that recall; it returns numbers of rows and no columns, and is given the rows that pass a filter

Systems that return columns return those that a look-up shows. All take turns, query by query and in a random order, in
one process; before, each has answered every query once.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import faiss
import lance
import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import IvfPq
from PIL import Image

from fuseid.apps.show import print_rows
from fuseid.core.config import ClipConfig
from fuseid.core.schemas import contents_schema
from fuseid.encoders.models import load_clip
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.lookup import RESULT_COLUMNS, Catalog
from fuseid.pipelines.search.prefixes import NEXT
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.vector_columns import nan_rows, to_fixed

DIM = 256
CLIP = ClipConfig(model=f"fake:{DIM}")
K, RECALL = 10, 0.95
FILTERS = {"all": None, "10%": "kind = 'text'", "1%": "kind = 'video'"}
GRID = [(index, probes, refine) for index in ("IVF_PQ", "fuseid's") for probes in (5, 10, 20, 40, 80)
        for refine in (None, 5, 20)]  # fmt: skip
FAISS_PROBES = (4, 8, 16, 32, 64, 128, 256)
_BLOCK, _WORDS, _MORE = 50_000, 20_000, 10_000


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
    """The database without indexes."""
    store = Store.create(uri)
    store.ensure_vectors({"clip_image": DIM, "clip_text": DIM, "fused": DIM})
    append(store, 0, rows + rows // 100, rows * 9 // 10, Mixtures(vectors, 1))
    store.put_settings({"champion": "rq_kmeans-0000000000000000", "clip": CLIP.model_dump()}, store.settings())


def append(store: Store, first: int, end: int, texts_from: int, mixtures: Mixtures) -> None:
    """Items number `first` to `end`; those from `texts_from` on are captions."""
    schema = contents_schema({"clip_image": DIM, "clip_text": DIM, "fused": DIM})
    random, fingerprint = np.random.default_rng([1, first]), load_clip(CLIP).fingerprint
    for start in range(first, end, _BLOCK):
        numbers = np.arange(start, min(start + _BLOCK, end))
        count = len(numbers)
        clip, fused = mixtures.draw(count), mixtures.draw(count)
        text = numbers >= texts_from
        fused[numbers % 101 == 100] = np.nan
        codes = random.integers(0, 256, (count, 3))
        columns: dict[str, Any] = {
            "content_id": [f"item-{number:08d}" for number in numbers],
            "kind": np.where(text, "text", np.where(numbers % 100 == 37, "video", "image")),
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


@dataclass(frozen=True)
class Queries:
    """vectors float32 [Q, D], of length one; nearest: by the name of the filter, for each the ids of its nearest items;
    items: names of items that have a fused vector."""

    vectors: np.ndarray
    nearest: dict[str, list[set[str]]]
    captions: list[str]
    items: list[str]


def queries_of(store: Store, vectors: Path | None, count: int) -> Queries:
    dataset, drawn = store.dataset("contents"), Mixtures(vectors, 2).draw(count)
    nearest = {}
    for name, where in FILTERS.items():
        kept: list[tuple[np.ndarray, np.ndarray]] = []
        for batch in dataset.to_batches(columns=["content_id", "fused"], filter=where, batch_size=16_384):
            similar = np.nan_to_num(drawn @ nan_rows(batch["fused"], DIM).T, nan=-1.0)
            top = np.argpartition(-similar, min(K, similar.shape[1]) - 1, axis=1)[:, :K]
            kept.append((np.take_along_axis(similar, top, 1), np.asarray(batch["content_id"].to_pylist())[top]))
        similar, ids = (np.concatenate(parts, axis=1) for parts in zip(*kept, strict=True))
        order = np.argsort(-similar, axis=1)[:, :K]
        nearest[name] = [set(row) for row in np.take_along_axis(ids, order, 1).tolist()]
    random = np.random.default_rng(2)
    numbers = random.integers(0, dataset.count_rows() - _MORE, count)
    items = [f"item-{number:08d}" for number in numbers - (numbers % 101 == 100)]
    return Queries(drawn, nearest, captions(random, count), items)


# The number of a query, and a filter -> ids.
Search = Callable[[int, str | None], list[str]]
Way = Callable[[int], list[str]]


def timed(ways: dict[Any, Way], queries: Queries) -> dict[Any, tuple[list[float], list[list[str]]]]:
    """Milliseconds and results of each way for each query; all take turns, in another order for each query, since a way
    that follows a large scan finds nothing left in the processor's caches."""
    found: dict[Any, tuple[list[float], list[list[str]]]] = {key: ([], []) for key in ways}
    random = np.random.default_rng(3)
    for way in ways.values():
        for number in range(len(queries.vectors)):
            way(number)
    keys = list(ways)
    for number in range(len(queries.vectors)):
        for place in random.permutation(len(keys)):
            key = keys[place]
            started = time.perf_counter()
            ids = ways[key](number)
            found[key][0].append(1e3 * (time.perf_counter() - started))
            found[key][1].append(ids)
    return found


def figures(
    spent: list[float], ids: list[list[str]] | None = None, nearest: list[set[str]] | None = None
) -> dict[str, float]:
    p50, p95 = np.percentile(spent, [50, 95])
    row = {"p50_ms": round(float(p50), 2), "p95_ms": round(float(p95), 2)}
    if ids is None or nearest is None:
        return row
    hits = sum(len(wanted.intersection(got[:K])) for wanted, got in zip(nearest, ids, strict=True))
    return {"recall_at_10": round(hits / sum(map(len, nearest)), 4), **row}


def lancedb_search(table: Any, queries: Queries, probes: int | None = None, refine: int | None = None) -> Search:
    def search(number: int, where: str | None) -> list[str]:
        query = table.search(queries.vectors[number], vector_column_name="fused").distance_type("cosine").limit(K)
        query = query.nprobes(probes) if probes else query
        query = query.refine_factor(refine) if refine else query
        query = query.where(where, prefilter=True) if where else query
        ids: list[str] = query.select([*RESULT_COLUMNS, "_distance"]).to_arrow()["content_id"].to_pylist()
        return ids

    return search


def copy_with_default_index(uri: str, folder: Path) -> str:
    """A copy of the table for LanceDB alone, whose vectors have the index that LanceDB makes by default."""
    copy = folder / "lancedb"
    if not (folder / "copied").exists():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(f"{uri}/contents.lance", copy / "contents.lance")
        table = lancedb.connect(copy).open_table("contents")
        if "fused_idx" in {index.name for index in table.list_indices()}:
            table.drop_index("fused_idx")
        table.create_index("fused", config=IvfPq(distance_type="cosine"))
        (folder / "copied").touch()
    return str(copy)


def tuned(tables: dict[str, Any], queries: Queries) -> dict[str, tuple[str, int, int | None]]:
    """The settings of the grid with the best p95 at the recall, for each filter; those of the best recall if none has
    it."""
    best = {}
    for name, where in FILTERS.items():
        tried = []
        for setting in GRID:
            index, probes, refine = setting
            search = lancedb_search(tables[index], queries, probes, refine)
            (found,) = timed({setting: lambda n, search=search, where=where: search(n, where)}, queries).values()
            row = figures(*found, queries.nearest[name])
            enough = row["recall_at_10"] >= RECALL
            tried.append((not enough, row["p95_ms"] if enough else -row["recall_at_10"], setting))
        best[name] = min(tried, key=lambda one: one[:2])[2]
    return best


def faiss_searches(store: Store, queries: Queries) -> dict[str, tuple[int, Way]]:
    """For each filter the fewest probes with the recall, and the search with them."""
    table = store.dataset("contents").to_table(columns=["content_id", "kind", "fused"])
    table = table.filter(table["fused"].is_valid())
    names, kinds = np.asarray(table["content_id"].to_pylist()), np.asarray(table["kind"].to_pylist())
    vectors = nan_rows(table["fused"], DIM)
    del table
    partitions = round(len(vectors) ** 0.5)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(DIM), DIM, partitions, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[:: max(1, len(vectors) // (40 * partitions))])
    index.add(vectors)
    made = {}
    for name, kind in zip(FILTERS, (None, "text", "video"), strict=True):
        allowed = None if kind is None else faiss.IDSelectorBatch(np.flatnonzero(kinds == kind))
        for probes in FAISS_PROBES:
            parameters = faiss.SearchParametersIVF(nprobe=probes, sel=allowed)

            def search(number: int, parameters: Any = parameters, keep: Any = allowed) -> list[str]:
                rows = index.search(queries.vectors[number : number + 1], K, params=parameters)[1][0]
                ids: list[str] = names[rows].tolist()
                return ids

            (found,) = timed({name: search}, queries).values()
            if figures(*found, queries.nearest[name])["recall_at_10"] >= RECALL:
                break
        made[name] = (probes, search)
    return made


def kinds_of_query(catalog: Catalog, queries: Queries, picture: Path, uri: str) -> dict[str, Any]:
    """Other kinds of query of the catalogue, in turn; and pages of 20 below prefixes and children, in turn with each
    other, as of somebody who follows them down."""

    def ids(table: pa.Table) -> list[str]:
        found: list[str] = table["content_id"].to_pylist()
        return found

    sids = [row["sid"] for row in catalog.items(queries.items, ["content_id", "sid"])]
    ways: dict[Any, Way] = {
        "like": lambda number: ids(catalog.search(like=queries.items[number])),
        "text": lambda number: ids(catalog.search(text=" ".join(queries.captions[number].split()[:3]))),
        "image": lambda number: ids(catalog.search(image=picture)),
    }
    pages: dict[Any, Way] = {}
    for depth in (1, 2, 3):
        prefixes = ["-".join(sid.partition(".")[0].split("-")[:depth]) for sid in sids]
        pages[depth] = lambda number, prefixes=prefixes: ids(catalog.search(sid=prefixes[number], k=20))
    first = [sid.partition("-")[0] for sid in sids]
    cursors = [next_page(catalog, prefix) for prefix in first]
    pages["page 51"] = lambda number: ids(catalog.search(sid=first[number], k=20, after=cursors[number]))
    for depth in (0, 1, 2):
        above = ["-".join(sid.split("-")[:depth]) or None for sid in sids]
        pages[f"children, {depth} codes"] = lambda number, above=above: catalog.children(above[number])["prefix"]
    started = time.perf_counter()
    Catalog.open(uri).search(vector=queries.vectors[0])
    opened = round(1e3 * (time.perf_counter() - started), 1)
    found = {key: figures(spent) for part in (ways, pages) for key, (spent, _) in timed(part, queries).items()}
    prefix = {str(depth): found.pop(depth)["p95_ms"] for depth in (1, 2, 3)}
    return {"first_ms": opened, "queries": found, "prefix": {"p95_ms": prefix}}


def next_page(catalog: Catalog, prefix: str) -> str | None:
    """The cursor of the 51st page of 20."""
    metadata = catalog.search(sid=prefix, k=1000).schema.metadata
    return metadata[NEXT.encode()].decode() if NEXT.encode() in metadata else None


def measured_upkeep(uri: str) -> dict[str, float]:
    """Runs `maintain` in a process of its own."""
    command = [sys.executable, __file__, "--work", uri, "--maintain"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def maintain_here(uri: str) -> None:
    """Prints seconds, and the most memory beyond that of a process that has opened the database."""
    store = Store.open(uri)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    maintain(store)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": round(seconds, 1), "peak_mib": peak >> 10, "before_mib": before >> 10}))


def made(folder: Path, rows: int, vectors: Path | None) -> dict[str, Any]:
    """Makes and maintains the database unless it is there -> what maintenance took."""
    uri, kept = str(folder / "db"), folder / "maintain.json"
    if not kept.exists():
        shutil.rmtree(uri, ignore_errors=True)
        make(uri, rows, vectors)
        first = measured_upkeep(uri)
        store = Store.open(uri)
        end = rows + rows // 100
        append(store, end, end + _MORE, end + _MORE, Mixtures(vectors, 3))
        kept.write_text(json.dumps({"all": first, "more": measured_upkeep(uri), "nothing": measured_upkeep(uri)}))
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def measure(folder: Path, vectors: Path | None, count: int, upkeep: dict[str, Any]) -> Iterator[dict[str, Any]]:
    uri, picture = str(folder / "db"), folder / "query.png"
    store, catalog = Store.open(uri), Catalog.open(uri)
    queries = queries_of(store, vectors, count)
    tables = {
        "fuseid's": lancedb.connect(uri).open_table("contents"),
        "IVF_PQ": lancedb.connect(copy_with_default_index(uri, folder)).open_table("contents"),
    }
    by_grid, by_faiss = tuned(tables, queries), faiss_searches(store, queries)
    plain = lancedb_search(tables["IVF_PQ"], queries)
    ways: dict[Any, Way] = {}
    for name, where in FILTERS.items():
        index, probes, refine = by_grid[name]
        best = lancedb_search(tables[index], queries, probes, refine)
        ways |= {
            ("fuseid", name): lambda n, where=where: catalog.search(vector=queries.vectors[n], where=where)[
                "content_id"
            ].to_pylist(),
            ("lancedb", name): lambda n, where=where: plain(n, where),
            ("lancedb-tuned", name): lambda n, where=where, best=best: best(n, where),
            ("faiss-ivf", name): by_faiss[name][1],
        }
    found = {key: figures(*one, queries.nearest[key[1]]) for key, one in timed(ways, queries).items()}
    for system in ("fuseid", "lancedb", "lancedb-tuned", "faiss-ivf"):
        filtered = {name: found[system, name] for name in FILTERS if name != "all"}
        row: dict[str, Any] = {"system": system, **found[system, "all"], "filtered": filtered}
        if system == "fuseid":
            row |= {"rows": store.dataset("contents").count_rows(), "dim": DIM, "maintain": upkeep}
            row |= kinds_of_query(catalog, queries, picture, uri)
        if system == "lancedb-tuned":
            keys = ("index", "probes", "refine")
            row["settings"] = {name: dict(zip(keys, by_grid[name], strict=True)) for name in FILTERS}
        if system == "faiss-ivf":
            row["settings"] = {name: {"probes": by_faiss[name][0]} for name in FILTERS}
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--vectors", type=Path, default=Path("../shared/data/text_embeddings_60k_384.f16.npy"))
    parser.add_argument(
        "--work", type=Path, default=Path("build/lookup"), help="for databases: 8 GB for a million items"
    )
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    parser.add_argument("--maintain", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.maintain:
        maintain_here(str(arguments.work))
        return
    vectors = arguments.vectors if arguments.vectors.exists() else None
    folder = arguments.work / f"lookup-{arguments.rows}"
    folder.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((64, 64), 80).convert("RGB").save(folder / "query.png")
    rows = list(measure(folder, vectors, arguments.queries, made(folder, arguments.rows, vectors)))
    for where in FILTERS:
        shown = [{"system": row["system"], **(row if where == "all" else row["filtered"][where])} for row in rows]
        print_rows(shown, ("system", "recall_at_10", "p50_ms", "p95_ms"), title=FILTERS[where] or "without a filter")
    print(json.dumps(rows[0], indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
