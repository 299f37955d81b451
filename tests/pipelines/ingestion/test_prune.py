"""Pruning: items that the source no longer lists are removed, and nothing else ever is."""

from __future__ import annotations

import io
import os
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fuseid.core.errors import BadInput, NotReady
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.sources.vectors import Vectors

HOSTILE_IDS = ["it's", "a\nb", '"', "日本語 🍎", "%_\\", "' OR '1'='1"]


def without(vectors, *names):
    return {name: vector for name, vector in vectors.items() if name not in names}


def test_nothing_is_removed_unless_asked_for(fitted, cluster):
    vectors = cluster(60)
    fitted.ingest_vectors(dict(list(vectors.items())[:5]))
    assert fitted.rows().keys() == vectors.keys()


def test_unlisted_items_are_removed_and_the_ledger_keeps_their_ids(fitted, cluster):
    vectors, ids, ledger = cluster(60), fitted.ids(), fitted.ledger()
    gone = ("v003", "v017", "v059")
    run = fitted.ingest_vectors(without(vectors, *gone), prune=True)
    assert run.counts["pruned"] == 3
    assert fitted.ids() == without(ids, *gone)
    assert fitted.ledger() == ledger

    # Others with equal vectors arrive: none of them gets an ID that was given before.
    twins = {f"w{name}": vectors[name] for name in gone}
    fitted.ingest_vectors(without(vectors, *gone) | twins, prune=True)
    later = fitted.ids()
    assert not {later[name] for name in twins} & set(ledger.values())

    # They return with their former IDs.
    run = fitted.ingest_vectors(vectors | twins, prune=True)
    assert (run.counts["planned"], run.counts["pruned"]) == (3, 0)
    assert without(fitted.ids(), *twins) == ids


def test_a_rejected_item_that_is_no_longer_listed_is_forgotten(workspace):
    rows = [*workspace.captions(4), {"content_id": "bad", "uri": "no.png"}, {"content_id": "worse", "uri": "no.png"}]
    workspace.ingest(rows)
    run = workspace.ingest(rows[:5], prune=True, load=workspace.no_model)
    assert run.counts["pruned"] == 1
    assert workspace.rows("rejected").keys() == {"bad"}
    assert len(workspace.rows()) == 4


def test_hostile_ids_are_told_apart(workspace):
    rows = [{"content_id": name, "caption": f"number {i}"} for i, name in enumerate(HOSTILE_IDS)]
    workspace.ingest([*rows, *workspace.captions(30)])
    run = workspace.ingest([*rows[::2], *workspace.captions(30)], prune=True, load=workspace.no_model)
    assert run.counts["pruned"] == 3
    assert workspace.rows().keys() & set(HOSTILE_IDS) == set(HOSTILE_IDS[::2])


def test_a_larger_share_than_allowed_is_refused_before_anything_changes(bare, cluster):
    vectors = cluster(100)
    bare.ingest_vectors(vectors)
    for limit, left in (("0", 99), ("0%", 99), ("20", 79), ("20%", 79)):
        some = dict(list(vectors.items())[:left]) | cluster(1, prefix="new")
        config = bare.settings(clip=None, run={"max_prune": limit})
        with pytest.raises(
            NotReady, match=rf"would remove {100 - left} of the 100 items.*max_prune.*{limit}"
        ) as caught:
            bare.ingest_vectors(some, config=config, prune=True)
        assert "\n" not in str(caught.value)
        assert bare.rows().keys() == vectors.keys()
    run = bare.ingest_vectors(some, config=bare.settings(clip=None, run={"max_prune": "100%"}), prune=True)
    assert run.counts["pruned"] == 100 - left
    assert bare.rows().keys() == some.keys()


def test_as_large_a_share_as_allowed_is_removed(bare, cluster):
    vectors = cluster(100)
    bare.ingest_vectors(vectors)
    assert bare.ingest_vectors(dict(list(vectors.items())[:80]), prune=True).counts["pruned"] == 20


