"""Compared tokenizers as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from fuseid.apps.show import out, print_rows
from fuseid.core.surface import option
from fuseid.pipelines.assignment.comparison import Compared
from fuseid.tokenizers.measures import Measure


def print_comparison(rows: Sequence[Compared], kept: str | None) -> None:
    """kept: the name of the one that was made a candidate."""
    columns = ("tokenizer", "held-out R²", "entropy by level", "collisions %", "recall@10 %", "fit s")
    print_rows([_row(each) for each in rows], columns, title="compared on the same items")
    for each in rows:
        if each.problem is not None:
            out.print(Text(f"{each.name}: {each.problem}"))
    measured = next((each for each in rows if each.figures is not None), None)
    if measured is None:
        return
    if measured.held_out:
        out.print(Text(f"R², entropy and recall of {measured.held_out:,} items that no fit has seen; collisions among "
                       f"these and {measured.measured:,} others"))  # fmt: skip
    else:
        out.print(Text("too few items to hold any out: the figures are of items that were fitted on"))
    if measured.figures is not None and measured.figures.recall.null is not None:
        out.print(Text(f"recall@10 of the same IDs given to other items: {100 * measured.figures.recall.null:.2f}%"))
    if kept is None:
        out.print(Text(f"no item was given an ID; {option('keep', measured.name)} makes one of these a candidate"))


def _row(each: Compared) -> dict[str, str]:
    row = {"tokenizer": each.name, "fit s": f"{each.seconds:.1f}"}
    if each.figures is None:
        return row | {"held-out R²": "failed"}
    entropies = ", ".join(f"{measure.value:.3f}" for measure in each.figures.normalised_entropy)
    return row | {
        "held-out R²": _figure(each.figures.r2),
        "entropy by level": entropies,
        "collisions %": _figure(each.figures.collisions, 100),
        "recall@10 %": _figure(each.figures.recall, 100),
    }


def _figure(measure: Measure, unit: int = 1) -> str:
    """`0.467 (0.465 to 0.469)`, with the 95% interval."""
    digits = 3 if unit == 1 else 2
    value = f"{unit * measure.value:.{digits}f}"
    if measure.low is None or measure.high is None:
        return value
    return f"{value} ({unit * measure.low:.{digits}f} to {unit * measure.high:.{digits}f})"
