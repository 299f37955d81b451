"""Collision policies on a real store: three runs, a deletion before the last, under every policy at once."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fuseid.core.records import SemanticId
from fuseid.pipelines.assign import assign
from fuseid.pipelines.assignment import assign as assigning
from fuseid.pipelines.assignment import ledger
from fuseid.pipelines.assignment import placement as places
from fuseid.pipelines.explain import explain
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.jobs.lease import Lease
from fuseid.tokenizers.collisions import Policy, squared_errors
from fuseid.tokenizers.rq_kmeans import RQKMeans

POLICIES = {
    "suffix": Policy(),
    "reassign": Policy("reassign", alternatives=12),
    "reassign in pairs": Policy("reassign", bucket_capacity=2, alternatives=3),
    "none": Policy("none"),
    "suffix, share": Policy(duplicates="share"),
    "reassign, share": Policy("reassign", alternatives=12, duplicates="share"),
    "none, share": Policy("none", duplicates="share"),
}
each_policy = pytest.mark.parametrize("name", POLICIES)
reassigning = pytest.mark.parametrize("name", [n for n, policy in POLICIES.items() if policy.collisions == "reassign"])
Rows = dict[str, dict[str, Any]]


def runs_of_items() -> list[dict[str, np.ndarray]]:
    """Sixty items per run, close together; twenty have the vector of another item, of that run or an earlier one."""
    generator = np.random.default_rng(11)
    pool: list[np.ndarray] = []
    runs = []
    for prefix in "nbz":
        fresh = list((generator.normal(size=(40, 8)) * np.linspace(1, 0.2, 8)).astype(np.float32))
        pool += fresh
        copies = [pool[i] for i in generator.integers(0, len(pool), 20)]
        names = [f"{prefix}{i:03d}" for i in generator.permutation(60)]
        runs.append(dict(zip(names, fresh + copies, strict=True)))
    return runs


@dataclass
class History:
    """By policy, the ledger after each run and the notes of each run."""

    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    tokenizers: dict[str, RQKMeans] = field(default_factory=dict)
    ledgers: dict[str, list[Rows]] = field(default_factory=lambda: {name: [] for name in POLICIES})
    notes: dict[str, list[list[str]]] = field(default_factory=lambda: {name: [] for name in POLICIES})

    def last(self, name: str) -> Rows:
        return self.ledgers[name][-1]

    def new_rows(self, name: str, run: int) -> Rows:
        before = self.ledgers[name][run - 1] if run else {}
        return {i: row for i, row in self.ledgers[name][run].items() if i not in before}

    def matrix(self, ids: list[str]) -> np.ndarray:
        return np.array([self.vectors[i] for i in ids])


def tokenizers_on(fused: np.ndarray, fusion: str, directory: Path) -> dict[str, RQKMeans]:
    """One for each policy: the same codebooks under another id."""
    fitted = RQKMeans.fit(fused, (4, 4, 8), iterations=5, fusion=fusion)
    books, prices = ([part.numpy() for part in parts] for parts in (fitted.codebooks, fitted.prices))
    out = {name: RQKMeans({**fitted.meta, "seed": n}, books, prices) for n, name in enumerate(POLICIES)}
    for name, tokenizer in out.items():
        tokenizer.save(directory / name)
    return out


def rows_under(store: Any, tokenizer: RQKMeans) -> Rows:
    rows = store.dataset("assignments").to_table(filter=f"tokenizer_id = '{tokenizer.id}'").to_pylist()
    found = {row["content_id"]: {k: v for k, v in row.items() if k != "run_id"} for row in rows}
    assert len(found) == len(rows), "the ledger gave an item two IDs"
    return found


def history(workspace: Any, db: str, config: Any, give: Callable[..., None]) -> History:
    """give: (store, tokenizer, policy, notes) -> one run's IDs under that policy."""
    out = History()
    for number, items in enumerate(runs_of_items()):
        if number == 2:
            workspace.store(db).delete("contents", sorted(out.vectors)[::3])
        workspace.ingest_vectors(items, db=db, config=config)
        if number == 0:
            workspace.fit(db)
        store = workspace.store(db)
        out.vectors |= {i: np.array(row["fused"], np.float32) for i, row in workspace.rows(db=db).items()}
        if number == 0:
            fusion = store.setting("fusion")
            out.tokenizers = tokenizers_on(out.matrix(sorted(out.vectors)), fusion, workspace.root / f"of-{db}")
        for name, tokenizer in out.tokenizers.items():
            notes: list[str] = []
            give(store, tokenizer, POLICIES[name], notes)
            out.ledgers[name].append(rows_under(store, tokenizer))
            out.notes[name].append(notes)
    return out


