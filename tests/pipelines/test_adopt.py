"""IDs from outside in the ledger: kept as they are, shown, exported, compared, and continued by their codebooks."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import BadInput, StoreError
from fuseid.core.records import SemanticId
from fuseid.encoders.fusion import Fusion
from fuseid.pipelines.adopt import adopt
from fuseid.pipelines.assign import assign
from fuseid.pipelines.assignment.champion import load_tokenizer
from fuseid.pipelines.assignment.ledger import pinned_policy
from fuseid.pipelines.check import check
from fuseid.pipelines.drop import drop
from fuseid.pipelines.evaluation.evaluate import evaluate
from fuseid.pipelines.evaluation.settings import TINY
from fuseid.pipelines.explain import explain
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.exports.registry import FORMATS
from fuseid.pipelines.fit import fit
from fuseid.pipelines.jobs.runs import Run
from fuseid.pipelines.promote import promote
from fuseid.pipelines.reports.document import report
from fuseid.pipelines.rollback import rollback
from fuseid.pipelines.sequences.export import export_sequences
from fuseid.pipelines.tokenizers import tokenizers
from fuseid.tokenizers.rq_kmeans import RQKMeans


class Production:
    """Another system: vectors, codebooks that it learned on them, and the IDs that it gave. IDs of the last ten items
    are not in its file; the first item of the file is unknown here."""

    def __init__(self, folder: Path, vectors: dict[str, np.ndarray]) -> None:
        self.vectors = vectors
        self.tokenizer = RQKMeans.fit(np.stack(list(vectors.values())), (4, 3, 2), iterations=5, beam=1)
        self.folder = folder
        # In the most crowded bucket, where later items also come.
        [(most, _)] = Counter(self.codes_of(*vectors)).most_common(1)
        self.sids: dict[str, str] = {"elsewhere": str(SemanticId(most, 40))}
        seen: dict[tuple[int, ...], int] = {}
        for content_id, codes in zip(vectors, self.codes_of(*vectors), strict=True):
            if len(self.sids) <= len(vectors) - 10:
                digit = seen.get(codes, 0)
                self.sids[content_id] = str(SemanticId(codes, digit or None))
                seen[codes] = digit + 1
        self.codebooks = folder / "books.npz"
        books = {f"codebook_{level}": book.numpy() for level, book in enumerate(self.tokenizer.codebooks)}
        np.savez(self.codebooks, **books)
        self.ids = self.write(self.sids)

    def codes_of(self, *names: str) -> list[tuple[int, ...]]:
        codes = self.tokenizer.encode(np.stack([self.vectors[name] for name in names]))
        return [tuple(row) for row in codes.tolist()]

    def write(self, sids: dict[str, str], name: str = "ids.parquet") -> Path:
        pq.write_table(pa.table({"content_id": list(sids), "sid": list(sids.values())}), self.folder / name)
        return self.folder / name


@pytest.fixture
def production(tmp_path, cluster) -> Production:
    (tmp_path / "production").mkdir()
    return Production(tmp_path / "production", cluster(60))


@pytest.fixture
def stored(bare, production):
    """A database of the same vectors, before any fit."""
    bare.ingest_vectors(production.vectors)
    return bare


def adopted(workspace: Any, ids: Path, **options: Any) -> Run:
    return adopt(workspace.uri(), ids, workspace.settings(clip=None), **options)


def ledger(workspace: Any, tokenizer_id: str | None = None) -> dict[str, str]:
    """Unlike `Workspace.ledger` it lets items share an ID."""
    store = workspace.store()
    tokenizer_id = tokenizer_id or store.setting("champion")
    rows = store.dataset("assignments").to_table(filter=f"tokenizer_id = '{tokenizer_id}'").to_pylist()
    found = {row["content_id"]: row["sid"] for row in rows}
    assert len(found) == len(rows)
    return found


def damages(workspace: Any) -> list[dict[str, Any]]:
    return check(workspace.uri(), workspace.settings())["damages"]


# Without codebooks, before any fit: IDs need no vectors.


def test_ids_are_shown_as_they_came_and_the_rest_is_noted(stored, production):
    run = adopted(stored, production.ids)
    champion = stored.store().setting("champion")
    assert ledger(stored) == production.sids
    expected = {name: production.sids.get(name) for name in production.vectors}
    assert stored.ids() == expected
    assert run.counts == {"ids": 51, "in_catalogue": 50, "adopted": 51, "assigned": 0, "without_id": 10}
    assert f"10 items have no ID: the adopted IDs of {champion} came without codebooks (their sid is null)" in run.notes
    assert any(note.startswith("1 IDs are of items that are not in the database") for note in run.notes)
    assert run.notes[-1] == f"champion {champion}"
    assert (stored.store().setting("fusion"), damages(stored)) == (None, [])
    assert pinned_policy(stored.store(), champion).collisions == "suffix"


def test_the_same_file_again_changes_nothing_in_any_order_and_any_form(stored, production):
    adopted(stored, production.ids)
    champion, before = stored.store().setting("champion"), stored.ids()
    rows = stored.store().dataset("assignments").count_rows()
    sids = production.sids
    again = [production.ids, production.write(dict(reversed(sids.items()))), production.folder / "ids.jsonl"]
    lines = [json.dumps({"content_id": name, "sid": sid}) for name, sid in sids.items()]
    again[-1].write_text("\n".join(lines))
    for ids in again:
        run = adopted(stored, ids)
        assert (run.counts["adopted"], run.notes[-1]) == (0, f"adopted before: champion {champion}")
    assert (stored.store().setting("champion"), stored.ids()) == (champion, before)
    assert stored.store().dataset("assignments").count_rows() == rows


def test_an_item_that_arrives_later_shows_its_adopted_id_and_one_that_has_none_is_noted(stored, production, cluster):
    adopted(stored, production.ids)
    later = {"elsewhere": production.vectors["v000"], "new": production.vectors["v001"]}
    run = stored.ingest_vectors({**production.vectors, **later})
    assert (stored.ids()["elsewhere"], stored.ids()["new"]) == (production.sids["elsewhere"], None)
    assert any(note.startswith("11 items have no ID: the adopted IDs of adopted-") for note in run.notes)
    assert not any("fuseid fit" in note for note in run.notes)
    assert damages(stored) == []


def test_they_are_exported_looked_up_explained_and_reported(stored, production, tmp_path):
    adopted(stored, production.ids)
    uri, champion = stored.uri(), stored.store().setting("champion")
    for name in FORMATS:
        manifest = export_ids(uri, tmp_path / name, name)
        assert (manifest["tokenizer_id"], manifest["items"], manifest["fusion_id"]) == (champion, 50, None)
    again = export_ids(uri, tmp_path / "again", manifest=tmp_path / "grid" / "manifest.json")
    assert again["config"]["tokenizer"]["ids"]["count"] == 51
    codes = SemanticId.parse(production.sids["v000"]).codes
    below = {name for name, sid in production.sids.items() if SemanticId.parse(sid).codes[0] == codes[0]}
    found = stored.catalog().search(sid=str(codes[0]), k=100)["content_id"].to_pylist()
    assert set(found) == below - {"elsewhere"}
    assert stored.catalog().search(like="v000", k=3).num_rows == 3
    facts = explain(uri, "v000")
    assert (facts["sid"], facts["pinned"]["fusion"]) == (production.sids["v000"], None)
    assert (facts["ids"][0]["champion"], facts["prefixes"][-1]["items"]) == (True, len(found))
    column = report(uri, sample=60, queries=10)["tokenizers"][0]
    names = {one["name"] for one in column["measures"]}
    assert "collision_a" in names
    assert not names & {"r2", "cosine", "recall@10"}
    assert (column["items"], column["without_id"], column["edited"], column["queries"]) == (50, 10, 0, 0)
    assert any(depth["examples"] for prefix in column["prefixes"] for depth in prefix["depths"])


def test_they_are_evaluated_against_those_of_a_fit(stored, production, tmp_path):
    adopted(stored, production.ids)
    stored.fit()
    generator = np.random.default_rng(0)
    events = [
        f"u{user},v{generator.integers(50):03d},{1_700_000_000 + 60 * time}" for user in range(30) for time in range(6)
    ]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,content_id,timestamp", *events]))
    manifest = export_sequences(stored.uri(), tmp_path / "events.csv", tmp_path / "sequences")
    champion = stored.store().setting("champion")
    document = evaluate(
        stored.uri(), tmp_path / "sequences", against=("random", stored.candidate()), seeds=1,
        setting=replace(TINY, steps=2), users=10, workers=1,
    )  # fmt: skip
    assert (manifest["tokenizer_id"], document["tokenizer_id"]) == (champion, champion)
    assert len(document["ids"]) == 3


def test_an_export_of_another_database_is_adopted_with_its_codebook_sizes(fitted, cluster, tmp_path):
    for name in ("parquet", "grid", "minionerec"):
        export_ids(fitted.uri(), tmp_path / name, name)
    given = fitted.ids()
    names = set()
    for name in ("parquet", "grid", "minionerec"):
        run = adopted(fitted, tmp_path / name)
        names.add(run.notes[-1].rpartition(" ")[2])
    (adopted_id,) = names
    assert ledger(fitted, adopted_id) == given
    assert load_tokenizer(fitted.store(), adopted_id).codebook_sizes == (4, 3)
    assert (fitted.ids(), damages(fitted)) == (given, [])


def test_a_later_fit_learns_a_fusion_and_makes_a_candidate(stored, production):
    adopted(stored, production.ids)
    champion, shown = stored.store().setting("champion"), stored.ids()
    run = stored.fit()
    assert (stored.store().setting("champion"), stored.ids()) == (champion, shown)
    assert any(note.startswith("candidate rq-kmeans-") for note in run.notes)
    candidate = stored.candidate()
    assert damages(stored) == []
    # The next ingest fuses, and gives no IDs.
    stored.ingest_vectors({**production.vectors, "new": production.vectors["v001"]})
    assert stored.rows()["new"]["fused"] is not None
    assert stored.ids()["new"] is None
    document = report(stored.uri(), champion, compare=candidate, sample=60, queries=10)
    mine, other = ({one["name"] for one in column["measures"]} for column in document["tokenizers"])
    assert ("recall@10" in mine, "r2" in mine, "r2" in other) == (True, False, True)
    # Every item has an ID of the candidate; none of it is left when the adopted IDs are back.
    promote(stored.uri(), candidate, stored.settings())
    assert None not in stored.ids().values()
    promote(stored.uri(), champion, stored.settings())
    assert stored.ids() == {**shown, "new": None}
    assert assign(stored.uri(), stored.settings()).counts["without_id"] == 11
    assert damages(stored) == []


def test_a_promotion_hides_ids_of_the_former_champion(fitted, production):
    run = adopted(fitted, production.ids)
    assert run.notes[-1].startswith("candidate adopted-")
    before = fitted.store().setting("champion")
    shown = fitted.ids()
    run = adopted(fitted, production.ids, promote=True)
    assert (run.counts["adopted"], run.notes[-1].split()[:3]) == (0, ["adopted", "before:", "champion"])
    assert fitted.ids() == {name: production.sids.get(name) for name in shown}
    assert fitted.store().setting("champion_before") == before
    hidden = [row for row in fitted.rows().values() if row["sid"] is None]
    assert {(row["codes"], row["tokenizer_id"]) for row in hidden} == {(None, None)}
    assert damages(fitted) == []
    promote(fitted.uri(), before, fitted.settings())
    assert fitted.ids() == shown


def test_a_rollback_to_adopted_ids_puts_their_fusion_in_force_too(fitted, production):
    adopted(fitted, production.ids, promote=True)
    shown = fitted.store().dataset("contents").to_table(columns=["content_id", "fused", "sid"]).sort_by("content_id")
    champion, fusion = (fitted.store().setting(name) for name in ("champion", "fusion"))
    changed = fitted.settings(clip=None, fusion={"dim": 5})
    fit(fitted.uri(), changed, refit_fusion=True)
    candidate = next(each.id for each in tokenizers(fitted.uri()) if each.generation == 2)
    promote(fitted.uri(), candidate, changed)
    assert fitted.store().setting("fusion") != fusion
    for _ in range(2):
        rollback(fitted.uri(), changed)
        assert tuple(fitted.store().setting(name) for name in ("champion", "fusion")) == (champion, fusion)
        rows = fitted.store().dataset("contents").to_table(columns=shown.column_names).sort_by("content_id")
        assert rows.equals(shown)
    assert damages(fitted) == []
    promote(fitted.uri(), candidate, changed)
    drop(fitted.uri(), 1, changed)
    rollback(fitted.uri(), changed)
    assert fitted.store().setting("champion") == champion
    assert damages(fitted) == []


# With codebooks: new items get IDs.


def test_new_items_get_ids_by_the_codebooks_and_adopted_ones_keep_theirs(stored, production, cluster):
    run = adopted(stored, production.ids, codebooks=production.codebooks)
    store = stored.store()
    fusion = store.get_artifact(Fusion, store.setting("fusion"))
    assert (fusion.dims, run.counts["assigned"], "without_id" in run.counts) == ({"external": 8}, 10, False)
    assert any(note.startswith("100.0% of 50 items get their own codes") for note in run.notes)
    rows = stored.rows()
    assert all(np.array_equal(row["fused"], production.vectors[name]) for name, row in rows.items())
    assert {name: sid for name, sid in ledger(stored).items() if name in production.sids} == production.sids
    later = cluster(20, seed=5, prefix="new")
    run = stored.ingest_vectors({**production.vectors, **later, "elsewhere": production.vectors["v000"]})
    ids = stored.ids()
    assert {name: ids[name] for name in production.sids} == production.sids
    assert run.counts["assigned"] == 20
    expected = [tuple(row) for row in production.tokenizer.encode(np.stack(list(later.values()))).tolist()]
    assert [SemanticId.parse(ids[name]).codes for name in later] == expected
    assert len(set(ids.values())) == len(ids)
    # No digit is given twice, although the item that has digit 40 was not here.
    own = SemanticId.parse(production.sids["elsewhere"]).codes
    crowded = {name: sid.suffix for name in later if (sid := SemanticId.parse(ids[name])).codes == own}
    assert crowded
    assert all(digit is not None and digit > 40 for digit in crowded.values())
    column = report(stored.uri(), sample=60, queries=10)["tokenizers"][0]
    assert {"r2", "recall@10"} <= {one["name"] for one in column["measures"]}
    assert column["fit"]["agreement"] == 1.0
    assert damages(stored) == []


def test_with_a_fusion_the_codebooks_quantize_its_vectors(fitted, production, tmp_path):
    """The champion's own codebooks and IDs, as another system would bring them."""
    store = fitted.store()
    champion = load_tokenizer(store, store.setting("champion"))
    books = {f"codebook_{level}": book.numpy() for level, book in enumerate(champion.codebooks)}
    np.savez(tmp_path / "books.npz", **books, beam=champion.beam)
    given = fitted.ids()
    some = dict(list(given.items())[::2])
    run = adopted(fitted, production.write(some), codebooks=tmp_path / "books.npz", promote=True)
    assert (run.counts["adopted"], run.counts["assigned"]) == (30, 30)
    assert any(note.startswith("100.0% of 30 items get their own codes") for note in run.notes)
    assert {name: fitted.ids()[name] for name in some} == some
    codes = {name: SemanticId.parse(sid).codes for name, sid in fitted.ids().items()}
    assert codes == {name: SemanticId.parse(sid).codes for name, sid in given.items()}
    assert damages(fitted) == []


