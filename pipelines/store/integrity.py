"""Integrity: quick checks of a few files and rows before a job writes; `check` reads everything."""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.artifacts import encodes
from fuseid.core.errors import DamagedTable, FuseidError, StoreError
from fuseid.pipelines.store.copied_ids import copies_unknown_to_ledger, ledger_rows_when_copied, note_ledger_rows
from fuseid.pipelines.store.generations import fingerprint, fused_column, generations
from fuseid.pipelines.store.messages import check_command, damage
from fuseid.pipelines.store.rows import table_by_id
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.table_files import broken_files, broken_history, listed
from fuseid.pipelines.store.tables import TABLES, lacking_columns
from fuseid.pipelines.store.vector_columns import fused_fingerprints, nan_rows

# How many rows are sampled: spread over the whole table, and at its end, where the last run wrote.
_SPREAD, _LAST = 256, 64
# A disk with less room than this is called full.
_FULL_BYTES = 1 << 20
# Errors of Lance about a file contain one of these.
_OF_LANCE = re.compile(r"LanceError|External error|Not found|\.rs:\d+")


def check_integrity(store: Store) -> None:
    """To be called before a job writes: `find_damage`, whose result it records. Raises what that raises."""
    find_damage(store)
    if store.setting("champion") is not None and store.has_contents():
        note_ledger_rows(store)


def find_damage(store: Store) -> None:
    """Checks that every file of the newest versions exists, that the ledger is not older than the IDs copied from it
    into `contents`, and that a sample of rows agrees with the ledger and the fusion. Writes nothing.

    Raises StoreError or FingerprintMismatch, each with the command that repairs it.
    """
    check_files(store)
    settings = store.settings()
    champion = settings.get("champion")
    if champion is None or not store.has_contents():
        return
    tokenizer, fusion_id = store.describe_tokenizer(champion), settings.get("fusion")
    for each in generations(settings):
        store.describe_fusion(each.fusion)
    if encodes(tokenizer) and tokenizer.meta["fusion"] != fusion_id:
        raise StoreError(
            f"the champion {champion} of {store.uri} was fitted on vectors of {tokenizer.meta['fusion']}, its setting "
            f"`fusion` is {fusion_id}; {check_command(store.uri)} repairs it"
        )
    _check_ledger_covers(store)
    _check_sample(store, champion, [each.fusion for each in generations(settings)])


def check_files(store: Store, indexes: bool = True) -> None:
    """Checks that every file of the newest versions exists, and that no table lacks a column of its schema version.

    indexes: also their files. Raises DamagedTable.
    """
    for name in TABLES:
        dataset = store.newest(name)
        if dataset is None:  # `contents` before the first wave
            continue
        if broken := [file for file in broken_files(dataset) if indexes or file.index is None]:
            raise DamagedTable(damage(store.uri, name, str(broken[0])))
        if lacking := lacking_columns(name, dataset.schema):
            raise DamagedTable(damage(store.uri, name, f"it lacks the column {lacking[0]}"))


@contextmanager
def explained_errors(uri: str) -> Iterator[None]:
    """Inside, an error caused by a full disk or by a damaged table becomes a StoreError that says so."""
    try:
        yield
    except FuseidError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        cause = cause_of(error, uri)
        if cause is None:
            raise
        raise cause from None


def cause_of(error: Exception, uri: str) -> StoreError | None:
    """The StoreError for an error of Lance or the system that a full disk or a damaged table caused; else None."""
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error):
        return StoreError(
            f"the disk of {_full_folder(error, uri)} is full; make room and run the same command again: what was "
            "committed is kept, and nothing has to be repaired"
        )
    if not uri or not _OF_LANCE.search(str(error)):
        return None
    store = Store(uri)
    for name in TABLES:
        try:
            dataset = store.dataset(name)
            broken = broken_files(dataset) or broken_history(dataset, listed(dataset))
        except DamagedTable as found:
            return found
        except (FuseidError, OSError, RuntimeError, ValueError):
            continue
        if broken:
            return DamagedTable(damage(uri, name, str(broken[0])))
    return None


def _full_folder(error: Exception, uri: str) -> str:
    named = getattr(error, "filename", None)
    if named:
        return str(Path(str(named)).parent)
    for folder in (*filter(None, [uri]), tempfile.gettempdir()):
        if "://" not in folder and Path(folder).exists() and shutil.disk_usage(folder).free < _FULL_BYTES:
            return folder
    return uri


def _check_ledger_covers(store: Store) -> None:
    rows, copied = store.dataset("assignments").count_rows(), ledger_rows_when_copied(store)
    if copied is None:
        unknown = copies_unknown_to_ledger(store)
        older = next(unknown, None) is not None
    else:
        older = rows < copied
    if older:
        raise StoreError(
            f"the ledger of {store.uri} is older than its contents: it lacks IDs that items show, and would give them "
            f"to other items; {check_command(store.uri)} adds them to the ledger"
        )


def _check_sample(store: Store, champion: str, fusions: list[str]) -> None:
    contents = store.dataset("contents")
    rows = contents.count_rows()
    columns = {fusion: fused_column(contents.schema, fusion) for fusion in fusions}
    fused = [name for column in columns.values() if column for name in (column, fingerprint(column))]
    if not rows:
        return
    spread = np.linspace(0, rows - 1, min(rows, _SPREAD)).astype(np.int64)
    numbers = np.union1d(spread, np.arange(max(0, rows - _LAST), rows))
    sample = contents.take(numbers.tolist(), columns=["content_id", *fused, "sid", "tokenizer_id"])
    for fusion, column in columns.items():
        if column is not None and (others := of_other_fusion(sample, column, fusion)).num_rows:
            raise StoreError(
                f"items of {store.uri} ({others['content_id'][0].as_py()!r} for one) have fused vectors that are not "
                f"of {fusion}; {check_command(store.uri)} fuses them again"
            )
    ours = sample.filter(pc.equal(sample["tokenizer_id"], champion))
    given = table_by_id(
        store.dataset("assignments"),
        ours["content_id"].to_pylist(),
        ["content_id", "sid"],
        f"tokenizer_id = '{champion}'",
    )
    known = dict(zip(given["content_id"].to_pylist(), given["sid"].to_pylist(), strict=True))
    for content_id, sid in zip(ours["content_id"].to_pylist(), ours["sid"].to_pylist(), strict=True):
        if known.get(content_id) != sid:
            raise StoreError(
                f"{content_id!r} of {store.uri} shows the ID {sid}, which the ledger did not give it; "
                f"{check_command(store.uri)} repairs it"
            )


def of_other_fusion(rows: pa.Table, column: str, fusion_id: str) -> pa.Table:
    """The rows whose fused vector was not made by this fusion. rows: with a column of fused vectors and their
    fingerprints."""
    there = rows.filter(rows[column].is_valid())
    if not there.num_rows:
        return there
    dim = there.schema.field(column).type.list_size
    right = fused_fingerprints(fusion_id, nan_rows(there[column], dim))
    return there.filter(pc.fill_null(pc.not_equal(there[fingerprint(column)], right), True))
