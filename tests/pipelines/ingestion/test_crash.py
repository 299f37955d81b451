"""A run that dies between two waves costs nothing but time: the next one ends with the IDs of a quiet run."""

from __future__ import annotations

import numpy as np
import pytest


class PowerCut(Exception):
    pass


def cut_after(waves: int):
    def after_wave(committed: int) -> None:
        if committed == waves:
            raise PowerCut

    return after_wave


@pytest.mark.parametrize("waves", [2])
def test_the_next_run_completes_what_a_broken_one_began(workspace, waves):
    rows = [{"content_id": f"p{i}", "uri": workspace.picture(f"{i}.png", i % 3)} for i in range(6)]
    rows += [{"content_id": "bad", "uri": "nowhere.png"}, *workspace.captions(9)]
    config = workspace.settings(run={"block_rows": 2, "wave_rows": 4})
    old = [{"content_id": f"o{i}", "uri": f"{i}.png", "caption": f"{i}"} for i in range(6)]
    old += workspace.captions(4, "old")
    for db in ("quiet", "broken"):
        workspace.ingest(old, db=db)
        workspace.fit(db)
    workspace.ingest(rows, db="quiet", config=config)

    with pytest.raises(PowerCut):
        workspace.ingest(rows, db="broken", config=config, after_wave=cut_after(waves))
    done = len(workspace.rows(db="broken")) - 10 + len(workspace.rows("rejected", "broken"))
    assert done == 4 * waves
    outcomes = workspace.store("broken").dataset("runs").to_table().sort_by("started_at")["outcome"].to_pylist()
    assert outcomes[-1] == "failed: PowerCut"

    again = workspace.ingest(rows, db="broken", config=config)
    assert again.counts["unchanged"] + again.counts["rejected_before"] == done
    assert again.counts["planned"] == len(rows) - done
    assert workspace.ids("broken") == workspace.ids("quiet")
    assert None not in workspace.ids("broken").values()
    assert workspace.rows("rejected", "broken").keys() == {"bad"}


def test_a_first_ingest_broken_at_every_wave_ends_like_a_quiet_one(bare, cluster):
    vectors = cluster(30)
    bare.ingest_vectors(vectors, db="quiet")
    bare.fit("quiet")
    config = bare.settings(clip=None, run={"block_rows": 4, "wave_rows": 8})
    for _ in range(3):
        with pytest.raises(PowerCut):
            bare.ingest_vectors(vectors, config=config, after_wave=cut_after(1))
    assert len(bare.rows()) == 24
    bare.ingest_vectors(vectors, config=config)
    bare.fit()
    assert bare.ids() == bare.ids("quiet")
    for name, row in bare.rows().items():
        assert np.array_equal(row["external"], vectors[name])