def test_before_any_vector_there_is_nothing_to_compare_the_codebooks_with(bare, production, cluster):
    bare.ingest_vectors(cluster(5, prefix="other"))
    run = adopted(bare, production.ids, codebooks=production.codebooks)
    assert "no item has both an adopted ID and a vector: the codebooks were compared with nothing" in run.notes
    assert (run.counts["in_catalogue"], run.counts["assigned"]) == (0, 5)
    bare.ingest_vectors(production.vectors)
    expected = {name: sid for name, sid in production.sids.items() if name != "elsewhere"}
    assert {name: sid for name, sid in bare.ids().items() if name in expected} == expected
    assert damages(bare) == []


def test_once_adopted_ids_are_not_compared_again_with_vectors_that_have_changed(stored, production, cluster):
    adopted(stored, production.ids, codebooks=production.codebooks)
    before = stored.ids()
    stored.ingest_vectors({name: -vector for name, vector in production.vectors.items()})
    assert adopted(stored, production.ids, codebooks=production.codebooks).counts["adopted"] == 0
    assert stored.ids() == before


def test_shared_ids_stay_shared_and_new_items_of_the_same_codes_join_them(stored, production):
    bare = {name: sid.partition(".")[0] for name, sid in production.sids.items()}
    run = adopted(stored, production.write(bare), codebooks=production.codebooks)
    champion = stored.store().setting("champion")
    assert pinned_policy(stored.store(), champion).collisions == "none"
    assert any("IDs belong to several items" in note for note in run.notes)
    ids = stored.ids()
    assert {name: ids[name] for name in bare if name in ids} == {k: v for k, v in bare.items() if k in ids}
    assert all("." not in sid for sid in ids.values())
    assert damages(stored) == []
    again = stored.ingest_vectors({**production.vectors, "new": production.vectors["v001"]})
    assert stored.ids()["new"] == bare["v001"]
    assert not any("goes on with" in note for note in again.notes)


