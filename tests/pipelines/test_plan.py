"""A plan: the ingest that follows does what it says, by reason; and a plan leaves no trace."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fuseid.core.errors import (
    BadInput,
    DamagedTable,
    FingerprintMismatch,
    FuseidError,
    NoDatabase,
    NotReady,
    StoreError,
)
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.jobs.lease import Lease
from fuseid.pipelines.plan import IngestPlan, plan
from fuseid.pipelines.rejected import retry
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.sources.vectors import Vectors
from fuseid.pipelines.store.store import Store

FROZEN = Path(__file__).parents[1] / "data" / "frozen"


def config(workspace: Any, **changes: Any) -> Any:
    return workspace.settings(clip={"model": "fake:16"}, run={"max_rejected": "100%", "max_prune": "100%"}, **changes)


def agrees(planned: IngestPlan, run: Any) -> None:
    """Whether the run did what was planned. Media that were read may have the bytes that are known, or not arrive."""
    for counts in (planned.counts, run.counts):
        assert sum(counts[name] for name in counts if name.startswith("planned_")) == counts["planned"]
    later = {"unchanged", "missing_kept"}
    known = {name for name in planned.counts if name not in later}
    done = {name for name in run.counts if name.startswith(("planned", "to_", "remove", "pruned", "passed", "listed"))}
    assert {name: planned.counts.get(name, 0) for name in known | done} == {
        name: run.counts.get(name, 0) for name in known | done
    }
    for name in later:
        assert 0 <= run.counts[name] - planned.counts[name] <= planned.counts.get("to_decode", 0)
    assert planned.is_nothing_to_do == (not any(run.counts.get(name) for name in ("planned", "removed", "pruned")))


def trace(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file and folder of a database, with its time and its bytes."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted(folder.rglob("*"))
    }  # fmt: skip


class Catalogue:
    """A catalogue in which every kind of item changes in every way. `expected`: how many items the next ingest takes
    up, by reason, and what it counts otherwise."""

    def __init__(self, workspace: Any, seed: int) -> None:
        self.workspace, self.random = workspace, random.Random(seed)
        self.rows: dict[str, dict[str, Any]] = {}
        self.expected: Counter[str] = Counter()
        self.withdrawn = ["nobody"]
        self._seed = 0
        self._later: list[Callable[[], None]] = []
        for kind, change, _ in CASES:
            for number in range(2):
                if kind is not None:
                    name = f"{kind}, {change}, {number}"
                    self.rows[name] = self.item(name, kind)
        self.only_vectors = [name for name in self.rows if name.startswith("vectors")]

    def item(self, name: str, kind: str) -> dict[str, Any]:
        row = {"content_id": name, "caption": f"words of {name}", "attributes": {"n": 1}}
        if kind in ("picture", "broken", "missing"):
            row["uri"] = f"{name}.png"
        if kind == "picture":
            self.draw(name)
        elif kind == "broken":
            self.path(name).write_bytes(b"no picture")
        return row

    def path(self, name: str) -> Path:
        return Path(self.workspace.media / f"{name}.png")

    def draw(self, name: str) -> None:
        self._seed += 1
        self.workspace.picture(f"{name}.png", self._seed, (16, 16))

    def first(self) -> Path:
        """What is ingested before the changes."""
        return self.manifest(row for name, row in self.rows.items() if name not in self.only_vectors)

    def changed(self) -> Path:
        for kind, change, expected in CASES:
            for number in range(2):
                name = f"{kind}, {change}, {number}"
                self.change(name, kind, change)
                self.expected[expected] += 1
        self.expected["listed"] = len(self.rows)
        return self.manifest(self.rows.values())

    def change(self, name: str, kind: str | None, change: str) -> None:
        row = self.rows.get(name, {})
        if kind is None:
            self.rows[name] = self.item(name, change.removeprefix("forbidden "))
            if change.startswith("forbidden"):
                self.rows[name]["uri"] = "http://nowhere/x.png"
        for part in change.split(" and "):
            if part == "caption":
                row["caption"] += ", edited"
            elif part == "attributes":
                row["attributes"] = {"n": 2}
            elif part == "touch":
                os.utime(self.path(name), ns=(1, 1))
            elif part == "picture":
                self.draw(name)
                row["uri"] = f"{name}.png"
            elif part == "gone":
                self.path(name).unlink()
            elif part == "no uri":
                del row["uri"]
            elif part == "broken":
                self.path(name).write_bytes(b"no picture any more")
            elif part == "forbidden":
                row["uri"] = "http://nowhere/x.png"
            elif part == "lacking":
                store = self.workspace.store()
                with Lease(store):
                    store.update("contents", {"decode_fp": "''"}, f"content_id = '{name}'")
            elif part == "dropped":
                del self.rows[name]
            elif part == "withdrawn":
                del self.rows[name]
                self.withdrawn.append(name)

    def manifest(self, rows: Any) -> Path:
        listed = [*rows, *({"content_id": name, "deleted": True} for name in self.withdrawn)]
        self.random.shuffle(listed)
        return Path(self.workspace.manifest(listed))


# What an item is at first (None: not there), what happens to it, and as what the next ingest counts it.
CASES: tuple[tuple[str | None, str, str], ...] = (
    ("picture", "nothing", "unchanged"), ("picture", "caption", "planned_caption"),
    ("picture", "attributes", "planned_attributes"), ("picture", "touch", "planned_media"),
    ("picture", "picture", "planned_media"), ("picture", "gone", "missing_kept"),
    ("picture", "no uri", "planned_media"),
    ("picture", "broken", "planned_media"), ("picture", "forbidden", "planned_unusable"),
    ("picture", "lacking", "planned_incomplete"), ("picture", "caption and touch", "planned_media"),
    ("picture", "caption and attributes", "planned_caption"), ("picture", "lacking and caption", "planned_incomplete"),
    ("picture", "dropped", "pruned"), ("picture", "withdrawn", "removed"),
    ("words", "nothing", "unchanged"), ("words", "caption", "planned_caption"),
    ("words", "attributes", "planned_attributes"), ("words", "picture", "planned_media"),
    ("words", "forbidden", "planned_unusable"), ("words", "dropped", "pruned"),
    ("broken", "nothing", "rejected_before"), ("broken", "picture", "planned_rejected_changed"),
    ("broken", "caption", "planned_rejected_changed"), ("broken", "dropped", "pruned"),
    ("broken", "withdrawn", "removed"),
    ("missing", "nothing", "rejected_before"), ("missing", "picture", "planned_rejected_changed"),
    ("vectors", "nothing", "planned_first_listed"),
    (None, "picture", "planned_new"), (None, "words", "planned_new"), (None, "broken", "planned_new"),
    (None, "forbidden words", "planned_unusable"),
)  # fmt: skip


# Rejected items, which are tried again under other settings.
AGAIN = {"planned_rejected_changed", "planned_unusable"}


def took(planned: IngestPlan) -> dict[str, int]:
    return {name: planned.counts[name] for name in planned.counts if name.startswith("planned_")}


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_an_ingest_does_what_was_planned_by_reason(bare, seed):
    catalogue, settings = Catalogue(bare, seed), config(bare)

    def both(rows: Path, settings: Any = settings) -> IngestPlan:
        before = trace(Path(bare.uri())) if Path(bare.uri()).exists() else None
        planned = plan(bare.uri(), open_source(rows), settings, prune=True)
        assert before == (trace(Path(bare.uri())) if Path(bare.uri()).exists() else None)
        agrees(planned, ingest(bare.uri(), open_source(rows), settings, LocalRunner(), prune=True))
        return planned

    first = both(catalogue.first())
    assert (first.exists, took(first)) == (False, {"planned_new": first.counts["listed"]})
    assert first.counts["removed_unknown"] == 1
    bare.ingest_vectors({name: [1.0, number + 1] for number, name in enumerate(catalogue.only_vectors)})

    changed = both(catalogue.changed())
    names = {*changed.counts, *catalogue.expected} - {"planned", "to_decode", "to_encode", "removed_unknown"}
    assert {name: changed.counts.get(name, 0) for name in names} == {name: catalogue.expected[name] for name in names}
    assert changed.unusable == {"NotAllowed": catalogue.expected["planned_unusable"]}
    assert (changed.fetch.unsized, changed.fetch.unreachable) == (0, 0)
    pictures = changed.fetch.items
    assert pictures == changed.counts["to_decode"] == changed.computed["clip_image"]
    assert changed.fetch.bytes == sum((bare.media / row["uri"]).stat().st_size for row in _media_of(catalogue, changed))

    # Other settings: all is decoded, then encoded, then described again, and the keys are named.
    sampling = {"workers": 1, "sampling": {"frames": 3}}
    decoded = both(catalogue.manifest(catalogue.rows.values()), config(bare, decode=sampling))
    assert took(decoded).keys() - AGAIN == {"planned_decoder"}
    assert "decode.sampling.frames was 2 and is 3" in str(decoded.causes[0])
    vlm = {"model": "fake:8"}
    encoded = both(catalogue.manifest(catalogue.rows.values()), config(bare, decode=sampling, vlm=vlm))
    assert took(encoded).keys() - AGAIN == {"planned_encoder"}
    assert "vlm.model was not set and is fake:8" in str(encoded.causes[0])
    settings = config(bare, decode=sampling, vlm=vlm | {"tags": "?"})
    described = both(catalogue.manifest(catalogue.rows.values()), settings)
    assert took(described).keys() - AGAIN == {"planned_descriptions"}
    assert "vlm.tags was not set and is ?" in str(described.causes[0])
    assert described.time is None  # another manner

    rows = catalogue.manifest(catalogue.rows.values())
    again = both(rows, settings)
    assert again.is_nothing_to_do
    retry(bare.uri(), settings)
    assert took(both(rows, settings)).keys() == AGAIN


def _media_of(catalogue: Catalogue, planned: IngestPlan) -> list[dict[str, Any]]:
    """The rows whose media are to be read."""
    reads = ("planned_media", "planned_new", "planned_incomplete", "planned_rejected_changed")
    found = []
    for kind, change, expected in CASES:
        for number in range(2):
            row = catalogue.rows.get(f"{kind}, {change}, {number}")
            if row is not None and expected in reads and "uri" in row:
                found.append(row)
    return found


def test_a_plan_of_vectors_is_right_too(bare, cluster):
    vectors = cluster(40)
    bare.ingest_vectors(vectors)
    bare.fit()
    vectors["v003"] = vectors["v004"] + 1
    vectors["v005"] = vectors["v005"] * float("nan")
    vectors |= cluster(3, prefix="new") | {"bad": [float("inf")] * 8}
    del vectors["v007"]
    source, settings = bare.vectors(vectors), config(bare)
    planned = plan(bare.uri(), source, settings, prune=True)
    assert took(planned) == {"planned_new": 3, "planned_vector": 1, "planned_unusable": 2}
    assert (planned.counts["pruned"], planned.unusable) == (1, {"BadVector": 2})
    assert planned.afterwards.champion == bare.store().setting("champion")
    assert planned.afterwards.to_assign == 3
    assert planned.time is not None
    assert [stage.stage for stage in planned.time.stages][:2] == ["read", "commit"]
    run = ingest(bare.uri(), source, settings, LocalRunner(), prune=True)
    agrees(planned, run)
    assert run.counts["assigned"] == 3
    assert plan(bare.uri(), source, settings).counts["rejected_before"] == 2


# What it leaves alone


@pytest.fixture
def unwritten(monkeypatch):
    """Any write to a database that exists is an error. -> allows them again."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a plan writes")

    for name in ("writing", "put_artifact", "put_settings", "upsert"):
        monkeypatch.setattr(Store, name, refuse)
    return monkeypatch


