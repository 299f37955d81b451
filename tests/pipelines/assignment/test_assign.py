"""The ledger: an ID once given never moves, is never given again, and depends on nothing but the completed runs."""

from __future__ import annotations

import itertools
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuseid.core.errors import ArtifactError, FingerprintMismatch, NotReady, StoreError
from fuseid.core.records import SemanticId
from fuseid.pipelines.assign import assign
from fuseid.pipelines.promote import promote
from fuseid.tokenizers.rq_kmeans import RQKMeans


def base(sid: str) -> str:
    return sid.partition(".")[0]


def test_every_item_gets_the_text_of_its_codes_and_the_projection_is_the_ledger(fitted):
    ledger = fitted.ledger()
    rows = fitted.rows()
    champion = fitted.store().setting("champion")
    tokenizer = fitted.store().get_artifact(RQKMeans, champion)
    assert rows.keys() == ledger.keys()
    for name, row in rows.items():
        sid = SemanticId.parse(ledger[name])
        assert row["sid"] == str(sid)
        assert tuple(row["codes"]) == sid.codes
        assert row["tokenizer_id"] == champion
        assert tokenizer.encode(np.array([row["fused"]], np.float32))[0].tolist() == row["codes"]


def test_of_items_with_equal_codes_the_first_by_content_id_has_no_suffix(fitted):
    groups: dict[str, list[str]] = {}
    for _, sid in sorted(fitted.ledger().items()):
        groups.setdefault(base(sid), []).append(sid)
    assert any(len(group) > 2 for group in groups.values())
    for start, group in groups.items():
        assert group == [start, *(f"{start}.{digit}" for digit in range(1, len(group)))]


def test_items_of_later_runs_take_the_next_suffixes_whatever_their_content_ids(bare, cluster):
    vector = np.arange(1, 9, dtype=np.float32)
    bare.ingest_vectors(cluster(40))
    bare.fit()
    bare.ingest_vectors({"m": vector})
    first = bare.ids()["m"]
    bare.ingest_vectors({"z": vector, "a": vector})
    ids = bare.ids()
    assert ids["m"] == first
    digits = [SemanticId.parse(ids[name]).suffix or 0 for name in ("m", "a", "z")]
    assert {base(ids[name]) for name in ("m", "a", "z")} == {base(first)}
    assert digits == [digits[0], digits[0] + 1, digits[0] + 2]


def test_an_id_is_never_given_again_and_returns_with_its_item(fitted, cluster):
    before = fitted.ledger()
    vectors = cluster(60)
    gone = sorted(before)[:20]
    fitted.store().delete("contents", gone)
    assert fitted.rows().keys() == before.keys() - set(gone)

    # Others with equal vectors take the next suffixes,
    fitted.ingest_vectors({f"copy-{name}": vectors[name] for name in gone})
    after = fitted.ledger()
    assert {name: after[name] for name in before} == before
    copies = {after[f"copy-{name}"] for name in gone}
    assert not copies & set(before.values())
    assert {base(after[f"copy-{name}"]) for name in gone} == {base(before[name]) for name in gone}

    # and an item that returns has its former ID.
    fitted.ingest_vectors({name: vectors[name] for name in gone})
    assert {name: fitted.ids()[name] for name in gone} == {name: before[name] for name in gone}


def test_an_edited_item_keeps_its_id(fitted, cluster):
    before = fitted.ids()
    vectors = cluster(60)
    run = fitted.ingest_vectors({"v000": -vectors["v000"]})
    assert run.counts["committed"] == 1
    assert fitted.ids() == before


@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(24)), st.lists(st.integers(1, 9), min_size=2, max_size=2), st.integers(1, 30))
def test_ids_depend_neither_on_order_nor_on_blocks_nor_on_waves(tmp_path_factory, fitted, order, sizes, wave):
    block_rows, lease = sizes
    vectors = np.repeat(np.random.default_rng(5).normal(size=(8, 8)), 3, axis=0)
    names = [f"n{i:02d}" for i in range(24)]
    config = fitted.settings(
        clip=None, run={"block_rows": block_rows, "wave_rows": wave, "wave_vectors": wave, "lease_seconds": 30 + lease}
    )
    db = f"copy-{next(COUNTER)}"
    shutil.copytree(fitted.uri(), fitted.uri(db))
    fitted.ingest_vectors({names[i]: vectors[i] for i in order}, db=db, config=config)
    ids = fitted.ids(db)
    shutil.rmtree(fitted.uri(db))
    reference = f"reference-{fitted.root.name}"
    if not (fitted.root / reference).exists():
        shutil.copytree(fitted.uri(), fitted.uri(reference))
        fitted.ingest_vectors(dict(zip(names, vectors, strict=True)), db=reference)
    assert ids == fitted.ids(reference)


COUNTER = itertools.count()