def test_codebooks_make_another_tokenizer_than_the_ids_alone(stored, production):
    adopted(stored, production.ids)
    alone = stored.store().setting("champion")
    run = adopted(stored, production.ids, codebooks=production.codebooks)
    assert run.notes[-1].startswith("candidate adopted-")
    candidate = stored.candidate()
    assert candidate != alone
    promote(stored.uri(), candidate, stored.settings())
    assert None not in stored.ids().values()
    assert damages(stored) == []


# What does not belong together is refused, and nothing is changed.


def unchanged(workspace: Any, ids: Path, **options: Any) -> str:
    store = workspace.store()
    before = (store.settings(), store.dataset("assignments").count_rows(), workspace.ids())
    artifacts = sorted(path.name for path in (workspace.root / "db" / "artifacts").glob("*"))
    with pytest.raises((BadInput, StoreError)) as caught:
        adopted(workspace, ids, **options)
    store = workspace.store()
    assert (store.settings(), store.dataset("assignments").count_rows(), workspace.ids()) == before
    assert sorted(path.name for path in (workspace.root / "db" / "artifacts").glob("*")) == artifacts
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_bad_ids_change_nothing(stored, production):
    sids = production.sids
    assert "is no semantic ID" in unchanged(stored, production.write({**sids, "v000": "1-2-"}))
    assert "'v000' has the codes 9-0-0, outside of codebooks of 4, 3, 2 codes" in unchanged(
        stored, production.write({**sids, "v000": "9-0-0"}), codebooks=production.codebooks
    )
    assert "outside of codebooks of 4, 3, 1" in unchanged(stored, production.write(sids), sizes=(4, 3, 1))
    shared = production.write({**sids, "v000": sids["v001"]})
    assert f"{sids['v001']} is the ID of both 'v000' and 'v001'" in unchanged(stored, shared, unique=True)
    two = production.folder / "two.csv"
    two.write_text("content_id,sid\na,1-2\nb,1-3\na,1-4\n")
    assert "'a' occurs twice" in unchanged(stored, two)


