"""Prints a plan as tables: what would be done and why, what it costs by earlier runs, what comes after it."""

from __future__ import annotations

from rich.text import Text

from fuseid.apps.show import out, print_facts, print_rows
from fuseid.pipelines.jobs.pace import Estimate, Span
from fuseid.pipelines.jobs.progress import duration
from fuseid.pipelines.plan import Afterwards, Fetching, IngestPlan

_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_ALWAYS = ("listed", "unchanged", "planned")
_COUNTS = ("listed", "unchanged", "rejected_before", "missing_kept", "planned", "removed", "removed_unknown", "pruned")


def print_plan(plan: IngestPlan) -> None:
    is_new = "" if plan.exists else ", which does not exist yet"
    facts = {name: f"{plan.counts.get(name, 0):,}" for name in _COUNTS if name in _ALWAYS or plan.counts.get(name)}
    if plan.passed_over:
        facts["passed over"] = ", ".join(f"{items:,} {kind}" for kind, items in plan.passed_over.items())
    print_facts(facts, title=f"what an ingest of {plan.source} would do to {plan.database}{is_new}")
    if plan.reasons:
        rows = [
            {"why": each.reason, "items": f"{each.items:,}", "that is": each.meaning, "such as": ", ".join(each.first)}
            for each in plan.reasons
        ]
        print_rows(rows, ("why", "items", "that is", "such as"), title="planned")
    for cause in plan.causes:
        out.print(Text(str(cause), style="yellow"))
    if plan.unusable:
        named = ", ".join(f"{items:,} {error_class}" for error_class, items in plan.unusable.items())
        out.print(Text(f"will be rejected, as far as is known before media are read: {named}"))
    if plan.counts["planned"]:
        _print_work(plan)
    if plan.is_nothing_to_do:
        out.print(Text("there is nothing to do"))
    if plan.running:
        out.print(Text(f"{plan.running} writes to the database now; until it ends, an ingest ends with status 3"))
    for note in plan.notes:
        out.print(Text(note))


def _print_work(plan: IngestPlan) -> None:
    facts = {"media to read": _fetching(plan.fetch)}
    if plan.computed:
        facts["vectors to compute"] = ", ".join(f"{name} {items:,}" for name, items in plan.computed.items())
    facts |= _afterwards(plan.afterwards)
    print_facts(facts, title="work")
    if plan.time is None:
        out.print(
            Text(
                "how long it takes is not known: no earlier ingest with these models can be compared. Ingest a small "
                "part of the source first, some thousand items: they are not computed again"
            )
        )
        return
    _print_time(plan.time)


def _print_time(time: Estimate) -> None:
    rows = [
        {
            "stage": stage.stage,
            "items": "" if stage.items is None else f"{stage.items:,}",
            "seconds per thousand": "" if stage.per_thousand is None else f"{stage.per_thousand.middle:,.3f}",
            "takes": duration(stage.seconds.middle),
            "least to most": _range(stage.seconds),
        }
        for stage in time.stages
    ]
    rows.append(
        {"stage": "from start to end", "takes": duration(time.seconds.middle), "least to most": _range(time.seconds)}
    )
    count = len(time.runs)
    title = f"time, by {'the last run' if count == 1 else f'the last {count} runs'} that can be compared"
    print_rows(rows, ("stage", "items", "seconds per thousand", "takes", "least to most"), title=title)
    out.print(
        Text(
            f"decode and encode: added over all processes; in those runs {time.busy:.1f} worked at a time. Another "
            "machine, or another runner, has other rates"
        )
    )
    if not time.enough:
        out.print(
            Text("these runs were less than a tenth as large, and their start counts for much: it will take less")
        )


def _afterwards(afterwards: Afterwards) -> dict[str, str]:
    facts = {}
    if afterwards.champion is not None:
        facts["IDs"] = f"{afterwards.champion} gives them to up to {afterwards.to_assign:,} items"
    if afterwards.other is not None:
        facts["IDs of the other generation"] = afterwards.other
    if afterwards.indexes:
        facts["indexes at the end"] = ", ".join(f"{state.name}: {state.due}" for state in afterwards.indexes)
    return facts


def _fetching(fetch: Fetching) -> str:
    total = fetch.items + fetch.unsized + fetch.unreachable
    parts = [
        f"{total:,} {'file' if total == 1 else 'files'}",
        f"{_bytes(fetch.bytes)} ({_bytes(fetch.remote_bytes)} remote)",
    ]
    if fetch.unsized:
        parts.append(f"and {fetch.unsized:,} of unknown size")
    if fetch.unreachable:
        parts.append(f"and {fetch.unreachable:,} that cannot be reached now")
    return ", ".join(parts)


def _bytes(count: int) -> str:
    return next((f"{count / size:,.1f} {unit}" for size, unit in _UNITS if count >= size), f"{count:,} bytes")


def _range(span: Span) -> str:
    return f"{duration(span.least)} to {duration(span.most)}"
