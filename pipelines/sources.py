"""Where contents come from: a manifest, a folder of media with sidecar captions, or ready-made vectors."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuseid.core.errors import BadInput, BadSidecar, ItemError

IMAGE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".tif", ".tiff", ".bmp"])
VIDEO_SUFFIXES = frozenset([".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".ts", ".mpg", ".mpeg", ".flv", ".ogv"])
_SIDECAR_BYTES = 16 << 20
COLUMNS = ("content_id", "uri", "caption", "kind", "attributes")


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a source, not yet looked at. `vectors`: ready-made ones by modality; `problem`: why it is refused."""

    content_id: str
    uri: str | None = None
    caption: str | None = None
    kind: str | None = None
    attributes: str = "{}"
    vectors: dict[str, np.ndarray] | None = None
    problem: ItemError | None = None


class Source(Protocol):
    """`base` is the directory that relative uris start from, and that uris may not leave."""

    base: Path

    def __iter__(self) -> Iterator[Listed]: ...


def open_source(path: str | Path) -> Source:
    """A folder, or a manifest by its suffix. Raises BadInput for anything else."""
    path = Path(path)
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise BadInput(f"no such manifest or folder: {path}")
    if path.suffix not in (".parquet", ".jsonl", ".csv"):
        raise BadInput(f"{path}: a manifest is .parquet, .jsonl or .csv, or a folder of media")
    return Manifest(path)


class Manifest:
    """Parquet, JSONL or CSV with `content_id`, `uri` and/or `caption`, optional `kind` and `attributes`.

    Iterating raises BadInput, with the line, for a missing column, a line that cannot be read, or an empty content_id.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.base = path.resolve().parent
        self.ignored: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Listed]:
        read = {".parquet": self._parquet, ".jsonl": self._jsonl, ".csv": self._csv}[self.path.suffix]
        try:
            for number, row in enumerate(read(), 1):
                yield self._listed(number, row)
        except (OSError, pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
            raise BadInput(f"cannot read manifest {self.path}: {str(error).splitlines()[0]}") from None

    def _listed(self, number: int, row: dict[str, Any]) -> Listed:
        content_id = row.get("content_id")
        if isinstance(content_id, int) and not isinstance(content_id, bool):
            content_id = str(content_id)
        if not isinstance(content_id, str) or not content_id:
            raise BadInput(f"{self.path}, row {number}: content_id is {content_id!r}; every row needs one, as text")
        for name in ("uri", "caption", "kind"):
            if row.get(name) is not None and not isinstance(row[name], str):
                raise BadInput(f"{self.path}, row {number}: {name} must be text, got {row[name]!r}")
        return Listed(
            _storable(content_id),
            _storable(row.get("uri") or "") or None,
            _without_surrogates(row.get("caption")) or None,
            _storable(row.get("kind") or "") or None,
            self._attributes(number, row.get("attributes")),
        )

    def _attributes(self, number: int, value: Any) -> str:
        if isinstance(value, str) and value:
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise BadInput(f"{self.path}, row {number}: attributes are no JSON object: {value[:80]!r}") from None
        if isinstance(value, list) and all(isinstance(pair, tuple) for pair in value):  # a Parquet map
            value = dict(value)
        if value and not isinstance(value, dict):
            raise BadInput(f"{self.path}, row {number}: attributes must be an object, got {value!r}")
        return _canonical(value or {})

    def _check_columns(self, names: list[str]) -> None:
        if "content_id" not in names or not {"uri", "caption"} & set(names):
            missing = "content_id" if "content_id" not in names else "uri or caption"
            raise BadInput(f"{self.path} has no column {missing}; it has {', '.join(names) or 'none'}")
        self.ignored = tuple(name for name in names if name not in COLUMNS)

    def _parquet(self) -> Iterator[dict[str, Any]]:
        file = pq.ParquetFile(self.path)
        names = file.schema_arrow.names
        self._check_columns(names)
        for batch in file.iter_batches(batch_size=4096, columns=[name for name in COLUMNS if name in names]):
            yield from batch.to_pylist()

    def _jsonl(self) -> Iterator[dict[str, Any]]:
        checked = False
        with self.path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise BadInput(f"{self.path}, line {number} is not JSON: {error}") from None
                if not isinstance(row, dict):
                    raise BadInput(f"{self.path}, line {number} must be a JSON object, got {type(row).__name__}")
                if not checked:
                    self._check_columns(list(row))
                    checked = True
                yield row

    def _csv(self) -> Iterator[dict[str, Any]]:
        csv.field_size_limit(sys.maxsize)
        with self.path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, restkey="")
            self._check_columns(list(reader.fieldnames or []))
            for row in reader:
                if "" in row:
                    raise BadInput(f"{self.path}, line {reader.line_num} has more fields than the header")
                yield row


class Folder:
    """Every image and video below a folder; content_id is the path below it.

    A sidecar of the same stem holds the caption: `.txt` as it is, or `.json` with `caption`, `kind` and `attributes`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.base = path.resolve()

    def __iter__(self) -> Iterator[Listed]:
        for directory, folders, names in os.walk(self.path):
            folders.sort()
            for name in sorted(names):
                media = Path(directory) / name
                if media.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
                    yield self._listed(media)

    def _listed(self, media: Path) -> Listed:
        content_id = _storable(media.relative_to(self.path).as_posix())
        kind = "video" if media.suffix.lower() in VIDEO_SUFFIXES else "image"
        caption, attributes = None, "{}"
        text, sidecar = media.with_suffix(".txt"), media.with_suffix(".json")
        problem = None
        try:
            if sidecar.is_file():
                fields = json.loads(self._read(sidecar))
                caption, kind = _without_surrogates(fields.get("caption")), _storable(fields.get("kind") or kind)
                attributes = _canonical(dict(fields.get("attributes") or {}))
            elif text.is_file():
                caption = self._read(text)
        except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
            problem = BadSidecar(f"cannot read the sidecar of {content_id}: {error}")
        return Listed(content_id, content_id, caption, kind, attributes, problem=problem)

    def _read(self, sidecar: Path) -> str:
        """Raises ValueError for what leads out of the folder or is larger than any caption."""
        if not sidecar.resolve().is_relative_to(self.base):
            raise ValueError(f"{sidecar.name} leads outside the folder")
        if sidecar.stat().st_size > _SIDECAR_BYTES:
            raise ValueError(f"{sidecar.name} is larger than {_SIDECAR_BYTES} bytes")
        return sidecar.read_text(encoding="utf-8-sig")


