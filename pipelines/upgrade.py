"""Upgrade: brings a database of an earlier schema version to the present one, in place.

Each step leads from one version to the next. It looks at the state that it finds, so that it can be repeated after a
kill at any moment. Rows, IDs and indexes stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import lance
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.config import Config
from fuseid.core.faults import reached
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.jobs.runs import Run, exclusive_job
from fuseid.pipelines.store.integrity import check_files
from fuseid.pipelines.store.store import Store

# `source_stat` of items with a ready-made vector: in version 3, before the fingerprint; in version 4, if a file of only
# vectors has brought them.
_STAT_3, _STAT_4 = "vector=", "vectors:external:"


def upgrade(uri: str, config: Config, progress: Progress | None = None) -> Run:
    """Upgrades the database. `counts`: its rows, and how many of them were changed.

    If there is nothing to upgrade, nothing is written, and the run has no id. Raises StoreError for a database that is
    missing, damaged, or of a schema version that cannot be read; LeaseHeld while another job writes.
    """
    store = Store.open(uri)
    found = store.schema_version()
    if found not in STEPS:
        state = "is empty" if found is None else f"has schema version {found}, the present one"
        return Run("", "upgrade", notes=[f"{uri} {state}; nothing to upgrade"])
    with exclusive_job(store, "upgrade", config) as run:
        # Damaged indexes and IDs play no part in an upgrade; `check --repair` can repair them afterwards.
        check_files(store, indexes=False)
        run.counts |= {"rows": store.dataset("contents").count_rows(), "changed": 0}
        with run.timed("total"):
            while step := STEPS.get(store.schema_version() or ""):
                step(store, run, run.shown_by(progress))
        store.check_current()
        run.notes.append(f"upgraded from schema version {found} to {store.schema_version()}")
    return run


def _begin_4(store: Store, run: Run, progress: Progress) -> None:
    """From now on a fuseid that writes version 3, and does not recognise rows of version 4, refuses the database."""
    store.set_schema_version("3-to-4")
    reached("upgrade.begun")


def _finish_4(store: Store, run: Run, progress: Progress) -> None:
    """The fingerprint of a ready-made vector moves from `source_stat` to a column beside the vector."""
    contents = store.dataset("contents")
    if "external" in contents.schema.names:
        if "external_fp" not in contents.schema.names:
            with store.writing("contents") as dataset:
                dataset.add_columns(pa.schema([pa.field("external_fp", pa.string())]))
        reached("upgrade.columns")
        progress.begin("upgrade", run.counts["rows"])

        def moved(fragment: lance.LanceFragment) -> list[pa.RecordBatch]:
            progress.advance("upgrade", fragment.count_rows())
            return _moved(fragment).to_batches()

        run.counts["changed"] += store.rewrite_columns(moved)
    reached("upgrade.rows")
    store.set_schema_version("4")


def _moved(fragment: lance.LanceFragment) -> pa.Table:
    """The rows to change: content_id and the new values."""
    rows = fragment.to_table(["content_id", "source_stat"], filter=f"starts_with(source_stat, '{_STAT_3}')")
    fingerprints = pc.utf8_slice_codeunits(rows["source_stat"], len(_STAT_3))
    stats = pa.repeat(_STAT_4, len(rows))
    return pa.table({"content_id": rows["content_id"], "external_fp": fingerprints, "source_stat": stats})


# By the schema version from which a step leads to the next one.
STEPS: dict[str, Callable[[Store, Run, Progress], None]] = {"3": _begin_4, "3-to-4": _finish_4}
