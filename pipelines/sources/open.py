"""Opens a source: a manifest, a folder of media or tar shards, local or at a remote uri."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from fuseid.core.config import SourceConfig
from fuseid.core.errors import BadInput
from fuseid.pipelines.files.data_file import NAMES, TABLES
from fuseid.pipelines.files.remote_uri import parse_remote
from fuseid.pipelines.sources.folder import Folder
from fuseid.pipelines.sources.item import Source
from fuseid.pipelines.sources.manifest import Manifest
from fuseid.pipelines.sources.parts import common_folder, find_parts, holds_parts, local_named, remote_named
from fuseid.pipelines.sources.patterns import NO_DATA, Named, RemotePlace, is_pattern, names_in
from fuseid.pipelines.sources.success import check_success
from fuseid.pipelines.sources.webdataset import WebDataset

_WHAT = (
    f"a manifest is {NAMES}, or a folder or pattern of these; else name a folder of media, or tar shards: .tar, a "
    "folder, a pattern"
)


def open_source(path: str | Path, config: SourceConfig | None = None) -> Source:
    """A manifest, a folder of media, or WebDataset shards: one `.tar`, a folder that holds them, or a pattern like
    `shards/{00000..00012}.tar`; a manifest may be a folder or pattern of files too. Also at s3://, gs://, https:// if
    `source.schemes` allows it.

    Raises BadInput for anything else, for a folder that cannot be listed, and for a missing file `_SUCCESS` if
    `source.require_success` is set.
    """
    config = config or SourceConfig()
    text = str(path)
    if "://" in text:
        return _open_remote(text, config)
    if os.path.isdir(text):
        return _folder(Path(text), config)
    named = local_named(text)
    if not named:
        raise BadInput(f"no such {_called(text) if is_pattern(text) else 'manifest or folder'}: {text}")
    if not _are_shards(one.path for one in named):
        return _manifest(text, config, named)
    # Links are not followed here: the base is the folder that the user named, out of which no link may lead.
    paths = [os.path.abspath(one.path) for one in named]
    if not any(map(os.path.exists, paths)):
        raise BadInput(f"no such shards: {text}")
    check_success((Path(shard).parent for shard in paths), config)
    base = os.path.commonpath([os.path.dirname(shard) for shard in paths])
    return WebDataset([os.path.relpath(shard, base) for shard in paths], Path(base).resolve(), config, text)


def _folder(path: Path, config: SourceConfig) -> Source:
    names = names_in(path)
    shards = [name for name in names if name.endswith(".tar") and not os.path.isdir(path / name)]
    if not shards:
        if holds_parts(str(path), TABLES) and next(iter(Folder(path)), None) is None:
            return _manifest(str(path), config)
        check_success([path], config)
        return Folder(path)
    check_success([path], config)
    loose = next(iter(Folder(path)), None)
    if loose is not None:
        raise BadInput(
            f"{path} holds tar shards ({shards[0]}) and loose media ({loose.content_id}); ingest them one by one"
        )
    return WebDataset(shards, path.resolve(), config, str(path), _besides(names))


def _manifest(text: str, config: SourceConfig, named: list[Named] | None = None) -> Manifest:
    found = find_parts(text, TABLES, config, _WHAT, named)
    return Manifest(text, found.parts, found.base, config, found.passed_over, found.incomplete)


def _open_remote(text: str, config: SourceConfig) -> Source:
    named = remote_named(text, config)
    shards, beside = [one.path for one in named], []
    if len(named) == 1 and named[0].is_folder:
        files = [one.path for one in RemotePlace(config).within(named[0].path) if not one.is_folder]
        shards, beside = [file for file in files if file.endswith(".tar")], files
    uris = list(map(parse_remote, shards))
    if not named:
        raise BadInput(f"no such {_called(text)}: {text}")
    if not uris or not _are_shards(uri.path for uri in uris):
        return _manifest(text, config, named)
    check_success((uri.folder for uri in uris), config)
    return WebDataset(list(map(str, uris)), str(common_folder(uris)), config, text, _besides(beside))


def _are_shards(paths: Iterable[str]) -> bool:
    return all(path.endswith(".tar") for path in paths)


def _called(pattern: str) -> str:
    return "shards" if pattern.endswith(".tar") else "files"


def _besides(files: Iterable[str]) -> list[str]:
    """The names of files that are neither shards nor marks."""
    names = map(os.path.basename, files)
    return [name for name in names if not name.endswith(".tar") and not name.startswith(NO_DATA)]
