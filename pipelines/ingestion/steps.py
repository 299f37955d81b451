"""The two expensive steps, decode and encode, each a function from an Arrow batch to an Arrow batch.

A bad item never raises: its row gets the `error_*` columns, and later steps skip it.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from fuseid.core.config import Config
from fuseid.core.costs import CoreSeconds, device_seconds
from fuseid.core.errors import EmptyItem, EncodeFailed, ItemError, MissingFile, Unrecognised
from fuseid.core.faults import reached
from fuseid.core.modalities import ENCODED
from fuseid.core.names import hint
from fuseid.core.protocols import ClipLike, VlmLike
from fuseid.core.reasons import library_reason, reason
from fuseid.core.records import KINDS, Decoded, Description
from fuseid.core.schemas import DONE, WORK
from fuseid.encoders.captions import normalise_caption
from fuseid.encoders.decode_pool import DecodePool
from fuseid.encoders.media_file import hash_file, image_format, open_media, video_format
from fuseid.encoders.models import load_clip, load_vlm
from fuseid.pipelines.files.access import UNSEEN
from fuseid.pipelines.files.fetcher import Fetcher, LocalFile

Row = dict[str, Any]
T = TypeVar("T")


def fail(row: Row, stage: str, error: Exception) -> None:
    """Marks a row as rejected."""
    message = " ".join(reason(error).split())
    row.update(error_stage=stage, error_class=type(error).__name__, error_message=message[:1000])


def _share(rows: list[Row], costs: Mapping[str, float]) -> None:
    """What a batch costs, in equal parts: batches are cut and joined on their way."""
    shares = {name: cost / max(len(rows), 1) for name, cost in costs.items()}
    for row in rows:
        row.update(shares)


def _timed(items: Iterable[T], seconds: list[float]) -> Iterator[T]:
    """The same items; adds the time in which the next one was waited for to the one number of `seconds`."""
    waiting = iter(items)
    while True:
        started = time.perf_counter()
        try:
            item = next(waiting)
        except StopIteration:
            return
        finally:
            seconds[0] += time.perf_counter() - started
        yield item


class DecodeStep:
    """WORK -> WORK with frames, thumbnail, facts and a normalised caption.

    A file whose bytes have the stored hash is not decoded: its stored vectors stay valid. So do those of an item
    that is decoded because decoding has changed, if it looks as before: the same times, size and thumbnail.
    Media in shards or at remote uris are fetched ahead of the decoding, and the copies are deleted as soon as they are
    decoded.
    """

    def __init__(self, config: Config, workers: int) -> None:
        self._config = config.decode
        self._pool = DecodePool(config.decode, workers)
        self._fetcher = Fetcher(config.source, config.decode.max_bytes)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        started, on_core, waited = time.perf_counter(), time.thread_time(), [0.0]
        rows = batch.to_pylist()
        todo = [row for row in rows if self._wants_media(row)]
        frames: dict[int, Decoded] = {}
        with self._fetcher.files([row["path"] for row in todo]) as files:
            for row, result in self._decoded(zip(todo, _timed(files, waited), strict=True)):
                if isinstance(result, ItemError):
                    fail(row, "decode", result)
                elif _looks_the_same(row, result):
                    row["want_media"] = False
                    _describe(row, result)
                else:
                    frames[id(row)] = result
                    _describe(row, result)
        reached("decode.block")
        busy, cores = self._pool.take_costs()
        costs = {
            "seconds_decode": time.perf_counter() - started, "wait_fetch": waited[0], "busy_decode": busy,
            "cores_decode": cores + time.thread_time() - on_core,
        }  # fmt: skip
        _share(rows, costs)
        return _with_frames(rows, [frames.get(id(row)) for row in rows])

    @property
    def workers(self) -> int:
        """Processes that decode."""
        return self._pool.workers

    def close(self) -> None:
        self._pool.close()
        self._fetcher.close()

    def _wants_media(self, row: Row) -> bool:
        """Whether the row's medium has to be read."""
        if row["error_class"]:
            return False
        try:
            row["caption"] = normalise_caption(row["caption"], self._config.max_caption_chars)
            if row["kind"] not in (None, *KINDS):
                raise Unrecognised(f"unknown kind {row['kind']!r}; {hint(row['kind'], KINDS)}")
            if row["path"] is None:
                if row["caption"] is None:
                    raise EmptyItem("the item has neither media nor caption")
                row["kind"] = row["kind"] or "text"
                return False
        except ItemError as error:
            fail(row, "decode", error)
            return False
        return row["want_media"]

    def _decoded(
        self, fetched: Iterable[tuple[Row, LocalFile | ItemError]]
    ) -> Iterator[tuple[Row, Decoded | ItemError]]:
        """The results of the rows that have to be decoded; a file is requested when the pool has room for it."""
        in_pool: deque[tuple[Row, LocalFile]] = deque()

        def to_decode() -> Iterator[tuple[str, str]]:
            for row, file in fetched:
                if isinstance(file, ItemError):
                    fail(row, "fetch", file)
                    continue
                if row["source_stat"] == UNSEEN:
                    row["source_stat"] = file.stat
                try:
                    if self._is_new(row, file.path):
                        in_pool.append((row, file))
                        yield file.path, row["kind"]
                        continue
                except ItemError as error:
                    fail(row, "decode", _of_row(error, row, file))
                file.release()

        for result in self._pool.decode_many(to_decode()):
            row, file = in_pool.popleft()
            file.release()
            yield row, _of_row(result, row, file) if isinstance(result, ItemError) else result

    def _is_new(self, row: Row, path: str) -> bool:
        """Whether the file at `path` has to be decoded; sets the row's kind if it has none."""
        if not os.path.lexists(path):
            raise MissingFile(f"no such file: {row['uri']}")
        if row["media_hash"] is not None or row["kind"] not in ("image", "video"):
            with open_media(path, self._config.max_bytes) as file:
                if row["kind"] is None:
                    head = file.read(4096)
                    row["kind"] = "video" if video_format(head) and not image_format(head) else "image"
                    file.seek(0)
                if row["media_hash"] is not None and hash_file(file) == row["media_hash"]:
                    row["want_media"] = False
                    return False
        if row["kind"] not in ("image", "video"):
            raise Unrecognised(f"kind {row['kind']!r} with a uri; kinds with media are image and video")
        return True