def test_a_plan_beside_a_run_says_so_and_writes_nothing(fitted, cluster, unwritten):
    before = trace(Path(fitted.uri()))
    source = fitted.vectors(cluster(61))
    assert plan(fitted.uri(), source, config(fitted)).running is None
    assert trace(Path(fitted.uri())) == before
    unwritten.undo()
    with Lease(fitted.store()):
        found = plan(fitted.uri(), source, config(fitted))
    assert found.running == f"process {os.getpid()} on {os.uname().nodename}"
    assert took(found) == {"planned_new": 1}


def test_of_a_database_that_does_not_exist_nothing_is_made(bare, cluster):
    there = sorted(bare.root.rglob("*"))
    source = bare.vectors(cluster(3))
    for place in (bare.uri(), str(bare.root / "deep" / "er"), str(bare.media)):
        found = plan(place, source, config(bare))
        assert (found.exists, took(found), found.time) == (False, {"planned_new": 3}, None)
    made = {bare.media / "vectors.npy", bare.media / "vectors.ids.txt"}
    assert sorted({*bare.root.rglob("*")} - made) == there


@pytest.mark.parametrize("archive", ["schema-3-ids", "schema-3-no-ids"])
def test_of_an_older_schema_it_names_the_upgrade(bare, cluster, archive, tmp_path):
    with tarfile.open(FROZEN / f"{archive}.tar.gz") as opened:
        opened.extractall(tmp_path / "old", filter="data")
    db = tmp_path / "old" / "db"
    before = trace(db)
    with pytest.raises(StoreError, match="can only be read; `fuseid upgrade --db"):
        plan(str(db), bare.vectors(cluster(3)), config(bare))
    assert trace(db) == before


