"""Old and new IDs side by side: nothing is lost, the map is what a dictionary finds, and the bytes do not depend on how
the rows came."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseid.core.errors import ArtifactError, BadInput, NotReady
from fuseid.pipelines.exports.both import BOTH, MAP, Sizes, write_both
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.exports.snapshot import ITEMS
from fuseid.pipelines.fit import fit
from fuseid.pipelines.promote import promote

SIZES = (3, 2)
ID = st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 1))
IDS = st.dictionaries(st.text("abä", min_size=1, max_size=3), ID, max_size=30)


def sid(one: tuple[int, int, int]) -> str:
    return f"{one[0]}-{one[1]}" + f".{one[2]}" * (one[2] > 0)


def batches(ids: dict[str, tuple[int, int, int]], size: int) -> Iterator[pa.RecordBatch]:
    """ids: content_id -> two codes and the suffix."""
    rows = [
        {"content_id": name, "kind": "text", "sid": sid(one), "codes": list(one[:2]), "suffix": one[2] or None}
        for name, one in sorted(ids.items(), key=lambda pair: pair[0].encode())
    ]
    for start in range(0, len(rows), size):
        yield pa.RecordBatch.from_pylist(rows[start : start + size], schema=ITEMS)


def written(old, new, folder: Path, sizes=(3, 4), part_rows=1 << 21) -> dict[str, int]:
    folder.mkdir()
    return write_both(
        batches(old, sizes[0]), batches(new, sizes[1]), folder, Sizes(SIZES, SIZES, len(old)), rows_per_file=8,
        part_rows=part_rows,
    )  # fmt: skip


@given(IDS, IDS)
def test_every_item_has_its_ids_and_the_map_is_what_a_dictionary_finds(tmp_path_factory, old, new):
    folder = tmp_path_factory.mktemp("both")
    counts = written(old, new, folder / "ids")
    parts = sorted((folder / "ids").glob("ids-*.parquet"))
    assert len(parts) == max(1, -(-len(old.keys() | new.keys()) // 8))
    rows = [row for part in parts for row in pq.read_table(part, schema=BOTH).to_pylist()]
    assert [row["content_id"] for row in rows] == sorted(old.keys() | new.keys(), key=str.encode)
    for row in rows:
        assert row["kind"] == "text"
        for side, ids in (("old", old), ("new", new)):
            one = ids.get(row["content_id"])
            found = row[f"{side}_sid"], row[f"{side}_codes"], row[f"{side}_suffix"]
            assert found == ((None, None, None) if one is None else (sid(one), list(one[:2]), one[2] or None))
    pairs = Counter((old[name][:2], new[name][:2]) for name in old.keys() & new.keys())
    become, come = defaultdict(set), defaultdict(set)
    for one, other in pairs:
        become[one].add(other)
        come[other].add(one)
    wanted = [(list(a), list(b), n, len(become[a]), len(come[b])) for (a, b), n in sorted(pairs.items())]
    table = pq.read_table(folder / "ids" / "map.parquet")
    assert table.schema.equals(MAP)
    assert [tuple(row.values()) for row in table.to_pylist()] == wanted
    same = sum(old[name] == new[name] for name in old.keys() & new.keys())
    assert counts == {
        "same": same, "changed": len(old.keys() & new.keys()) - same,
        "only_old": len(old.keys() - new.keys()), "only_new": len(new.keys() - old.keys()),
        "old_codes": len(become), "new_codes": len(come),
        "split": sum(len(several) > 1 for several in become.values()),
        "merged": sum(len(several) > 1 for several in come.values()),
    }  # fmt: skip


def test_batches_and_parts_do_not_change_the_bytes(tmp_path):
    old = {f"v{n:03d}": (n % 3, n % 2, n % 5 // 4) for n in range(90)}
    new = {f"v{n:03d}": (n * n % 3, n % 7 % 2, 0) for n in range(10, 100)}
    assert written(old, new, tmp_path / "one") == written(old, new, tmp_path / "two", (90, 7), part_rows=9)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert {path.suffix for path in (tmp_path / "two").iterdir()} == {".parquet"}


# From a database


@pytest.fixture
def candidate(fitted) -> str:
    fitted.fit(tokenizer={"codebook_sizes": [2, 2]})
    return fitted.candidate()


def test_both_ids_of_every_item_come_from_one_version_and_the_export_can_be_repeated(
    fitted, cluster, candidate, tmp_path
):
    champion = fitted.store().setting("champion")
    manifest = export_ids(fitted.uri(), tmp_path / "both", with_id=candidate[:-4])
    assert (manifest["format"], manifest["tokenizer_id"], manifest["items"]) == ("both", champion, 60)
    assert (manifest["with"]["tokenizer_id"], manifest["with"]["items"]) == (candidate, 60)
    assert manifest["with"]["codebook_sizes"] == [2, 2]
    ids = pq.read_table(tmp_path / "both" / "ids-00000.parquet")
    for side, name in (("old", champion), ("new", candidate)):
        export_ids(fitted.uri(), tmp_path / side, tokenizer_id=name)
        alone = pq.read_table(tmp_path / side / "ids-00000.parquet")
        for column in ("sid", "codes", "suffix"):
            assert ids[f"{side}_{column}"].equals(alone[column])
    counts = manifest["both"]
    assert counts["same"] + counts["changed"] == 60
    # Later items, a deletion and a promotion do not matter.
    fitted.store().delete("contents", ["v003"])
    fitted.ingest_vectors(cluster(9, seed=5, prefix="u"))
    promote(fitted.uri(), candidate, fitted.settings())
    again = export_ids(fitted.uri(), tmp_path / "again", manifest=tmp_path / "both" / "manifest.json")
    assert again == manifest
    for path in (tmp_path / "both").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_items_with_one_of_the_two_ids_are_counted_and_have_nulls(fitted, cluster, candidate, tmp_path):
    fitted.ingest_vectors(cluster(9, seed=5, prefix="u"))
    manifest = export_ids(fitted.uri(), tmp_path / "both", with_id=candidate)
    assert (manifest["both"]["only_old"], manifest["both"]["only_new"]) == (9, 0)
    champion = fitted.store().setting("champion")
    turned = export_ids(fitted.uri(), tmp_path / "turned", tokenizer_id=candidate, with_id=champion)
    assert (turned["both"]["only_old"], turned["both"]["only_new"]) == (0, 9)
    rows = pq.read_table(tmp_path / "turned" / "ids-00000.parquet").to_pylist()
    lacking = [row["content_id"] for row in rows if row["old_codes"] is None]
    assert lacking == sorted(row["content_id"] for row in rows if row["content_id"].startswith("u"))
    assert len(lacking) == 9


def test_what_cannot_be_written_together_is_refused(fitted, candidate, tmp_path):
    champion = fitted.store().setting("champion")
    uri, out = fitted.uri(), tmp_path / "both"
    with pytest.raises(BadInput, match=f"with_= names {champion}, the tokenizer whose IDs come first"):
        export_ids(uri, out, with_id=champion)
    with pytest.raises(ArtifactError, match="has no tokenizer 'rq-kmeans-0000'"):
        export_ids(uri, out, with_id="rq-kmeans-0000")
    with pytest.raises(BadInput, match="leave out format='grid'"):
        export_ids(uri, out, "grid", with_id=candidate)
    with pytest.raises(BadInput, match="leave out since='yesterday'"):
        export_ids(uri, out, since="yesterday", with_id=candidate)
    with pytest.raises(BadInput, match="names the format, the tokenizers and the tag itself"):
        export_ids(uri, out, manifest=tmp_path / "manifest.json", with_id=candidate)
    assert not out.exists()


def test_a_tokenizer_without_ids_is_refused_with_the_command_that_gives_them(fitted, candidate, tmp_path):
    fitted.store().dataset("assignments").delete(f"tokenizer_id = '{candidate}'")
    with pytest.raises(NotReady, match=f"no item has an ID of {candidate}; run `fuseid assign --db .* --tokenizer"):
        export_ids(fitted.uri(), tmp_path / "both", with_id=candidate)
    assert not (tmp_path / "both").exists()


def test_generations_are_exported_together_and_the_changes_lead_from_one_to_the_other(fitted, tmp_path):
    config = fitted.settings(tokenizer={"codebook_sizes": [4, 3, 2]}, fusion={"dim": 5})
    before = export_ids(fitted.uri(), tmp_path / "before")
    fit(fitted.uri(), config, refit_fusion=True)
    [candidate] = set(fitted.store().tokenizers()) - {before["tokenizer_id"]}
    both = export_ids(fitted.uri(), tmp_path / "both", with_id=candidate)
    assert both["with"]["fusion_id"] != both["fusion_id"]
    assert (both["both"]["only_old"], both["both"]["only_new"]) == (0, 0)
    promote(fitted.uri(), candidate, config)
    now = export_ids(fitted.uri(), tmp_path / "now", since=before["tag"])
    assert (now["tokenizer_id"], now["since"]["tokenizer_id"]) == (candidate, before["tokenizer_id"])
    assert (now["fusion_id"], now["since"]["fusion_id"]) == (both["with"]["fusion_id"], both["fusion_id"])
    assert now["changes"] == {"added": 0, "removed": 0, "changed": both["both"]["changed"]}
    rows = pq.read_table(tmp_path / "both" / "ids-00000.parquet")
    changed = rows.filter(pc.not_equal(rows["old_sid"], rows["new_sid"])).drop_columns(["kind"])
    assert pq.read_table(tmp_path / "now" / "changes.parquet").drop_columns(["change"]).equals(changed)
