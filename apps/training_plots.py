"""The plots of a report's page that show how the fit of a tokenizer, and of its fusion, went, epoch by epoch, if they
were trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fuseid.apps.charts import Axis, Plot, Point, Series, linear

Column = Mapping[str, Any]


def training_plots(columns: Sequence[Column], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """{"title", "note", "legend", "drawn", "dots"} each: every learned fusion; R² of all tokenizers that were trained,
    then the levels of each."""
    fusions = {column["fusion"]["id"]: column["fusion"] for column in columns if column.get("fusion")}
    for fusion in fusions.values():
        yield _fusion(fusion, f", {fusion['id']}" if len(fusions) > 1 else "")
    trained = [(column, name) for column, name in zip(columns, names, strict=True) if column["history"]]
    if not trained:
        return
    several = len(columns) > 1
    yield _r2(trained, several)
    for column, name in trained:
        yield _levels(column, f", {name}" if several else "")


def _fusion(fusion: Mapping[str, Any], of: str) -> dict[str, Any]:
    series = []
    for name, text, style in (("hit@10", "partners", "s1"), ("content_kept", "content neighbours", "s2")):
        points = [
            Point(row["epoch"], row[name], tooltip=f"epoch {row['epoch']}: {row[name]:.1%} of {text}")
            for row in fusion["history"]
        ]
        series.append(Series(text, style, points))
    y = Axis("share among the 10 nearest", 0.0, 1.0, [(0.0, "0%"), (0.5, "50%"), (1.0, "100%")])
    note = (
        f"How many of the partners in {fusion['held_out_pairs']:,} held-out pairs, and of the 10 nearest items by the "
        f"linear fusion, are among the 10 nearest. Epoch 0 is the linear fusion; epoch {fusion['best_epoch']} was kept."
    )
    plot = Plot("partners and content neighbours found by epoch", _epochs([fusion]), y).lines(series)
    legend = [(one.style, one.name) for one in series]
    return {
        "title": f"What the fusion learned{of}",
        "note": note,
        "legend": legend,
        "drawn": plot.drawn(),
        "dots": False,
    }


def _r2(trained: Sequence[tuple[Column, str]], several: bool) -> dict[str, Any]:
    series = []
    for number, (column, name) in enumerate(trained, 1):
        points = [
            Point(row["epoch"], row["r2"], tooltip=f"epoch {row['epoch']}: R² {row['r2']:.4f}")
            for row in column["history"]
        ]
        series.append(Series(f"R²{f', {name}' if several else ''}", f"s{number}", points))
    values = [point.y for one in series for point in one.points]
    y = linear("R² of held-out vectors", min(values), max(values), "{:.3g}".format)
    kept = " and ".join(f"epoch {column['fit']['best_epoch']}" for column, _ in trained)
    note = f"Of vectors that the fit did not learn from. Epoch 0 is before the training; {kept} was kept."
    plot = Plot("R² of held-out vectors by epoch", _epochs([column for column, _ in trained]), y)
    legend = [(one.style, one.name) for one in series]
    return {
        "title": "How the fit went",
        "note": note,
        "legend": legend,
        "drawn": plot.lines(series).drawn(),
        "dots": False,
    }


def _levels(column: Column, of: str) -> dict[str, Any]:
    series = []
    for name, text, style in (("entropy", "entropy", ""), ("residual", "left", " second")):
        for level in range(len(column["codebook_sizes"])):
            points = [Point(row["epoch"], row[name][level], tooltip=_tooltip(row, level)) for row in column["history"]]
            series.append(Series(f"{text} {level + 1}", f"s{level % 4 + 1}{style}", points))
    y = Axis("entropy; share left", 0.0, 1.0, [(0.0, "0%"), (0.5, "50%"), (1.0, "100%")])
    note = (
        "Normalised entropy of each level's codes, and what the level leaves of the latents' norm. Where entropy "
        "falls, a level collapses; where more is left, latents move away from their codes."
    )
    plot = Plot("entropy and residual of each level by epoch", _epochs([column]), y).lines(series)
    legend = [(one.style, one.name) for one in series]
    return {"title": f"The levels, by epoch{of}", "note": note, "legend": legend, "drawn": plot.drawn(), "dots": False}


def _tooltip(row: Mapping[str, Any], level: int) -> str:
    return (
        f"epoch {row['epoch']}, level {level + 1}: entropy {row['entropy'][level]:.1%}, "
        f"{row['dead'][level]} dead codes, {row['residual'][level]:.1%} left"
    )


def _epochs(columns: Sequence[Column]) -> Axis:
    last = max(column["history"][-1]["epoch"] for column in columns)
    step = max(1, -(-last // 10))
    ticks = [(float(epoch), str(epoch)) for epoch in range(0, last + 1, step)]
    return Axis("epoch", -0.4, last + 0.4, ticks)
