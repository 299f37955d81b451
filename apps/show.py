"""The output of the command line: tables or JSON on standard output, progress bars on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fuseid.apps import logs
from fuseid.core.text import shown

if TYPE_CHECKING:
    from fuseid.pipelines.jobs.progress import Lines


class _SafeConsole(Console):
    """Prints text in which nothing but line ends steers the terminal, wherever its parts come from."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*map(_safe, objects), **options)


def _safe(value: Any) -> Any:
    if isinstance(value, str):
        return "\n".join(map(shown, value.split("\n")))
    if isinstance(value, Text):
        value.plain = _safe(value.plain)
    return value


# In a file or a pipe, a table may be wider than the default of 80 columns.
out = _SafeConsole(highlight=False, width=None if sys.stdout.isatty() else 140)
err = _SafeConsole(stderr=True, highlight=False)


class Bars:
    """A `Progress` of pipelines as bars on standard error; where that is not a terminal, as lines of the log."""

    def __init__(self, quiet: bool = False) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._is_shown = err.is_terminal and not quiet and not logs.is_json()
        self._bars = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), console=err, disable=not self._is_shown,
        )  # fmt: skip
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Bars | Lines:
        from fuseid.pipelines.jobs.progress import Lines

        self._bars.start()
        return self if self._is_shown else Lines()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, stage: str, total: int | None) -> None:
        for task in self._bars.tasks:
            if task.total is None:  # its end was unknown, and is reached now that another stage begins
                self._bars.update(task.id, total=task.completed or 1, completed=task.completed or 1)
        if stage in self._tasks:
            self._bars.reset(self._tasks[stage], total=total)
        else:
            self._tasks[stage] = self._bars.add_task(stage, total=total)

    def advance(self, stage: str, done: int) -> None:
        self._bars.advance(self._tasks[stage], done)

    def note(self, text: str) -> None:
        self._bars.console.print(Text(text))


def print_json(value: Any) -> None:
    # In one write: a signal between two writes would leave half a document.
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=_plain) + "\n")


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], title: str | None = None) -> None:
    """Prints a table; the cells are plain text, in which markup and control characters have no effect."""
    _title(title)
    table = Table(show_edge=False, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold" if name in ("content_id", "sid") else "ellipsis", max_width=60)
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    out.print(table)


def print_facts(facts: Mapping[str, Any], title: str | None = None) -> None:
    _title(title)
    table = Table(show_header=False, show_edge=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, _cell(value))
    out.print(table)


def flat(facts: Mapping[str, Any], parts: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of the nested mappings under `parts`."""

    def below(name: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                yield from below(f"{name}.{key}", inner)
        elif value is not None:
            yield name, value

    for part in parts:
        yield from below(part, facts.get(part))


def print_run(run: Any, as_json: bool) -> None:
    """Prints the results of a job: counts, rejections by class, the time of each stage, and what to do next."""
    if as_json:
        print_json(run.summary())
        return
    print_facts(run.counts, title=f"{run.job} {run.run_id}")
    if run.rejected:
        rejected = [{"error_class": name, "items": items} for name, items in run.rejected.most_common()]
        print_rows(rejected, ("error_class", "items"), title="rejected")
    stages = [
        {
            "stage": row["stage"],
            "seconds": f"{row['seconds']:.2f}",
            "items": f"{row['items']:,}" if row["items"] else "",
            "items/s": "" if row["items_per_second"] is None else f"{row['items_per_second']:,.0f}",
            **costs_of(row),
        }
        for row in run.stages()
    ]
    if stages:
        print_rows(stages, ("stage", "seconds", "items", "items/s", *measured(stages)), title="stages")
    for note in run.notes:
        out.print(Text(note))


def costs_of(stage: Mapping[str, Any]) -> dict[str, str]:
    """The cells of a stage of a run that say what it costs: core-seconds and device-seconds per thousand items, and the
    share of the time that it was at work."""
    cores, device = (stage[f"{kind}_seconds_per_thousand_items"] for kind in ("core", "device"))
    return {
        "core-s/1000": "" if cores is None else f"{cores:.2f}",
        "device-s/1000": "" if device is None else f"{device:.2f}",
        "busy": "" if stage["busy"] is None else f"{stage['busy']:.0%}",
    }


def measured(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of `costs_of` that have anything in them."""
    return [name for name in ("core-s/1000", "device-s/1000", "busy") if any(row[name] for row in rows)]


def _title(title: str | None) -> None:
    if title:
        out.print(Text(shown(title), style="bold"))


def _cell(value: Any) -> Text:
    if value is None:
        return Text("")
    if isinstance(value, float):
        return Text(f"{value:.3f}")
    if isinstance(value, list | tuple):
        value = ", ".join(f"{v:.2f}" if isinstance(v, float) else str(v) for v in value)
    if isinstance(value, dict):
        value = json.dumps(value, ensure_ascii=False)
    return Text(shown(str(value)))