def _of_row(error: ItemError, row: Row, file: LocalFile) -> ItemError:
    """The error with the row's uri in place of the name of a temporary copy, which means nothing to the user."""
    return type(error)(str(error).replace(repr(file.path), repr(row["uri"]))) if file.is_copy else error


def _looks_the_same(row: Row, decoded: Decoded) -> bool:
    """Whether a row with stored facts but no stored hash, which is decoded for its looks, has kept them."""
    if row["media_hash"] is not None or row["thumbnail"] is None:
        return False
    looks = (decoded.thumbnail, decoded.width, decoded.height, decoded.duration, decoded.timestamps.tolist())
    return looks == tuple(row[name] for name in ("thumbnail", "width", "height", "duration", "timestamps"))


def _describe(row: Row, decoded: Decoded) -> None:
    row.update(
        thumbnail=decoded.thumbnail,
        media_hash=decoded.media_hash,
        decoder=decoded.decoder,
        width=decoded.width,
        height=decoded.height,
        duration=decoded.duration,
        timestamps=decoded.timestamps.tolist(),
    )


def _with_frames(rows: Sequence[Row], frames: Sequence[Decoded | None]) -> pa.RecordBatch:
    for row, decoded in zip(rows, frames, strict=True):
        row["frames"] = None
        row["frames_shape"] = None if decoded is None else list(decoded.frames.shape)
    batch = pa.RecordBatch.from_pylist(list(rows), schema=WORK)
    return batch.set_column(WORK.get_field_index("frames"), WORK.field("frames"), _binary(frames))


def _binary(frames: Sequence[Decoded | None]) -> pa.Array:
    """Copies all frames once, into one Arrow buffer; pa.array takes only bytes objects, which would be another copy."""
    sizes = [0 if decoded is None else decoded.frames.nbytes for decoded in frames]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    data = np.empty(offsets[-1], dtype=np.uint8)
    for start, decoded in zip(offsets, frames, strict=False):
        if decoded is not None:
            data[start : start + decoded.frames.nbytes] = decoded.frames.reshape(-1)
    present = pa.array([decoded is not None for decoded in frames]).buffers()[1]
    buffers = [present, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(sizes), buffers)