def test_a_source_that_breaks_off_or_is_empty_removes_nothing(workspace):
    rows = workspace.captions(10)
    workspace.ingest(rows)
    manifest = workspace.manifest(rows[:9])
    manifest.write_text(manifest.read_text() + '{"content_id": "t0')
    with pytest.raises(BadInput, match="line 10 is not JSON"):
        workspace.ingest(manifest, prune=True)
    with pytest.raises(BadInput, match="lists no items"):
        workspace.ingest([], prune=True)
    assert len(workspace.rows()) == 10


def test_a_folder_that_cannot_be_listed_whole_removes_nothing(workspace, monkeypatch):
    for folder in "abc":
        (workspace.media / folder).mkdir()
        for i in range(4):
            Image.new("RGB", (8, 8), (i, 2 * i, 3 * i)).save(workspace.media / folder / f"{i}.png")
    workspace.ingest(workspace.media)
    real = os.scandir

    def scandir(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    # The user who runs the tests may be root, so access to the folder is refused here.
    monkeypatch.setattr(os, "scandir", scandir)
    (workspace.media / "c" / "0.png").unlink()
    run = workspace.ingest(workspace.media, prune=True, load=workspace.no_model)
    assert run.counts["pruned"] == 0
    assert any("nothing was pruned: 1 folders" in note for note in run.notes)
    assert len(workspace.rows()) == 12
    monkeypatch.undo()
    assert workspace.ingest(workspace.media, prune=True, load=workspace.no_model).counts["pruned"] == 1


@pytest.mark.parametrize("away", [False, True])
def test_a_folder_that_became_a_link_removes_nothing(workspace, away):
    for folder in "ab":
        (workspace.media / folder).mkdir()
        for i in range(3):
            Image.new("RGB", (8, 8), (i, 2 * i, 3 * i)).save(workspace.media / folder / f"{i}.png")
    workspace.ingest(workspace.media)
    (workspace.media / "b").rename(elsewhere := workspace.media.with_name("elsewhere"))
    (workspace.media / "b").symlink_to(elsewhere / "none" if away else elsewhere)
    said = f"1 linked folders were not entered, '{workspace.media / 'b'}' for one"
    for prune in (False, True):
        config = workspace.settings(run={"max_prune": "100%"})
        run = workspace.ingest(workspace.media, prune=prune, config=config, load=workspace.no_model)
        assert run.counts.get("pruned", 0) == 0
        assert any(note.startswith(said) for note in run.notes)
        assert any(note.startswith(f"nothing was pruned: {said}") for note in run.notes) == prune
    assert len(workspace.rows()) == 6
    (workspace.media / "b").unlink()
    assert workspace.ingest(workspace.media, prune=True, load=workspace.no_model, config=config).counts["pruned"] == 3


def as_csv(rows):
    return "content_id,caption\n" + "".join(f"{row['content_id']},{row['caption']}\n" for row in rows)


@pytest.mark.parametrize(
    ("damaged", "kind", "said"),
    [
        (lambda text: text.replace("t003,", 't003,"'), BadInput, "line 5: the quote"),
        (lambda text: text[: text.index("t007") + 4], BadInput, "line 9 has fewer fields"),
        (lambda text: text[: text.index("t007")] + "\0" * 99, BadInput, "line 9 holds a NUL byte"),
        (lambda text: text[: text.index("t007")], NotReady, "lists 7 items, not the 10 that source.expect_rows"),
    ],
    ids=["a quote never closed", "cut within a line", "zeros", "cut between two lines"],
)
def test_a_csv_that_lacks_rows_removes_nothing(workspace, damaged, kind, said):
    path, rows = workspace.media / "m.csv", workspace.captions(10)
    path.write_text(as_csv(rows))
    workspace.ingest(path)
    path.write_text(damaged(path.read_text()))
    config = workspace.settings(run={"max_prune": "100%"}, source={"expect_rows": 10})
    with pytest.raises(kind, match=said) as caught:
        workspace.ingest(path, prune=True, config=config, load=workspace.no_model)
    assert "\n" not in str(caught.value)
    assert len(workspace.rows()) == 10
    assert workspace.store().dataset("runs").count_rows() == 1  # nothing was begun


def test_an_item_that_a_stray_quote_made_text_of_another_one_is_not_removed(workspace):
    path, rows = workspace.media / "m.csv", workspace.captions(10)
    whole = "content_id,uri,caption,kind\n" + "".join(f"{row['content_id']},,{row['caption']},text\n" for row in rows)
    path.write_text(whole)
    workspace.ingest(path)
    before = workspace.rows()
    # One quote opens a field and is not closed, one that belongs to a text closes it three lines below.
    lines = whole.splitlines(keepends=True)
    lines[3], lines[6] = lines[3].replace(",,", ',,"'), lines[6].replace(",text", '",text')
    path.write_text("".join(lines))
    with pytest.raises(
        BadInput, match=r"remove 't003', which line 5 of \S+ names within .* source.expect_rows"
    ) as caught:
        workspace.ingest(
            path, prune=True, config=workspace.settings(run={"max_prune": "100%"}), load=workspace.no_model
        )
    assert "\n" not in str(caught.value)
    assert workspace.rows() == before
    counted = workspace.settings(run={"max_prune": "100%"}, source={"expect_rows": 7})
    assert workspace.ingest(path, prune=True, config=counted).counts["pruned"] == 3


@pytest.mark.parametrize("cut", ["parquet", "npy", "ids"])
def test_a_file_of_vectors_that_was_cut_off_removes_nothing(bare, cluster, cut):
    vectors = cluster(30)
    bare.ingest_vectors(vectors)
    source = bare.vectors(vectors)
    if cut == "parquet":
        table = pa.table({"content_id": list(vectors), "vector": [v.tolist() for v in vectors.values()]})
        pq.write_table(table, bare.media / "v.parquet", row_group_size=5)
        source = Vectors(bare.media / "v.parquet")
    path = source.path.with_suffix(".ids.txt") if cut == "ids" else source.path
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadInput if cut == "parquet" else NotReady):
        ingest(
            bare.uri(), source, bare.settings(clip=None, run={"max_prune": "100%"}), LocalRunner(), prune=True
        )  # fmt: skip
    assert len(bare.rows()) == 30


