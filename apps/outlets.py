"""Standard output and standard error of a command whose reader may leave before it ends, as `head` does.

What nobody reads is dropped, and the command goes on: its exit status says how its work ended, not who read about it.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from typing import Any

from fuseid.core.errors import FuseidError


class _Outlet(io.FileIO):
    """A stream that drops what is written once its reader is gone.

    needed: an error of another kind, such as a full disk, ends the command; otherwise the text is dropped.
    """

    def __init__(self, descriptor: int, name: str, needed: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._called = name
        self._needed = needed

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            unread = _is_unread(self.fileno(), error)
            if unread or self._needed:
                # Libraries write there, too, and so does Python when it ends.
                _discard(self.fileno())
            if self._needed and not unread:
                raise FuseidError(f"cannot write to {self._called}: {error.strerror}") from None
            return len(data)


def install() -> None:
    """To be called once, before anything is written."""
    sys.stdout = _stream(sys.stdout, 1, "standard output", needed=True)
    sys.stderr = _stream(sys.stderr, 2, "standard error", needed=False)


def _stream(stream: Any, descriptor: int, name: str, needed: bool) -> Any:
    if stream is None:  # closed by whoever started the command: a file that is opened would get its number
        _discard(descriptor)
        return open(descriptor, "w", encoding="utf-8", closefd=False)
    stream.flush()
    outlet = io.BufferedWriter(_Outlet(descriptor, name, needed))
    return io.TextIOWrapper(outlet, stream.encoding, stream.errors, line_buffering=stream.line_buffering)


def _is_unread(descriptor: int, error: OSError) -> bool:
    """Whether the reader is gone: the other end of a pipe, or the terminal."""
    if error.errno == errno.EIO:
        return stat.S_ISCHR(os.fstat(descriptor).st_mode)
    return error.errno in (errno.EPIPE, errno.ECONNRESET)


def _discard(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
