"""The files of a Lance table: which a version needs, and which of them are missing, empty or cut short."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any

import lance
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


@dataclass(frozen=True)
class BrokenFile:
    """index: the name of the index that the file belongs to, None for rows. problem: of the file, in words."""

    path: str
    problem: str
    index: str | None = None

    def __str__(self) -> str:
        return f"{self.path} {self.problem}"


def listed(dataset: lance.LanceDataset) -> dict[str, int]:
    """Bytes of all files in the table's folder, of whatever version, by their paths below it."""
    found = dataset.all_files().read_all()
    return dict(zip(found["path"].to_pylist(), found["size_bytes"].to_pylist(), strict=True))


def files_of(dataset: lance.LanceDataset, sizes: dict[str, int]) -> list[str]:
    """Paths of all files that this version needs, its manifest last. sizes: what is `listed`."""
    folders = {f"_indices/{segment.uuid}" for index in dataset.describe_indices() for segment in index.segments}
    indexes = sorted(path for path in sizes if path.rpartition("/")[0] in folders)
    names = (f"_versions/{2**64 - 1 - dataset.version:020d}.manifest", f"_versions/{dataset.version}.manifest")
    manifest = next(name for name in names if name in sizes)
    transactions = [path for path in sizes if path.endswith(f"-{commit_id(dataset)}.txn")]
    return [*_data_files(dataset), *indexes, *transactions, manifest]


def broken_files(dataset: lance.LanceDataset) -> list[BrokenFile]:
    """What this version needs and is not there as it was written. Lists the table's folder; opens no file of it."""
    sizes = listed(dataset)
    return [*_broken_data(dataset, sizes), *_broken_indexes(dataset, sizes)]


def broken_history(dataset: lance.LanceDataset, sizes: dict[str, int]) -> list[BrokenFile]:
    """Manifests of older versions and tags that cannot be read, which clean-up stumbles over. Opens each of them.

    sizes: what is `listed`.
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
    """The version of a manifest, by its path: they are counted downwards from 2^64 - 1, or, in old tables, upwards."""
    number = int(manifest.rpartition("/")[2].partition(".")[0])
    return 2**64 - 1 - number if number > 2**63 else number


def _data_files(dataset: lance.LanceDataset) -> dict[str, int | None]:
    """The bytes that each file of rows and of deletions was written with, None where the version does not say."""
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
    """The id of the commit that made this version: other databases have versions of the same number, never of this id.

    It is in the name of the transaction's file, which the manifest holds. The transaction itself is not read: Lance's
    Python package cannot read every kind of it (of a compaction, for one), and the file may be gone.
    """
    manifest = _manifest_message()()
    manifest.ParseFromString(dataset._ds.serialized_manifest())
    found = re.fullmatch(r"\d+-([0-9a-f-]{36})\.txn", manifest.transaction_file)
    return None if found is None else found[1]


@cache
def _manifest_message() -> Any:
    """The class of the one field that is read of Lance's message `Manifest` (protos/table.proto)."""
    file = descriptor_pb2.FileDescriptorProto(name="table.proto", package="lance.table", syntax="proto3")
    types = descriptor_pb2.FieldDescriptorProto
    field = file.message_type.add(name="Manifest").field.add(name="transaction_file", number=12)
    field.type, field.label = types.TYPE_STRING, types.LABEL_OPTIONAL
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("lance.table.Manifest"))
