"""Every kind of tokenizer, from the first vector to the report: no job and no reader knows which kind it has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.config import Config
from fuseid.core.errors import FitFailed
from fuseid.pipelines.evaluation.evaluate import evaluate
from fuseid.pipelines.evaluation.settings import Setting
from fuseid.pipelines.explain import explain
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.exports.tries import export_trie, open_trie
from fuseid.pipelines.fit import fit
from fuseid.pipelines.promote import promote
from fuseid.pipelines.reports.document import report
from fuseid.pipelines.sequences.export import export_sequences

ITEMS, NEW = 80, 20
# The keys of `tokenizer` for each kind, and for each form of a kind.
KINDS: dict[str, dict[str, Any]] = {
    "rq-kmeans": {"iterations": 5},
    "rq-kmeans, fsq last": {"last": "fsq", "fsq_levels": [2, 2], "fsq_epochs": 4, "iterations": 5},
    "rq-vae": {"kind": "rq-vae", "hidden": 8, "epochs": 2, "refinements": 1, "iterations": 5},
    "fsq": {"kind": "fsq", "levels": [[4], [2, 2], [2, 2]], "hidden": 8, "epochs": 4},
}
TRIAL = Setting(
    "trial", d_model=16, d_kv=8, d_ff=32, heads=2, layers=1, dropout=0.0, history=3, batch=32, steps=10,
    learning_rate=5e-2, warmup=5, check_every=5, patience=3, valid_examples=20, beams=5, users=1_000,
)  # fmt: skip


def config(keys: dict[str, Any], **more: Any) -> Config:
    tokenizer = {"codebook_sizes": [4, 4, 4], "collisions": "reassign", **keys, **more}
    return Config.model_validate({"clip": None, "fusion": {"dim": 8}, "tokenizer": tokenizer})


def events(path: Any, names: list[str]) -> Any:
    """Walks of eight steps over all items."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    rows = [
        (f"u{user}", names[(user * 7 + step) % len(names)], start + timedelta(days=user, hours=step))
        for user in range(30)
        for step in range(8)
    ]
    columns = dict(zip(("user_id", "content_id", "timestamp"), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("keys", KINDS.values(), ids=KINDS)
def test_every_kind_goes_through_every_job_and_every_reader(bare, cluster, tmp_path, keys):
    chosen, uri = config(keys), bare.uri()
    bare.ingest_vectors(cluster(ITEMS), config=chosen)
    assert fit(uri, chosen).counts["assigned"] == ITEMS
    champion = bare.store().setting("champion")
    assert champion.startswith(f"{keys.get('kind', 'rq-kmeans')}-")
    later = bare.ingest_vectors({**cluster(ITEMS), **cluster(NEW, seed=1, prefix="new")}, config=chosen)
    assert later.counts["assigned"] == NEW
    given = bare.ids()
    assert len(set(given.values())) == ITEMS + NEW

    # Another candidate of the kind, and both ways of a promotion.
    fit(uri, config(keys, seed=1))
    candidate = bare.candidate()
    promote(uri, candidate, chosen)
    assert bare.ids() == bare.ledger(candidate)
    promote(uri, champion, chosen)
    assert bare.ids() == given

    moved = [name for name in given if explain(uri, name)["ids"][0]["moved_error"]]
    assert moved, "reassign found no other codes"
    assert export_ids(uri, tmp_path / "ids")["items"] == ITEMS + NEW
    assert export_trie(uri, tmp_path / "trie")["items"] == ITEMS + NEW
    assert open_trie(tmp_path / "trie").trie.id_count == ITEMS + NEW

    document = report(uri, sample=ITEMS, queries=20, compare=candidate)
    assert [column["id"] for column in document["tokenizers"]] == [champion, candidate]
    export_sequences(uri, events(tmp_path / "events.parquet", sorted(given)), tmp_path / "sequences")
    found = evaluate(uri, tmp_path / "sequences", against=["random", candidate], seeds=1, setting=TRIAL, workers=1)
    measured = {(row["ids"], row["measure"]) for row in found["measures"]}
    assert {("semantic", "recall@10"), ("random", "recall@10"), (candidate, "recall@10")} <= measured


@pytest.mark.parametrize("keys", KINDS.values(), ids=KINDS)
def test_a_second_fit_of_the_same_items_is_the_same_tokenizer(bare, cluster, keys):
    chosen = config(keys)
    for db in ("one", "two"):
        bare.ingest_vectors(cluster(ITEMS), config=chosen, db=db)
        fit(bare.uri(db), chosen)
    assert bare.store("one").setting("champion") == bare.store("two").setting("champion")


def test_a_fit_that_collapses_leaves_no_candidate(bare):
    """All vectors but a few are equal: no scalar divides them."""
    chosen = config(KINDS["fsq"])
    vectors = {f"v{n:03d}": np.full(8, 1 + (n < 4) * n, np.float32) * (np.arange(8) != n) for n in range(ITEMS)}
    bare.ingest_vectors({**vectors, **{f"w{n:04d}": np.ones(8, np.float32) for n in range(3000)}}, config=chosen)
    with pytest.raises(
        FitFailed, match=r"level 1 collapsed: the normalised entropy of its codes is 0\.\d\d, below 0.5"
    ):
        fit(bare.uri(), chosen)
    assert bare.store().setting("champion") is None
    assert bare.store().settings().get("candidate") is None
