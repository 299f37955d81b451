"""The store: one LanceDB database with its tables, its settings and the artifacts beside it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import lance
import lancedb
import pyarrow as pa
from lance.commit import CommitConflictError
from lance.fragment import write_fragments

from fuseid.core import schemas
from fuseid.core.errors import ArtifactError, FingerprintMismatch, LeaseLost, StoreError
from fuseid.core.faults import reached
from fuseid.core.records import MODALITIES

_TABLES = {
    "assignments": schemas.ASSIGNMENTS,
    "rejected": schemas.REJECTED,
    "runs": schemas.RUNS,
    "lease": schemas.LEASE,
}
_SETTING = "fuseid."


class Store:
    """A directory or object-store URI. `contents` appears with the first committed wave, the rest at once."""

    def __init__(self, uri: str, connection: lancedb.DBConnection) -> None:
        self.uri = uri
        self._db = connection
        self._tables: dict[str, Any] = {}

    @classmethod
    def open(cls, uri: str | Path) -> Store:
        """Raises StoreError where there is no database, or one of another schema version."""
        store = cls(str(uri), _connect(uri, must_exist=True))
        if not all(map(store._has, _TABLES)):
            raise StoreError(f"no fuseid database at {uri}; `fuseid ingest --db {uri} ...` makes one")
        store._check_version()
        return store

    @classmethod
    def create(cls, uri: str | Path) -> Store:
        """Opens the database, making what is missing."""
        store = cls(str(uri), _connect(uri, must_exist=False))
        for name, schema in _TABLES.items():
            if not store._has(name):
                store._db.create_table(name, schema=schema, exist_ok=True)
        store._check_version()
        return store

    # Tables

    def has_contents(self) -> bool:
        return self._has("contents")

    def table(self, name: str) -> Any:
        """The newest version of a table. Raises StoreError for `contents` where nothing was ingested yet."""
        if name == "contents" and not self.has_contents():
            raise StoreError(f"the database {self.uri} is empty; `fuseid ingest --db {self.uri} ...` fills it")
        table = self._opened(name)
        table.checkout_latest()
        return table

    def dataset(self, name: str) -> lance.LanceDataset:
        return self.table(name).to_lance()

    def versions(self) -> dict[str, int]:
        names = [*_TABLES, *(["contents"] if self.has_contents() else [])]
        return {name: self.table(name).version for name in sorted(names) if name not in ("lease", "runs")}

    def dims(self) -> dict[str, int]:
        """The size of each vector column that `contents` has, `fused` included."""
        if not self.has_contents():
            return {}
        schema = self.table("contents").schema
        return {name: schema.field(name).type.list_size for name in (*MODALITIES, "fused") if name in schema.names}

    def ensure_vectors(self, dims: Mapping[str, int]) -> None:
        """Makes `contents`, or adds the columns it lacks. Raises FingerprintMismatch for a column of another size."""
        if not self.has_contents():
            self._db.create_table("contents", schema=schemas.contents_schema(dict(dims)), exist_ok=True)
            reached("contents.made")
        have = self.dims()
        for name, size in dims.items():
            if name not in have:
                self.table("contents").add_columns(pa.schema([pa.field(name, pa.list_(pa.float32(), size))]))
            elif have[name] != size:
                raise FingerprintMismatch(
                    f"{name} vectors of {size} numbers cannot enter {self.uri}, whose {name} has {have[name]}; "
                    "use the model this database began with, or another --db"
                )

    def upsert(self, name: str, rows: pa.Table, key: str = "content_id") -> None:
        """Inserts or replaces whole rows by key, in one commit; `rows` holds each key once.

        By Lance's own merge: LanceDB's refuses vector columns with nulls.
        """
        merge = self.dataset(name).merge_insert(key)
        merge.when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def append(self, name: str, rows: pa.RecordBatchReader, version: int) -> None:
        """Appends in one commit, provided that nobody has added or changed rows since `version`; to a table that never
        loses any. Raises LeaseLost where somebody has.

        By Lance's `Merge`, which names all fragments: its append would stand beside that of a writer who slept through
        the end of his lease.
        """
        dataset = self.dataset(name).checkout_version(version)
        fragments = [fragment.metadata for fragment in dataset.get_fragments()]
        for new in write_fragments(rows, dataset, mode="append"):
            fragments.append(replace(new, id=1 + max((one.id for one in fragments), default=-1)))
        self._commit(dataset, lance.LanceOperation.Merge(fragments, dataset.lance_schema))

    def _commit(self, dataset: lance.LanceDataset, operation: lance.LanceOperation.BaseOperation) -> None:
        try:
            lance.LanceDataset.commit(dataset.uri, operation, read_version=dataset.version)
        except CommitConflictError:
            raise LeaseLost(f"another run wrote to {self.uri} while this one was silent; run again") from None

    def delete(self, name: str, ids: Sequence[str]) -> None:
        """Deletes rows by content_id."""
        for start in range(0, len(ids), 1000):
            self.table(name).delete(f"content_id IN ({sql_list(ids[start : start + 1000])})")

    def rewrite_columns(self, update: Callable[[lance.LanceFragment], pa.Table | None]) -> int:
        """Rewrites columns of `contents`, fragment by fragment, in one commit; rows and their indexes stay in place.

        update: a fragment -> content_id and the new values of the rows that change, or None. Returns the rows changed.
        """
        dataset = self.dataset("contents")
        fragments: list[Any] = []
        fields: list[int] = []
        rows = 0
        for fragment in dataset.get_fragments():
            values = update(fragment)
            if values is None or not values.num_rows:
                continue
            metadata, fields = fragment.update_columns(values, left_on="content_id", right_on="content_id")
            fragments.append(metadata)
            rows += values.num_rows
        if fragments:
            reached("columns.written")
            operation = lance.LanceOperation.Update(updated_fragments=fragments, fields_modified=fields)
            self._commit(dataset, operation)
        return rows

    # Settings: a few values that belong to the whole database, kept with `assignments`, which always exists.

    def setting(self, key: str, at: lance.LanceDataset | None = None) -> Any:
        """at: the version of `assignments` to read it from, by default the newest."""
        dataset = self.dataset("assignments") if at is None else at
        value = dataset.config().get(_SETTING + key)
        return None if value is None else json.loads(value)

    def put_settings(self, values: Mapping[str, Any]) -> None:
        self.dataset("assignments").update_config({_SETTING + key: json.dumps(value) for key, value in values.items()})

    # Artifacts

    def put_artifact(self, artifact: Any) -> str:
        """Saves a fusion or tokenizer beside the tables; returns its id."""
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(scratch) / "artifact"
            artifact.save(directory)
            fs, root = fsspec.url_to_fs(self.uri)
            target = f"{root}/artifacts/{artifact.id}"
            fs.makedirs(target, exist_ok=True)
            for path in sorted(directory.iterdir()):
                fs.put_file(str(path), f"{target}/{path.name}")
        return artifact.id

    def get_artifact(self, cls: Any, name: str) -> Any:
        """Loads an artifact by id. Raises ArtifactError where it is missing or altered."""
        if not name.startswith(cls.KIND + "-") or "/" in name:
            raise ArtifactError(f"{name!r} is no {cls.KIND} id")
        fs, root = fsspec.url_to_fs(self.uri)
        source = f"{root}/artifacts/{name}"
        if not fs.isdir(source):
            raise ArtifactError(f"{self.uri} holds no {name}; `fuseid fit` makes one")
        scratch = Path(tempfile.mkdtemp())
        try:
            for path in fs.ls(source, detail=False):
                fs.get_file(path, str(scratch / Path(path).name))
            return cls.load(scratch)
        except ArtifactError as error:
            raise ArtifactError(str(error).replace(str(scratch), source)) from None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _has(self, name: str) -> bool:
        """Whether a table has a version: who is killed while making one leaves a folder that is none."""
        try:
            self._opened(name)
        except ValueError as error:
            if "not found" not in str(error):
                raise
            fs, root = fsspec.url_to_fs(self.uri)
            if fs.exists(f"{root}/{name}.lance/data"):
                raise StoreError(f"{self.uri} is damaged: {name} has data and no version; restore a copy") from None
            return False
        return True

    def _opened(self, name: str) -> Any:
        if name not in self._tables:
            self._tables[name] = self._db.open_table(name)
        return self._tables[name]

    def _check_version(self) -> None:
        if not self.has_contents():
            return
        found = (self.table("contents").schema.metadata or {}).get(b"fuseid.schema_version", b"none").decode()
        if found != str(schemas.SCHEMA_VERSION):
            raise StoreError(
                f"{self.uri} has schema version {found}, this fuseid reads {schemas.SCHEMA_VERSION}; "
                "use the fuseid that made it, or ingest into another --db"
            )


def _connect(uri: str | Path, must_exist: bool) -> lancedb.DBConnection:
    if "://" not in str(uri):
        path = Path(uri)
        if path.exists() and not path.is_dir():
            raise StoreError(f"{uri} is a file; --db names a directory or an object-store URI")
        if must_exist and not path.is_dir():
            raise StoreError(f"no database at {uri}; `fuseid ingest --db {uri} ...` makes one")
    try:
        return lancedb.connect(str(uri))
    except (OSError, ValueError, RuntimeError) as error:
        raise StoreError(f"cannot open the database {uri}: {str(error).splitlines()[0]}") from None


def sql_string(value: str) -> str:
    """A value as an SQL string literal."""
    return "'" + value.replace("'", "''") + "'"


def sql_list(values: Iterable[str]) -> str:
    return ", ".join(map(sql_string, values))


def rows_by_id(
    dataset: lance.LanceDataset, ids: Sequence[str], columns: Sequence[str], where: str = ""
) -> Iterator[dict]:
    """Rows of a table's version by content_id, through the key's index, as dictionaries."""
    for part in _parts_by_id(dataset, ids, columns, where):
        yield from part.to_pylist()


def table_by_id(dataset: lance.LanceDataset, ids: Sequence[str], columns: Sequence[str], where: str = "") -> pa.Table:
    """The same as one table, in no order."""
    parts = list(_parts_by_id(dataset, ids, columns, where))
    return pa.concat_tables(parts) if parts else dataset.schema.empty_table().select(list(columns))


def _parts_by_id(
    dataset: lance.LanceDataset, ids: Sequence[str], columns: Sequence[str], where: str
) -> Iterator[pa.Table]:
    for start in range(0, len(ids), 1000):
        condition = f"content_id IN ({sql_list(ids[start : start + 1000])})"
        if where:
            condition = f"({condition}) AND ({where})"
        yield dataset.to_table(columns=list(columns), filter=condition)


def below_prefix(prefix: str) -> str:
    """The SQL condition for IDs at or below a prefix; a prefix ends where a code ends, so 12-24 finds no 12-240."""
    if "." in prefix:
        return f"sid = '{prefix}'"
    return f"(sid = '{prefix}' OR starts_with(sid, '{prefix}-') OR starts_with(sid, '{prefix}.'))"
