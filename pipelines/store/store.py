"""The store: one LanceDB database with its tables, its settings and the artifacts beside them.

All of it is read and written through Lance itself, which works in the calling thread and is imported in a third of the
time. LanceDB's Python calls wait for the event loop of another thread, and now and then one never returns
(docs/decisions/0002-store.md): nobody interrupts a job at night.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import lance
import pyarrow as pa
from lance.commit import CommitConflictError
from lance.fragment import write_fragments

from fuseid.core import schemas
from fuseid.core.artifacts import FUSION, ArtifactInfo, describe, is_tokenizer, kind_of, tokenizer_kind
from fuseid.core.errors import (
    ArtifactError,
    DamagedTable,
    FingerprintMismatch,
    LeaseLost,
    NoDatabase,
    StoreError,
    UnknownArtifact,
)
from fuseid.core.extras import importing_file_system
from fuseid.core.faults import reached
from fuseid.core.memory import trim
from fuseid.core.names import id_named
from fuseid.core.reasons import reason
from fuseid.core.surface import command, option
from fuseid.pipelines.store.durable import DurableTable, fsync
from fuseid.pipelines.store.messages import damage
from fuseid.pipelines.store.rows import sql_list
from fuseid.pipelines.store.tables import GUARDED, SCHEMAS, TABLES, schema_version, vector_sizes

if TYPE_CHECKING:
    import fsspec

_SETTING = "fuseid."
# Every change of a configuration writes this key, so that of two changes on top of one version Lance refuses one.
_CHANGED_BY = _SETTING + "changed_by"


_Loaded = TypeVar("_Loaded")


class Writer(Protocol):
    """The holder of the lease. `check` raises LeaseLost once another process holds it."""

    @property
    def holder(self) -> str: ...

    def check(self) -> None: ...


class Store:
    """A database in a directory or at an object-store URI. `contents` is created with the first committed wave, all
    other tables at once.

    writer: set while this process holds the lease; every commit then calls its `check` first. In a local directory a
    commit is on the disk when its method returns.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.writer: Writer | None = None
        self._durable: dict[str, DurableTable] = {}

    @classmethod
    def open(cls, uri: str | Path) -> Self:
        """Raises StoreError if there is no database, or one of a schema version that cannot be read."""
        if "://" not in str(uri) and not Path(uri).exists():
            raise NoDatabase(f"no database at {uri}; {command('ingest', uri, ' ...')} makes one")
        store = cls(_checked(uri))
        for name in SCHEMAS:
            if store.newest(name) is None:
                store._check_not_lost(name)
                raise NoDatabase(f"no fuseid database at {uri}; {command('ingest', uri, ' ...')} makes one")
        store.check_readable()
        return store

    @classmethod
    def named(cls, uri: str | Path) -> Store:
        """A database that may be damaged; none of its tables is opened. Raises StoreError if there is no table."""
        fs, root = filesystem(_checked(uri))
        if not any(fs.exists(f"{root}/{name}.lance") for name in TABLES):
            raise NoDatabase(f"no fuseid database at {uri}; {command('ingest', uri, ' ...')} makes one")
        return cls(str(uri))

    @classmethod
    def create(cls, uri: str | Path) -> Store:
        """Opens the database; creates the tables that are missing."""
        store = cls(_checked(uri))
        for name, schema in SCHEMAS.items():
            if store.newest(name) is None:
                store._check_not_lost(name)
                store.make(name, schema)
        store.check_readable()
        return store

    # Tables

    def has_contents(self) -> bool:
        return self.newest("contents") is not None

    def dataset(self, name: str, session: lance.Session | None = None) -> lance.LanceDataset:
        """The newest version of a table; it stays at that version. Raises StoreError for `contents` if nothing was
        ingested yet. session: Lance's caches, for a reader that opens versions again and again."""
        newest = self.newest(name, session)
        if newest is None:
            raise self.empty()
        return newest

    def empty(self) -> StoreError:
        """The error about a database without an item, which says whether any were rejected."""
        rejected = self.newest("rejected")
        count = 0 if rejected is None else rejected.count_rows()
        if count:
            items = "its only item was" if count == 1 else f"all {count} items were"
            why = command("rejected", self.uri)
            return StoreError(f"the database {self.uri} has no item: {items} rejected, and {why} shows why")
        return StoreError(f"the database {self.uri} is empty; {command('ingest', self.uri, 'SOURCE')} fills it")

    def path(self, name: str) -> str:
        """The folder of a table, as LanceDB names it."""
        return f"{self.uri.rstrip('/')}/{name}.lance"

    def versions(self) -> dict[str, int]:
        names = [*SCHEMAS, *(["contents"] if self.has_contents() else [])]
        return {name: self.dataset(name).version for name in sorted(names) if name not in ("lease", "runs")}

    def dims(self) -> dict[str, int]:
        """The size of each vector column that `contents` has, including fused ones."""
        contents = self.newest("contents")
        return {} if contents is None else vector_sizes(contents.schema)

    def ensure_vectors(self, dims: Mapping[str, int]) -> None:
        """Creates `contents`, or adds the vector columns that it lacks, with their fingerprints. Raises
        FingerprintMismatch for a column of another size."""
        if not self.has_contents():
            if self.writer is not None:
                self.writer.check()
            self.make("contents", schemas.contents_schema(dict(dims)))
            reached("contents.made")
        have = self.dims()
        for name, size in dims.items():
            if name not in have:
                with self.writing("contents") as dataset:
                    wanted = schemas.contents_schema({name: size})
                    dataset.add_columns(
                        pa.schema([field for field in wanted if field.name not in dataset.schema.names])
                    )
            elif have[name] != size:
                raise FingerprintMismatch(
                    f"{name} vectors of {size} numbers cannot enter {self.uri}, whose {name} has {have[name]}; "
                    f"use the model this database began with, or another database"
                )

    def schema_version(self) -> str | None:
        """None before the first wave."""
        contents = self.newest("contents")
        return None if contents is None else schema_version(contents.schema)

    def check_readable(self) -> str | None:
        """Returns `schema_version`. Raises StoreError for one that cannot be read: newer than this fuseid, or very
        old."""
        found = self.schema_version()
        if found is None or found in schemas.READABLE_VERSIONS:
            return found
        last = found.rpartition("-")[2]  # of 4-to-5: 5
        newer = last.isdigit() and int(last) > schemas.TWO_GENERATIONS
        remedy = "install the fuseid that made it, or a later one" if newer else "ingest into another database"
        raise StoreError(
            f"{self.uri} has schema version {found}, this fuseid reads {schemas.READABLE_VERSIONS[0]} to "
            f"{schemas.READABLE_VERSIONS[-1]}; {remedy}"
        )

    def check_current(self) -> None:
        """To be called before a job writes. Raises StoreError for a database of another schema version."""
        found = self.check_readable()
        if found not in (None, *schemas.CURRENT_VERSIONS):
            raise StoreError(
                f"{self.uri} has schema version {found} and can only be read; {command('upgrade', self.uri)} upgrades "
                f"it in place to version {schemas.SCHEMA_VERSION}"
            )

    def set_schema_version(self, version: str) -> None:
        with self.writing("contents") as dataset:
            dataset.update_schema_metadata({schemas.VERSION_KEY: version})

    @contextmanager
    def writing(self, name: str) -> Iterator[lance.LanceDataset]:
        """The newest version of a table, for commits on top of it; they are durable when the block ends.

        Raises LeaseLost if another process holds the lease. That is checked after the version was opened, and a process
        that takes the lease later makes commits on top of all earlier versions fail (`fence`).
        """
        dataset = self.dataset(name)
        if self.writer is not None and name in GUARDED:
            self.writer.check()
        try:
            yield dataset
        except (CommitConflictError, OSError, RuntimeError, ValueError) as error:
            if not isinstance(error, CommitConflictError) and not _CONFLICT.search(str(error)):
                raise
            raise LeaseLost(f"another run wrote to {self.uri} while this one was silent; run again") from None
        self.make_durable(name)

    def fence(self) -> None:
        """Makes every commit and change of settings fail that another process has begun and not yet finished.

        To be called by a process that has taken the lease from one that may still be alive. It commits a `Restore`
        of the newest version, which changes nothing and conflicts with every other commit except a change of
        configuration; and a change of configuration, which conflicts with every other change of the same key.
        """
        for name in GUARDED:
            dataset = self.newest(name)
            if dataset is None:
                continue
            newest, fence = dataset.version, self._restored(name, dataset.version)
            while fence > newest + 1:
                # The fence has undone a commit that came in between: it is restored, which is another fence.
                newest, fence = fence, self._restored(name, fence - 1)
            self.configure(name, {})

    def _restored(self, name: str, version: int) -> int:
        operation = lance.LanceOperation.Restore(version)
        return lance.LanceDataset.commit(self.path(name), operation, read_version=version).version

    def configure(self, name: str, values: Mapping[str, Any]) -> None:
        """Sets keys of a table's configuration to JSON values, in one commit."""
        with self.writing(name) as dataset:
            self._configure(dataset, values)

    def configured(self, name: str, key: str) -> Any:
        """The value of a key of a table's configuration, None if it was never set."""
        return configuration(self.dataset(name), key)

    def _configure(self, dataset: lance.LanceDataset, values: Mapping[str, Any]) -> None:
        config = {_SETTING + key: json.dumps(value) for key, value in values.items()}
        dataset.update_config({**config, _CHANGED_BY: json.dumps(self.writer.holder if self.writer else "")})

    def make_durable(self, name: str) -> None:
        """Flushes to the disk what commits to a guarded table have written. An object store needs no flush."""
        if "://" not in self.uri and name in GUARDED:
            self._durable.setdefault(name, DurableTable(self.path(name))).sync()

    def upsert(self, name: str, rows: pa.Table, key: str = "content_id") -> None:
        """Inserts or replaces whole rows by key, in one commit; `rows` holds each key once."""
        with self.writing(name) as dataset:
            merge = dataset.merge_insert(key)
            merge.when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def update(self, name: str, values: Mapping[str, str], where: str) -> None:
        """Sets columns to SQL expressions in the rows that fulfil a condition."""
        with self.writing(name) as dataset:
            dataset.update(dict(values), where=where)

    def append(self, name: str, rows: pa.RecordBatchReader, version: int) -> None:
        """Appends rows in one commit, to a table from which no row is ever deleted. Raises LeaseLost if another process
        has added or changed rows since `version`.

        The commit is Lance's `Merge`, which lists all fragments and so conflicts with such changes. Lance's append does
        not conflict with the append of a process that has lost the lease without noticing.
        """
        with self.writing(name) as newest:
            dataset = newest.checkout_version(version)
            fragments = [fragment.metadata for fragment in dataset.get_fragments()]
            for new in write_fragments(rows, dataset, mode="append"):
                fragments.append(replace(new, id=1 + max((one.id for one in fragments), default=-1)))
            self._commit(dataset, lance.LanceOperation.Merge(fragments, dataset.lance_schema))

    def _commit(self, dataset: lance.LanceDataset, operation: lance.LanceOperation.BaseOperation) -> None:
        lance.LanceDataset.commit(dataset.uri, operation, read_version=dataset.version)

    def delete(self, name: str, ids: Sequence[str]) -> None:
        """Deletes rows by content_id, up to 10,000 in one commit: each commit writes the deleted rows of every fragment
        that it touches again, and adds a version."""
        for start in range(0, len(ids), 10_000):
            with self.writing(name) as dataset:
                dataset.delete(f"content_id IN ({sql_list(ids[start : start + 10_000])})")

    def rewrite_columns(self, update: Callable[[lance.LanceFragment], Iterable[pa.RecordBatch]]) -> int:
        """Rewrites columns of `contents`, fragment by fragment, in one commit; rows and their indexes stay in place.
        Returns the number of rows changed.

        update: a fragment -> content_id and the new values of the rows that change, in batches, which Lance gathers in
        memory.
        """
        fragments: list[Any] = []
        fields: list[int] = []
        counts: list[int] = []
        with self.writing("contents") as dataset:
            for fragment in dataset.get_fragments():
                # Lance locks the object whose columns it updates while `update` reads from another one.
                written = dataset.get_fragment(fragment.fragment_id)
                assert written is not None
                values = _counted(update(fragment), counts)
                if values is not None:
                    metadata, fields = written.update_columns(values, left_on="content_id", right_on="content_id")
                    fragments.append(metadata)
                    trim()
            if fragments:
                self._commit_columns(dataset, fragments, fields)
        return sum(counts)

    def rewrite_fragment(self, number: int, update: Callable[[lance.LanceFragment], pa.RecordBatchReader]) -> None:
        """Rewrites columns of one fragment of `contents` in one commit; rows and their indexes stay in place.

        update: the fragment -> `_rowid` and the new values of the rows that change. Lance holds them in memory.
        """
        with self.writing("contents") as dataset:
            fragment = dataset.get_fragment(number)
            assert fragment is not None
            metadata, fields = fragment.update_columns(update(fragment), left_on="_rowid", right_on="_rowid")
            self._commit_columns(dataset, [metadata], fields)

    def _commit_columns(self, dataset: lance.LanceDataset, fragments: list[Any], fields: list[int]) -> None:
        reached("columns.written")
        self._commit(dataset, lance.LanceOperation.Update(updated_fragments=fragments, fields_modified=fields))

    # Settings: a few values that belong to the whole database, kept with `assignments`, which always exists.

    def setting(self, key: str, at: lance.LanceDataset | None = None) -> Any:
        """at: the version of `assignments` to read it from, by default the newest."""
        dataset = self.dataset("assignments") if at is None else at
        value = dataset.config().get(_SETTING + key)
        return None if value is None else json.loads(value)

    def settings(self) -> dict[str, Any]:
        """All settings by key, of one version."""
        return _settings(self.dataset("assignments"))

    def put_settings(self, values: Mapping[str, Any], read: Mapping[str, Any]) -> None:
        """Compare and set: changes settings in one commit, provided that each of them still has its value in `read`.

        Raises LeaseLost if one has another value or another process holds the lease; then nothing is changed.
        """
        with self.writing("assignments") as dataset:
            now = _settings(dataset)
            if changed := sorted(key for key in values if now.get(key) != read.get(key)):
                raise LeaseLost(
                    f"another run changed {', '.join(changed)} of {self.uri} while this one was silent; run again"
                )
            self._configure(dataset, values)

    # Artifacts

    def put_artifact(self, artifact: Any) -> str:
        """Saves a fusion or tokenizer beside the tables; returns its id."""
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(scratch) / "artifact"
            artifact.save(directory)
            fs, root = filesystem(self.uri)
            target = f"{root}/artifacts/{artifact.id}"
            fs.makedirs(target, exist_ok=True)
            for path in sorted(directory.iterdir()):
                fs.put_file(str(path), f"{target}/{path.name}")
        if "://" not in self.uri:
            fsync([*Path(target).iterdir(), target, Path(target).parent, root])
        return artifact.id

    def lacks_artifact(self, name: str) -> bool:
        fs, root = filesystem(self.uri)
        return not fs.isdir(f"{root}/artifacts/{name}")

    def get_artifact(self, cls: Any, name: str) -> Any:
        """Loads an artifact of a class by its id. Raises ArtifactError if it is missing, altered, or of another kind or
        version."""
        return self._read_artifact(name, cls.KIND, cls.load)

    def tokenizers(self) -> list[str]:
        """The ids of all tokenizers, sorted."""
        fs, root = filesystem(self.uri)
        folder = f"{root}/artifacts"
        paths = fs.ls(folder, detail=False) if fs.isdir(folder) else []
        return sorted(name for path in paths if is_tokenizer(name := path.rstrip("/").rpartition("/")[2]))

    def tokenizer_named(self, text: str) -> str:
        """The id of a tokenizer, by the id or an unambiguous beginning of it. Raises UnknownArtifact, which names those
        that there are."""
        # The champion's id is right even where its artifact is lost, which whoever reads it reports.
        if text == self.setting("champion") or (is_tokenizer(text) and not self.lacks_artifact(text)):
            return text
        known = self.tokenizers()
        if not known:
            raise UnknownArtifact(f"{self.uri} has no tokenizer {text!r}; {command('fit', self.uri)} makes one")
        return id_named("tokenizer", text, known, self.uri, UnknownArtifact)

    def describe_tokenizer(self, name: str) -> ArtifactInfo:
        """The description of a tokenizer, without loading it. Raises ArtifactError as `get_artifact` does."""
        kind = tokenizer_kind(name)
        return self._read_artifact(name, kind, partial(describe, kind=kind))

    def describe_fusion(self, name: str) -> ArtifactInfo:
        """The description of a fusion, without loading it. Raises ArtifactError as `get_artifact` does."""
        return self._read_artifact(name, FUSION, partial(describe, kind=FUSION))

    def _read_artifact(self, name: str, kind: str, load: Callable[[Path], _Loaded]) -> _Loaded:
        if kind_of(name) != kind or "/" in name:
            raise UnknownArtifact(f"{name!r} is no {kind} id")
        fs, root = filesystem(self.uri)
        source = f"{root}/artifacts/{name}"
        if self.lacks_artifact(name):
            kind_of_error = ArtifactError if name in self.settings().values() else UnknownArtifact
            raise kind_of_error(f"{self.uri} holds no {name}; {command('fit', self.uri)} makes one")
        scratch = Path(tempfile.mkdtemp())
        try:
            for path in fs.ls(source, detail=False):
                fs.get_file(path, str(scratch / Path(path).name))
            return load(scratch)
        except ArtifactError as error:
            raise ArtifactError(str(error).replace(str(scratch), source)) from None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def newest(self, name: str, session: lance.Session | None = None) -> lance.LanceDataset | None:
        """The newest version of a table, None if it has no version: a process killed while creating a table leaves a
        folder without one."""
        try:
            dataset = lance.dataset(self.path(name), session=session)
            if not dataset.schema.names:
                raise DamagedTable(damage(self.uri, name, "the manifest of its newest version holds nothing but zeros"))
            return dataset
        except (OSError, RuntimeError, ValueError) as error:
            if "not found" not in str(error):
                if _DAMAGE.search(_PATHS.sub("", str(error))):
                    what = f"its newest version cannot be read ({reason(error)})"
                    raise DamagedTable(damage(self.uri, name, what)) from None
                raise StoreError(f"cannot open the database {self.uri}: {reason(error)}") from None
            fs, root = filesystem(self.uri)
            if fs.exists(f"{root}/{name}.lance/data"):
                raise DamagedTable(damage(self.uri, name, "it has data and no version")) from None
            return None

    def make(self, name: str, schema: pa.Schema) -> None:
        """Creates an empty table, unless another process has just created it."""
        try:
            lance.write_dataset(schema.empty_table(), self.path(name))
        except OSError:
            if self.newest(name) is None:
                raise
        self.make_durable(name)

    def _check_not_lost(self, name: str) -> None:
        """Raises DamagedTable for a missing table if `contents` exists, which is created last."""
        if self.has_contents():
            raise DamagedTable(damage(self.uri, name, "it is missing"))


