"""Opens a source: a manifest, a folder of media or tar shards, local or at a remote uri."""

from __future__ import annotations

import glob
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from fuseid.core.config import SourceConfig
from fuseid.core.errors import BadInput, ItemError, unusable
from fuseid.pipelines.files.remote_uri import RemoteUri, parse_remote
from fuseid.pipelines.sources.folder import Folder
from fuseid.pipelines.sources.item import Source
from fuseid.pipelines.sources.manifest import SUFFIXES, Manifest
from fuseid.pipelines.sources.success import check_success
from fuseid.pipelines.sources.webdataset import WebDataset

_WHAT = "a manifest is .parquet, .jsonl or .csv; else name a folder of media, or tar shards: .tar, a folder, a pattern"
_MOST_SHARDS = 1_000_000
# How the names begin of what is no data, as Spark writes it into a folder.
_NO_DATA = ("_", ".")


def open_source(path: str | Path, config: SourceConfig | None = None) -> Source:
    """A manifest, a folder of media, or WebDataset shards: one `.tar`, a folder that holds them, or a pattern like
    `shards/{00000..00012}.tar`; also at s3://, gs://, https:// if `source.schemes` allows it.

    Raises BadInput for anything else, for a folder that cannot be listed, and for a missing file `_SUCCESS` if
    `source.require_success` is set.
    """
    config = config or SourceConfig()
    text = str(path)
    if "://" in text:
        return _open_remote(text, config)
    path = Path(text)
    if path.is_dir():
        return _folder(path, config)
    if not path.exists():
        if not re.search(r"[{*?\[]", text):
            raise BadInput(f"no such manifest or folder: {path}")
        return _local_shards(text, config)
    if path.suffix not in (".tar", *SUFFIXES):
        raise BadInput(f"{path}: {_WHAT}")
    check_success([path.parent], config)
    if path.suffix == ".tar":
        return WebDataset([path.resolve().name], path.resolve().parent, config, text)
    return Manifest(path)


def _folder(path: Path, config: SourceConfig) -> Source:
    check_success([path], config)
    names = sorted(_names(path))
    shards = [name for name in names if name.endswith(".tar") and not os.path.isdir(path / name)]
    if not shards:
        return Folder(path)
    loose = next(iter(Folder(path)), None)
    if loose is not None:
        raise BadInput(
            f"{path} holds tar shards ({shards[0]}) and loose media ({loose.content_id}); ingest them one by one"
        )
    return WebDataset(shards, path.resolve(), config, str(path), [name for name in names if name not in {*shards}])


def files_of(text: str, suffixes: tuple[str, ...], config: SourceConfig, what: str) -> tuple[Path | str, list[str]]:
    """The files of one suffix that a path, folder, pattern or uri names, sorted, and the folder or uri they lie in.

    what: what a message calls the files. Raises BadInput for no such file, for files of several suffixes or another
    one, and for a missing `_SUCCESS` if `source.require_success` is set.
    """
    base: Path | str
    if "://" in text:
        uris = _remote_uris(text, [f"*{suffix}" for suffix in suffixes], config)
        check_success((uri.folder for uri in uris), config)
        base, files = str(_common_folder(uris)) if uris else text, list(map(str, uris))
    else:
        files = _named(text, suffixes)
        check_success((Path(file).parent for file in files), config)
        base = Path(os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files] or ["/"]))
    if not files:
        raise BadInput(f"no such files: {text}; {what}")
    found = {os.path.splitext(file)[1] for file in files}
    if len(found) > 1 or not found <= {*suffixes}:
        raise BadInput(f"{text} names files of {' and '.join(sorted(found))}; {what}, all of one kind")
    return base, files


def _named(text: str, suffixes: tuple[str, ...]) -> list[str]:
    if os.path.isdir(text):
        names = [name for name in _names(text) if name.endswith(suffixes) and not name.startswith(_NO_DATA)]
        return sorted(os.path.join(text, name) for name in names)
    if os.path.exists(text) or not re.search(r"[{*?\[]", text):
        return [text] if os.path.isfile(text) else []
    found = [path for each in braces(text) for path in (sorted(_matching(each)) if glob.has_magic(each) else [each])]
    meant = os.path.basename(text).startswith(_NO_DATA)
    return [path for path in found if meant or not os.path.basename(path).startswith(_NO_DATA)]


def _local_shards(pattern: str, config: SourceConfig) -> Source:
    paths: list[str] = []
    for text in braces(pattern):
        paths += sorted(_matching(text)) if glob.has_magic(text) else [text]
    _check_shards(pattern, paths)
    if not any(map(os.path.exists, paths)):
        raise BadInput(f"no such shards: {pattern}")
    # Links are not followed here: the base is the folder that the user named, out of which no link may lead.
    paths = [os.path.abspath(path) for path in paths]
    check_success((Path(path).parent for path in paths), config)
    base = os.path.commonpath([os.path.dirname(path) for path in paths])
    return WebDataset([os.path.relpath(path, base) for path in paths], Path(base).resolve(), config, pattern)


def _matching(pattern: str) -> list[str]:
    """Like glob.glob, but raises BadInput for a folder that cannot be read, which glob.glob skips."""
    folder, wanted = os.path.split(pattern)
    folders = _matching(folder) if glob.has_magic(folder) else [folder]
    paths = []
    for inside in folders:
        names = [name for name in _names(inside or os.curdir) if fnmatchcase(name, wanted)]
        paths += [os.path.join(inside, name) for name in names if name.startswith(".") == wanted.startswith(".")]
    return paths