class EncodeStep:
    """WORK with frames -> DONE: computes the vectors that are wanted; frames are dropped.

    What one encoder cannot take costs only what that encoder would have computed, which `refused` names; an item
    without any vector is rejected.

    clip, vlm: the encoders, or None if switched off. describes: whether the VLM also generates captions or tags.
    """

    def __init__(self, clip: ClipLike | None, vlm: VlmLike | None, describes: bool = False) -> None:
        self._clip = clip
        self._vlm = vlm
        self._describes = describes

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        started, cores, device = time.perf_counter(), CoreSeconds(), device_seconds()
        frames = _frames_of(batch)
        rows = batch.drop_columns(["frames", "frames_shape", "path"]).to_pylist()
        live = [i for i, row in enumerate(rows) if not row["error_class"]]
        with_frames = [i for i in live if frames[i] is not None]
        clip, vlm = self._clip, self._vlm
        if clip is not None:
            self._fill(rows, with_frames, "clip_image", lambda i: _pooled(clip, [frames[j] for j in i]))
            reached("encode.block")
            captioned = [i for i in live if rows[i]["want_text"] and rows[i]["caption"] is not None]
            self._fill(rows, captioned, "clip_text", lambda i: clip.encode_texts([rows[j]["caption"] for j in i]))
        if vlm is not None:
            # A VLM's vectors of text alone lie apart from those of pictures (the modality gap), and fusion cannot
            # distinguish the two (docs/benchmarks/fusion.md): if CLIP encodes the caption, the VLM does not.
            text_alone = [i for i in live if clip is None and rows[i]["want_text"] and rows[i]["uri"] is None]
            wanted = with_frames + [i for i in text_alone if rows[i]["caption"] is not None]
            items = [(() if frames[i] is None else frames[i], row["caption"]) for i, row in enumerate(rows)]
            self._fill(rows, wanted, "vlm", lambda which: vlm.encode_items([items[i] for i in which]))
            if self._describes:
                self._describe(rows, with_frames, lambda which: vlm.describe([frames[i] for i in which]))
        for row in rows:
            if row["refused"] and all(row[modality.name] is None for modality in ENCODED):
                fail(row, "encode", EncodeFailed("; ".join(row["refused"])))
                row["refused"] = None
            if row["want_text"] and row["caption"] is None:
                row["clip_text"] = None
        costs = {
            "seconds_encode": time.perf_counter() - started, "cores_encode": cores.seconds(),
            "device_encode": device_seconds() - device,
        }  # fmt: skip
        _share(rows, costs)
        return pa.RecordBatch.from_pylist(rows, schema=DONE)

    def _fill(
        self, rows: list[Row], which: list[int], modality: str, encode: Callable[[list[int]], np.ndarray]
    ) -> None:
        """Sets the vectors of one modality."""
        for i, vector in self._each(rows, which, modality, encode):
            if np.isfinite(vector).all() and vector.any():
                rows[i][modality] = vector
            else:
                _refuse(rows[i], modality, "the vector is zero or not finite")

    def _describe(
        self, rows: list[Row], which: list[int], describe: Callable[[list[int]], Sequence[Description]]
    ) -> None:
        for i, description in self._each(rows, which, "vlm_caption", describe):
            rows[i]["vlm_caption"] = description.caption
            rows[i]["vlm_tags"] = None if description.tags is None else list(description.tags)

    def _each(
        self, rows: list[Row], which: list[int], column: str, compute: Callable[[list[int]], Iterable[Any]]
    ) -> list[tuple[int, Any]]:
        """Computes a column for those of `which` that do not keep a stored value: for all at once; if that raises, one
        by one, so that only the bad item lacks it."""
        which = [i for i in which if not rows[i]["error_class"] and column not in (rows[i]["kept"] or ())]
        if not which:
            return []
        try:
            return list(zip(which, compute(which), strict=True))
        except (RuntimeError, ValueError, MemoryError) as error:
            if len(which) == 1:
                _refuse(rows[which[0]], column, library_reason(error))
                return []
        return [found for i in which for found in self._each(rows, [i], column, compute)]


def _refuse(row: Row, column: str, why: str) -> None:
    """The row keeps its other columns. With the encoder's fingerprint beside it, an absent vector is not computed again
    until the medium or the encoder changes."""
    row["refused"] = [*(row["refused"] or ()), f"{column}: {' '.join(why.split())[:1000]}"]


def _frames_of(batch: pa.RecordBatch) -> list[Any]:
    """For each row its frames uint8 [T, H, W, 3], or None: views of the batch's memory; Arrow's scalars would copy."""
    frames, shapes = batch.column("frames"), batch.column("frames_shape").to_pylist()
    _, offsets, data = frames.buffers()
    starts = np.frombuffer(offsets, np.int64)[frames.offset :]
    return [
        None if shape is None else np.frombuffer(data, np.uint8, math.prod(shape), start).reshape(shape)
        for start, shape in zip(starts.tolist(), shapes, strict=False)
    ]


def _pooled(clip: ClipLike, frames: Sequence[np.ndarray]) -> np.ndarray:
    """[T_i, H_i, W_i, 3] each -> float32 [N, D]: the unit mean of the frames' unit vectors."""
    vectors = clip.encode_frames([frame for item in frames for frame in item])
    ends = np.cumsum([len(item) for item in frames])
    pooled = [vectors[end - len(item) : end].mean(0) for item, end in zip(frames, ends, strict=True)]
    means = np.stack(pooled)
    return (means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def load_encoders(config: Config) -> EncodeStep:
    """The encode step with the models of a configuration, loaded once per process."""
    reached("encode.load")
    clip = load_clip(config.clip) if config.clip is not None else None
    vlm = load_vlm(config.vlm) if config.vlm.model is not None else None
    return EncodeStep(clip, vlm, describes=config.vlm.caption is not None or config.vlm.tags is not None)
