"""The process that decodes for `decode_pool`: started by it, killed by it, gone when it is gone.

Loads neither torch nor ray. Reads requests from standard input, answers on what was standard output; file
descriptors 0 and 1 are pointed elsewhere first, for C libraries print where they like.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
from typing import BinaryIO

import numpy as np
from PIL import Image

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import CorruptMedia, ItemError, OutOfMemory
from fuseid.core.faults import reached
from fuseid.core.records import Decoded
from fuseid.encoders.decode_wire import LENGTH, header_of, header_of_error, pack
from fuseid.encoders.media import decode

_PR_SET_PDEATHSIG = 1

# Enables the kinds `test:hang`, `test:abort`, `test:segfault` and `test:eat`, which misbehave in earnest.
TEST_SEAM = "FUSEID_DECODE_TEST_SEAM"

# What C++ and FFmpeg say when an allocation fails; decord passes it on as a RuntimeError.
_OUT_OF_MEMORY_WORDS = ("bad_alloc", "cannot allocate memory", "out of memory", "unable to allocate")


def main() -> None:
    _die_with_parent(int(sys.argv[1]))
    requests, answers = _claim_pipes()
    config = DecodeConfig.model_validate_json(_read_block(requests) or b"{}")
    Image.MAX_IMAGE_PIXELS = None  # `decode.max_pixels` is the limit, and a warning has no reader here
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Decoding writes no files, and what libraries print into the parent's scratch file stays small.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    limits = _MemoryLimit(config)
    reached("decode.start")
    answers.write(pack({"ready": True}))
    while (request := _read_block(requests)) is not None:
        path, kind = _path_and_kind(request)
        limits.set_for(kind)
        _answer(answers, path, kind, config)


def _answer(answers: BinaryIO, path: str, kind: str, config: DecodeConfig) -> None:
    try:
        decoded = _misbehave(kind) if kind.startswith("test:") else decode(path, kind, config)
        head = pack(header_of(decoded))
        reached("decode.item", path)
    except ItemError as error:
        answers.write(pack(header_of_error(error)))
        return
    except MemoryError:
        answers.write(pack(header_of_error(_out_of_memory(path, config))))
        return
    except Exception as error:
        words = str(error).lower()
        if any(word in words for word in _OUT_OF_MEMORY_WORDS):
            answers.write(pack(header_of_error(_out_of_memory(path, config))))
        else:
            message = f"{path!r} cannot be decoded: {type(error).__name__}: {error}"
            answers.write(pack(header_of_error(CorruptMedia(message))))
        return
    answers.write(head)
    # Raw, unbuffered: the frames go from the array to the pipe.
    _write_all(answers, np.ascontiguousarray(decoded.frames).data.cast("B"))
    _write_all(answers, memoryview(decoded.thumbnail))


def _out_of_memory(path: str, config: DecodeConfig) -> OutOfMemory:
    mebibytes = config.memory_bytes >> 20
    return OutOfMemory(f"decoding {path!r} needs more than decode.memory_bytes ({mebibytes} MiB)")


def _path_and_kind(request: bytes) -> tuple[str, str]:
    message = json.loads(request)
    return message["path"], message["kind"]


class _MemoryLimit:
    """RLIMIT_AS at the address space that libraries take anyway, plus what one item may use."""

    def __init__(self, config: DecodeConfig) -> None:
        self._config = config
        self._loaded: set[str] = set()
        self._set()

    def set_for(self, kind: str) -> None:
        """Loads the libraries for `kind` outside any item's budget."""
        if kind in self._loaded:
            return
        self._loaded.add(kind)
        if kind == "video":
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            from fuseid.encoders.video import may_use_decord

            if may_use_decord(self._config):
                import decord  # noqa: F401
        self._set()

    def _set(self) -> None:
        with open("/proc/self/statm", "rb") as statm:
            address_space = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (address_space + self._config.memory_bytes, resource.RLIM_INFINITY))


def _die_with_parent(parent: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above took effect
        os._exit(1)


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
        ctypes.PyDLL(None).sleep(3600)  # PyDLL keeps the GIL, as decord does when it hangs
    if kind == "test:abort":
        os.abort()
    if kind == "test:segfault":
        ctypes.string_at(0)
    if kind == "test:eat":
        hoard = []
        while True:
            hoard.append(bytearray(64 << 20))
    if kind == "test:bad_alloc":
        os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
        os.abort()
    if kind == "test:print":
        os.write(1, b"noise from a C library\n")
        time.sleep(0)
    raise CorruptMedia(f"{kind} came to its end")


if __name__ == "__main__":
    main()
