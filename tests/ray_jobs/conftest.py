"""What the tests of kills and of late writers start from: databases of undisturbed runs, made once."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.pipelines.assignment.champion import load_tokenizer
from fuseid.pipelines.store.store import Store

from .exactly_once import CANDIDATE, GATED, LEARN, REFIT, Before, Catalogue, Drivers, State

VECTORS_OF_SCHEMA_3 = Path(__file__).parents[1] / "data" / "frozen" / "schema-3-vectors.tar.gz"


@pytest.fixture(scope="session")
def drivers() -> Iterator[Drivers]:
    with Drivers() as drivers:
        yield drivers


@pytest.fixture(scope="session")
def jobs(drivers: Drivers, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Before]:
    """Undisturbed runs of all jobs, once per session."""
    root = tmp_path_factory.mktemp("quiet")

    def copy(name: str, new: str) -> Path:
        return Path(shutil.copytree(root / name, root / new))

    (root / "media").mkdir()
    catalogue = Catalogue(root / "media", seed=1)
    for kind, count in (("caption", 22), ("picture", 18), ("video", 3), ("broken", 3)):
        catalogue.add(kind, count)
    first, listed = catalogue.manifest(), set(catalogue.rows)

    def named(kind: str) -> list[str]:
        return sorted(name for name in listed if f"-{kind}-" in name)

    drivers.finish("ingest", root / "ingested", manifest=first)
    copy("ingested", "fitted")
    drivers.finish("fit", root / "fitted")
    copy("fitted", "candidate")
    drivers.finish("fit", root / "candidate", settings=CANDIDATE)
    copy("candidate", "promoted")
    champion = Store.open(root / "fitted").setting("champion")
    tokenizers = {path.name for path in (root / "candidate" / "artifacts").glob("rq-kmeans-*")}
    promotion = {"tokenizer": (tokenizers - {champion}).pop()}
    drivers.finish("promote", root / "promoted", **promotion)
    gated = {**promotion, "settings": GATED}
    copy("candidate", "gated")
    drivers.finish("gate", root / "gated", **gated)
    copy("gated", "passed")
    drivers.finish("promote", root / "passed", **gated)

    copy("fitted", "refitted")
    refit = {"settings": REFIT, "refit_fusion": True}
    drivers.finish("fit", root / "refitted", **refit)
    switch = {"tokenizer": Store.open(root / "refitted").setting("generations")["2"]["tokenizer"]}
    copy("refitted", "switched")
    drivers.finish("promote", root / "switched", **switch)
    copy("switched", "rolled-back")
    drivers.finish("rollback", root / "rolled-back")
    copy("refitted", "dropped")
    drivers.finish("drop", root / "dropped", generation=2)

    learning = {"settings": LEARN, "pairs": str(_pairs(root / "pairs.parquet", sorted(listed)))}
    for before, after in (("ingested", "first-learned"), ("fitted", "learned")):
        copy(before, after)
        drivers.finish("fit", root / after, **learning)

    # Five in `contents`, one in `rejected`, one twice, one unknown.
    some = [name for kind, count in (("caption", 3), ("picture", 2), ("broken", 1)) for name in named(kind)[:count]]
    removal = {"ids": [*some, "nobody", some[0]]}
    copy("fitted", "removed")
    drivers.finish("remove", root / "removed", **removal)

    shutil.copytree(root / "media", root / "media2")
    catalogue.folder = root / "media2"
    catalogue.add("caption", 9)
    catalogue.add("picture", 5)
    catalogue.add("video")
    catalogue.edit(captions=3, pictures=2, repair=1, spoil=2)
    catalogue.remove("picture", 2)
    catalogue.remove("broken", 1)
    catalogue.withdraw("caption", 3)
    catalogue.withdraw("broken", 1)
    second = {"manifest": catalogue.manifest()}
    copy("fitted", "updated")
    drivers.finish("ingest", root / "updated", **second)
    copy("refitted", "both")
    drivers.finish("ingest", root / "both", **second)
    with tarfile.open(VECTORS_OF_SCHEMA_3) as archive:
        archive.extractall(root / "schema-3", filter="data")
    copy("schema-3/db", "upgraded")
    drivers.finish("upgrade", root / "upgraded")
    adoption, first_adoption = _adoptions(root, promotion["tokenizer"], listed)
    copy("fitted", "adopted")
    drivers.finish("adopt", root / "adopted", **adoption)
    copy("ingested", "first-adopted")
    drivers.finish("adopt", root / "first-adopted", **first_adoption)
    voiced = _voiced(root, drivers, listed)
    audio, likes = _changed_vectors(root, voiced)
    for name, vectors in (("audio", audio), ("likes", likes)):
        copy("voiced", name)
        drivers.finish("vectors", root / name, **vectors)
    drivers.finish("vectors", root / "only-vectors", **audio)
    names = (
        "ingested", "fitted", "gated", "passed", "promoted", "removed", "updated", "upgraded", "adopted",
        "first-adopted", "audio", "likes", "only-vectors", "refitted", "switched", "rolled-back", "dropped", "both",
        "first-learned", "learned",
    )  # fmt: skip
    made = {name: State.of(root / name) for name in names}
    old = {row["content_id"] for row in (*made["upgraded"].contents, *made["upgraded"].rejected)}
    return {
        "first ingest": Before(None, "ingest", {"manifest": first}, made["ingested"], listed),
        "fit": Before(root / "ingested", "fit", {}, made["fitted"], listed),
        "gate": Before(root / "candidate", "gate", gated, made["gated"], listed),
        "gated promote": Before(root / "gated", "promote", gated, made["passed"], listed),
        "promote": Before(root / "candidate", "promote", promotion, made["promoted"], listed),
        "refit": Before(root / "fitted", "fit", refit, made["refitted"], listed),
        "first learn": Before(root / "ingested", "fit", learning, made["first-learned"], listed),
        "learn": Before(root / "fitted", "fit", learning, made["learned"], listed),
        "switch": Before(root / "refitted", "promote", switch, made["switched"], listed),
        "rollback": Before(root / "switched", "rollback", {}, made["rolled-back"], listed),
        "drop": Before(root / "refitted", "drop", {"generation": 2}, made["dropped"], listed),
        "ingest into two": Before(root / "refitted", "ingest", second, made["both"], set(catalogue.rows)),
        "upgrade": Before(root / "schema-3" / "db", "upgrade", {}, made["upgraded"], old),
        "remove": Before(root / "fitted", "remove", removal, made["removed"], listed - set(some)),
        "ingest": Before(root / "fitted", "ingest", second, made["updated"], set(catalogue.rows)),
        "adopt": Before(root / "fitted", "adopt", adoption, made["adopted"], listed),
        "first adopt": Before(root / "ingested", "adopt", first_adoption, made["first-adopted"], listed),
        "vectors": Before(root / "voiced", "vectors", audio, made["audio"], _items(made["audio"])),
        "new vectors": Before(root / "voiced", "vectors", likes, made["likes"], _items(made["likes"])),
        "first vectors": Before(None, "vectors", audio, made["only-vectors"], _items(made["only-vectors"])),
    }


def _pairs(path: Path, names: list[str]) -> Path:
    """Each item and those a few places after it, also one that no database has."""
    rows = [(one, other) for step in (1, 2, 3) for one, other in zip(names, names[step:], strict=False)]
    table = pa.table({"content_id": [one for one, _ in rows], "partner_id": [other for _, other in rows]})
    pq.write_table(pa.concat_tables([table, pa.table({"content_id": ["nobody"], "partner_id": names[:1]})]), path)
    return path


def _items(state: State) -> set[str]:
    return {row["content_id"] for row in (*state.contents, *state.rejected)}


def _voiced(root: Path, drivers: Drivers, listed: set[str]) -> dict[str, Any]:
    """Makes the database `voiced`: media with IDs of a fusion that knows audio vectors, which some of them have, and
    items that only these vectors have brought; in several fragments. Returns the vectors."""
    rng = np.random.default_rng(2)
    names = [*sorted(listed)[::2], *(f"only-{number}" for number in range(6))]
    vectors = {name: rng.normal(size=6).tolist() for name in names}
    shutil.copytree(root / "ingested", root / "voiced")
    for number, some in enumerate((names[::3], names)):
        file = _vectors_file(root / f"audio-{number}.parquet", {name: vectors[name] for name in some})
        drivers.finish("vectors", root / "voiced", vectors=file, name="audio", scattered=number == 1)
        if number == 0:
            drivers.finish("fit", root / "voiced")
    assert len(Store.open(root / "voiced").dataset("contents").get_fragments()) > 1
    return vectors


def _changed_vectors(root: Path, before: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Vectors of known and new items, the same as before and others, some of which cannot be used: of the name that the
    fusion knows, and of another one."""
    rng = np.random.default_rng(3)
    known = [name for name in before if not name.startswith("only")]
    new = [f"{rng.integers(16**4):04x}-new-{number}" for number in range(30)]
    bad = [[0.0] * 6, [1.0], None, [float("nan")] * 6]
    changed: dict[str, Any] = before | {name: rng.normal(size=6).tolist() for name in (*known[::2], "only-1", *new)}
    changed |= dict(zip((known[1], known[3], "only-0", new[0], new[20], new[29]), bad * 2, strict=False))
    names = [*changed]
    shuffled = {names[place]: changed[names[place]] for place in rng.permutation(len(names))}
    likes = {name: rng.normal(size=3).tolist() for name in names[1::2]} | {names[1]: [0.0] * 3, names[-1]: [0.0] * 3}
    return (
        {"vectors": _vectors_file(root / "audio.parquet", shuffled), "name": "audio"},
        {"vectors": _vectors_file(root / "likes.parquet", likes), "name": "likes"},
    )