def test_codebooks_of_other_vectors_change_nothing_and_the_line_names_both_remedies(stored, production):
    books = {f"codebook_{n}": book.numpy()[::-1] for n, book in enumerate(production.tokenizer.codebooks)}
    np.savez(production.folder / "other.npz", **books)
    message = unchanged(stored, production.ids, codebooks=production.folder / "other.npz")
    assert "of 50 items get their own codes" in message
    assert "space=" in message
    assert "leave codebooks= out" in message
    assert stored.store().dataset("runs").to_table()["outcome"].to_pylist()[-1].startswith("failed: only ")


def test_the_space_is_named_where_it_is_not_clear(stored, production, bare):
    np.savez(production.folder / "wide.npz", codebooks=np.ones((3, 2, 9)))
    sids = dict.fromkeys(production.sids, "0-0-0")
    message = unchanged(stored, production.write(sids), codebooks=production.folder / "wide.npz")
    assert "quantize vectors of 9 numbers, and no such column fits" in message
    assert "external (8 numbers)" in message
    ids = production.write(production.sids)
    assert "has no vectors 'vlm'; there are external" in unchanged(
        stored, ids, codebooks=production.codebooks, space="vlm"
    )
    assert "give both" in unchanged(stored, ids, space="external")
    assert "leave one of them out" in unchanged(stored, ids, codebooks=production.codebooks, sizes=(4, 3, 2))
    run = adopted(stored, ids, codebooks=production.codebooks, space="external")
    assert run.counts["adopted"] == 51
    # The same command again names the space that is in force now.
    assert adopted(stored, ids, codebooks=production.codebooks, space="external").counts["adopted"] == 0


