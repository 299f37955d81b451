"""Prints the history of runs and the list of tokenizers as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fuseid.apps.show import costs_of, measured, out, print_rows
from fuseid.pipelines.jobs.progress import duration
from fuseid.pipelines.runs import History, RunInfo
from fuseid.pipelines.tokenizers import TokenizerInfo

# The counts that say what became of the items, in this order; others follow.
_FIRST = ("done", "left", "listed", "committed", "rejected", "incomplete", "unchanged", "assigned", "removed", "pruned")


def print_history(history: History) -> None:
    shown = [
        {
            "run": run.run_id,
            "job": run.job,
            "outcome": run.outcome if run.host is None else f"running as {run.pid} on {run.host}",
            "started (UTC)": f"{run.started_at:%Y-%m-%d %H:%M}",
            "took": duration(run.seconds),
            "items/s": "" if run.items_per_second is None else f"{run.items_per_second:,.1f}",
            "counts": _counts(run),
        }
        for run in history.runs
    ]
    print_rows(shown, ("run", "job", "outcome", "started (UTC)", "took", "items/s", "counts"), title="runs")
    if history.runs:
        newest = history.runs[0]
        stages = [
            {
                "stage": row["stage"],
                "seconds": f"{row['seconds']:,.1f}",
                "items/s": "" if row["items_per_second"] is None else f"{row['items_per_second']:,.1f}",
                **costs_of(row),
            }
            for row in newest.stages
        ]
        print_rows(stages, ("stage", "seconds", "items/s", *measured(stages)), title=f"stages of {newest.run_id}")
    if any(run.counts.get("incomplete") for run in history.runs):
        out.print(
            "incomplete: items that lack a vector which its encoder could not compute; the report counts those of now, "
            "and says how to list them and to try again"
        )
    ages = [
        {"job": each.job, "run": each.run_id, "ended": f"{duration(each.age_seconds)} ago"}
        for each in history.last_success
    ]
    print_rows(ages, ("job", "run", "ended"), title="last success of each job")


def print_tokenizers(found: Sequence[TokenizerInfo]) -> None:
    rows = [
        {
            "tokenizer": each.id,
            "role": each.role,
            "since (UTC)": "" if each.since is None else f"{each.since:%Y-%m-%d %H:%M}",
            "generation": "" if each.generation is None else each.generation,
            "sizes": "-".join(map(str, each.codebook_sizes)),
            "items": f"{each.items:,}",
            "collisions": "shared" if each.collisions is None else f"{each.collisions:,}",
            "R² by level": _figures(each.r2),
            "held-out R²": "" if each.held_out_r2 is None else f"{each.held_out_r2:.3f}",
            "held-out bits": _figures(each.held_out_entropy),
        }
        for each in found
    ]
    several = len({each.generation for each in found}) > 1
    columns = (
        "tokenizer", "role", "since (UTC)", *(["generation"] if several else []), "sizes", "items",
        "collisions", "R² by level", "held-out R²", "held-out bits",
    )  # fmt: skip
    print_rows(rows, columns)
    for each in found:
        if each.problem:
            out.print(f"{each.id}: {each.problem}", markup=False)


def _counts(run: RunInfo) -> str:
    names = sorted(run.counts, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    return ", ".join(f"{name} {run.counts[name]:,}" for name in names if run.counts[name])


def _figures(values: Iterable[float] | None) -> str:
    return "" if values is None else " ".join(f"{value:.2f}" for value in values)
