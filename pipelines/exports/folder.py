"""An export's folder: created under another name and renamed when complete, with a manifest that hashes its files."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq

from fuseid.core.errors import BadInput, FuseidError, unusable
from fuseid.core.reasons import reason
from fuseid.core.surface import option

MANIFEST = "manifest.json"
# Ends the name of a scratch folder that is locked by the process that fills it.
_LOCKED = ".fuseid"
# How much of the final name is part of a scratch folder's name, of which file systems allow 255 bytes.
_NAME_BYTES = 90


@contextmanager
def new_folder(out: str | Path) -> Iterator[Path]:
    """A scratch folder beside `out`, which becomes `out` if the block ends without an error, and is removed if it
    raises. Scratch folders of the same `out` that killed processes have left are removed, too.

    Raises BadInput if `out` exists and is not an empty folder.
    """
    out = Path(out)
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise BadInput(f"{out} exists and is not an empty folder; choose another {option('out')} or remove it")
        whole = out.resolve()
    except OSError as error:
        raise _unusable(out, error) from None
    with scratch_folder(whole, shown=out) as scratch:
        yield scratch
        # mkdtemp makes folders that only their owner can read.
        scratch.chmod(0o755)
        if whole.exists():
            whole.rmdir()
        scratch.rename(whole)


@contextmanager
def scratch_folder(out: Path, shown: Path | None = None) -> Iterator[Path]:
    """A new folder beside `out`, which is removed at the end, unless it has another name then; and those that killed
    processes have left. Raises BadInput, which names `shown`, if `out` cannot be written."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch, lock = _locked_beside(out)
    except OSError as error:
        raise _unusable(shown or out, error) from None
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(lock)


def _unusable(out: Path, error: OSError) -> FuseidError:
    # From mkdir, which finds a file where a folder should be.
    why = "a part of its path is a file" if isinstance(error, FileExistsError) else error.strerror or error
    return unusable(f"cannot write {out}: {why}; choose another {option('out')}", error)


@contextmanager
def new_file(out: Path) -> Iterator[Path]:
    """Where to write a file, which becomes `out` if the block ends without an error, and is removed if it raises; the
    next one of the same `out` removes what killed processes have left. Raises BadInput if `out` exists or cannot be
    written."""
    try:
        if out.exists():
            raise BadInput(f"{out} exists; choose another {option('out')} or remove it")
        whole = out.resolve()
    except OSError as error:
        raise _unusable(out, error) from None
    with scratch_folder(whole, shown=out) as folder:
        yield folder / "file"
        (folder / "file").chmod(0o644)
        (folder / "file").rename(whole)


def scratch_prefix(out: Path) -> str:
    """The beginning of the name of a scratch file or folder beside `out`."""
    name = os.fsencode(out.name)[:_NAME_BYTES].decode(errors="ignore")
    return f".{name}-"


def _locked_beside(out: Path) -> tuple[Path, int]:
    """A new scratch folder, and the descriptor that holds its lock."""
    prefix = scratch_prefix(out)
    _remove_abandoned(out.parent, prefix)
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=out.parent))
    lock = os.open(made, os.O_RDONLY)
    try:
        # Some network file systems cannot lock folders: there no process gets a lock, so no scratch folder is removed.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It gets the name by which others find it only once it is locked.
        return made.rename(made.with_name(made.name + _LOCKED)), lock
    except BaseException:
        os.close(lock)
        made.rmdir()
        raise


def _remove_abandoned(parent: Path, prefix: str) -> None:
    """Removes scratch folders whose lock is free: the system frees a lock when its process ends, however it ends."""
    named = re.compile(re.escape(prefix) + r"[a-z0-9_]{8}" + re.escape(_LOCKED))
    for path in [path for path in parent.iterdir() if named.fullmatch(path.name)]:
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(lock)


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Writes `manifest.json`: `facts`, and under `files` the bytes and BLAKE2b-128 of every file in the folder, and the
    rows of a Parquet file. To be written last. Returns the manifest.

    facts: JSON values that are the same for the same export, so neither times nor paths.
    """
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST):
        facts_of_file: dict[str, Any] = {"bytes": path.stat().st_size, "blake2b": file_hash(path)}
        if path.suffix == ".parquet":
            facts_of_file["rows"] = pq.read_metadata(path).num_rows
        files[path.relative_to(folder).as_posix()] = facts_of_file
    manifest = json.loads(json.dumps({**facts, "files": files}, sort_keys=True))
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return manifest


def load_manifest(path: Path) -> dict[str, Any]:
    """The manifest in a file, without checking its files. Raises BadInput if it is not a manifest."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise unusable(f"cannot read the manifest {path}: {reason(error)}", error) from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise BadInput(f"{path} is no manifest of an export: it names no files")
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, after comparing every file that it names with its hash.

    Raises BadInput if the manifest or a file is missing, altered, or named outside the folder.
    """
    manifest = load_manifest(folder / MANIFEST)
    for name, facts in manifest["files"].items():
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or not isinstance(facts, dict):
            raise BadInput(f"{folder / MANIFEST} names the file {name!r}, which no export writes")
        path = folder / name
        if not path.is_file():
            raise BadInput(f"{folder} lacks {name}, which its manifest names; export again")
        if path.stat().st_size != facts.get("bytes") or file_hash(path) != facts.get("blake2b"):
            raise BadInput(f"{path} is not what its manifest says: it was altered or cut short; export again")
    return manifest


def file_hash(path: Path) -> str:
    """BLAKE2b-128 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