def give(store: Any, tokenizer: RQKMeans, policy: Policy, notes: list[str]) -> None:
    with Lease(store):
        assigning.assign(store, tokenizer, "a-run", champion=False, policy=policy, notes=notes)


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory, make_workspace) -> Any:
    return make_workspace(tmp_path_factory.mktemp("places"))


@pytest.fixture(scope="module")
def quiet(workspaces) -> History:
    config = workspaces.settings(clip=None, run={"wave_rows": 1000, "wave_vectors": 1000, "block_rows": 1000})
    return history(workspaces, "quiet", config, give)


@each_policy
def test_no_later_run_and_no_deletion_moves_an_id(quiet, name):
    first, second, third = quiet.ledgers[name]
    assert (len(first), len(second), len(third)) == (60, 120, 180)
    assert {i: second[i] for i in first} == first
    assert {i: third[i] for i in second} == second


@each_policy
def test_one_id_has_several_items_only_where_that_is_asked_for(quiet, name):
    policy = POLICIES[name]
    by_sid: dict[str, list[dict]] = {}
    by_content: dict[str, set[str]] = {}
    for row in quiet.last(name).values():
        assert row["sid"] == str(SemanticId(tuple(row["codes"]), row["suffix"]))
        assert row["base"] == row["sid"].partition(".")[0]
        by_sid.setdefault(row["sid"], []).append(row)
        by_content.setdefault(row["fused_fp"], set()).add(row["sid"])
    assert len(by_content) == 120
    if policy.collisions == "none":
        assert all(row["suffix"] is None for row in quiet.last(name).values())
    elif policy.duplicates == "share":
        assert all(len({row["fused_fp"] for row in rows}) == 1 for rows in by_sid.values())
    else:
        assert all(len(rows) == 1 for rows in by_sid.values())
    if policy.duplicates == "share":
        assert all(len(sids) == 1 for sids in by_content.values())


@each_policy
def test_suffixes_of_a_bucket_count_up_by_run_and_content_id(quiet, name):
    given: dict[str, list[tuple[int, int, str]]] = {}  # by bucket: digit, run, name
    for run in range(3):
        first_of: dict[str, str] = {}
        for i, row in sorted(quiet.new_rows(name, run).items()):
            old = run and row["fused_fp"] in {r["fused_fp"] for r in quiet.ledgers[name][run - 1].values()}
            repeated = old or first_of.setdefault(row["fused_fp"], i) != i
            if not (POLICIES[name].duplicates == "share" and repeated):
                given.setdefault(row["base"], []).append((row["suffix"] or 0, run, i))
    for rows in map(sorted, given.values()):
        if POLICIES[name].collisions != "none":
            assert [digit for digit, _, _ in rows] == list(range(len(rows)))
            assert [run for _, run, _ in rows] == sorted(run for _, run, _ in rows)
        if POLICIES[name].collisions == "suffix":
            assert [(run, i) for _, run, i in rows] == sorted((run, i) for _, run, i in rows)


@each_policy
def test_codes_are_the_tokenizers_own_or_cost_what_the_ledger_says(quiet, name):
    tokenizer, rows = quiet.tokenizers[name], quiet.last(name)
    ids = sorted(rows)
    vectors, codes = quiet.matrix(ids), np.array([rows[i]["codes"] for i in ids])
    own = tokenizer.encode(vectors)
    moved = np.array([rows[i]["moved_error"] is not None for i in ids])
    assert np.array_equal(codes[~moved], own[~moved])
    assert (codes[moved] != own[moved]).any(1).all()
    extra = squared_errors(tokenizer, vectors, codes) - squared_errors(tokenizer, vectors, own)
    assert [rows[i]["moved_error"] for i in itertools.compress(ids, moved)] == pytest.approx(extra[moved], abs=1e-5)
    assert moved.any() == (POLICIES[name].collisions == "reassign")


