"""What the kill tests and the soak share: a changing catalogue, drivers that can be killed, and what must hold."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
import psutil
from PIL import Image

from fuseid.pipelines.store.indexes import unindexed_rows
from fuseid.pipelines.store.store import Store

SETTINGS: dict[str, Any] = {
    "clip": {"model": "fake:16", "device": "cpu"},
    "decode": {"workers": 1, "sampling": {"frames": 2}},
    "fusion": {"dim": 12},
    "tokenizer": {"codebook_sizes": [4, 3], "iterations": 4},
    "run": {"block_rows": 5, "wave_rows": 12, "wave_vectors": 12, "max_prune": "100%", "report_seconds": 0.05},
}
GATED: dict[str, Any] = {**SETTINGS, "gate": {"limits": {"churn 1": {"at_most": 1}, "largest_bucket": {"at_most": 99}}}}
CANDIDATE: dict[str, Any] = {**SETTINGS, "tokenizer": {**SETTINGS["tokenizer"], "seed": 1}}
# Of the next generation.
REFIT: dict[str, Any] = {**CANDIDATE, "fusion": {"dim": 9}}
_LEARNED = {"kind": "learned", "dim": 9, "hidden": 8, "batch_size": 16, "negatives": 4, "epochs": 2}
LEARN: dict[str, Any] = {**CANDIDATE, "fusion": _LEARNED}
_NOTHING = b"\xff\xd8\xff\xe0 not a picture after all"
_WORDS = ("apple", "dog", "bicycle", "house", "tree", "fish", "cloud")


class Catalogue:
    """Items with their media in a folder: captions, pictures, videos, and some that cannot be read."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.rows: dict[str, dict[str, Any]] = {}
        self._withdrawn: dict[str, dict[str, Any]] = {}
        self._rng = np.random.default_rng(seed)
        self._made = 0

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, kind: str, count: int = 1) -> None:
        """kind: caption, picture, video or broken."""
        for _ in range(count):
            # Not in the order in which items are made, so that the order of commits differs from it.
            name = f"{self._rng.integers(16**4):04x}-{kind}-{self._made}"
            self._made += 1
            row: dict[str, Any] = {"content_id": name}
            if kind != "caption":
                row["uri"] = f"{name}.{'mp4' if kind == 'video' else 'png'}"
                self._write(row["uri"], kind)
            if kind == "caption" or self._rng.random() < 0.5:
                row["caption"] = self._caption()
            self.rows[name] = row

    def edit(self, captions: int = 0, pictures: int = 0, repair: int = 0, spoil: int = 0) -> None:
        for name in self._some("caption", captions):
            self.rows[name]["caption"] = self._caption()
        for name in self._some("picture", pictures + spoil)[:pictures]:
            self._write(self.rows[name]["uri"], "picture")
        for name in self._some("picture", spoil):
            self._write(self.rows[name]["uri"], "broken")
        for name in self._some("broken", repair):
            self._write(self.rows[name]["uri"], "picture")

    def remove(self, kind: str, count: int) -> None:
        for name in self._some(kind, count):
            del self.rows[name]

    def withdraw(self, kind: str, count: int) -> list[str]:
        """From now on manifests name these items as deleted."""
        names = self._some(kind, count)
        self._withdrawn |= {name: self.rows.pop(name) for name in names}
        return names

    def bring_back(self, count: int) -> None:
        for name in [*self._withdrawn][:count]:
            self.rows[name] = self._withdrawn.pop(name)

    def manifest(self) -> Path:
        path = self.folder / "manifest.jsonl"
        deleted = ({"content_id": name, "deleted": True} for name in self._withdrawn)
        lines = (json.dumps(row) + "\n" for row in (*self.rows.values(), *deleted))
        path.write_text("".join(lines), encoding="utf-8")
        return path

    def _some(self, kind: str, count: int) -> list[str]:
        names = [name for name in self.rows if f"-{kind}-" in name]
        return [names[i] for i in self._rng.permutation(len(names))[:count]]

    def _caption(self) -> str:
        return f"a {_WORDS[self._rng.integers(len(_WORDS))]} number {self._rng.integers(9)}"

    def _write(self, uri: str, kind: str) -> None:
        path = self.folder / uri
        if kind == "broken":
            path.write_bytes(_NOTHING)
        elif kind == "picture":
            coarse = Image.fromarray(self._rng.integers(0, 255, (3, 4, 3), dtype=np.uint8))
            coarse.resize((64, 48), Image.Resampling.BICUBIC).save(path)
        else:
            self._write_video(path)

    def _write_video(self, path: Path) -> None:
        with av.open(str(path), "w") as output:
            stream = output.add_stream("mpeg4", rate=12)
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 6
            stream.codec_context.thread_count = 1
            for number in range(12):
                pixels = np.full((48, 64, 3), self._rng.integers(0, 256, 3), np.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 12)
                output.mux(stream.encode(frame))
            output.mux(stream.encode())


