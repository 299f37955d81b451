"""How long an ingest will take, by the rates of earlier runs on the same database."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from fuseid.core.config import Config
from fuseid.pipelines.store.store import Store

# The last runs that are looked at, and of those that can be compared, how many are used.
_LOOKED_AT, _USED = 50, 5
# A run that finished fewer items than this share of the planned ones tells little: its start counts for too much.
_ENOUGH = 0.1
# By stage, which count of a run it grows with; the first that a run has.
_GROWS_WITH = {
    "plan": ("listed",),
    "read": ("listed",),
    "decode": ("to_decode", "finished"),
    "encode": ("to_encode", "committed"),
    "commit": ("finished",),
    "assign": ("assigned",),
}
# Shorter ones are not worth a line.
_SHORTEST = 0.01
# Stages that run once, at the end, and take about as long as before whatever was planned.
_AT_THE_END = ("fuse", "maintain")
# What decides how long an item takes. A section that the run did not use is None.
_DECODING = ("sampling", "long_side", "video_decoder")
_ENCODING = ("model", "precision", "frames", "caption", "tags", "max_new_tokens", "dim")


@dataclass(frozen=True)
class Span:
    """Seconds: the median over the runs, and the least and the most of them."""

    middle: float
    least: float
    most: float

    @classmethod
    def of(cls, seconds: list[float]) -> Span:
        return cls(*(round(value, 3) for value in (median(seconds), min(seconds), max(seconds))))


@dataclass(frozen=True)
class StageTime:
    """items: that go through the stage, None for one that does not grow with them. per_thousand: seconds for a thousand
    items; those of decode and encode are added over all their processes."""

    stage: str
    items: int | None
    per_thousand: Span | None
    seconds: Span


@dataclass(frozen=True)
class Estimate:
    """runs: the ids of the runs that it is drawn from, the newest first. enough: whether these finished at least a
    tenth of the items that are planned now; otherwise their start counts for too much, and the estimate is too long.
    busy: how many processes were at work at a time in them, on average; a run does not record its runner and its host,
    which this shows instead. seconds: from start to end; stages overlap as they did in those runs."""

    runs: list[str]
    enough: bool
    busy: float
    stages: list[StageTime]
    seconds: Span


@dataclass(frozen=True)
class _Past:
    run_id: str
    counts: dict[str, int]
    seconds: dict[str, float]

    @property
    def finished(self) -> int:
        return self.counts.get("committed", 0) + self.counts.get("rejected", 0)

    def rate(self, stage: str) -> float | None:
        """Seconds per item; None if the run says nothing about it."""
        counts = self.counts | {"finished": self.finished}
        items = next((counts[name] for name in _GROWS_WITH[stage] if name in counts), 0)
        return self.seconds[stage] / items if items and stage in self.seconds else None

    @property
    def overlap(self) -> float:
        """The seconds on the clock for each second of work in the stages before the end."""
        late = sum(self.seconds.get(stage, 0.0) for stage in ("assign", "remove", *_AT_THE_END))
        work = sum(self.seconds.get(stage, 0.0) for stage in ("plan", "read", "decode", "encode", "commit"))
        return max(0.0, self.seconds["total"] - late) / work if work else 1.0


def estimate(store: Store, config: Config, vectors: bool, items: Mapping[str, int]) -> Estimate | None:
    """None if no run can be compared: one that took items in, of the same kind of source and with the same models.

    vectors: whether the source has ready-made vectors. items: by stage, how many will go through it.
    """
    past = _comparable(store, config, vectors)
    planned = items.get("commit", 0)
    large = [run for run in past if run.finished >= _ENOUGH * planned]
    used = (large or past)[:_USED]
    if not used:
        return None
    stages, totals = [], dict.fromkeys((run.run_id for run in used), 0.0)
    for stage in _GROWS_WITH:
        rates = {run.run_id: rate for run in used if (rate := run.rate(stage)) is not None}
        if not rates or not items.get(stage):
            continue
        seconds = [rate * items[stage] for rate in rates.values()]
        per_thousand = Span.of([1000 * rate for rate in rates.values()])
        stages.append(StageTime(stage, items[stage], per_thousand, Span.of(seconds)))
        for run in used:
            took = rates.get(run.run_id, median(rates.values())) * items[stage]
            totals[run.run_id] += took * (1.0 if stage == "assign" else run.overlap)
    for stage in _AT_THE_END:
        seconds = [run.seconds[stage] for run in used if stage in run.seconds]
        if max(seconds, default=0.0) >= _SHORTEST:
            stages.append(StageTime(stage, None, None, Span.of(seconds)))
            for run in used:
                totals[run.run_id] += run.seconds.get(stage, median(seconds))
    busy = round(median(1 / run.overlap if run.overlap else 1.0 for run in used), 2)
    return Estimate([run.run_id for run in used], bool(large), busy, stages, Span.of(list(totals.values())))


def _comparable(store: Store, config: Config, vectors: bool) -> list[_Past]:
    table = store.dataset("runs").to_table(
        columns=["run_id", "started_at", "config", "counts", "seconds"], filter="job = 'ingest' AND outcome = 'done'"
    )
    rows = table.sort_by([("started_at", "descending")]).slice(0, _LOOKED_AT).to_pylist()
    wanted = _manner(config.model_dump(mode="json"))
    found = []
    for row in rows:
        past = _Past(row["run_id"], json.loads(row["counts"]), json.loads(row["seconds"]))
        is_same = ("read" in past.seconds) == vectors and (vectors or _manner(json.loads(row["config"])) == wanted)
        if is_same and past.finished and past.seconds.get("total"):
            found.append(past)
    return found


def _manner(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by which two runs can be compared. config: also that of another fuseid."""
    decode = config.get("decode") or {}
    manner: dict[str, Any] = {name: decode.get(name) for name in _DECODING}
    for section in ("clip", "vlm"):
        keys = config.get(section) or {}
        manner[section] = {name: keys.get(name) for name in _ENCODING} if keys.get("model") else None
    return manner