@reassigning
def test_only_items_that_found_no_room_exceed_the_capacity_of_a_bucket(quiet, name):
    policy = POLICIES[name]
    over = [row for row in quiet.last(name).values() if (row["suffix"] or 0) >= policy.bucket_capacity]
    assert all(row["moved_error"] is None for row in over)
    said = [int(notes[0].split("other codes than their own, ")[1].split()[0]) for notes in quiet.notes[name]]
    repeated = policy.duplicates == "share"
    assert sum(said) == len({row["sid"] for row in over} if repeated else over)


def test_reassign_leaves_few_different_items_with_the_same_codes(quiet):
    def colliding(name: str) -> int:
        content = {row["fused_fp"]: row["base"] for row in quiet.last(name).values()}
        sizes = Counter(content.values())
        return sum(sizes[base] > 1 for base in content.values())

    assert colliding("suffix, share") > 50
    assert colliding("reassign, share") < 0.3 * colliding("suffix, share")


def test_the_notes_of_a_run_agree_with_the_ledger(quiet):
    for run in range(3):
        new = {name: quiet.new_rows(name, run) for name in POLICIES}
        before = {name: quiet.ledgers[name][run - 1] if run else {} for name in POLICIES}

        def repeats(name: str, key: str, new: Any = new, before: Any = before) -> int:
            held = {row[key] for row in before[name].values()}
            return len(new[name]) - len({row[key] for row in new[name].values()} - held)

        assert quiet.notes["suffix"][run] == []
        (none,) = quiet.notes["none"][run]
        assert none.startswith(f"{repeats('none', 'sid')} of 60 new items share the ID of another with the same codes")
        (share,) = quiet.notes["suffix, share"][run]
        assert share.startswith(f"{repeats('suffix, share', 'fused_fp')} of 60 new items share the ID of another with")
        (said,) = quiet.notes["reassign"][run]
        rows = new["reassign"]
        moved = sorted(i for i, row in rows.items() if row["moved_error"] is not None)
        assert said.startswith(f"{len(moved)} of 60 new items took other codes than their own")
        tokenizer = quiet.tokenizers["reassign"]
        extra = sum(rows[i]["moved_error"] for i in moved)
        for ids, of in ((sorted(rows), "all new items"), (moved, "those that moved")):
            vectors = quiet.matrix(ids)
            error = float(squared_errors(tokenizer, vectors, tokenizer.encode(vectors)).sum())
            assert f"{extra / error:+.2%} over {of}" in said


class PowerCut(Exception):
    pass


@pytest.mark.slow
def test_ids_do_not_depend_on_order_partitions_or_killed_runs(workspaces, quiet, monkeypatch):
    small = {
        (assigning, "_ROWS_PER_PARTITION"): 20,
        (assigning, "_SPILLED"): 15,
        (places, "_CHUNK"): 3,
        (ledger, "_FOLD_ROWS"): 15,
        (ledger, "_KEYS"): 10,
    }
    calls = itertools.count()
    for (module, name), value in small.items():
        monkeypatch.setattr(module, name, value)

    def cut(*_: Any) -> None:
        raise PowerCut

    def after_a_killed_one(store: Any, tokenizer: RQKMeans, policy: Policy, notes: list[str]) -> None:
        run = next(calls) // len(POLICIES)
        monkeypatch.setattr(ledger, "_ROWS_PER_KEY", [0, 0, 10**9][run])  # by index, then by scans
        # A run that gave no ID has no effect, not even by its policy.
        other = Policy("none" if policy.collisions == "reassign" else "reassign")
        with monkeypatch.context() as patch:
            patch.setattr(ledger.GrowingLedger, ["reader", "give", "reader"][run], cut)
            with pytest.raises(PowerCut):
                give(store, tokenizer, other, [])
        give(store, tokenizer, policy, notes)

    config = workspaces.settings(clip=None, run={"wave_rows": 25, "wave_vectors": 25, "block_rows": 8})
    found = history(workspaces, "broken", config, after_a_killed_one)
    assert {n: t.id for n, t in found.tokenizers.items()} == {n: t.id for n, t in quiet.tokenizers.items()}
    assert found.ledgers == quiet.ledgers