# Lance's errors for a manifest that is empty, cut short or overwritten; other errors may mean an unreachable store.
_DAMAGE = re.compile("Invalid range|size is too small|[Mm]agic|[Pp]rotobuf|[Dd]ecode|corrupt")
_PATHS = re.compile(r"\S*/\S*")
_CONFLICT = re.compile("(incompatible with|preempted by) concurrent transaction")


def _counted(batches: Iterable[pa.RecordBatch], counts: list[int]) -> pa.RecordBatchReader | None:
    """A reader of batches that adds their numbers of rows to a list; None if there are no rows."""
    filled = (batch for batch in batches if batch.num_rows)
    first = next(filled, None)
    if first is None:
        return None

    def read() -> Iterator[pa.RecordBatch]:
        for batch in chain([first], filled):
            counts.append(batch.num_rows)
            yield batch

    return pa.RecordBatchReader.from_batches(first.schema, read())


def configuration(dataset: lance.LanceDataset, key: str) -> Any:
    """The value of a key of the configuration of a version of a table, None if it was never set."""
    value = dataset.config().get(_SETTING + key)
    return None if value is None else json.loads(value)


def _settings(assignments: lance.LanceDataset) -> dict[str, Any]:
    config = assignments.config()
    return {key.removeprefix(_SETTING): json.loads(value) for key, value in config.items() if key.startswith(_SETTING)}


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a uri, without a cache of listings, and the path in it."""
    import fsspec

    with importing_file_system(uri.partition("://")[0]):
        return fsspec.url_to_fs(uri, use_listings_cache=False)


def _checked(uri: str | Path) -> str:
    if "://" not in str(uri) and Path(uri).exists() and not Path(uri).is_dir():
        raise NoDatabase(f"{uri} is a file; {option('db')} names a directory or an object-store URI")
    return str(uri)
