"""What a command writes to standard error: lines of text, or with FUSEID_LOG_FORMAT=json one JSON object a line."""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from fuseid.core.names import check_known
from fuseid.core.text import shown
from fuseid.pipelines.jobs.present import present_run

FORMATS = ("text", "json")
_TEXT = "%(asctime)s %(levelname)s %(message)s"
# The time and level with which other libraries begin a line; the level of our own lines by how they begin.
_LEVEL = re.compile(
    r"[\[(]?(?:\d{4}-\d\d-\d\d[T ][\d:.,]+Z?\s+)?\[?(DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL)\b\]?:?\s*"
)
_OURS = {"error: ": "ERROR", "late: ": "WARNING"}
_STANDARD = {"WARN": "WARNING", "FATAL": "CRITICAL"}


def finish() -> None:
    """Writes what a line of standard error has so far; for an end of the process at which Python does not."""
    if isinstance(sys.stderr, _JsonLines):
        sys.stderr.finish()
    sys.stderr.flush()


def is_json() -> bool:
    """Whether standard error is read by a machine: then no bars are shown."""
    return isinstance(sys.stderr, _JsonLines)


def install() -> None:
    """To be called once, at the start of a command. With FUSEID_LOG=INFO, runs log to standard error: a line for each
    run and for each rejected item. Without it, a line a minute about long work, where no terminal shows it as bars.

    Raises BadInput for an unknown level in FUSEID_LOG or format in FUSEID_LOG_FORMAT.
    """
    chosen = os.environ.get("FUSEID_LOG_FORMAT", "").lower() or "text"
    check_known("format in FUSEID_LOG_FORMAT", chosen, FORMATS)
    level = os.environ.get("FUSEID_LOG", "").upper()
    if level:
        check_known("level in FUSEID_LOG", level, logging.getLevelNamesMapping())
    progress, everything = logging.getLogger("fuseid.progress"), logging.getLogger()
    progress.handlers.clear()
    if chosen == "json":
        lines: Any = _JsonLines(sys.stderr)
        sys.stderr = lines
        _install_hooks(lines)
        # Of all loggers: Python would print a warning that no handler takes without its level.
        everything.addHandler(_JsonHandler(lines))
    elif level:
        logging.basicConfig(format=_TEXT)
        for handler in everything.handlers:
            handler.setFormatter(_SafeFormatter(_TEXT))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(_SafeFormatter("%(asctime)s %(message)s"))
        progress.addHandler(handler)
    progress.propagate = bool(level) or chosen == "json"
    if level:
        progress.setLevel(logging.NOTSET)
        logging.getLogger("fuseid").setLevel(level)
    else:
        progress.setLevel(logging.WARNING if sys.stderr.isatty() else logging.INFO)


class _SafeFormatter(logging.Formatter):
    """One line for each record: ids and uris in it cannot steer the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return shown(super().formatMessage(record))


class _JsonLines:
    """Standard error on which each line of text becomes one JSON object: `time` (RFC 3339), `level`, `message`,
    `command`, and `run_id` and `job` once a run has begun."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._rest = ""
        self._lock = threading.RLock()
        self.encoding, self.errors, self.closed = stream.encoding, stream.errors, False

    def writable(self) -> bool:
        return True

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            for line in lines:
                self._write_line(line)
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def finish(self) -> None:
        """Writes what no line end has followed."""
        with self._lock:
            line, self._rest = self._rest, ""
            self._write_line(line)

    def _write_line(self, line: str) -> None:
        # A bar of another library writes over itself.
        line = line.rstrip("\r").rpartition("\r")[2]
        if not line.strip():
            return
        for begin, level in _OURS.items():
            if line.startswith(begin):
                self.put(level, line.removeprefix(begin))
                return
        found = _LEVEL.match(line)
        level = "INFO" if found is None else _STANDARD.get(found[1], found[1])
        self.put(level, line if found is None else line[found.end() :])

    def put(self, level: str, message: str, when: float | None = None, **fields: Any) -> None:
        time = datetime.now(UTC) if when is None else datetime.fromtimestamp(when, UTC)
        stamp = time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        value = {
            "time": stamp,
            "level": level,
            "message": "\n".join(map(shown, message.split("\n"))),
            "command": _command(),
            **present_run(),
        }
        # In one write: a signal between two would leave half an object.
        line = json.dumps({**value, **fields}, ensure_ascii=True, default=str) + "\n"
        with self._lock:
            self._stream.write(line)
            self._stream.flush()

    def put_traceback(
        self, kind: type[BaseException], error: BaseException | None, trace: TracebackType | None, **fields: Any
    ) -> None:
        text = "".join(traceback.format_exception(kind, error, trace))
        self.put("ERROR", f"{kind.__name__}: {error}", traceback=text, **fields)


class _JsonHandler(logging.Handler):
    def __init__(self, lines: _JsonLines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        fields = dict(getattr(record, "figures", {}))
        if record.exc_info:
            fields["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        if not record.name.startswith("fuseid"):
            fields["logger"] = record.name
        self._lines.put(record.levelname, record.getMessage(), record.created, **fields)


def take_tracebacks() -> None:
    """Exceptions that nothing handles become one object each. To be called before one is raised to the interpreter:
    Typer installs a hook of its own."""
    if isinstance(sys.stderr, _JsonLines):
        sys.excepthook = sys.stderr.put_traceback


def _install_hooks(lines: _JsonLines) -> None:
    """What Python itself reports: warnings, and exceptions that nothing has handled."""

    def warn(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any) -> None:
        lines.put("WARNING", str(message), category=category.__name__, file=filename, line=lineno)

    def of_thread(args: Any) -> None:
        name = None if args.thread is None else args.thread.name
        lines.put_traceback(args.exc_type, args.exc_value, args.exc_traceback, thread=name)

    def unraisable(args: Any) -> None:
        lines.put_traceback(args.exc_type, args.exc_value, args.exc_traceback, inside=repr(args.object))

    warnings.showwarning = warn
    threading.excepthook, sys.unraisablehook = of_thread, unraisable
    take_tracebacks()
    atexit.register(lines.finish)


def _command() -> str:
    """The command as it was typed, without options: `ingest`, `export ids`."""
    words: list[str] = []
    for word in sys.argv[1:]:
        if not re.fullmatch(r"[a-z]+(-[a-z]+)*", word) or (words and words[-1] not in _GROUPS):
            break
        words.append(word)
    return " ".join(words)


_GROUPS = ("export", "config")