def test_with_a_fusion_of_another_size_codebooks_are_refused(fitted, production):
    np.savez(production.folder / "wide.npz", codebooks=np.ones((3, 4, 9)))
    ids = production.write(dict.fromkeys(production.vectors, "0-0-0"))
    message = unchanged(fitted, ids, codebooks=production.folder / "wide.npz")
    assert "the fused ones of" in message
    assert "leave codebooks= out" in message
    assert "space='external' is for a database before its first fit" in unchanged(
        fitted, production.ids, codebooks=production.codebooks, space="external"
    )


def test_a_database_without_items_is_refused(bare, production):
    with pytest.raises(StoreError, match=r"no database at .*fuseid ingest"):
        adopted(bare, production.ids)


def test_ids_whose_adoption_was_not_completed_cannot_be_promoted(stored, production):
    adopted(stored, production.ids)
    champion = stored.store().setting("champion")
    other = stored.root / "other"
    bare_db = Path(stored.uri())
    stored.ingest_vectors(production.vectors, db="other")
    (other / "artifacts").mkdir(exist_ok=True)
    shutil.copytree(bare_db / "artifacts" / champion, other / "artifacts" / champion)
    for job in (lambda: promote(str(other), champion, stored.settings()),
                lambda: assign(str(other), stored.settings(), champion)):  # fmt: skip
        with pytest.raises(
            StoreError, match=rf"adoption of {champion} was not completed; run the same `fuseid adopt --db"
        ):
            job()
    assert stored.ids("other") == dict.fromkeys(production.vectors)
