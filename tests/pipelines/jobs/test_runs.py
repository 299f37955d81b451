"""The rows of `runs`: what a run did and how it ended, also where it was killed."""

from __future__ import annotations

import pytest

from fuseid.core.errors import FingerprintMismatch


def test_the_run_is_recorded_with_its_counts_and_outcome(workspace):
    run = workspace.ingest(workspace.captions(3))
    with pytest.raises(FingerprintMismatch):
        workspace.ingest(workspace.captions(3), config=workspace.settings(clip={"precision": "fp16"}))
    done, failed = workspace.store().dataset("runs").to_table().sort_by("started_at").to_pylist()
    assert (done["run_id"], done["job"], done["outcome"]) == (run.run_id, "ingest", "done")
    assert '"committed": 3' in done["counts"]
    assert done["finished_at"] >= done["started_at"]
    assert failed["outcome"].startswith("failed: ")
    assert "fp16" in failed["outcome"]


def test_the_row_of_a_killed_run_says_so_once_the_next_one_begins(bare, cluster):
    bare.ingest_vectors(cluster(8))
    bare.store().dataset("runs").update({"outcome": "'running'"})  # all that a SIGKILL leaves
    bare.ingest_vectors(cluster(8))
    assert bare.store().dataset("runs").to_table().sort_by("started_at")["outcome"].to_pylist() == ["killed", "done"]