# With a champion: the policy of the config, the notes of a later run, and the readers of IDs that several items share.


def test_a_later_run_keeps_the_first_policy_and_notes_it(bare, cluster):
    bare.ingest_vectors(cluster(60))
    bare.fit(tokenizer={"collisions": "none"})
    before = bare.ids()
    assert len(set(before.values())) < 60
    run = bare.ingest_vectors(cluster(20, seed=5, prefix="w"))
    champion = bare.store().setting("champion")
    (said,) = [note for note in run.notes if champion in note]
    assert "collisions none" in said
    assert "collisions suffix" in said
    assert "\n" not in said
    ids = bare.ids()
    assert {name: ids[name] for name in before} == before
    assert not [sid for sid in ids.values() if "." in sid]
    # With the policy of the database, or one that differs only in unused settings, there is no note.
    for keys in ({"collisions": "none"}, {"collisions": "none", "bucket_capacity": 7}):
        config = bare.settings(clip=None, tokenizer=keys)
        assert not [note for note in assign(bare.uri(), config).notes if "goes on" in note]
    # Another tokenizer may have another policy.
    bare.fit(tokenizer={"collisions": "suffix", "seed": 1})
    assert bare.ids() == ids
    assert any("." in sid for sid in bare.ledger(bare.candidate()).values())


@pytest.fixture(scope="module")
def sharing_once(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("sharing") / "db"


@pytest.fixture
def sharing(bare, cluster, sharing_once) -> Any:
    """Sixty items, ten with a second item of the same content, under `share`."""

    def make() -> None:
        vectors = cluster(60)
        bare.ingest_vectors(vectors | {f"copy-{name}": vectors[name] for name in sorted(vectors)[:10]})
        bare.fit(tokenizer={"duplicates": "share"})

    return bare.once(sharing_once, make)


def test_items_that_share_an_id_are_all_found_by_it(sharing):
    ids = sharing.ids()
    assert len(ids) == 70
    assert len(set(ids.values())) == 60
    catalog = sharing.catalog()
    for name in sorted(ids)[:10]:
        exact = [i for i, sid in ids.items() if sid == ids[name]]
        assert len(exact) == 2
        found = catalog.search(sid=ids[name], k=100).to_pylist()
        assert [row["content_id"] for row in found if row["sid"] == ids[name]] == sorted(exact)
        prefix = ids[name].split("-")[0]
        below = [i for i, sid in ids.items() if sid.split("-")[0] == prefix]
        assert sorted(catalog.search(sid=prefix, k=100)["content_id"].to_pylist()) == sorted(below)


def test_explain_counts_and_shows_the_items_that_share_the_id(sharing):
    ids = sharing.ids()
    facts = explain(sharing.uri(), "v003", examples=100)
    (entry,) = facts["ids"]
    assert (entry["sid"], entry["moved_error"]) == (ids["v003"], None)
    long = facts["prefixes"][0]
    same = {i for i, sid in ids.items() if sid.partition(".")[0] == long["prefix"]}
    assert long["items"] == len(same)
    assert {example["content_id"] for example in long["examples"]} == same - {"v003"}
    assert "copy-v003" in same


def test_an_export_has_a_row_for_each_item_and_says_that_ids_are_shared(sharing, tmp_path):
    manifest = export_ids(sharing.uri(), tmp_path / "ids")
    assert manifest["items"] == 70
    assert manifest["collisions"]["duplicates"] == "share"
    rows = pq.read_table(tmp_path / "ids" / "ids-00000.parquet").to_pylist()
    assert {row["content_id"]: row["sid"] for row in rows} == sharing.ids()


def test_deleted_content_gets_its_id_back_under_another_name(sharing, cluster):
    before = sharing.ids()
    sharing.store().delete("contents", ["v003", "copy-v003"])
    vectors = cluster(60)
    run = sharing.ingest_vectors({"again": vectors["v003"], "other": vectors["v003"] + 1e-3})
    ids = sharing.ids()
    assert ids["again"] == before["v003"]
    assert ids["other"] not in before.values()
    assert "1 of 2 new items share the ID of another with the same content" in " ".join(run.notes)