class Vectors:
    """Ready-made vectors that enter at fusion, as modality `external`.

    `.parquet` with `content_id` and `vector` (and any manifest columns), or `.npy` float [N, D] beside a
    `.ids.txt` of the same stem with one content_id a line.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.base = self.path.resolve().parent
        if not self.path.is_file():
            raise BadInput(f"no such file of vectors: {path}")
        if self.path.suffix not in (".parquet", ".npy"):
            raise BadInput(f"{path}: ready-made vectors are .parquet or .npy")

    def __iter__(self) -> Iterator[Listed]:
        try:
            yield from self._parquet() if self.path.suffix == ".parquet" else self._npy()
        except (OSError, EOFError, ValueError, pa.ArrowException) as error:
            raise BadInput(f"cannot read vectors {self.path}: {str(error).splitlines()[0]}") from None

    def _parquet(self) -> Iterator[Listed]:
        manifest = Manifest(self.path)
        file = pq.ParquetFile(self.path)
        names = file.schema_arrow.names
        for needed in ("content_id", "vector"):
            if needed not in names:
                raise BadInput(f"{self.path} has no column {needed}; it has {', '.join(names)}")
        kind = file.schema_arrow.field("vector").type
        if not _is_list_of_numbers(kind):
            raise BadInput(f"{self.path}: column vector must hold lists of floats, got {kind}")
        number = 0
        for batch in file.iter_batches(batch_size=4096, columns=[n for n in (*COLUMNS, "vector") if n in names]):
            vectors = batch.column("vector")
            for position, row in enumerate(batch.drop_columns(["vector"]).to_pylist()):
                number += 1
                value = vectors[position].values
                if value is None or value.null_count:
                    raise BadInput(f"{self.path}, row {number}: vector is null or holds null")
                listed = manifest._listed(number, row)
                yield _with_vector(listed, value.to_numpy(zero_copy_only=False))

    def _npy(self) -> Iterator[Listed]:
        ids_path = self.path.with_suffix(".ids.txt")
        if not ids_path.is_file():
            raise BadInput(f"{self.path} needs {ids_path.name} beside it, one content_id a line")
        vectors = np.load(self.path, mmap_mode="r", allow_pickle=False)
        if vectors.ndim != 2 or vectors.dtype.kind != "f":
            raise BadInput(f"{self.path} must hold floats [N, D], got {vectors.dtype} {list(vectors.shape)}")
        with ids_path.open(encoding="utf-8") as lines:
            ids = (line.rstrip("\n") for line in lines)
            for position in range(len(vectors)):
                content_id = next(ids, None)
                if not content_id:
                    raise BadInput(f"{ids_path} has fewer ids than the {len(vectors)} rows of {self.path.name}")
                yield _with_vector(Listed(content_id), np.asarray(vectors[position]))
            if next(ids, None):
                raise BadInput(f"{ids_path} has more ids than the {len(vectors)} rows of {self.path.name}")


def _with_vector(listed: Listed, vector: np.ndarray) -> Listed:
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, which costs that item
        vector = vector.astype(np.float32)
    return Listed(
        listed.content_id, listed.uri, listed.caption, listed.kind, listed.attributes, {"external": vector}
    )  # fmt: skip


def _is_list_of_numbers(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_list and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))


def _storable(text: str) -> str:
    """Lone surrogates, which no store takes (half an emoji, a file name that is not UTF-8), as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _without_surrogates(caption: str | None) -> str | None:
    return None if caption is None else caption.encode("utf-8", "ignore").decode("utf-8")