# What keeps an ingest from starting keeps a plan


REFUSALS: dict[str, tuple[type[FuseidError], dict[str, Any]]] = {
    "duplicates": (BadInput, {"rows": ["a", "b", "a"]}),
    "empty": (BadInput, {"rows": []}),
    "precision": (FingerprintMismatch, {"clip": {"model": "fake:16", "precision": "bf16"}}),
    "model": (FingerprintMismatch, {"clip": {"model": "fake:32"}}),
    "too much to prune": (NotReady, {"prune": True, "run": {"max_prune": "1"}}),
    "expected rows": (NotReady, {"source": {"expect_rows": 9}}),
    "a file": (NoDatabase, {"db": "media/manifest.jsonl"}),
    "damaged": (DamagedTable, {"db": "damaged"}),
}


@pytest.fixture(scope="module")
def fitted_media(tmp_path_factory, make_bare):
    made = make_bare(tmp_path_factory.mktemp("refused"))
    rows = made.manifest(made.captions(12))
    ingest(made.uri(), open_source(rows), config(made), LocalRunner())
    made.fit(clip={"model": "fake:16"})
    shutil.copytree(made.uri(), made.uri("damaged"))
    next((Path(made.uri("damaged")) / "contents.lance" / "data").iterdir()).unlink()
    return made


