"""Backup: a consistent copy of a database, made while jobs may write to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lance

from fuseid.core.errors import BadInput, StoreError, unusable
from fuseid.core.reasons import reason
from fuseid.pipelines.exports.folder import new_folder
from fuseid.pipelines.jobs.progress import Lines, Progress
from fuseid.pipelines.store.durable import fsync
from fuseid.pipelines.store.id_order import broken_files as broken_order
from fuseid.pipelines.store.id_order import order_files
from fuseid.pipelines.store.messages import damage
from fuseid.pipelines.store.pins import pinned
from fuseid.pipelines.store.store import Store, filesystem
from fuseid.pipelines.store.table_files import broken_files, files_of, listed

MANIFEST = "backup.json"
FORMAT = 1
# `contents` is opened before the ledger, so the ledger has every ID that `contents` shows. The lease is not copied.
TABLES = ("contents", "assignments", "rejected", "runs")
_CHUNK = 8 << 20
_AT_A_TIME = 4


def backup(uri: str, to: str, progress: Progress | None = None) -> dict[str, Any]:
    """Copies the newest versions of all tables, the versions that exports have tagged, and the artifacts into a new
    folder or below a new object-store URI. Writes `backup.json` last, and returns it without its list of files.

    The copy is what a reader sees at that moment. A job that is writing goes on; what it has committed by then is in
    the copy, as if it had been killed then. Every file is hashed while it is copied. A copy without `backup.json` is
    incomplete, and `restore` refuses it. Raises BadInput if `to` exists, StoreError for a damaged database.
    """
    progress = progress or Lines()
    store = Store.open(uri)
    if "://" not in to and Path(to).resolve().is_relative_to(Path(uri).resolve()):
        raise BadInput(f"{to} lies in the database {uri}; name a place outside it")
    datasets = {name: store.dataset(name) for name in TABLES if name != "contents" or store.has_contents()}
    with pinned(datasets), new_target(to) as target:
        jobs = dict(_artifacts(store))
        if "contents" in datasets and not broken_order(store, datasets["contents"]):
            # Before the tables, which name it; without it a reader sorts the IDs itself.
            jobs |= order_files(store, datasets["contents"])
        for name, dataset in datasets.items():
            jobs |= {f"{name}.lance/{path}": size for path, size in _table(store, name, dataset).items()}
        files = copied(store.uri, target, jobs, progress)
        document = {
            "format": FORMAT,
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "db": store.uri,
            "versions": {name: dataset.version for name, dataset in datasets.items()},
            "rows": {name: dataset.count_rows() for name, dataset in datasets.items()},
            "bytes": sum(jobs.values()),
            "champion": store.setting("champion", datasets["assignments"]),
        }
        fs, root = filesystem(target)
        text = json.dumps({**document, "files": files}, indent=1, sort_keys=True)
        fs.pipe_file(f"{root}/{MANIFEST}", text.encode())
        make_durable(target)
    return document


@contextmanager
def new_target(to: str) -> Iterator[str]:
    """-> a folder that becomes `to` if the block ends without an error; for an object store, `to` itself. Raises
    BadInput if `to` is not empty."""
    if "://" not in to:
        if Path(to).exists() and (not Path(to).is_dir() or any(Path(to).iterdir())):
            raise BadInput(f"{to} exists and is not an empty folder; name a new one, or remove it")
        with new_folder(to) as folder:
            yield str(folder)
        fsync([Path(to).resolve().parent])
        return
    fs, root = filesystem(to)
    try:
        taken = fs.exists(root) and bool(fs.ls(root, detail=False))
    except (OSError, ValueError) as error:
        raise unusable(f"cannot look at {to}: {reason(error)}", error) from None
    if taken:
        raise BadInput(f"{to} exists and is not empty; name a new one, or remove it")
    yield to.rstrip("/")


def copied(source: str, target: str, sizes: dict[str, int], progress: Progress) -> dict[str, dict[str, Any]]:
    """Copies files, a few at a time in the order of `sizes` -> bytes and BLAKE2b-128 of each, by path.

    sizes: bytes by path, relative to both `source` and `target`. Raises StoreError if a file is missing or of another
    size.
    """
    from_fs, from_root = filesystem(source)
    to_fs, to_root = filesystem(target)
    progress.begin("copy bytes", sum(sizes.values()))

    def copy(path: str) -> dict[str, Any]:
        to_fs.makedirs(f"{to_root}/{path}".rpartition("/")[0], exist_ok=True)
        digest, count = hashlib.blake2b(digest_size=16), 0
        try:
            with from_fs.open(f"{from_root}/{path}", "rb") as old, to_fs.open(f"{to_root}/{path}", "wb") as new:
                while chunk := old.read(_CHUNK):
                    new.write(chunk)
                    digest.update(chunk)
                    count += len(chunk)
        except FileNotFoundError:
            raise StoreError(f"{source} lacks {path}; nothing was copied") from None
        except OSError as error:
            raise StoreError(f"cannot copy {path} of {source}: {error.strerror or error}") from None
        if count != sizes[path]:
            raise StoreError(f"{source}: {path} has {count} bytes of {sizes[path]}; nothing was copied")
        return {"bytes": count, "blake2b": digest.hexdigest()}

    files: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(_AT_A_TIME, "fuseid-copy") as threads:
        for path, facts in zip(sizes, threads.map(copy, sizes), strict=True):
            files[path] = facts
            progress.advance("copy bytes", facts["bytes"])
    return files


def make_durable(folder: str) -> None:
    """Flushes a local folder to the disk."""
    if "://" not in folder:
        paths = sorted(Path(folder).rglob("*"), key=lambda path: len(path.parts), reverse=True)
        fsync([*paths, folder])


def _table(store: Store, name: str, dataset: lance.LanceDataset) -> dict[str, int]:
    """Bytes by path of the files that this version and the versions tagged by exports need, manifests last."""
    sizes = listed(dataset)
    versions = [dataset]
    tags = [tag for tag in dataset.tags.list() if tag.startswith("export-")]
    versions += [dataset.checkout_version(tag) for tag in tags]
    wanted: dict[str, None] = {}
    for version in versions:
        if broken := broken_files(version):
            raise StoreError(damage(store.uri, name, str(broken[0])))
        wanted |= dict.fromkeys(files_of(version, sizes))
    wanted |= dict.fromkeys(f"_refs/tags/{tag}.json" for tag in tags)
    return {path: sizes[path] for path in sorted(wanted, key=lambda path: (path.endswith(".manifest"), path))}


def _artifacts(store: Store) -> Iterator[tuple[str, int]]:
    fs, root = filesystem(store.uri)
    if fs.isdir(f"{root}/artifacts"):
        for path, info in sorted(fs.find(f"{root}/artifacts", detail=True).items()):
            yield path.removeprefix(root).lstrip("/"), info["size"]