@dataclass(frozen=True)
class Ended:
    """status: the exit status, or minus the signal that ended it."""

    status: int
    words: str


class Drivers:
    """Runs jobs, each in a process that can be killed; a context manager."""

    def __enter__(self) -> Drivers:
        script = Path(__file__).with_name("kill_driver.py")
        # -P: this folder holds modules of its own.
        command = [sys.executable, "-P", str(script)]
        # Lance warns of empty clusters by chance: an index of so few vectors starts at random.
        environment = {**os.environ, "LANCE_LOG": "error"}
        self._server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.kill()
        self._server.wait()
        assert self._server.stdout is not None
        self._server.stdout.close()

    def start(
        self, job: str, db: Path, settings: Mapping[str, Any] = SETTINGS, fault: str = "", marks: Path | None = None,
        **more: Any,
    ) -> int:  # fmt: skip
        """Returns its process id. more: what the job needs, such as `manifest` or `vectors`, and
        `ray`."""
        environment = {"FUSEID_FAULT": fault, "FUSEID_FAULT_MARKS": str(marks or "")}
        request = {"job": job, "db": str(db), "settings": settings, "environment": environment, **more}
        return self._ask(request)

    def is_running(self, process: int) -> bool:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE

    def wait(self, process: int) -> Ended:
        """Once for each process."""
        return Ended(*self._ask({"wait": process}))

    def run(self, job: str, db: Path, **more: Any) -> Ended:
        return self.wait(self.start(job, db, **more))

    def finish(self, job: str, db: Path, **more: Any) -> None:
        """A run that must complete."""
        ended = self.run(job, db, **more)
        if ended.status:
            raise AssertionError(f"{job} of {db} ended with {ended.status}: {ended.words[-3000:]}")

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request, default=str) + "\n")
        self._server.stdin.flush()
        line = self._server.stdout.readline()
        if not line:
            raise RuntimeError("the process that starts drivers has ended")
        return json.loads(line)


@dataclass(frozen=True)
class State:
    """What a database holds, without what differs between runs."""

    contents: list[dict[str, Any]]
    rejected: list[dict[str, Any]]
    ledger: list[dict[str, Any]]
    settings: dict[str, Any]
    unindexed: dict[str, int]
    outcomes: list[str]
    lease_holder: str

    @classmethod
    def of(cls, db: Path) -> State:
        store = Store.open(db)
        contents = store.dataset("contents")
        kept = [name for name in contents.schema.names if name not in ("run_id", "updated_at")]
        runs = store.dataset("runs").to_table(columns=["started_at", "outcome"]).sort_by("started_at")
        return cls(
            contents.to_table(columns=kept).to_pylist(),
            store.dataset("rejected").to_table().drop_columns(["first_run", "last_run"]).to_pylist(),
            store.dataset("assignments").to_table().drop_columns(["run_id"]).to_pylist(),
            {
                name: store.setting(name)
                for name in ("fusion", "champion", "champion_before", "generations", "clip", "precision")
            }
            | {"schema version": store.schema_version()}
            | {name: value for name, value in store.settings().items() if name.startswith("gate.")},
            unindexed_rows(store),
            runs["outcome"].to_pylist(),
            store.dataset("lease").to_table()["holder"].to_pylist()[0],
        )


def violations(
    db: State, quiet: State, listed: Iterable[str], killed: int, but: frozenset[str] = frozenset()
) -> list[str]:
    """The violated guarantees after a completed run, a sentence each.

    quiet: of a database with the same runs, none of which was killed. killed: runs of `db` that left a row and no end.
    but: columns that may differ.
    """
    return [
        *_once(db, set(listed)),
        *_as_in(quiet, db, but),
        *_ids_agree(db),
        *(f"{rows} rows are not in the index {name}" for name, rows in db.unindexed.items() if rows),
        *_runs_are_recorded(db, killed),
    ]


