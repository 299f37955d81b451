"""Fault injection: a test kills or holds a process at a named step, to see what a crash there costs.

`FUSEID_FAULT` lists the faults, separated by commas; `FUSEID_FAULT_MARKS` is an existing folder for their marks.
Without `FUSEID_FAULT` this module does nothing. A fault is one of

    STEP         the process kills itself with SIGKILL at this step
    STEP#3       the process kills itself when it reaches this step for the third time
    STEP=hold    the process waits at this step until the folder holds a file STEP.go; a test can kill others meanwhile
    STEP@TEXT    the process kills itself at this step whenever the name of what it works on contains TEXT

A fault leaves a mark: a file, named after the step, that holds the process id. Except for STEP@TEXT, a fault happens
only once, in the first process that reaches it.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

# Most steps happen in the driver. `encode.load`, `decode.block`, `encode.block`, `fit.read` and `fit.block` happen in
# the driver or in actors of a cluster, `decode.start` and `decode.item` in a decode child.
STEPS = {
    "lease.taken": "the lease is held, the run has no row yet",
    "fence.begun": "the lease is taken from a process that may still live and is not fenced off yet",
    "run.begun": "the run's row says `running`",
    "run.reported": "the run's row says how far it is, older versions of the row are still there",
    "contents.made": "the first wave has made `contents`, still empty",
    "wave.ready": "a wave is decoded and encoded, but not written",
    "wave.contents": "its good rows are in `contents`",
    "wave.removed": "its bad items have left `contents` and are not yet in `rejected`",
    "wave.rejected": "its bad rows are in `rejected`",
    "wave.done": "all its tables are written, the run has not counted it yet",
    "vectors.updated": "the vectors of known items are in their columns, those of one fragment",
    "items.removed": "a commit of withdrawn or unlisted items has left a table",
    "fuse.begun": "the search for rows that a killed run left without a fused vector begins",
    "fuse.done": "every row that has a vector is fused",
    "columns.written": "new columns are in files that no version of `contents` refers to yet",
    "assign.spilled": "codes of new items are in scratch files",
    "assign.ready": "every new item has its ID, the ledger does not hold it yet",
    "assign.appended": "the ledger holds all new IDs, `contents` none of them",
    "assign.indexed": "the ledger's index covers them",
    "assign.projected": "`contents` shows them",
    "index.begun": "maintenance begins",
    "index.compacted": "`contents` is compacted, its indexes are not extended",
    "index.made": "missing indexes are created",
    "index.order": "the files of the ID order are written, `contents` names them not yet",
    "index.done": "all indexes cover all rows, old versions are still there",
    "fit.read": "a part of the rows of a fit is read, its vectors are in no block",
    "fit.block": "one pass of a fit is done with a block, the next block is not begun",
    "fit.epoch": "one epoch of the training of a fusion is done, nothing of it is stored",
    "fit.learned": "a trained fusion is stored, the settings do not name it, its tokenizer is not fitted",
    "fit.fusion": "a fitted fusion is stored, no setting refers to it",
    "fit.tokenizer": "a fitted tokenizer is stored, no setting refers to it",
    "fit.champion": "the new tokenizer is the champion, no item has an ID from it",
    "adopt.artifact": "the artifacts of adopted IDs are stored, no setting refers to them",
    "adopt.settings": "fusion and policy of adopted IDs are set, the ledger holds none of them",
    "adopt.appended": "the ledger holds all adopted IDs, they are not champion",
    "adopt.champion": "adopted IDs are champion, `contents` shows none of them",
    "gate.recorded": "the result of the gate is set, the run's row still says `running`",
    "promote.champion": "another tokenizer is the champion, `contents` shows IDs of the previous one",
    "rollback.champion": "the former tokenizer is the champion, `contents` shows IDs of the one that it replaces",
    "generation.named": "the metadata of the fused vectors name their fusion, the settings have one generation",
    "generation.begun": "the settings have the next generation, `contents` has no column for it",
    "generation.version": "the schema version says that there are two generations",
    "generation.column": "`contents` has the column of the other generation, empty or with what it had",
    "generation.switched": "the columns of the two generations have exchanged their names",
    "generation.dropped": "the settings have one generation, `contents` still has both columns",
    "generation.freed": "`contents` has one column, its schema version still says two",
    "upgrade.begun": "the schema version says that an upgrade has begun",
    "upgrade.columns": "the new columns are there and empty",
    "upgrade.rows": "every row is as the next schema version has it, whose number is not set yet",
    "run.ending": "all work is done, the run's row still says `running`",
    "lease.releasing": "the row says how the run ended, the lease is still held",
    "encode.load": "an encoder is about to load its models",
    "decode.block": "a block is decoded, its frames are not handed on",
    "encode.block": "the pictures of a block are encoded, its captions are not",
    "decode.start": "a decode child runs and has not reported that it is ready",
    "decode.item": "a decode child has an item's frames and has not sent them",
}
_FORM = re.compile(r"([a-z.]+)(?:#([1-9][0-9]*)|@([^=]*))?(=hold)?")


@dataclass
class _Fault:
    step: str
    nth: int
    text: str | None
    hold: bool
    mark: Path
    times: int = 0


_faults: list[_Fault] = []
_lock = threading.Lock()


def reached(step: str, what: str = "") -> None:
    """Marks a step of `STEPS` in the code. what: the name of what the process works on."""
    if _faults:
        _trigger(step, what)


def arm() -> None:
    """Reads the environment; called on import, and again in a process that was forked later. Raises ValueError for an
    unknown step or form."""
    _faults.clear()
    for text in filter(None, os.environ.get("FUSEID_FAULT", "").split(",")):
        parts = _FORM.fullmatch(text)
        if parts is None or parts[1] not in STEPS:
            raise ValueError(f"FUSEID_FAULT names {text!r}, which is not one of {', '.join(STEPS)}")
        mark = Path(os.environ["FUSEID_FAULT_MARKS"]) / parts[1]
        _faults.append(_Fault(parts[1], int(parts[2] or 1), parts[3], parts[4] is not None, mark))


def _trigger(step: str, what: str) -> None:
    if step not in STEPS:
        raise ValueError(f"{step!r} is not one of {', '.join(STEPS)}")
    for fault in _faults:
        if fault.step == step and _is_due(fault, what):
            while fault.hold and not fault.mark.with_name(f"{step}.go").exists():
                time.sleep(0.01)
            if not fault.hold:
                os.kill(os.getpid(), signal.SIGKILL)


def _is_due(fault: _Fault, what: str) -> bool:
    """Whether the fault happens now; if so, its mark is on disk."""
    if fault.text is not None:
        if fault.text in what:
            _create_mark(fault.mark)
        return fault.text in what
    with _lock:
        fault.times += 1
        return fault.times == fault.nth and _create_mark(fault.mark)


def _create_mark(mark: Path) -> bool:
    """Creates the mark file atomically; False if it already exists."""
    try:
        descriptor = os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return False
    os.write(descriptor, str(os.getpid()).encode())
    os.fsync(descriptor)
    os.close(descriptor)
    return True


arm()
