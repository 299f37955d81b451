"""Restore: makes a database from a backup. IDs that were given since then are taken from exports, so that no other item
gets them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from fuseid.core.errors import BadInput, StoreError, unusable
from fuseid.core.reasons import reason
from fuseid.core.schemas import ASSIGNMENTS
from fuseid.core.surface import command
from fuseid.pipelines.assignment.ledger import Ledger, ledger_rows, pinned_policy
from fuseid.pipelines.backup import FORMAT, MANIFEST, TABLES, copied, make_durable, new_target
from fuseid.pipelines.exports.folder import read_manifest
from fuseid.pipelines.jobs.progress import Lines, Progress
from fuseid.pipelines.store.id_order import FOLDER
from fuseid.pipelines.store.store import Store, filesystem
from fuseid.pipelines.store.tables import SCHEMAS

_BATCH = 1 << 17
_COLUMNS = ["content_id", "sid", "codes"]


def restore(
    source: str, uri: str, exports: Sequence[str | Path] = (), progress: Progress | None = None
) -> dict[str, Any]:
    """Makes the database `uri` from a backup, comparing every file with its hash, and adds the IDs of later exports to
    its ledger: their items keep them, and no other item gets them. A failure leaves no incomplete database.

    exports: folders that `fuseid export ids` has written since the backup, in its format `parquet`.
    Returns `backup.json` without its list of files, with `ids_from_exports`. Raises BadInput for a source that is not a
    backup, a `uri` that exists or an export of another kind, StoreError for a backup that was altered or cut short,
    or has a schema version that cannot be read.
    """
    progress = progress or Lines()
    document = read_backup(source)
    files = document.pop("files")
    given = [_Export(Path(folder)) for folder in exports]
    with new_target(uri) as target:
        # Manifests last: without one a table has no version.
        paths = sorted(files, key=lambda path: (path.endswith(".manifest"), path))
        found = copied(source, target, {path: files[path]["bytes"] for path in paths}, progress)
        for path in paths:
            if found[path] != files[path]:
                raise StoreError(f"the backup {source} is damaged: {path} is not what its {MANIFEST} says")
        Store(source).check_readable()
        store = Store(target)
        store.make("lease", SCHEMAS["lease"])
        taken = sum(_add_ids(store, export) for export in given)
        make_durable(target)
    return {**document, "ids_from_exports": taken}


def read_backup(source: str) -> dict[str, Any]:
    """The content of `backup.json`. Raises BadInput if it is missing or not that of a backup."""
    fs, root = filesystem(source)
    try:
        document = json.loads(fs.cat_file(f"{root}/{MANIFEST}"))
    except FileNotFoundError:
        raise BadInput(f"{source} is no backup: it has no {MANIFEST}, which is written last") from None
    except (OSError, ValueError, RecursionError) as error:
        raise unusable(f"cannot read {source}/{MANIFEST}: {reason(error)}", error) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BadInput(f"{source}/{MANIFEST} is of no backup of format {FORMAT}")
    files, rows, versions = (document.get(key) for key in ("files", "rows", "versions"))
    if not isinstance(files, dict) or not all(_is_file(path, facts) for path, facts in files.items()):
        raise BadInput(f"{source}/{MANIFEST} names files that no backup has")
    if not isinstance(rows, dict) or not isinstance(versions, dict) or rows.keys() != versions.keys():
        raise BadInput(f"{source}/{MANIFEST} does not say which tables it has")
    numbers = (*rows.values(), *versions.values(), document.get("bytes"))
    whole = all(any(re.fullmatch(rf"{name}\.lance/_versions/\d+\.manifest", path) for path in files) for name in rows)
    if not whole or not {*TABLES} - {"contents"} <= rows.keys() <= {*TABLES}:
        raise BadInput(f"{source}/{MANIFEST} names no version of a table that every database has")
    if not all(isinstance(number, int) for number in numbers) or not isinstance(document.get("made_at"), str):
        raise BadInput(f"{source}/{MANIFEST} does not say when it was made, or how much of what")
    return document


def _is_file(path: str, facts: Any) -> bool:
    tops = "|".join(["artifacts", FOLDER, *(f"{name}.lance" for name in TABLES)])
    is_below = re.fullmatch(rf"({tops})(/[\w-][\w.-]{{0,150}}){{1,3}}", path, re.ASCII) is not None
    return is_below and isinstance(facts, dict) and isinstance(facts.get("bytes"), int)


class _Export:
    """A folder of `fuseid export ids --format parquet`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        manifest = read_manifest(folder)
        self.tokenizer_id = str(manifest.get("tokenizer_id"))
        if manifest.get("format") != "parquet":
            raise BadInput(
                f"{folder} is an export in the format {manifest.get('format')}; IDs are taken from exports in parquet"
            )

    def unknown(self, store: Store) -> Iterator[pa.Table]:
        """The items whose IDs the ledger lacks: content_id, sid and codes. Raises BadInput for an ID that contradicts
        the ledger."""
        ledger = Ledger(store, self.tokenizer_id)
        policy = pinned_policy(store, self.tokenizer_id)
        own = policy.collisions != "none" and policy.duplicates != "share"
        for batch in ds.dataset(sorted(self.folder.glob("ids-*.parquet"))).to_batches(
            columns=_COLUMNS, batch_size=_BATCH
        ):
            rows = pa.Table.from_batches([batch])
            given = _by(ledger, "content_id", rows["content_id"].combine_chunks(), "sid")
            known = [given.get(content_id) for content_id in rows["content_id"].to_pylist()]
            new = rows.filter(pa.array([sid is None for sid in known]))
            bases = pc.list_element(pc.split_pattern(new["sid"], "."), 0).combine_chunks().unique()
            held = _by(ledger, "base", bases, "sid", "content_id") if own else {}
            for content_id, sid, before in zip(
                rows["content_id"].to_pylist(), rows["sid"].to_pylist(), known, strict=True
            ):
                if (before is not None and before != sid) or (before is None and sid in held):
                    raise BadInput(
                        f"{self.folder} gives {content_id!r} the ID {sid}, the backup gives "
                        + (f"it {before}" if before else f"that ID to {held[sid]!r}")
                        + "; name exports that were made from the same database after the backup"
                    )
            yield new


