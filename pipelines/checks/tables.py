"""Checks of the tables of a database: their newest versions, files, rows, indexes, and keys that occur twice."""

from __future__ import annotations

import re
import tempfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import DamagedTable, StoreError
from fuseid.core.reasons import reason
from fuseid.pipelines.checks.damage import Damage
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.store.copied_ids import ledger_rows_when_copied
from fuseid.pipelines.store.rows import sql_list
from fuseid.pipelines.store.store import Store, filesystem
from fuseid.pipelines.store.table_files import broken_files, broken_history, listed, version_of
from fuseid.pipelines.store.tables import SCHEMAS, lacking_columns
from fuseid.pipelines.streams.spill import Spill

# What is lost with a table that can be replaced by an empty one; the other tables are the data itself.
_REPLACEABLE = {
    "lease": "nothing: it only records which job is writing",
    "runs": "the history of runs; the damaged table is kept beside the new one",
    "rejected": "nothing: rejected items are tried again by the next ingest that lists them",
}
_COST = {
    "contents": "items, with their vectors",
    "assignments": "IDs that were given, and the settings",
}
# How many values are looked up to compare an index with the rows.
_PROBES = 1000
_OF_FILES = (OSError, RuntimeError, ValueError, KeyError, OverflowError, pa.ArrowException)
# How many keys are compared at a time.
_ROWS_PER_PART = 500_000
_KEY = pa.schema([("key", pa.string()), ("shown", pa.string())])


def damaged_table(store: Store, name: str) -> Damage | None:
    """Why a table cannot be opened, or its newest version not be read; None if it is intact. Raises StoreError if the
    store cannot be reached."""
    try:
        dataset = store.newest(name)
    except DamagedTable as error:
        return _unreadable(store, name, str(error))
    if dataset is None:
        return _missing(store, name)
    broken = [file for file in broken_files(dataset) if file.index is None]
    what = f"{len(broken)} of its files are not as they were written, {broken[0]} for one" if broken else ""
    if lacking := lacking_columns(name, dataset.schema):
        what = what or f"it lacks the column {', '.join(lacking)}"
    if name in _REPLACEABLE:
        what = what or _problem(dataset.to_batches()) or (_bad_lease(dataset) if name == "lease" else "")
        return _replaced(store, name, what) if what else None
    if not what:
        return None
    if broken and _is_torn(store, name, dataset):
        return _rolled_back(store, name, f"{what}; only its newest version names them")
    rows = sum(fragment.count_rows() for fragment in _broken_fragments(dataset, {file.path for file in broken}))
    return Damage(name, what, f"{rows or 'all'} of {dataset.count_rows()} rows: {_COST[name]}")


def damaged_rows(store: Store, name: str, progress: Progress) -> Iterator[Damage]:
    """Reads every column of every row."""
    dataset = store.dataset(name)
    progress.begin(f"read {name}", dataset.count_rows())

    def counted(fragment: lance.LanceFragment) -> Iterator[None]:
        for batch in fragment.to_batches():
            progress.advance(f"read {name}", batch.num_rows)
            yield

    problems = {fragment: _problem(counted(fragment)) for fragment in dataset.get_fragments()}
    unreadable = {fragment: problem for fragment, problem in problems.items() if problem}
    if not unreadable:
        return
    what = f"{sum(map(_rows, unreadable))} rows cannot be read: {next(iter(unreadable.values()))}"
    if _is_torn(store, name, dataset):
        yield _rolled_back(store, name, f"{what}; only its newest version names them")
    else:
        yield Damage(name, what, f"these {_COST.get(name, 'rows')}")


def _rows(fragment: lance.LanceFragment) -> int:
    return fragment.metadata.physical_rows


def problem_of(call: Callable[[], object]) -> str:
    """The first line of what a call raises because of damaged files; empty if it raises nothing."""
    try:
        call()
    except BaseException as error:
        # A panic of a Rust library, which zeros in a file may cause, is not an Exception and cannot be imported.
        is_panic = type(error).__name__ == "PanicException"
        if not is_panic and not isinstance(error, _OF_FILES):
            raise
        return reason(error)
    return ""


def _problem(batches: Iterable[object]) -> str:
    return problem_of(lambda: deque(batches, maxlen=0))


def _bad_lease(dataset: lance.LanceDataset) -> str:
    rows = dataset.to_table().to_pylist()
    if len(rows) > 1:
        return f"it has {len(rows)} rows"
    if any(
        not 0 < row["epoch"] < 1 << 60 or not (row["expires_at"] or 0) < 1e12 or row["host"] is None for row in rows
    ):
        return "its row holds values that no run writes"
    return ""


