"""The tables of a database: their newest versions, files, rows, indexes, and keys that occur twice."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import StoreError
from fuseid.pipelines.checks.damage import Damage
from fuseid.pipelines.copied_ids import ledger_rows_when_copied
from fuseid.pipelines.indexes import maintain
from fuseid.pipelines.progress import Progress
from fuseid.pipelines.spill import Spill
from fuseid.pipelines.store import SCHEMAS, Store, filesystem, first_line, sql_string
from fuseid.pipelines.table_files import broken_files, broken_history, listed

# What a table holds that can be made again; the others are the data itself.
_REPLACEABLE = {
    "lease": "nothing: it says who is writing, and nobody can be",
    "runs": "the history of runs, which is kept beside the table",
    "rejected": "nothing: rejected items are tried again by the next ingest that lists them",
}
_COST = {
    "contents": "items, with their vectors",
    "assignments": "IDs that were given, and the settings",
}
# Keys that are compared at a time.
_ROWS_PER_PART = 500_000
_KEY = pa.schema([("key", pa.string()), ("shown", pa.string())])


def damaged_table(store: Store, name: str) -> Damage | None:
    """What keeps a table from being opened, or makes its newest version incomplete; None for a whole one."""
    try:
        dataset = store.newest(name)
    except StoreError as error:
        return _unreadable(store, name, str(error))
    if dataset is None:
        return None if name == "contents" else _missing(store, name)
    broken = [file for file in broken_files(dataset) if file.index is None]
    if not broken:
        return None
    what = f"{len(broken)} of its files are not as they were written, {broken[0]} for one"
    if name in _REPLACEABLE:
        return _replaced(store, name, what)
    if _is_torn(store, name, dataset):
        return _rolled_back(store, name, f"{what}; only its newest version names them")
    rows = sum(fragment.count_rows() for fragment in _broken_fragments(dataset, {file.path for file in broken}))
    return Damage(name, what, f"{rows} of {dataset.count_rows()} rows: {_COST[name]}")


def damaged_history(store: Store, name: str) -> Iterator[Damage]:
    """Older versions and tags that cannot be read."""
    dataset = store.dataset(name)
    for file in broken_history(dataset, listed(dataset)):
        cost = "nothing that is in use; clean-up stumbles over it"
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


def damaged_rows(store: Store, name: str, progress: Progress) -> Iterator[Damage]:
    """Reads every column of every row."""
    dataset = store.dataset(name)
    progress.begin(f"read {name}", dataset.count_rows())
    unreadable, problem = 0, ""
    for fragment in dataset.get_fragments():
        try:
            for batch in fragment.to_batches():
                progress.advance(f"read {name}", batch.num_rows)
        except (OSError, RuntimeError, ValueError) as error:
            unreadable += fragment.count_rows()
            problem = first_line(error)
    if unreadable:
        yield Damage(
            name, f"{unreadable} rows cannot be read: {problem}", f"up to {unreadable} {_COST.get(name, 'rows')}"
        )


def keys_twice(dataset: lance.LanceDataset, columns: list[str], where: str | None = None) -> tuple[int, str]:
    """How many values of `columns` together occur in more than one row, and one of them. Memory holds one hash
    partition of the keys at a time."""
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
    what = what.partition("; `fuseid")[0].partition("damaged: ")[2]
    manifest = _newest_manifest(store, name)
    is_empty = manifest is not None and not filesystem(store.uri)[0].cat_file(manifest).strip(b"\0")
    if is_empty:
        what = "the manifest of its newest version is empty, as a power cut leaves one"
    if name in _REPLACEABLE:
        return _replaced(store, name, what)
    return _rolled_back(store, name, what) if is_empty else Damage(name, what, f"all of it: {_COST[name]}")


def _missing(store: Store, name: str) -> Damage:
    if name in _REPLACEABLE or not store.has_contents():
        return _replaced(store, name, "it is missing")
    return Damage(name, "it is missing", _COST[name])


def _replaced(store: Store, name: str, what: str) -> Damage:
    return Damage(name, what, _REPLACEABLE.get(name, "nothing"), repair=partial(_replace, store, name), early=True)


def _rolled_back(store: Store, name: str, what: str) -> Damage:
    cost = {
        "contents": "nothing: the next ingest decodes and encodes these items again",
        "assignments": "nothing: the run that gave these IDs had not gone on; the next one gives them",
    }[name]
    return Damage(name, what, cost, repair=partial(_roll_back, store, name), early=True)


def _is_torn(store: Store, name: str, dataset: lance.LanceDataset) -> bool:
    """Whether nothing is lost with the newest version: the one before is whole, and nothing was built on this one."""
    try:
        before = dataset.checkout_version(dataset.version - 1)
        if broken_files(before):
            return False
        if name != "assignments" or not store.has_contents():
            return True
        return (ledger_rows_when_copied(store) or 0) <= before.count_rows()
    except (OSError, RuntimeError, ValueError, StoreError):
        return False


def _broken_fragments(dataset: lance.LanceDataset, paths: set[str]) -> list[lance.LanceFragment]:
    return [
        fragment
        for fragment in dataset.get_fragments()
        if any(f"data/{file.path}" in paths for file in fragment.metadata.files)
    ]


def _cannot_answer(dataset: lance.LanceDataset, column: str) -> str:
    """What a query through the index on a column says, empty where it answers."""
    field = dataset.schema.field(column)
    try:
        row = dataset.to_table(columns=[column], filter=f"{column} IS NOT NULL", limit=1)
        if not row.num_rows:
            return ""
        value = row[column][0].as_py()
        if pa.types.is_fixed_size_list(field.type):
            dataset.to_table(columns=[], nearest={"column": column, "q": value, "k": 1}, with_row_id=True)
        elif column in ("caption", "vlm_caption"):
            dataset.to_table(columns=[], full_text_query="a", limit=1, with_row_id=True)
        else:
            dataset.to_table(columns=[column], filter=f"{column} = {sql_string(value)}", limit=1)
    except (OSError, RuntimeError, ValueError) as error:
        return f"it cannot answer a query: {first_line(error)}"
    return ""


def _drop_index(store: Store, name: str, index: str) -> None:
    with store.writing(name) as dataset:
        dataset.drop_index(index)
    maintain(store)


def _newest_manifest(store: Store, name: str) -> str | None:
    """The path of the manifest that Lance takes for the newest."""
    fs, path = filesystem(f"{store.path(name)}/_versions")
    if not fs.isdir(path):
        return None
    files = [file for file in fs.ls(path, detail=False) if file.endswith(".manifest")]
    numbers = {int(Path(file).stem): file for file in files if Path(file).stem.isdigit()}
    if not numbers:
        return None
    # Versions are counted downwards from 2^64 - 1 in names of 20 digits, so that the newest is listed first.
    downwards = all(len(Path(file).stem) == 20 for file in files)
    return numbers[min(numbers) if downwards else max(numbers)]


def _roll_back(store: Store, name: str) -> None:
    """Takes the newest version out of use; its manifest stays beside the others under another name."""
    newest = _newest_manifest(store, name)
    assert newest is not None
    fs, _ = filesystem(store.uri)
    fs.mv(newest, f"{newest}.damaged")
    store.make_durable(name)


def _set_aside(store: Store, name: str, path: str) -> None:
    fs, root = filesystem(store.path(name))
    # Outside the folder, in which Lance reads every file.
    fs.makedirs(f"{root}/damaged", exist_ok=True)
    fs.mv(f"{root}/{path}", f"{root}/damaged/{path.replace('/', '-')}")


def _replace(store: Store, name: str) -> None:
    """Sets the table aside under another name, and makes an empty one."""
    fs, path = filesystem(store.path(name))
    if fs.exists(path):
        aside = f"{path.removesuffix('.lance')}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}"
        for file in fs.find(path):
            target = f"{aside}{file.removeprefix(path)}"
            fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            fs.mv(file, target)
        if fs.exists(path):  # its folders, where there are such
            fs.rm(path, recursive=True)
    store.make(name, SCHEMAS[name])
