"""Committed data is on disk: every file that a version names was flushed before anything depends on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fuseid.pipelines.store import durable
from fuseid.pipelines.store.durable import DurableTable
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.table_files import files_of, listed
from fuseid.pipelines.store.tables import GUARDED


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths in the order in which they are flushed, for real."""
    paths: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        paths.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(durable.os, "fsync", fsync)
    return paths


def needed(store: Store) -> set[str]:
    """Of the newest versions: all files but those of commits that are under way, and the folders that name them."""
    paths: set[str] = set()
    for name in GUARDED:
        dataset = store.newest(name)
        for path in files_of(dataset, listed(dataset)) if dataset is not None else ():
            if not path.startswith("_transactions/"):
                file = Path(store.path(name), path).resolve()
                paths |= {str(file), str(file.parent)}
    return paths


def test_each_wave_is_flushed_to_disk_before_it_is_reported(bare: Any, cluster: Any, flushed: list[str]) -> None:
    missing: list[set[str]] = []
    config = bare.settings(clip=None, run={"block_rows": 4, "wave_rows": 8, "wave_vectors": 8})
    bare.ingest_vectors(
        cluster(30), config=config, after_wave=lambda wave: missing.append(needed(bare.store()) - set(flushed))
    )
    assert missing == [set()] * 4
    assert needed(bare.store()) <= set(flushed)


def test_a_fit_is_flushed_the_ledger_before_contents_show_its_ids(bare: Any, cluster: Any, flushed: list[str]) -> None:
    bare.ingest_vectors(cluster(30))
    bare.fit()
    store = bare.store()
    assert needed(store) <= set(flushed)
    for artifact in (store.setting("fusion"), store.setting("champion")):
        folder = Path(store.uri, "artifacts", artifact).resolve()
        assert {str(folder), *map(str, folder.iterdir())} <= set(flushed)
    (given,) = (
        file.path for fragment in store.dataset("assignments").get_fragments() for file in fragment.metadata.files
    )
    shown = store.dataset("contents").get_fragments()[0].metadata.files[-1].path
    at = {Path(path).name: number for number, path in enumerate(flushed)}
    assert at[given] < at[shown]


def test_a_table_is_flushed_whole_once_and_afterwards_only_new_files(tmp_path: Path, flushed: list[str]) -> None:
    table = tmp_path / "x.lance"
    for name in ("data/1.lance", "_indices/a/page.lance", "_versions/1.manifest", "_transactions/1.txn"):
        (table / name).parent.mkdir(parents=True, exist_ok=True)
        (table / name).touch()
    durable_table = DurableTable(table)
    durable_table.sync()
    shown = {str(Path(path).relative_to(tmp_path)) for path in flushed}
    files = {"x.lance/data/1.lance", "x.lance/_indices/a/page.lance", "x.lance/_versions/1.manifest"}
    folders = {"x.lance", "x.lance/data", "x.lance/_indices", "x.lance/_indices/a", "x.lance/_versions", "."}
    assert shown == files | folders
    flushed.clear()
    durable_table.sync()
    assert flushed == []
    (table / "data" / "2.lance").touch()
    durable_table.sync()
    assert [Path(path).name for path in flushed] == ["2.lance", "data"]