def damaged_history(store: Store, name: str) -> Iterator[Damage]:
    """Older versions and tags that cannot be read."""
    dataset = store.dataset(name)
    for file in broken_history(dataset, listed(dataset)):
        cost = "nothing that is in use, but clean-up fails on it"
        if file.path.startswith("_refs/"):
            cost = "an export that cannot be made again"
        yield Damage(name, str(file), cost, repair=partial(_set_aside, store, name, file.path))


def damaged_indexes(store: Store, name: str) -> Iterator[Damage]:
    """Indexes with files that are not as they were written, or that cannot answer a query."""
    dataset = store.dataset(name)
    broken = {file.index: str(file) for file in broken_files(dataset) if file.index is not None}
    for index in dataset.describe_indices():
        what = broken.get(index.name) or _cannot_answer(dataset, index.field_names[0])
        if what:
            repair = partial(_drop_index, store, name, index.name)
            yield Damage(f"{name}, index {index.name}", what, "nothing: it is made again from the rows", repair=repair)


def keys_twice(dataset: lance.LanceDataset, columns: list[str], where: str | None = None) -> tuple[int, str]:
    """How many combined values of `columns` occur in more than one row, and an example of the first column. Memory
    holds one hash partition of the keys at a time."""
    parts = 1 + dataset.count_rows() // _ROWS_PER_PART
    twice, example = 0, ""
    with tempfile.TemporaryDirectory(prefix="fuseid-check-") as directory:
        spill = Spill(Path(directory), "keys", parts, _KEY)
        for batch in dataset.to_batches(columns=columns, filter=where):
            shown = batch[columns[0]]
            key = pc.binary_join_element_wise(*(batch[name] for name in columns), "\0", null_handling="replace")
            numbers = np.asarray([zlib.crc32(text.encode()) % parts for text in key.to_pylist()], np.uint16)
            spill.write(pa.table([key, shown], schema=_KEY), numbers)
        spill.close()
        for part in range(parts):
            counted = spill.read(part).group_by("key").aggregate([("key", "count"), ("shown", "min")])
            found = counted.filter(pc.greater(counted["key_count"], 1))
            twice += len(found)
            example = example or (found["shown_min"][0].as_py() if len(found) else "")
    return twice, example


def doubled_items(store: Store, name: str) -> Iterator[Damage]:
    twice, example = keys_twice(store.dataset(name), ["content_id"])
    if twice:
        yield Damage(name, f"{twice} items are there more than once, {example!r} for one", "look-ups show them twice")


def _unreadable(store: Store, name: str, what: str) -> Damage:
    what = what.partition("damaged: ")[2].partition("; `fuseid")[0]
    manifest = _newest_manifest(store, name)
    is_empty = manifest is not None and not filesystem(store.uri)[0].cat_file(manifest).strip(b"\0")
    if is_empty:
        what = "the manifest of its newest version is empty, as a power cut leaves one"
    if name in _REPLACEABLE:
        return _replaced(store, name, what)
    before = None if manifest is None else _before(store, name, manifest)
    if is_empty or (before is not None and _is_whole(before)):
        return _rolled_back(store, name, what)
    return Damage(name, what, f"all of it: {_COST[name]}")


def _before(store: Store, name: str, manifest: str) -> lance.LanceDataset | None:
    """The version before that of a manifest, if it can be opened."""
    opened: list[lance.LanceDataset] = []
    problem_of(lambda: opened.append(lance.dataset(store.path(name), version=version_of(manifest) - 1)))
    return opened[0] if opened else None


def _is_whole(dataset: lance.LanceDataset) -> bool:
    broken = [file for file in broken_files(dataset) if file.index is None]
    return not broken and not problem_of(lambda: deque(dataset.to_batches(), maxlen=0))


def _missing(store: Store, name: str) -> Damage | None:
    if name == "contents":
        ledger = store.newest("assignments")
        if ledger is None or not ledger.count_rows():
            return None  # nothing was ingested yet
    elif name in _REPLACEABLE or not store.has_contents():
        return _replaced(store, name, "it is missing")
    return Damage(name, "it is missing", f"all of it: {_COST[name]}")


def _replaced(store: Store, name: str, what: str) -> Damage:
    return Damage(name, what, _REPLACEABLE.get(name, "nothing"), repair=partial(_replace, store, name), early=True)