def _vectors_file(path: Path, vectors: dict[str, Any]) -> Path:
    columns = {
        "content_id": [*vectors],
        "vector": [*vectors.values()],
        "caption": [f"sound {name}" for name in vectors],
    }
    pq.write_table(pa.table(columns), path, row_group_size=9)
    return path


def _adoptions(root: Path, tokenizer_id: str, listed: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The adoption of the IDs that every second item has under the candidate, with its codebooks; and of IDs of all
    items, without codebooks, in a database before its first fit. Both have an ID of an item that is not there."""
    store = Store.open(root / "candidate")
    rows = store.dataset("assignments").to_table(filter=f"tokenizer_id = '{tokenizer_id}'").to_pylist()
    some = {row["content_id"]: row["sid"] for row in rows[::2]} | {"elsewhere": "3-2.77"}
    every = {name: f"{number % 5}-{number}" for number, name in enumerate(sorted(listed))} | {"elsewhere": "4-9.3"}
    for name, sids in (("some.jsonl", some), ("every.jsonl", every)):
        lines = (json.dumps({"content_id": content_id, "sid": sid}) + "\n" for content_id, sid in sids.items())
        (root / name).write_text("".join(lines))
    tokenizer = load_tokenizer(store, tokenizer_id)
    books = {f"codebook_{level}": book.numpy() for level, book in enumerate(tokenizer.codebooks)}
    np.savez(root / "books.npz", **books, beam=tokenizer.beam)
    return (
        {"ids": root / "some.jsonl", "codebooks": root / "books.npz", "promote": True},
        {"ids": root / "every.jsonl", "codebooks": None, "promote": False},
    )


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "db"