def _names(folder: str | Path) -> list[str]:
    """The names in a folder; none if it is not a folder."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unusable(f"cannot list {folder}: {error.strerror}", error) from None


def _open_remote(text: str, config: SourceConfig) -> Source:
    uris = [allowed_uri(text, spelled, config) for spelled in braces(text)]
    last = uris[0].path.rpartition("/")[2]
    if len(uris) == 1 and last.endswith(SUFFIXES):
        check_success([uris[0].folder], config)
        return _remote_manifest(uris[0], config)
    uris = _listed(text, uris, ["*.tar"], config)
    _check_shards(text, [uri.path for uri in uris])
    check_success((uri.folder for uri in uris), config)
    return WebDataset([str(uri) for uri in uris], str(_common_folder(uris)), config, text)


def _remote_uris(text: str, names: list[str], config: SourceConfig) -> list[RemoteUri]:
    uris = [allowed_uri(text, spelled, config) for spelled in braces(text)]
    return _listed(text, uris, names, config)


def _listed(text: str, uris: list[RemoteUri], names: list[str], config: SourceConfig) -> list[RemoteUri]:
    """The uris, with folders and patterns replaced by the files in them. names: patterns of the files of a folder."""
    last = uris[0].path.rpartition("/")[2]
    if uris[0].is_http and re.search(r"[*\[]", last):
        raise BadInput(f"{text}: a web server does not list its files; name them, as in {{00000..00012}}.tar")
    if uris[0].is_http or (last and not glob.has_magic(last)):
        return uris
    return [uri for pattern in uris for uri in _listed_files(pattern, names, config)]


def _common_folder(uris: list[RemoteUri]) -> RemoteUri:
    """The folder below which uris need no entry in `source.allow`: it contains all uris of the first host. Other hosts
    have to be in `source.allow`."""
    first = uris[0].folder
    paths = {uri.folder.path for uri in uris if uri.authority == first.authority}
    return RemoteUri(first.scheme, first.authority, f"{os.path.commonpath(paths).rstrip('/')}/")


def allowed_uri(text: str, spelled: str, config: SourceConfig) -> RemoteUri:
    """The uri `spelled`, a part of what the user wrote. Raises BadInput if `source.schemes` does not allow it."""
    try:
        uri = parse_remote(spelled)
    except ValueError as error:
        raise BadInput(f"cannot read from {text!r}: {error}") from None
    if uri.scheme not in config.schemes:
        raise BadInput(f"cannot read from {text!r}: add {uri.scheme} to source.schemes in the configuration")
    return uri


def _remote_manifest(uri: RemoteUri, config: SourceConfig) -> Manifest:
    """A manifest at a remote uri, read from a local copy, since Parquet is read from its end."""
    from fuseid.pipelines.files.fetcher import Fetcher

    folder = tempfile.mkdtemp(prefix="fuseid-manifest-")
    copy = Path(folder) / f"manifest{Path(uri.path).suffix}"
    try:
        with Fetcher(config, max_bytes=0) as fetcher:
            fetcher.download(uri, copy)
        manifest = Manifest(copy, uri)
    except BaseException as error:
        shutil.rmtree(folder)
        if isinstance(error, ItemError):
            raise unusable(f"cannot read manifest {uri}: {error}", error) from None
        raise
    weakref.finalize(manifest, shutil.rmtree, folder, ignore_errors=True)
    return manifest


def _listed_files(pattern: RemoteUri, files: list[str], config: SourceConfig) -> list[RemoteUri]:
    from fuseid.pipelines.files.filesystems import Remote

    last = pattern.path.rpartition("/")[2]
    wanted = [last] if last else files
    folder = pattern.folder
    try:
        with Remote(config) as remote:
            names = remote.names(folder)
    except ItemError as error:
        raise unusable(f"cannot list {folder}: {error}", error) from None
    if not last.startswith(_NO_DATA):
        names = [name for name in names if not name.startswith(_NO_DATA)]
    return [parse_remote(f"{folder}{name}") for name in names if any(fnmatchcase(name, each) for each in wanted)]


def _check_shards(shown: str, paths: list[str]) -> None:
    if not paths:
        raise BadInput(f"no such shards: {shown}")
    if not all(path.endswith(".tar") for path in paths):
        raise BadInput(f"{shown}: {_WHAT}")


def braces(text: str) -> Iterator[str]:
    """Expands `{00..12}` and `{a,b}`, as shells do. Raises BadInput for more than a million results."""
    texts = [text]
    while match := re.search(r"\{([^{}]*)\}", texts[0]):
        inner = match[1]
        ends = re.fullmatch(r"([0-9]+)\.\.([0-9]+)", inner)
        if ends is None and "," not in inner:
            break
        if ends is not None:
            first, last = int(ends[1]), int(ends[2])
            width = max(len(ends[1]), len(ends[2])) if "0" in (ends[1][0], ends[2][0]) else 0
            if abs(last - first) >= _MOST_SHARDS:
                raise BadInput(f"{text} names more than {_MOST_SHARDS} shards")
            step = 1 if first <= last else -1
            parts = [str(number).zfill(width) for number in range(first, last + step, step)]
        else:
            parts = inner.split(",")
        if len(parts) * len(texts) > _MOST_SHARDS:
            raise BadInput(f"{text} names more than {_MOST_SHARDS} shards")
        # The first braces of every text come from the same braces of the pattern, so texts[0] is like all others.
        texts = [_put(spelled, part) for spelled in texts for part in parts]
    yield from texts


def _put(text: str, part: str) -> str:
    return re.sub(r"\{([^{}]*)\}", lambda _: part, text, count=1)