def _by(ledger: Ledger, key: str, keys: pa.Array, *columns: str) -> dict[str, str]:
    """Rows of the ledger, found by `keys`, as a dictionary: from the first of two `columns` to the second, or, if only
    one is given, from `key` to that one."""
    found: dict[str, str] = {}
    for part in ledger.rows(key, keys, list(columns)):
        names = (key, *columns)[-2:]
        found |= dict(zip(*(part[name].to_pylist() for name in names), strict=True))
    return found


def _add_ids(store: Store, export: _Export) -> int:
    """Adds the IDs that the ledger lacks, in one commit. Returns their number."""
    if store.lacks_artifact(export.tokenizer_id):
        adopt = command("adopt", store.uri, ids=export.folder)
        raise BadInput(
            f"{export.folder} holds IDs of {export.tokenizer_id}, which is newer than the backup and not in it; "
            f"restore without this export, then {adopt} keeps these IDs"
        )
    count = sum(len(rows) for rows in export.unknown(store))
    if not count:
        return 0

    def batches() -> Iterator[pa.RecordBatch]:
        for rows in export.unknown(store):
            rows = rows.append_column("fused_fp", pa.nulls(len(rows), pa.string()))
            rows = rows.append_column("tokenizer_id", pa.repeat(export.tokenizer_id, len(rows)))
            yield from ledger_rows(rows).to_batches()

    reader = pa.RecordBatchReader.from_batches(ASSIGNMENTS, batches())
    store.append("assignments", reader, store.dataset("assignments").version)
    return count
