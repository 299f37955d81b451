"""The file `_SUCCESS`, which Spark, Hadoop and others write into a folder once it is complete."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fuseid.core.config import SourceConfig
from fuseid.core.errors import ItemError, MissingFile, NotReady, unusable
from fuseid.core.surface import setting
from fuseid.pipelines.files.remote_uri import RemoteUri, parse_remote

NAME = "_SUCCESS"


def check_success(folders: Iterable[Path | RemoteUri], config: SourceConfig) -> None:
    """Raises BadInput for a folder without the file, if `source.require_success` is set."""
    if not config.require_success:
        return
    for folder in sorted(set(folders), key=str):
        try:
            is_there = _is_there(folder, config)
        except (ItemError, OSError) as error:
            raise unusable(f"cannot see whether {folder} holds a file {NAME}: {error}", error) from None
        if not is_there:
            raise NotReady(
                f"{folder} holds no file {NAME}, which {setting('source.require_success')} asks for: what is "
                "there may not be complete"
            )


def _is_there(folder: Path | RemoteUri, config: SourceConfig) -> bool:
    if isinstance(folder, Path):
        try:
            (folder / NAME).stat()
        except FileNotFoundError:
            return False
        return True
    from fuseid.pipelines.files.filesystems import Remote

    with Remote(config) as remote:
        try:
            remote.info(parse_remote(f"{folder}{NAME}"))
        except MissingFile:
            return False
    return True