def _canonical(attributes: dict[str, Any]) -> str:
    """JSON that equals itself when read back from the store: no NaN, no number beyond 64 bits, no half characters."""
    return _storable(json.dumps(_finite(attributes), sort_keys=True, ensure_ascii=False, default=str))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def count_distinct(source: Source, scratch: Path, partitions: int = 64) -> int:
    """The number of items. Raises BadInput for none, and for a content_id that occurs twice.

    Keys are compared as 16-byte hashes in partitions on disk, so memory does not grow with the catalogue.
    """

    def digest(content_id: str) -> bytes:
        return hashlib.blake2b(content_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    count = 0
    buffers = [bytearray() for _ in range(partitions)]

    def spill(index: int) -> None:
        with (scratch / f"keys-{index}").open("ab") as file:
            file.write(buffers[index])
        buffers[index].clear()

    for item in source:
        key = digest(item.content_id)
        buffer = buffers[key[0] % partitions]
        buffer += key
        if len(buffer) >= 1 << 20:
            spill(key[0] % partitions)
        count += 1
    if count == 0:
        raise BadInput(f"{getattr(source, 'path', source)} lists no items")
    for index in range(partitions):
        spill(index)
        keys = np.sort(np.fromfile(scratch / f"keys-{index}", dtype="V16").view("S16"))
        (scratch / f"keys-{index}").unlink()
        twice = keys[1:][keys[1:] == keys[:-1]] if len(keys) > 1 else keys[:0]
        if len(twice):
            # numpy's S type drops trailing zero bytes: pad them back before comparing.
            wanted = bytes(twice[0]).ljust(16, b"\0")
            name = next(item.content_id for item in source if digest(item.content_id) == wanted)
            raise BadInput(
                f"content_id {name!r} occurs more than once in {getattr(source, 'path', source)}; ids must be unique"
            )
    return count


def is_usable_vector(vector: np.ndarray) -> bool:
    """Finite and not zero."""
    return (
        bool(np.isfinite(vector).all())
        and math.isfinite(float(np.square(vector, dtype=np.float64).sum()))
        and bool(vector.any())
    )