def test_with_the_expected_number_of_rows_pruning_works_as_usual(workspace):
    rows = workspace.captions(10)
    workspace.ingest(rows)
    config = workspace.settings(source={"expect_rows": 9})
    assert workspace.ingest(rows[:9], prune=True, config=config, load=workspace.no_model).counts["pruned"] == 1


def shards(media):
    for shard in range(2):
        with tarfile.open(media / f"{shard}.tar", "w") as tar:
            for i in range(5):
                member = tarfile.TarInfo(f"{shard}{i}.txt")
                member.size = 5
                tar.addfile(member, io.BytesIO(b"words"))


@pytest.mark.parametrize(
    "damaged",
    [
        lambda whole: whole[:2000] + b"no header" * 100,
        lambda whole: whole[:3072],  # three members and nothing behind them
        lambda whole: whole[:3072] + bytes(2 << 20),
        lambda whole: b"",
        None,
    ],
    ids=["rubbish", "cut between members", "zeros", "empty", "gone"],
)
def test_a_damaged_shard_removes_nothing(workspace, damaged):
    shards(workspace.media)
    workspace.ingest(workspace.media)
    path = workspace.media / "1.tar"
    if damaged is None:
        path.unlink()
    else:
        path.write_bytes(damaged(path.read_bytes()))
    source = workspace.root / "media" / "{0,1}.tar"
    run = workspace.ingest(source, prune=True, config=workspace.settings(run={"max_prune": "100%"}))
    assert run.counts["pruned"] == 0
    assert any("nothing was pruned: 1 shards" in note for note in run.notes)
    assert len(workspace.rows()) == 10


def test_a_pattern_that_leads_through_a_folder_that_cannot_be_listed_removes_nothing(workspace, monkeypatch):
    for folder in "ab":
        (workspace.media / folder).mkdir()
        shards(workspace.media / folder)
    config = workspace.settings(source={"shard_in_id": True}, run={"max_prune": "100%"})
    workspace.ingest(workspace.media / "a" / "*.tar", config=config)
    before = workspace.rows()
    real = os.listdir

    def listdir(path="."):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    with pytest.raises(NotReady, match=r"cannot list .*/b: Permission denied"):
        workspace.ingest(workspace.media / "*" / "*.tar", config=config, prune=True)
    assert workspace.rows() == before
