"""Ready-made vectors are taken in at fusion; invalid ones are rejected."""

from __future__ import annotations

import numpy as np
import pytest

from fuseid.core.errors import BadInput, FingerprintMismatch


def test_bad_vectors_cost_their_own_item_only(bare, cluster):
    bad = {
        "zero": np.zeros(8),
        "nan": np.full(8, np.nan),
        "infinite": np.full(8, np.inf),
        "half nan": [np.nan, *[1.0] * 7],
    }
    bare.ingest_vectors({**cluster(5), **bad})
    assert bare.rows().keys() == cluster(5).keys()
    rejected = bare.rows("rejected")
    assert {name: (row["stage"], row["error_class"]) for name, row in rejected.items()} == dict.fromkeys(
        bad, ("source", "BadVector")
    )
    again = bare.ingest_vectors({**cluster(5), **bad})
    assert (again.counts["planned"], again.counts["unchanged"], again.counts["rejected_before"]) == (0, 5, 4)
    bare.ingest_vectors({"zero": np.ones(8)})
    assert "zero" in bare.rows()
    assert "zero" not in bare.rows("rejected")


def test_a_number_beyond_float32_costs_its_own_item(bare, cluster):
    np.save(bare.media / "big.npy", np.array([[1e300] * 8, [1.0] * 8]))
    (bare.media / "big.ids.txt").write_text("big\nfine\n")
    from fuseid.pipelines.ingest import ingest
    from fuseid.pipelines.ingestion.runners import LocalRunner
    from fuseid.pipelines.sources.vectors import Vectors

    ingest(bare.uri(), Vectors(bare.media / "big.npy"), bare.settings(clip=None), LocalRunner())
    assert (bare.rows().keys(), bare.rows("rejected").keys()) == ({"fine"}, {"big"})


def test_vectors_of_another_size_than_the_databases_are_refused_in_one_line(bare, cluster):
    bare.ingest_vectors(cluster(5))
    with pytest.raises(FingerprintMismatch, match=r"external vectors of 7 numbers .* external has 8") as caught:
        bare.ingest_vectors({"other": np.ones(7)})
    assert "\n" not in str(caught.value)
    assert bare.rows().keys() == cluster(5).keys()


def test_unchanged_vectors_are_not_committed_again_and_changed_ones_are(fitted, cluster):
    vectors = cluster(60)
    before = fitted.store().versions()["contents"]
    run = fitted.ingest_vectors(vectors)
    assert (run.counts["unchanged"], run.counts["planned"]) == (60, 0)
    assert fitted.store().versions()["contents"] == before
    run = fitted.ingest_vectors({**vectors, "v003": vectors["v003"] + 1})
    assert (run.counts["unchanged"], run.counts["committed"]) == (59, 1)
    assert np.allclose(fitted.rows()["v003"]["external"], vectors["v003"] + 1)


def test_a_file_without_rows_is_refused(bare):
    np.save(bare.media / "none.npy", np.empty((0, 8), np.float32))
    (bare.media / "none.ids.txt").touch()
    from fuseid.pipelines.ingest import ingest
    from fuseid.pipelines.ingestion.runners import LocalRunner
    from fuseid.pipelines.sources.vectors import Vectors

    with pytest.raises(BadInput, match="lists no items"):
        ingest(bare.uri(), Vectors(bare.media / "none.npy"), bare.settings(clip=None), LocalRunner())
    assert not (bare.root / "db").exists()


def test_captions_and_vectors_live_in_one_database(workspace, cluster):
    workspace.ingest(workspace.captions(8))
    workspace.ingest_vectors(cluster(8))
    workspace.fit()
    rows = workspace.rows()
    assert None not in workspace.ids().values()
    assert len(rows) == 16
    assert rows["v001"]["clip_text"] is None
    assert rows["t001"]["external"] is None
    assert rows["t001"]["clip_text"] is not None