def _rolled_back(store: Store, name: str, what: str) -> Damage:
    cost = {
        "contents": "nothing for good: the next ingest adds the items of the last commit again",
        "assignments": "the last commit: IDs that no item shows yet, which the next run gives, or a setting",
    }[name]
    return Damage(name, what, cost, repair=partial(_roll_back, store, name), early=True)


def _is_torn(store: Store, name: str, dataset: lance.LanceDataset) -> bool:
    """Whether the newest version can be given up: the one before is intact, and nothing depends on the newest."""
    opened: list[lance.LanceDataset] = []
    problem_of(lambda: opened.append(dataset.checkout_version(dataset.version - 1)))
    if not opened or not _is_whole(opened[0]):
        return False
    if name != "assignments":
        return True
    try:
        return not store.has_contents() or (ledger_rows_when_copied(store) or 0) <= opened[0].count_rows()
    except StoreError:  # `contents` cannot be opened
        return False


def _broken_fragments(dataset: lance.LanceDataset, paths: set[str]) -> list[lance.LanceFragment]:
    return [
        fragment
        for fragment in dataset.get_fragments()
        if any(f"data/{file.path}" in paths for file in fragment.metadata.files)
    ]


def _cannot_answer(dataset: lance.LanceDataset, column: str) -> str:
    """What is wrong with the answer of the index on a column; empty if nothing is."""
    found = ""

    def ask() -> None:
        nonlocal found
        row = dataset.to_table(columns=[column], filter=f"{column} IS NOT NULL", limit=1)
        if row.num_rows and pa.types.is_fixed_size_list(row.schema.field(column).type):
            nearest = {"column": column, "q": row[column][0].as_py(), "k": 1}
            dataset.to_table(columns=["_distance"], nearest=nearest, with_row_id=True)
        elif row.num_rows and column in ("caption", "vlm_caption"):
            dataset.to_table(columns=["_score"], full_text_query="a", limit=1, with_row_id=True)
        elif row.num_rows:
            found = _differs_from_rows(dataset, column)

    problem = problem_of(ask)
    return f"it cannot answer a query: {problem}" if problem else found


def _differs_from_rows(dataset: lance.LanceDataset, column: str) -> str:
    """Whether the index on a text column finds other rows than a scan, for values spread over the table."""
    rows = dataset.count_rows()
    at = np.unique(np.linspace(0, max(rows - 1, 0), min(rows, _PROBES)).astype(np.int64)).tolist()
    values = [value for value in dataset.take(at, columns=[column])[column].to_pylist() if value is not None]
    if not values:
        return ""
    where = f"{column} IN ({sql_list(dict.fromkeys(values))})"
    found = [
        dataset.scanner(columns=[column], filter=where, with_row_id=True, use_scalar_index=use).to_table()["_rowid"]
        for use in (True, False)
    ]
    by_index, by_scan = (set(rows.to_pylist()) for rows in found)
    return "" if by_index == by_scan else f"it finds {len(by_index)} rows where a scan finds {len(by_scan)}"


def _drop_index(store: Store, name: str, index: str) -> None:
    with store.writing(name) as dataset:
        dataset.drop_index(index)


def _newest_manifest(store: Store, name: str) -> str | None:
    """The path of the manifest that Lance considers the newest."""
    fs, path = filesystem(f"{store.path(name)}/_versions")
    files = fs.ls(path, detail=False) if fs.isdir(path) else []
    manifests = [file for file in files if re.fullmatch(r"\d+\.manifest", file.rpartition("/")[2])]
    return max(manifests, key=version_of, default=None)


def _roll_back(store: Store, name: str) -> None:
    """Takes the newest version out of use; its manifest is kept in the same folder under another name."""
    newest = _newest_manifest(store, name)
    assert newest is not None
    fs, _ = filesystem(store.uri)
    fs.mv(newest, f"{newest}.damaged")
    store.make_durable(name)


def _set_aside(store: Store, name: str, path: str) -> None:
    fs, root = filesystem(store.path(name))
    # In another folder: Lance reads every file of this one.
    fs.makedirs(f"{root}/damaged", exist_ok=True)
    fs.mv(f"{root}/{path}", f"{root}/damaged/{path.replace('/', '-')}")


def _replace(store: Store, name: str) -> None:
    """Keeps the table under another name, and creates an empty one in its place."""
    fs, path = filesystem(store.path(name))
    if fs.exists(path):
        aside = f"{path.removesuffix('.lance')}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}"
        for file in fs.find(path):
            target = f"{aside}{file.removeprefix(path)}"
            fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            fs.mv(file, target)
        if fs.exists(path):  # its folders; an object store has none
            fs.rm(path, recursive=True)
    store.make(name, SCHEMAS[name])
