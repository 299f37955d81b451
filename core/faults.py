"""Faults on purpose: named steps at which a test has a process killed or held, to see what a crash right there costs.

`FUSEID_FAULT` names them, separated by commas, `FUSEID_FAULT_MARKS` a folder that exists; without the first nothing
here does anything. Each is one of

    STEP         the process kills itself by SIGKILL when it gets there
    STEP#3       when it gets there for the third time
    STEP=hold    it waits there until a file STEP.go appears, so that something else can be killed meanwhile
    STEP@TEXT    it kills itself each time that what it works on has TEXT in its name

A fault leaves a mark, a file named like its step that holds the process id. But for the last form it happens once,
whichever of many processes is first.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

# The last five are not always in the driver: models are loaded, a block is decoded and encoded by it, or by actors of a
# cluster, an item by a decode child in both cases.
STEPS = {
    "lease.taken": "the lease is held, the run has no row yet",
    "fence.begun": "the lease is taken from a process that may live, which is not fenced off yet",
    "run.begun": "the run's row says `running`",
    "contents.made": "the first wave has made `contents`, still empty",
    "wave.ready": "a wave is decoded and encoded, nothing of it is written",
    "wave.contents": "its good rows are in `contents`",
    "wave.removed": "its bad items have left `contents` and are not yet in `rejected`",
    "wave.rejected": "its bad rows are in `rejected`",
    "wave.done": "all its tables are written, the run does not know yet",
    "prune.removed": "unlisted items have left a table",
    "fuse.begun": "vectors that a killed run left unfused are looked for",
    "fuse.done": "every row that can be is fused",
    "columns.written": "new columns are in files that no version of `contents` names yet",
    "assign.spilled": "codes of new items lie in scratch files",
    "assign.ready": "every new item has its place, the ledger does not know",
    "assign.appended": "the ledger holds all new IDs, `contents` none of them",
    "assign.indexed": "the ledger's index has taken them in",
    "assign.projected": "`contents` shows them",
    "index.begun": "upkeep begins",
    "index.compacted": "`contents` is compacted, its indexes are not extended",
    "index.made": "the indexes that were due are made",
    "index.done": "all indexes cover all rows, old versions are still there",
    "fit.fusion": "a fitted fusion is stored, no setting names it",
    "fit.tokenizer": "a fitted tokenizer is stored, no setting names it",
    "fit.champion": "it is champion, no item has an ID under it",
    "promote.champion": "another tokenizer is champion, `contents` shows IDs of the one before",
    "run.ending": "all work is done, the run's row still says `running`",
    "lease.releasing": "the row says how the run ended, the lease is still held",
    "encode.load": "an encoder is about to load its models",
    "decode.block": "a block is decoded, nobody has its frames",
    "encode.block": "the pictures of a block are encoded, its captions are not",
    "decode.start": "a decode child runs and has not said that it is ready",
    "decode.item": "a decode child has an item's frames and has not said so",
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
    """To be called at each of `STEPS`. what: the name of what is worked on there."""
    if _faults:
        _meet(step, what)


def arm() -> None:
    """Reads the environment; once on import, again in a process that was forked later. Raises ValueError for a fault
    that names no step or is of no known form."""
    _faults.clear()
    for text in filter(None, os.environ.get("FUSEID_FAULT", "").split(",")):
        parts = _FORM.fullmatch(text)
        if parts is None or parts[1] not in STEPS:
            raise ValueError(f"FUSEID_FAULT names {text!r}, which is none of {', '.join(STEPS)}")
        mark = Path(os.environ["FUSEID_FAULT_MARKS"]) / parts[1]
        _faults.append(_Fault(parts[1], int(parts[2] or 1), parts[3], parts[4] is not None, mark))


def _meet(step: str, what: str) -> None:
    if step not in STEPS:
        raise ValueError(f"{step!r} is none of {', '.join(STEPS)}")
    for fault in _faults:
        if fault.step == step and _is_due(fault, what):
            while fault.hold and not fault.mark.with_name(f"{step}.go").exists():
                time.sleep(0.01)
            if not fault.hold:
                os.kill(os.getpid(), signal.SIGKILL)


def _is_due(fault: _Fault, what: str) -> bool:
    """Whether it happens now; if so, its mark is on disk."""
    if fault.text is not None:
        if fault.text in what:
            _leave(fault.mark)
        return fault.text in what
    with _lock:
        fault.times += 1
        return fault.times == fault.nth and _leave(fault.mark)


def _leave(mark: Path) -> bool:
    """Whether nobody was here before."""
    try:
        descriptor = os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return False
    os.write(descriptor, str(os.getpid()).encode())
    os.fsync(descriptor)
    os.close(descriptor)
    return True


arm()