@pytest.mark.slow
def test_fit_and_ids_of_pictures_and_words_depend_on_neither_order_nor_waves(workspace):
    rows = [{"content_id": f"p{i}", "uri": workspace.picture(f"{i}.png", i % 4), "caption": f"{i}"} for i in range(6)]
    rows += [{"content_id": f"q{i}", "uri": f"{i % 4}.png"} for i in range(6)] + workspace.captions(6)
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    found = []
    for db, listed, run in (
        ("one", rows, {"block_rows": 32, "wave_rows": 100, "wave_vectors": 100}),
        ("two", shuffled, {"block_rows": 3, "wave_rows": 5, "wave_vectors": 5}),
    ):
        workspace.ingest(listed, db=db, config=workspace.settings(run=run))
        workspace.fit(db)
        champion = workspace.store(db).setting("champion")
        rows_of = workspace.rows(db=db)
        found.append((champion, {name: (row["sid"], row["fused"], row["clip_image"]) for name, row in rows_of.items()}))
    assert found[0] == found[1]


def test_a_second_fit_makes_a_candidate_and_promoting_switches_there_and_back(fitted):
    champion = fitted.store().setting("champion")
    before = fitted.ids()
    run = fitted.fit(tokenizer={"codebook_sizes": [2, 2], "iterations": 5})
    assert run.counts["assigned"] == 60
    assert fitted.store().setting("champion") == champion
    assert fitted.ids() == before
    candidate = fitted.candidate()
    assert any(candidate in note for note in run.notes)

    # While it is no champion, new items get the champion's IDs only; promoting gives the candidate's as well.
    fitted.ingest_vectors({"new": np.ones(8)})
    before = fitted.ids()
    assert before["new"] is not None
    promoted = promote(fitted.uri(), candidate, fitted.settings())
    assert promoted.counts["assigned"] == 1
    rows = fitted.rows()
    assert {row["tokenizer_id"] for row in rows.values()} == {candidate}
    assert fitted.ids() == fitted.ledger(candidate) != before
    assert all(max(row["codes"]) < 2 for row in rows.values())

    promote(fitted.uri(), champion, fitted.settings())
    assert fitted.ids() == before
    assert fitted.ids() == fitted.ledger(champion)


def test_a_second_fit_with_the_same_settings_is_the_champion_itself(fitted):
    before = fitted.ids()
    assert fitted.fit().counts["assigned"] == 0
    assert fitted.ids() == before


def test_assigning_again_changes_nothing(fitted):
    before, versions = fitted.ids(), fitted.store().versions()["assignments"]
    assert assign(fitted.uri(), fitted.settings()).counts["assigned"] == 0
    assert fitted.ids() == before
    assert fitted.store().versions()["assignments"] == versions


def foreign_tokenizer(workspace, cluster) -> tuple[str, str]:
    """Copies the champion of another database into `db`; -> (its id, the fusion it was fitted on)."""
    workspace.ingest_vectors(cluster(60, seed=3), db="other")
    workspace.fit("other")
    store = workspace.store("other")
    name = store.setting("champion")
    shutil.copytree(workspace.root / "other" / "artifacts" / name, workspace.root / "db" / "artifacts" / name)
    return name, store.setting("fusion")


@pytest.mark.parametrize("job", ["assign", "promote"])
def test_a_tokenizer_of_another_fusion_is_refused_and_both_are_named(fitted, cluster, job):
    name, other_fusion = foreign_tokenizer(fitted, cluster)
    before, champion = fitted.ids(), fitted.store().setting("champion")
    use = {
        "assign": lambda: assign(fitted.uri(), fitted.settings(), name),
        "promote": lambda: promote(fitted.uri(), name, fitted.settings()),
    }[job]
    with pytest.raises(FingerprintMismatch) as caught:
        use()
    message = str(caught.value)
    assert other_fusion in message
    assert fitted.store().setting("fusion") in message
    assert "\n" not in message
    assert (fitted.ids(), fitted.store().setting("champion")) == (before, champion)


@pytest.mark.parametrize("name", ["rq-kmeans-0000000000000000", "nonsense", "fusion-00", "rq-kmeans-../../x", ""])
def test_an_unknown_tokenizer_is_refused(fitted, name):
    if name:
        with pytest.raises(ArtifactError) as caught:
            assign(fitted.uri(), fitted.settings(), name)
        assert "\n" not in str(caught.value)
    with pytest.raises(ArtifactError):
        promote(fitted.uri(), name, fitted.settings())


def test_a_damaged_artifact_stops_an_ingest_with_its_name(fitted):
    champion = fitted.store().setting("champion")
    path = fitted.root / "db" / "artifacts" / champion / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(ArtifactError, match=champion):
        fitted.ingest_vectors({"new": np.ones(8)})
    assert "new" not in fitted.rows()


def test_before_the_first_fit_there_is_nothing_to_assign(bare, cluster):
    bare.ingest_vectors(cluster(5))
    with pytest.raises(StoreError, match="fuseid fit"):
        assign(bare.uri(), bare.settings())


def test_fit_needs_items_and_more_of_them_than_codes_and_leaves_no_trace_otherwise(bare, cluster):
    with pytest.raises(StoreError, match="no database"):
        bare.fit()
    bare.ingest_vectors(cluster(3))
    with pytest.raises(NotReady, match="3 distinct vectors cannot fill a codebook of 4"):
        bare.fit()
    store = bare.store()
    assert (store.setting("fusion"), store.setting("champion")) == (None, None)
    assert bare.rows()["v000"]["sid"] is None
    bare.ingest_vectors(cluster(9))
    assert bare.fit().counts["assigned"] == 9