def violations_meanwhile(db: State) -> list[str]:
    """What no reader may see even after a kill: an item twice, or an ID that the ledger did not give it."""
    times = Counter(row["content_id"] for row in db.contents)
    problems = [f"{name} is there {count} times" for name, count in times.items() if count > 1]
    ledger = {(row["content_id"], row["tokenizer_id"]): row["sid"] for row in db.ledger}
    if len(ledger) != len(db.ledger):
        problems.append("the ledger gave an item an ID twice")
    for row in db.contents:
        given = ledger.get((row["content_id"], row["tokenizer_id"]))
        if row["sid"] != given:
            problems.append(f"{row['content_id']} shows {row['sid']}, the ledger {given}")
    return problems


def _once(db: State, listed: set[str]) -> list[str]:
    times = Counter(row["content_id"] for row in (*db.contents, *db.rejected))
    problems = [f"{name} is there {count} times" for name, count in times.items() if count > 1]
    if times.keys() != listed:
        problems.append(f"lost: {sorted(listed - times.keys())}; unlisted: {sorted(times.keys() - listed)}")
    return problems


def _as_in(quiet: State, db: State, but: frozenset[str]) -> list[str]:
    problems = []
    for table in ("contents", "rejected", "ledger"):
        ours, theirs = (_by_key(getattr(state, table)) for state in (db, quiet))
        for key in sorted(ours.keys() | theirs.keys()):
            mine, other = ours.get(key), theirs.get(key)
            if mine is None or other is None:
                problems.append(f"{table}: {key} is only in the {'quiet' if mine is None else 'killed'} database")
            elif columns := [name for name in mine if mine[name] != other.get(name) and name not in but]:
                shown = {name: (mine[name], other.get(name)) for name in columns}
                problems.append(f"{table}: {key} differs from a quiet run in {columns}: {str(shown)[:300]}")
    if db.settings != quiet.settings:
        problems.append(f"settings are {db.settings}, of a quiet run {quiet.settings}")
    if db.unindexed.keys() != quiet.unindexed.keys():
        problems.append(f"indexes are {sorted(db.unindexed)}, of a quiet run {sorted(quiet.unindexed)}")
    return problems


def _by_key(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["content_id"], row["tokenizer_id"] if "base" in row else ""): row for row in rows}


def _ids_agree(db: State) -> list[str]:
    champion = db.settings["champion"]
    mine = [row for row in db.ledger if row["tokenizer_id"] == champion]
    times = Counter(row["content_id"] for row in mine) + Counter(row["sid"] for row in mine)
    problems = [f"the ledger holds {name} {count} times" for name, count in times.items() if count > 1]
    ledger = {row["content_id"]: row for row in mine}
    for row in db.contents if champion else ():
        given = ledger.get(row["content_id"], {})
        for column in ("sid", "codes", "tokenizer_id"):
            is_due = row.get("fused") is not None  # without a vector that the fusion knows an item has no ID
            if row[column] != given.get(column) or (is_due and row[column] is None):
                problems.append(f"{row['content_id']} shows {column} {row[column]}, the ledger {given.get(column)}")
    return problems


def _runs_are_recorded(db: State, killed: int) -> list[str]:
    problems = [f"a run is recorded as {outcome!r}" for outcome in db.outcomes if outcome not in ("done", "killed")]
    if db.outcomes[-1:] != ["done"] or db.outcomes.count("killed") != killed:
        problems.append(f"{killed} runs were killed and the last one was not; recorded as {db.outcomes}")
    if db.lease_holder:
        problems.append("the lease is still held")
    return problems


@dataclass(frozen=True)
class Before:
    """A database to copy, what a job would make of it undisturbed, and how that job is called."""

    db: Path | None
    job: str
    call: dict[str, Any]
    quiet: State
    listed: set[str]


def copied(before: Before, db: Path) -> Before:
    if before.db is not None:
        shutil.copytree(before.db, db)
    return before


def wait_for(mark: Path) -> None:
    while not mark.exists():
        time.sleep(0.02)
