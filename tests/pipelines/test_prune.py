"""Pruning: what the catalogue no longer lists goes, and nothing else ever does."""

from __future__ import annotations

import os

import pytest
from PIL import Image

from fuseid.core.errors import BadInput

HOSTILE_IDS = ["it's", "a\nb", '"', "日本語 🍎", "%_\\", "' OR '1'='1"]


def without(vectors, *names):
    return {name: vector for name, vector in vectors.items() if name not in names}


def test_nothing_is_removed_unless_asked_for(fitted, cluster):
    vectors = cluster(60)
    fitted.ingest_vectors(dict(list(vectors.items())[:5]))
    assert fitted.rows().keys() == vectors.keys()


def test_what_is_no_longer_listed_goes_and_the_ledger_remembers(fitted, cluster):
    vectors, ids, ledger = cluster(60), fitted.ids(), fitted.ledger()
    gone = ("v003", "v017", "v059")
    run = fitted.ingest_vectors(without(vectors, *gone), prune=True)
    assert run.counts["pruned"] == 3
    assert fitted.ids() == without(ids, *gone)
    assert fitted.ledger() == ledger

    # Others of the very same vectors come: none of them gets an ID that was given before.
    twins = {f"w{name}": vectors[name] for name in gone}
    fitted.ingest_vectors(without(vectors, *gone) | twins, prune=True)
    later = fitted.ids()
    assert not {later[name] for name in twins} & set(ledger.values())

    # They come back and are who they were.
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


@pytest.mark.parametrize(("limit", "left"), [("20%", 79), ("20", 79), ("0", 99), ("0%", 99)])
def test_a_larger_share_than_allowed_is_refused_before_anything_changes(bare, cluster, limit, left):
    vectors = cluster(100)
    bare.ingest_vectors(vectors)
    some = dict(list(vectors.items())[:left]) | cluster(1, prefix="new")
    config = bare.settings(clip=None, run={"max_prune": limit})
    with pytest.raises(BadInput, match=rf"would remove {100 - left} of the 100 items.*max_prune.*{limit}") as caught:
        bare.ingest_vectors(some, config=config, prune=True)
    assert "\n" not in str(caught.value)
    assert bare.rows().keys() == vectors.keys()
    run = bare.ingest_vectors(some, config=bare.settings(clip=None, run={"max_prune": "100%"}), prune=True)
    assert run.counts["pruned"] == 100 - left
    assert bare.rows().keys() == some.keys()


def test_as_large_a_share_as_allowed_goes(bare, cluster):
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

    # Whoever runs the tests may be allowed to read everything, so the folder is barred here.
    monkeypatch.setattr(os, "scandir", scandir)
    (workspace.media / "c" / "0.png").unlink()
    run = workspace.ingest(workspace.media, prune=True, load=workspace.no_model)
    assert run.counts["pruned"] == 0
    assert any("nothing was pruned: 1 folders" in note for note in run.notes)
    assert len(workspace.rows()) == 12
    monkeypatch.undo()
    assert workspace.ingest(workspace.media, prune=True, load=workspace.no_model).counts["pruned"] == 1


def test_a_damaged_shard_removes_nothing(workspace):
    import io
    import tarfile

    for shard in range(2):
        with tarfile.open(workspace.media / f"{shard}.tar", "w") as tar:
            for i in range(5):
                member = tarfile.TarInfo(f"{shard}{i}.txt")
                member.size = 5
                tar.addfile(member, io.BytesIO(b"words"))
    workspace.ingest(workspace.media)
    whole = (workspace.media / "1.tar").read_bytes()
    (workspace.media / "1.tar").write_bytes(whole[:2000] + b"no header" * 100)
    run = workspace.ingest(workspace.media, prune=True)
    assert run.counts["pruned"] == 0
    assert any("nothing was pruned: 1 shards" in note for note in run.notes)
    assert len(workspace.rows()) == 10
