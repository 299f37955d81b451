"""Random kills, and a check that nothing is lost: `python benchmarks/soak.py [--kills 50] [--json OUT]`.

A catalogue changes, jobs work on it, and their processes are killed by SIGKILL, at a step of the protocol or at a
random time. A second database goes through the same jobs undisturbed. After each completed job these must hold: every
item once, all rows and IDs as in the quiet database, ledger and projection agree, no row outside an index, the outcome
of every run recorded correctly, the lease free. After a kill, before any repair: no item twice, no ID except the
ledger's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from signal import SIGKILL
from typing import Any

ROOT = Path(__file__).parents[1]
if __name__ == "__main__":
    # This folder's tokenizers.py would hide the library of that name, which transformers imports.
    sys.path[0] = str(ROOT)
sys.path.append(str(ROOT / "tests" / "ray_jobs"))

import numpy as np
import psutil
from exactly_once import SETTINGS, Catalogue, Drivers, Ended, State, violations, violations_meanwhile

from fuseid.apps.show import print_rows
from fuseid.core.faults import STEPS

# Parts of a run whose steps are reached many times.
_REPEATED = ("wave", "decode", "encode")
_OF_WAVES = [step for step in STEPS if step.startswith("wave.")]
_OF_CHILDREN = ["decode.start", "decode.item"]
_OF_FIT, _OF_PROMOTE = ("fit.tokenizer", "fit.champion", "fit.fusion"), ("promote.champion",)
_OF_OTHERS = [step for step in STEPS if step.split(".")[0] in ("adopt", "gate", "upgrade")]
_OF_ASSIGNING = [step for step in STEPS if step.split(".")[0] in ("lease", "run", "columns", "assign", "index", "fuse")]
# Steps that a job can reach in its driver; if it does not reach one this time, the run is not killed.
_DRIVER_STEPS = {
    "ingest": [
        step for step in STEPS if step not in (*_OF_CHILDREN, *_OF_FIT, *_OF_PROMOTE, *_OF_OTHERS, "contents.made")
    ],
    "fit": [*_OF_ASSIGNING, "fit.tokenizer"],
    "remove": [step for step in STEPS if step.split(".")[0] in ("lease", "run", "items", "index")],
    "promote": [*(step for step in _OF_ASSIGNING if not step.startswith("fuse")), *_OF_PROMOTE],
}
_STEPS = {"child": _OF_CHILDREN, "worker": ["decode.block"], "encoder": ["encode.block"], "node": _OF_WAVES}
# A part of the command line of each kind of victim.
_NAMES = {"child": "fuseid.encoders.decode_child", "worker": "ray::_DecoderActor", "encoder": "ray::_EncoderActor"}
_ANY_MOMENT = "any moment"


class Soak:
    """One catalogue and two databases, `killed` and `quiet`. cluster: three nodes, or None for the local runner."""

    def __init__(self, folder: Path, drivers: Drivers, seed: int, cluster: Any = None) -> None:
        self.kills: Counter[tuple[str, str]] = Counter()
        self.recovered: Counter[tuple[str, str]] = Counter()
        self.violated: list[str] = []
        # Attacks on ingests, whether or not they succeeded.
        self._attacks: Counter[str] = Counter()
        self._rng = np.random.default_rng(seed)
        self._folder = folder
        self._drivers = drivers
        self._cluster = cluster
        self._killed, self._quiet = folder / "killed", folder / "quiet"
        self._unchecked: Counter[tuple[str, str]] = Counter()
        self._killed_runs = 0
        (folder / "media").mkdir()
        self._catalogue = Catalogue(folder / "media", seed)
        for kind, count in (("caption", 25), ("picture", 20), ("video", 3), ("broken", 3)):
            self._catalogue.add(kind, count)
        started = time.perf_counter()
        self._finish(self._quiet, "ingest", {"manifest": self._catalogue.manifest()})
        self._seconds = time.perf_counter() - started
        self._finish(self._quiet, "fit", {})
        shutil.copytree(self._quiet, self._killed)
        self._fits = 0

    def round(self, most: int) -> int:
        """One job: kills it up to three times, then lets it end. Returns the number of kills, at most `most`."""
        job, call = self._job()
        kills, ledger = 0, len(State.of(self._killed).ledger)
        wanted = int(min(most, self._rng.integers(1, 4)))
        while kills < wanted:
            victim = self._victim(job)
            step, ended, died = self._attacked(victim, job, call)
            if died:
                self.kills[victim, step] += 1
                self._unchecked[victim, step] += 1
                kills += 1
            if ended.status == 0:
                self._end(job, call)
                return kills
            if ended.status != -SIGKILL:
                self._violation(f"{job} ended with {ended.status} after a kill of {victim} at {step}: {ended.words}")
            state = State.of(self._killed)
            self._killed_runs = state.outcomes.count("killed") + state.outcomes.count("running")
            for problem in violations_meanwhile(state):
                self._violation(f"meanwhile, after {victim} at {step}: {problem}")
            if job == "ingest" and self._rng.random() < 0.3:
                if len(state.ledger) > ledger:
                    # Its IDs were committed, so for IDs this run counts as completed.
                    self._finish(self._quiet, job, call)
                    ledger = len(state.ledger)
                self._change()
                call = {"manifest": self._catalogue.manifest()}
        self._finish(self._killed, job, call)
        self._end(job, call)
        return kills

    def rows(self) -> list[dict[str, Any]]:
        return [
            {"victim": victim, "step": step, "times": times, "recovered": self.recovered[victim, step]}
            for (victim, step), times in sorted(self.kills.items())
        ]

    def _job(self) -> tuple[str, dict[str, Any]]:
        chance = self._rng.random()
        if chance < 0.7:
            self._change()
            return "ingest", {"manifest": self._catalogue.manifest()}
        if chance < 0.8:
            return "remove", {"ids": [*self._withdrawn(4), "nobody"]}
        if chance < 0.9:
            self._fits += 1
            return "fit", {"settings": {**SETTINGS, "tokenizer": {**SETTINGS["tokenizer"], "seed": self._fits}}}
        tokenizers = sorted(path.name for path in (self._quiet / "artifacts").glob("rq-kmeans-*"))
        return "promote", {"tokenizer": str(self._rng.choice(tokenizers))}

    def _change(self) -> None:
        up_to = self._rng.integers
        for kind, most in (("caption", 6), ("picture", 4), ("video", 2), ("broken", 2)):
            self._catalogue.add(kind, int(up_to(most)))
            self._catalogue.remove(kind, int(up_to(most)))
        self._catalogue.edit(*(int(up_to(3)) for _ in range(4)))
        self._catalogue.bring_back(int(up_to(4)))
        self._withdrawn(2)

    def _withdrawn(self, most: int) -> list[str]:
        """Items that manifests name as deleted from now on, fewer than `most` of each kind."""
        kinds = ("caption", "picture", "broken")
        return [name for kind in kinds for name in self._catalogue.withdraw(kind, int(self._rng.integers(most)))]

    def _victim(self, job: str) -> str:
        if job != "ingest":
            return "driver"
        victims = ["driver", "child"] + ["worker", "encoder", "node"] * (self._cluster is not None)
        least = min(self._attacks[victim] for victim in victims)
        chosen = str(self._rng.choice([victim for victim in victims if self._attacks[victim] == least]))
        self._attacks[chosen] += 1
        return chosen

    def _attacked(self, victim: str, job: str, call: dict[str, Any]) -> tuple[str, Ended, bool]:
        """One run of a job with one kill: -> (where, how the run ended, whether the kill happened)."""
        if self._rng.random() < 0.25 and victim != "node":
            return _ANY_MOMENT, *self._killed_at_a_moment(victim, job, call)
        marks = Path(tempfile.mkdtemp(dir=self._folder))
        step = str(self._rng.choice(_STEPS.get(victim) or self._driver_steps(job)))
        form = "=hold" if victim == "node" else ""
        # Several workers and encoders share a few blocks, so one of them may never get a second block.
        often = step.split(".")[0] in _REPEATED and victim not in ("worker", "encoder")
        nth = self._rng.integers(1, 4) if often else 1
        pid = self._start(job, call, fault=f"{step}#{nth}{form}", marks=marks)
        if victim == "node":
            while not (marks / step).exists() and self._drivers.is_running(pid):
                time.sleep(0.02)
            if (marks / step).exists():
                self._cluster.kill()
                (marks / f"{step}.go").touch()
                ended = self._drivers.wait(pid)
                self._cluster.add()
                return step, ended, True
        ended = self._drivers.wait(pid)
        return step, ended, (marks / step).exists()

    def _driver_steps(self, job: str) -> list[str]:
        on_ray = self._cluster is not None and job == "ingest"
        return [step for step in _DRIVER_STEPS[job] if not (on_ray and step in ("decode.block", "encode.block"))]

    def _killed_at_a_moment(self, victim: str, job: str, call: dict[str, Any]) -> tuple[Ended, bool]:
        pid = self._start(job, call)
        until = time.perf_counter() + self._rng.random() * self._seconds
        died = False
        if victim == "driver":
            time.sleep(max(0.0, until - time.perf_counter()))
            with suppress(ProcessLookupError):
                os.kill(pid, SIGKILL)
        else:
            while self._drivers.is_running(pid) and not died:
                time.sleep(0.01)
                died = time.perf_counter() > until and self._kill_one(_NAMES[victim])
        ended = self._drivers.wait(pid)
        return ended, died or ended.status == -SIGKILL

    def _kill_one(self, name: str) -> bool:
        """Kills one of the child processes of this script."""
        found = []
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if any(name in part for part in process.cmdline()):
                    found.append(process)
        if not found:
            return False
        with suppress(psutil.Error):
            found[self._rng.integers(len(found))].kill()
            return True
        return False

    def _start(self, job: str, call: dict[str, Any], **more: Any) -> int:
        if self._cluster is not None and job == "ingest":
            from three_nodes import SIZES

            more["ray"] = {"address": self._cluster.address, "sizes": SIZES}
        return self._drivers.start(job, self._killed, **{**call, **more})

    def _finish(self, db: Path, job: str, call: dict[str, Any]) -> None:
        ended = self._drivers.run(job, db, **call)
        if ended.status:
            self._violation(f"an undisturbed {job} of the {db.name} database ended with {ended.status}: {ended.words}")

    def _end(self, job: str, call: dict[str, Any]) -> None:
        """Runs the same job on the quiet database and compares both."""
        self._finish(self._quiet, job, call)
        db, quiet = State.of(self._killed), State.of(self._quiet)
        # An item that failed in a killed run and was changed before the next one has one more attempt.
        found = violations(db, quiet, self._catalogue.rows, self._killed_runs, but=frozenset(["attempts"]))
        for problem in found:
            self._violation(f"after {dict(self._unchecked)} of {job}: {problem}")
        if not found:
            self.recovered += self._unchecked
        self._unchecked.clear()

    def _violation(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
        self.violated.append(text)


def soak(folder: Path, drivers: Drivers, kills: int, seed: int, cluster: Any = None) -> Soak:
    found = Soak(folder, drivers, seed, cluster)
    while (so_far := found.kills.total()) < kills:
        found.round(kills - so_far)
        if sys.stderr.isatty():
            print(f"\r{found.kills.total()} of {kills} kills", end="", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runner", choices=("local", "ray"), default="local")
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    arguments = parser.parse_args()
    started = time.perf_counter()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fuseid-soak-")))
        cluster = None
        if arguments.runner == "ray":
            from three_nodes import ThreeNodes

            cluster = stack.enter_context(ThreeNodes())
        found = soak(folder, stack.enter_context(Drivers()), arguments.kills, arguments.seed, cluster)
    rows, seconds = found.rows(), time.perf_counter() - started
    print_rows([{key: str(value) for key, value in row.items()} for row in rows], tuple(rows[0]))
    print(
        f"{found.kills.total()} kills, runner {arguments.runner}, seed {arguments.seed}: "
        f"{found.recovered.total()} recovered, {len(found.violated)} violations, {seconds:.0f} s"
    )
    if arguments.json:
        document = {"runner": arguments.runner, "seed": arguments.seed, "seconds": seconds, "rows": rows}
        arguments.json.write_text(json.dumps({**document, "violations": found.violated}, indent=1) + "\n")
    sys.exit(1 if found.violated else 0)


if __name__ == "__main__":
    main()
