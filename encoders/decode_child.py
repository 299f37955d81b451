"""The process that decodes for `decode_pool`, which starts and kills it; it ends when its parent ends.

Loads neither torch nor ray. Reads requests from the original standard input and writes answers to the original standard
output; file descriptors 0 and 1 are redirected first, because C libraries may print to them.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
import time
from typing import BinaryIO

import numpy as np
from PIL import Image

from fuseid.core import platform
from fuseid.core.config import DecodeConfig
from fuseid.core.errors import CorruptMedia, ItemError
from fuseid.core.faults import reached
from fuseid.core.reasons import library_reason
from fuseid.core.records import Decoded
from fuseid.encoders.decode_wire import LENGTH, header_of, header_of_error, out_of_memory, pack
from fuseid.encoders.media import decode
from fuseid.encoders.video_decoder import may_use_decord

# Set to 1, it enables the kinds `test:hang`, `test:abort`, `test:segfault`, `test:eat` and so on, which really do so.
TEST_SEAM = "FUSEID_DECODE_TEST_SEAM"

# Messages of C++ and FFmpeg for a failed allocation; decord raises them as RuntimeError.
_OUT_OF_MEMORY_WORDS = ("bad_alloc", "cannot allocate memory", "out of memory", "unable to allocate")


def main() -> None:
    platform.end_with_parent(int(sys.argv[1]))
    requests, answers = _claim_pipes()
    config = DecodeConfig.model_validate_json(_read_block(requests) or b"{}")
    Image.MAX_IMAGE_PIXELS = None  # `decode.max_pixels` is the limit; nobody would read a warning here
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Decoding writes no files; this keeps what libraries print into the parent's temporary file small.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    limits = _MemoryLimit(config)
    reached("decode.start")
    answers.write(pack({"ready": True}))
    while (request := _read_block(requests)) is not None:
        path, kind = _path_and_kind(request)
        limits.set_for(kind)
        # The parent kills this process earlier, if it lives.
        platform.end_if_stuck(2 * config.timeout_seconds)
        _answer(answers, path, kind, config)
        platform.end_if_stuck(0)


def _answer(answers: BinaryIO, path: str, kind: str, config: DecodeConfig) -> None:
    try:
        decoded = _misbehave(kind) if kind.startswith("test:") else decode(path, kind, config)
        head = pack(header_of(decoded))
        reached("decode.item", path)
    except ItemError as error:
        answers.write(pack(header_of_error(error)))
        return
    except MemoryError:
        answers.write(pack(header_of_error(out_of_memory(path, config))))
        return
    except Exception as error:
        words = str(error).lower()
        if any(word in words for word in _OUT_OF_MEMORY_WORDS):
            answers.write(pack(header_of_error(out_of_memory(path, config))))
        else:
            message = f"{path!r} cannot be decoded: {library_reason(error)}"
            answers.write(pack(header_of_error(CorruptMedia(message))))
        return
    answers.write(head)
    # Unbuffered: the frames go from the array to the pipe without a copy.
    _write_all(answers, np.ascontiguousarray(decoded.frames).data.cast("B"))
    _write_all(answers, memoryview(decoded.thumbnail))


def _path_and_kind(request: bytes) -> tuple[str, str]:
    message = json.loads(request)
    return message["path"], message["kind"]


class _MemoryLimit:
    """Limits the address space to what libraries already use, plus what one item may use."""

    def __init__(self, config: DecodeConfig) -> None:
        self._config = config
        self._loaded: set[str] = set()
        self._set()

    def set_for(self, kind: str) -> None:
        """Loads the libraries for `kind` before the limit is set, so that they do not count against an item."""
        if kind in self._loaded:
            return
        self._loaded.add(kind)
        if kind == "video":
            platform.limit_address_space(None)
            if may_use_decord(self._config):
                import decord  # noqa: F401
        self._set()

    def _set(self) -> None:
        platform.limit_address_space(self._config.memory_bytes)


def _claim_pipes() -> tuple[BinaryIO, BinaryIO]:
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    return os.fdopen(requests, "rb"), os.fdopen(answers, "wb", buffering=0)


def _read_block(requests: BinaryIO) -> bytes | None:
    head = requests.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return requests.read(LENGTH.unpack(head)[0])


def _write_all(answers: BinaryIO, view: memoryview) -> None:
    while view:
        view = view[answers.write(view) :]


def _misbehave(kind: str) -> Decoded:
    if os.environ.get(TEST_SEAM) != "1":
        raise ValueError(f"unknown kind {kind!r}")
    if kind == "test:hang":
        ctypes.PyDLL(None).sleep(3600)  # PyDLL holds the GIL, as decord does when it hangs
    if kind == "test:wait":
        time.sleep(3600)
    if kind == "test:abort":
        os.abort()
    if kind == "test:segfault":
        ctypes.string_at(0)
    if kind == "test:eat":
        hoard = []
        while True:
            hoard.append(bytearray(b"\1") * (64 << 20))  # written to: untouched pages would take no memory
    if kind == "test:bad_alloc":
        os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
        os.abort()
    if kind == "test:print":
        os.write(1, b"noise from a C library\n")
        time.sleep(0)
    raise CorruptMedia(f"{kind} came to its end")


if __name__ == "__main__":
    main()
