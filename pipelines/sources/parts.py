"""The parts of a source of rows: one file, or the files of a folder as Spark writes it, of a pattern or of a uri."""

from __future__ import annotations

import glob
import os
import re
import tempfile
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from fuseid.core.config import SourceConfig
from fuseid.core.errors import BadInput, ItemError, unusable
from fuseid.pipelines.files.data_file import DataFile, ending_of, format_of
from fuseid.pipelines.files.remote_uri import RemoteUri, parse_remote
from fuseid.pipelines.sources.passed_over import PassedOver
from fuseid.pipelines.sources.patterns import (
    NO_DATA,
    LocalPlace,
    Named,
    Place,
    RemotePlace,
    allowed_uri,
    braces,
    fixed_folder,
    is_pattern,
    matching,
)
from fuseid.pipelines.sources.success import check_success

# A folder of a partitioned table, as Hive and Spark name it, and the value that stands for null.
_KEY_VALUE = re.compile(r"([^=/]+)=([^/]*)")
_NULL = "__HIVE_DEFAULT_PARTITION__"
# Spark and Hadoop write into it while a job runs, and remove it when the job is done.
_TEMPORARY = "_temporary"


@dataclass(frozen=True, slots=True)
class Part:
    """file: a local path or a uri. columns: of the folders `KEY=VALUE` that it lies in, the value None for null."""

    file: str
    format: str
    columns: tuple[tuple[str, str | None], ...] = ()

    @classmethod
    def of(cls, file: str, within: str | None = None) -> Part:
        """within: the folder that the user named, or that lies before the first wildcard; by default the file itself is
        named. What the user spelled out is part of no item: it may differ from night to night."""
        folders = os.path.dirname(file[len(within) :]).split("/") if within is not None else []
        columns = [_column(match) for folder in folders if (match := _KEY_VALUE.fullmatch(folder))]
        return cls(file, _format(file) or "", tuple(columns))


@dataclass
class Parts:
    """base: the folder or uri that was named, or that lies before the first wildcard. passed_over: other files beside
    the parts. unfinished: folders that a job still writes into."""

    base: Path | str
    parts: list[Part]
    passed_over: PassedOver = field(default_factory=PassedOver)
    unfinished: list[str] = field(default_factory=list)

    @property
    def incomplete(self) -> str | None:
        """Why parts may be missing; None if none are."""
        if not self.unfinished:
            return None
        return f"{self.unfinished[0]} holds a folder {_TEMPORARY}: a job writes into it, or has failed"


def find_parts(
    text: str, formats: Container[str], config: SourceConfig, what: str, named: Sequence[Named] | None = None
) -> Parts:
    """The files that a path, folder, pattern or uri names, sorted by name.

    In a folder: the files of `formats` directly in it or in its folders `KEY=VALUE`; names that begin with `_` or `.`
    are no data. what: what a message calls the files. named: what the text names, if that is known. Raises BadInput for
    no such file, for files of several formats or another one, and for a missing `_SUCCESS` if `source.require_success`
    is set.
    """
    is_remote = "://" in text
    place: Place = RemotePlace(config) if is_remote else LocalPlace()
    if named is None:
        named = remote_named(text, config) if is_remote else local_named(text)
    within = fixed_folder(text) if is_pattern(text) and not os.path.exists(text) else text.rstrip("/")
    found = Parts(text, [])
    for one in named:
        if one.is_folder:
            _add_folder(found, one.path, within, formats, place)
        else:
            found.parts.append(Part.of(one.path, within))
    found.parts.sort(key=lambda part: part.file)
    if not found.parts:
        raise BadInput(f"no such files: {text}; {what}{found.passed_over}")
    endings = {part.format: ending_of(part.file) for part in found.parts}
    if len(endings) > 1 or not all(form in formats for form in endings):
        raise BadInput(f"{text} names files of {' and '.join(sorted(endings.values()))}; {what}, all of one kind")
    found.base = _base(text, [part.file for part in found.parts], all(one.is_folder for one in named))
    check_success(_roots(found.parts, is_remote), config)
    return found


def holds_parts(folder: str, formats: Container[str]) -> bool:
    """Whether a local folder has files of these formats, as `find_parts` finds them."""
    found = Parts(folder, [])
    _add_folder(found, folder, folder, formats, LocalPlace())
    return bool(found.parts)


def local_named(text: str) -> list[Named]:
    """What a local path or pattern names; what only braces name need not exist."""
    if os.path.exists(text) or not is_pattern(text):
        return [Named(text, os.path.isdir(text))] if os.path.exists(text) else []
    place = LocalPlace()
    found: list[Named] = []
    for each in braces(text):
        found += matching(each.rstrip("/"), place) if glob.has_magic(each) else [Named(each, os.path.isdir(each))]
    return found


