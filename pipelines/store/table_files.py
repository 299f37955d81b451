"""The files of a Lance table: which a version needs, and which of them are missing, empty or cut short."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any

import lance

from fuseid.core.fingerprints import fingerprint


@dataclass(frozen=True)
class BrokenFile:
    """index: the name of the index that the file belongs to, None for a file of rows. problem: text for a message."""

    path: str
    problem: str
    index: str | None = None

    def __str__(self) -> str:
        return f"{self.path} {self.problem}"


def listed(dataset: lance.LanceDataset) -> dict[str, int]:
    """The size in bytes of every file in the table's folder, of all versions, by its path below the folder."""
    found = dataset.all_files().read_all()
    return dict(zip(found["path"].to_pylist(), found["size_bytes"].to_pylist(), strict=True))


def files_of(dataset: lance.LanceDataset, sizes: dict[str, int]) -> list[str]:
    """Paths of all files that this version needs, its manifest last. sizes: of `listed`."""
    folders = {f"_indices/{segment.uuid}" for index in dataset.describe_indices() for segment in index.segments}
    indexes = sorted(path for path in sizes if path.rpartition("/")[0] in folders)
    names = (f"_versions/{2**64 - 1 - dataset.version:020d}.manifest", f"_versions/{dataset.version}.manifest")
    manifest = next(name for name in names if name in sizes)
    transactions = [path for path in sizes if path.endswith(f"-{commit_id(dataset)}.txn")]
    return [*_data_files(dataset), *indexes, *transactions, manifest]


def rows_identity(dataset: lance.LanceDataset) -> str:
    """A hash of the names of the files of rows that this version has: a change of settings or indexes and the
    restoring of a version leave it as it is."""
    return fingerprint("rows", files=sorted(_data_files(dataset)))


def broken_files(dataset: lance.LanceDataset) -> list[BrokenFile]:
    """Files of this version that are missing or not as they were written. Lists the table's folder; opens no file."""
    sizes = listed(dataset)
    return [*_broken_data(dataset, sizes), *_broken_indexes(dataset, sizes)]


def broken_history(dataset: lance.LanceDataset, sizes: dict[str, int]) -> list[BrokenFile]:
    """Manifests of older versions and tags that cannot be read, on which clean-up would fail. Opens each of them.

    sizes: of `listed`.
    """
    found = []
    for path in sorted(path for path in sizes if path.startswith("_versions/") and path.endswith(".manifest")):
        version = version_of(path)
        try:
            if version != dataset.version and not dataset.checkout_version(version).schema.names:
                found.append(BrokenFile(path, "holds nothing but zeros"))
        except (OSError, RuntimeError, ValueError):
            found.append(BrokenFile(path, "cannot be read"))
    for path in sorted(path for path in sizes if path.startswith("_refs/tags/")):
        try:
            dataset.tags.get_version(path.removeprefix("_refs/tags/").removesuffix(".json"))
        except (OSError, RuntimeError, ValueError):
            found.append(BrokenFile(path, "cannot be read"))
    return found


def version_of(manifest: str) -> int:
    """The version of a manifest by its path. Names count down from 2^64 - 1; in old tables they count up."""
    number = int(manifest.rpartition("/")[2].partition(".")[0])
    return 2**64 - 1 - number if number > 2**63 else number


def _data_files(dataset: lance.LanceDataset) -> dict[str, int | None]:
    """The size in bytes of each file of rows and deletions when it was written; None if the version does not say."""
    wanted: dict[str, int | None] = {}
    for fragment in dataset.get_fragments():
        metadata = fragment.metadata
        wanted |= {f"data/{file.path}": file.file_size_bytes for file in metadata.files}
        if metadata.deletion_file is not None:
            wanted[metadata.deletion_file.path(fragment.fragment_id)] = None
    return wanted


def _broken_data(dataset: lance.LanceDataset, sizes: dict[str, int]) -> list[BrokenFile]:
    found = []
    for path, size in _data_files(dataset).items():
        if path not in sizes:
            found.append(BrokenFile(path, "is missing"))
        elif not sizes[path]:
            found.append(BrokenFile(path, "is empty"))
        elif size is not None and sizes[path] != size:
            found.append(BrokenFile(path, f"has {sizes[path]} bytes of {size}"))
    return found


def _broken_indexes(dataset: lance.LanceDataset, sizes: dict[str, int]) -> list[BrokenFile]:
    there: Counter[str] = Counter()
    for path, size in sizes.items():
        if path.startswith("_indices/"):
            there[path.split("/")[1]] += size
    found = []
    for index in dataset.describe_indices():
        for segment in index.segments:
            if segment.size_bytes is not None and there[str(segment.uuid)] != segment.size_bytes:
                problem = f"has {there[str(segment.uuid)]} bytes of {segment.size_bytes}"
                found.append(BrokenFile(f"_indices/{segment.uuid}", problem, index.name))
    return found


def commit_id(dataset: lance.LanceDataset) -> str | None:
    """The id of the commit that made this version. Other databases have versions of the same number, but not this id.

    It is part of the name of the transaction's file, which is in the manifest. The transaction itself is not read:
    Lance's Python package cannot read every kind of it (a compaction's, for one), and the file may be deleted.
    """
    manifest = _manifest_message()()
    manifest.ParseFromString(dataset._ds.serialized_manifest())
    found = re.fullmatch(r"\d+-([0-9a-f-]{36})\.txn", manifest.transaction_file)
    return None if found is None else found[1]


@cache
def _manifest_message() -> Any:
    """A message class with the one field that is read from Lance's `Manifest` (protos/table.proto)."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="table.proto", package="lance.table", syntax="proto3")
    types = descriptor_pb2.FieldDescriptorProto
    field = file.message_type.add(name="Manifest").field.add(name="transaction_file", number=12)
    field.type, field.label = types.TYPE_STRING, types.LABEL_OPTIONAL
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("lance.table.Manifest"))
