"""What limits the speed of an ingest: the costs of its stages, how busy they were, and the setting that moves it."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.config import Config
from fuseid.core.surface import option, setting
from fuseid.pipelines.jobs.costs import Costs
from fuseid.pipelines.jobs.runs import Run

# What batches say of themselves, beside the seconds of their stages.
_MEASURED = ("wait_fetch", "busy_decode", "cores_decode", "cores_encode", "device_encode")
# Of a shorter run the start is most, and says little.
LEAST_SECONDS = 10.0


@dataclass(frozen=True)
class Capacity:
    """What a runner had at most. decoders: processes that decode. takers: batches that are decoded, or parts of a
    source that are read, at a time. encoders: models side by side. cores: of all nodes."""

    decoders: int
    takers: int
    encoders: int
    cores: int
    nodes: int = 1


class Meter:
    """Of one ingest, from the moment in which it begins to ask for batches."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._start = 0.0
        self._sums: dict[str, float] = defaultdict(float)
        self._batches = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """To be called with each finished batch."""
        if not self._batches:
            names = [name for name in batch.schema.names if name.startswith("seconds_")]
            own = sum(pc.sum(batch[name]).as_py() or 0.0 for name in names)
            self._start = max(0.0, time.perf_counter() - self._begun - own)
        self._batches += 1
        for name in _MEASURED:
            if name in batch.schema.names:
                self._sums[name] += pc.sum(batch[name]).as_py() or 0.0

    def finish(self, run: Run, config: Config, capacity: Capacity | None, runner: str) -> None:
        """To be called after the last commit: the costs of the run, and a note on what limited its speed."""
        elapsed = time.perf_counter() - self._begun
        if not self._batches or capacity is None:
            return
        for name in ("decode", "encode"):
            if f"cores_{name}" in self._sums:
                run.costs.add_cores(name, self._sums[f"cores_{name}"])
        if self._sums["device_encode"]:
            run.costs.device["encode"] = self._sums["device_encode"]
        run.costs.busy = self._busy(run, elapsed, capacity)
        if elapsed >= LEAST_SECONDS and (note := limit(run.costs, run.seconds, capacity, config, runner)):
            run.notes.append(note)

    def _busy(self, run: Run, elapsed: float, capacity: Capacity) -> dict[str, float]:
        work = max(elapsed - self._start, 1e-6)
        busy = {"start": self._start / elapsed, "commit": run.seconds["commit"] / work}
        if "read" in run.seconds:
            busy["read"] = run.seconds["read"] / (work * capacity.takers)
        else:
            busy |= {
                "fetch": self._sums["wait_fetch"] / (work * capacity.takers),
                "decode": self._sums["busy_decode"] / (work * capacity.decoders),
                "encode": run.seconds["encode"] / (work * capacity.encoders),
                "cores": sum(run.costs.cores.values()) / (work * capacity.cores),
            }
        return {stage: round(min(1.0, share), 4) for stage, share in busy.items()}


def limit(costs: Costs, seconds: dict[str, float], capacity: Capacity, config: Config, runner: str) -> str | None:
    """What limited the speed of an ingest, and the setting that moves it; None if nothing was at work most of the time.

    seconds: on the clock, by stage. runner: its name.
    """
    stage = costs.busiest
    if stage is None:
        return None
    share = f"{costs.busy[stage]:.0%}"
    if stage == "start":
        small = f", or {option('runner', 'local')} for small ones" if runner == "ray" else ""
        return f"bottleneck: the start (listing, models, processes), {share} of the time; fewer, larger runs{small}"
    if stage == "cores":
        most = max(costs.cores, key=lambda name: costs.cores[name])
        part = costs.cores[most] / sum(costs.cores.values())
        held = f"bottleneck: the cores, {share} of {capacity.cores} busy, {part:.0%} of that with {most}"
        return f"{held}; more cores or nodes{_less(most, costs)}"
    held = f"bottleneck: {stage}, at work {share} of the time"
    if stage == "fetch":
        more = setting("source.concurrency", 2 * config.source.concurrency)
        return f"{held}; {more} fetches more files at a time, as do more nodes"
    if stage == "commit":
        return f"{held}; {setting('run.wave_rows', 2 * config.run.wave_rows)} commits more rows at a time"
    if stage == "read":
        more = f"{option('runner', 'ray')} reads several parts at a time" if runner == "local" else "more nodes help"
        return f"{held}; {more}"
    if stage == "decode":
        workers = config.decode.workers
        if 0 < workers < capacity.cores // capacity.nodes:
            return f"{held} in {capacity.decoders} processes; {setting('decode.workers', 0)} is one per core"
        return f"{held} in {capacity.decoders} processes; more cores or nodes{_less('decode', costs)}"
    return f"{held}; {_faster_encoding(costs, seconds, config)}"


def _less(stage: str, costs: Costs) -> str:
    """How the cores get less to do."""
    if stage == "decode":
        return f", or fewer frames per video ({setting('decode.sampling.frames')})"
    return "" if costs.device else ", or a GPU, or a smaller model"


def _faster_encoding(costs: Costs, seconds: dict[str, float], config: Config) -> str:
    section = "clip" if config.vlm.model is None else "vlm"
    if not costs.device:
        return f"a GPU, more nodes ({setting('run.encoders')}), or a smaller model ({setting(f'{section}.model')})"
    share = costs.device["encode"] / seconds["encode"]
    if share < 0.5:
        return f"its device computed {share:.0%} of that time: more cores per GPU prepare pictures faster"
    return f"more GPUs ({setting('run.encoders')}), or larger batches ({setting(f'{section}.batch_size')})"