def remote_named(text: str, config: SourceConfig) -> list[Named]:
    """What a uri or a pattern of uris names. Raises BadInput if it is not allowed or cannot be listed."""
    place = RemotePlace(config)
    found: list[Named] = []
    for uri in [allowed_uri(text, spelled, config) for spelled in braces(text)]:
        magic = re.search(r"[*\[]", uri.path) if uri.is_http else glob.has_magic(uri.path)
        if magic:
            found += matching(str(uri).rstrip("/"), place)
        elif uri.path.endswith("/"):
            found.append(Named(str(uri).rstrip("/"), True))
        else:
            found.append(Named(str(uri), False))
    if len(found) == 1 and not found[0].is_folder and not is_pattern(text):
        found = [_folder_or_file(parse_remote(found[0].path), place)]
    return found


def _folder_or_file(uri: RemoteUri, place: RemotePlace) -> Named:
    """A uri without a slash at its end may be a folder too: Spark writes one of the name items.parquet."""
    if uri.is_http or uri.path.endswith(".tar"):
        return Named(str(uri), False)
    try:
        return Named(str(uri), place.is_folder(uri))
    except ItemError as error:
        raise unusable(f"cannot read {uri}: {error}", error) from None


@contextmanager
def opened_part(part: Part, config: SourceConfig) -> Iterator[DataFile]:
    """The part as a local file; of a remote one a copy, which is deleted when the block ends.

    Raises BadInput if it cannot be fetched.
    """
    if "://" not in part.file:
        yield DataFile(Path(part.file), part.format, part.file)
        return
    from fuseid.pipelines.files.fetcher import Fetcher

    uri = parse_remote(part.file)
    with tempfile.TemporaryDirectory(prefix="fuseid-manifest-", ignore_cleanup_errors=True) as folder:
        copy = Path(folder, "part")
        try:
            with Fetcher(config, max_bytes=0) as fetcher:
                fetcher.download(uri, copy)
        except ItemError as error:
            raise unusable(f"cannot read {uri}: {error}", error) from None
        yield DataFile(copy, part.format, str(uri))


def _add_folder(found: Parts, folder: str, within: str, formats: Container[str], place: Place) -> None:
    for named in place.within(folder):
        name = os.path.basename(named.path)
        if name == _TEMPORARY and named.is_folder:
            found.unfinished.append(folder)
        elif name.startswith(NO_DATA):
            continue
        elif named.is_folder and _KEY_VALUE.fullmatch(name):
            _add_folder(found, named.path, within, formats, place)
        elif named.is_folder:
            found.passed_over.add(named.path, "folders")
        elif _is_data(name, formats):
            found.parts.append(Part.of(named.path, within))
        else:
            found.passed_over.add(named.path)


def _is_data(name: str, formats: Container[str]) -> bool:
    """Whether a file in a folder is a part. Sidecars and figures end in .json too: of these only what has the name that
    Hadoop and Spark give to parts."""
    is_json = ".json" in Path(name.lower()).suffixes[-2:]
    return format_of(name) in formats and (not is_json or name.startswith("part-"))


def _format(file: str) -> str | None:
    return format_of(parse_remote(file).path if "://" in file else file)


def _column(match: re.Match[str]) -> tuple[str, str | None]:
    key, value = unquote(match[1]), unquote(match[2])
    return key, None if value == _NULL else value


def _base(text: str, files: list[str], is_folder: bool) -> Path | str:
    """The folder from which relative uris start; it does not depend on which files are there."""
    is_remote = "://" in text
    if is_remote and parse_remote(files[0]).is_http:
        return str(common_folder([parse_remote(file) for file in files]))
    if is_pattern(text) and not os.path.exists(text):
        folder = fixed_folder(text) or os.path.dirname(text[:1])
    else:
        folder = text if is_folder else os.path.dirname(text)
    return str(parse_remote(f"{folder.rstrip('/')}/")) if is_remote else Path(folder).resolve()


def common_folder(uris: list[RemoteUri]) -> RemoteUri:
    """The folder below which uris need no entry in `source.allow`: it contains all uris of the first host. Other hosts
    have to be in `source.allow`."""
    first = uris[0].folder
    paths = {uri.folder.path for uri in uris if uri.authority == first.authority}
    return RemoteUri(first.scheme, first.authority, f"{os.path.commonpath(paths).rstrip('/')}/")


def _roots(parts: list[Part], is_remote: bool) -> Iterator[Path | RemoteUri]:
    """The folders that hold `_SUCCESS`: those of the files, without the folders of a partitioned table."""
    for part in parts:
        folder = os.path.dirname(part.file)
        for _ in part.columns:
            folder = os.path.dirname(folder) if _KEY_VALUE.fullmatch(os.path.basename(folder)) else folder
        yield parse_remote(f"{folder}/") if is_remote else Path(folder)