@pytest.mark.parametrize("name", REFUSALS)
def test_what_keeps_an_ingest_from_starting_keeps_a_plan(fitted_media, name):
    error, case = REFUSALS[name]
    case = {**case}
    listed = case.pop("rows", [row["content_id"] for row in fitted_media.captions(3)])
    rows = fitted_media.manifest([{"content_id": name, "caption": name} for name in listed])
    place, prune = str(fitted_media.root / case.pop("db", "db")), case.pop("prune", False)
    settings = fitted_media.settings(**({"clip": {"model": "fake:16"}} | case))
    found = []
    for do in (lambda source: plan(place, source, settings, prune=prune),
               lambda source: ingest(place, source, settings, LocalRunner(), prune=prune)):  # fmt: skip
        with pytest.raises(error) as caught:
            do(open_source(rows))
        found.append((type(caught.value), str(caught.value)))
    assert found[0] == found[1]


def test_named_vectors_cannot_be_pruned_by(bare, cluster):
    source = Vectors(bare.vectors(cluster(3)).path, name="audio")
    with pytest.raises(BadInput, match="audio vectors are not the whole catalogue"):
        plan(bare.uri(), source, config(bare), prune=True)


def test_a_plan_is_a_document_for_machines(fitted, cluster):
    found = plan(fitted.uri(), fitted.vectors(cluster(62)), config(fitted)).document()
    assert json.loads(json.dumps(found)) == found
    assert found["reasons"] == [
        {"reason": "new", "items": 2, "meaning": "not in the database", "first": ["v060", "v061"]}
    ]
    assert found["nothing_to_do"] is False
