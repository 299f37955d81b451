"""Plan: what an ingest of a source would do, and how long it would take, without doing it; nothing is written."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fuseid.core.artifacts import encodes, without_codebooks
from fuseid.core.config import Config
from fuseid.core.modalities import ENCODED
from fuseid.core.protocols import Tokenizer
from fuseid.core.surface import command
from fuseid.pipelines.assignment.champion import load_champion
from fuseid.pipelines.indexing.states import IndexState, index_states
from fuseid.pipelines.ingestion.causes import Cause, causes
from fuseid.pipelines.ingestion.intakes import intake_of, source_notes, unlisted_by
from fuseid.pipelines.ingestion.reasons import ADDS, EFFORTS, MEANINGS, Reason, Reasons
from fuseid.pipelines.ingestion.waves import Intake, Planned
from fuseid.pipelines.jobs.lease import Lease
from fuseid.pipelines.jobs.pace import Estimate, estimate
from fuseid.pipelines.jobs.progress import Progress, Stages
from fuseid.pipelines.sources.item import Source
from fuseid.pipelines.sources.passed_over import passed_over_by
from fuseid.pipelines.sources.vectors import Vectors
from fuseid.pipelines.store.generations import other_generation
from fuseid.pipelines.store.held import HeldStore
from fuseid.pipelines.store.integrity import explained_errors, find_damage
from fuseid.pipelines.store.store import Store


@dataclass(frozen=True)
class ReasonCount:
    """Items that are taken up for one reason. meaning: of the reason, for people. first: the ids of the first few."""

    reason: str
    items: int
    meaning: str
    first: list[str]


@dataclass(frozen=True)
class Fetching:
    """Media that are to be read. bytes: of the `items` whose size is known; remote_bytes: of these, what is not in
    local files. unsized: how many are there and do not say how long they are. unreachable: how many cannot be reached
    now."""

    items: int
    bytes: int
    remote_bytes: int
    unsized: int
    unreachable: int


@dataclass(frozen=True)
class Afterwards:
    """What an ingest does once all items are in. fusion: in force; champion: gives the IDs; other: the tokenizer of the
    other generation, which gives them too; None for one that does not exist. to_assign: how many items may get an ID,
    those included that have none now. indexes: those that are due then."""

    fusion: str | None
    champion: str | None
    other: str | None
    to_assign: int
    indexes: list[IndexState]


@dataclass(frozen=True)
class IngestPlan:
    """counts: as those of the run would be, as far as they are known before media are read: an item that is planned
    may turn out to be unchanged, or be rejected. reasons: of the planned items; each has one. computed: how many items
    get each vector, at most. unusable: items that planning already finds to be so, by error class. causes: what
    differs from what the stored items were made with. seconds: what listing the source and comparing it with the
    database took here, which an ingest does too. time: None if no earlier run can be compared. running: the process
    that writes to the database now; until it ends, an ingest would be refused."""

    database: str
    exists: bool
    source: str
    counts: dict[str, int]
    reasons: list[ReasonCount]
    causes: list[Cause]
    computed: dict[str, int]
    unusable: dict[str, int]
    passed_over: dict[str, int]
    fetch: Fetching
    seconds: dict[str, float]
    time: Estimate | None
    afterwards: Afterwards
    running: str | None
    notes: list[str] = field(default_factory=list)

    @property
    def is_nothing_to_do(self) -> bool:
        return not any(self.counts.get(name) for name in ("planned", "removed", "pruned"))

    def document(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        found = asdict(self)
        for cause, row in zip(self.causes, found["causes"], strict=True):
            row["text"] = str(cause)
        return {**found, "nothing_to_do": self.is_nothing_to_do}


def plan(
    uri: str, source: Source | Vectors, config: Config, progress: Progress | None = None, prune: bool = False
) -> IngestPlan:
    """What `ingest` with the same arguments would do now. The same code decides as there, up to the first write.

    Writes nothing, also no lease and no run: it works on a database that is read-only, that another run writes to, or
    that does not exist yet. Raises what would keep an ingest from starting, except LeaseHeld: BadInput, StoreError,
    FingerprintMismatch, NotReady for more to prune than `run.max_prune` allows.
    """
    progress = progress or Stages()
    started = time.perf_counter()
    with ExitStack() as stack:
        stack.enter_context(explained_errors(uri))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fuseid-plan-")))
        progress.begin("list", None)
        intake = intake_of(source, config, scratch, prune, lambda items: progress.advance("list", items))
        listed = time.perf_counter()
        there = HeldStore.open_or_none(uri)
        # In place of a database that does not exist: an empty one, which nobody else sees.
        store: Store = there or Store.create(str(scratch / "database"))
        store.check_current()
        find_damage(store)
        fusions, tokenizer = load_champion(store)
        unlisted = unlisted_by(source, intake, store, scratch) if prune else None
        intake.prepare(store, fusions)
        withdrawal = intake.withdrawal()
        _look_through(intake, progress)
        compared = time.perf_counter()
        planned = intake.plan
        counts = planned.counts | planned.found.counts()
        notes = source_notes(source, prune)
        if withdrawal is not None:
            counts |= withdrawal.counts
            notes += withdrawal.notes
        if prune:
            counts["pruned"] = sum(unlisted.counts.values()) if unlisted else 0
        passed_over = passed_over_by(source).counts
        if passed_over:
            counts["passed_over"] = passed_over.total()
        afterwards = _afterwards(store, planned, tokenizer, intake.config)
        if tokenizer is None:
            fit = command("fit", uri)
            notes.append(f"there is no tokenizer yet, so no item gets an ID; {fit} learns it once vectors are stored")
        elif not encodes(tokenizer):
            notes.append(f"{without_codebooks(tokenizer.id)}, so new items get no ID")
        return IngestPlan(
            database=uri, exists=there is not None, source=str(getattr(source, "path", source.base)), counts=counts,
            reasons=_reasons(planned.found.reasons),
            causes=causes(store, intake.config, planned.found.stale),
            computed={each.name: items for each in ENCODED if (items := planned.found.effort[each.name])},
            unusable=dict(planned.found.unusable.classes),
            passed_over=dict(passed_over.most_common()),
            fetch=_fetching(planned),
            seconds={"list": round(listed - started, 3), "compare": round(compared - listed, 3)},
            time=_time(store, intake.config, isinstance(source, Vectors), planned, afterwards),
            afterwards=afterwards, running=_running(store), notes=notes,
        )  # fmt: skip


def _look_through(intake: Intake, progress: Progress) -> None:
    progress.begin("plan", intake.items)
    shown = 0
    for _ in intake.look_through():
        progress.advance("plan", intake.plan.counts["listed"] - shown)
        shown = intake.plan.counts["listed"]
    progress.advance("plan", intake.plan.counts["listed"] - shown)


def _reasons(found: Reasons) -> list[ReasonCount]:
    there = [reason for reason in Reason if found.counts[reason]]
    return [ReasonCount(each.value, found.counts[each], MEANINGS[each], found.examples[each]) for each in there]


def _fetching(planned: Planned) -> Fetching:
    names = ("items", "bytes", "remote_bytes", "unsized", "unreachable")
    return Fetching(**{name: planned.found.fetch[name] for name in names})


def _afterwards(store: Store, planned: Planned, tokenizer: Tokenizer | None, config: Config) -> Afterwards:
    settings = store.settings()
    added = sum(planned.found.reasons.counts[reason] for reason in ADDS)
    to_assign = 0
    if tokenizer is not None and encodes(tokenizer):
        to_assign = added + (store.dataset("contents").count_rows("sid IS NULL") if store.has_contents() else 0)
    other = other_generation(settings)
    states = index_states(store, config.lookup.recall, added=added) if planned.counts["planned"] else []
    return Afterwards(
        settings.get("fusion"), settings.get("champion"), None if other is None else other.tokenizer, to_assign,
        [state for state in states if state.due],
    )  # fmt: skip


def _time(store: Store, config: Config, vectors: bool, planned: Planned, afterwards: Afterwards) -> Estimate | None:
    items = {
        "plan": planned.counts["listed"], "read": planned.counts["listed"], "commit": planned.counts["planned"],
        "assign": afterwards.to_assign, **{work: planned.found.effort[work] for work in EFFORTS},
    }  # fmt: skip
    return estimate(store, config, vectors, items)


def _running(store: Store) -> str | None:
    holder = Lease(store).live()
    return None if holder is None else f"process {holder['pid']} on {holder['host'].partition('/')[0]}"
