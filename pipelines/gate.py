"""Gate: whether the figures of a tokenizer are within the limits of the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fuseid.core.config import Config, GateConfig, LimitConfig
from fuseid.core.errors import BadInput, ConfigError
from fuseid.core.faults import reached
from fuseid.core.figures import Figure, figure_named
from fuseid.core.names import hint
from fuseid.core.surface import option, setting
from fuseid.pipelines.assignment.gate_result import put_result
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.jobs.runs import Run, writing_job
from fuseid.pipelines.reports.document import report
from fuseid.pipelines.reports.slices import FIXED
from fuseid.pipelines.store.store import Store


def gate(
    uri: str, config: Config, tokenizer_id: str, against: str | None = None, progress: Progress | None = None
) -> tuple[Run, dict[str, Any]]:
    """Compares figures of a report with the limits in `config.gate`, and stores the result, which `promote` asks for.

    against: the tokenizer from which churn is counted, by default the champion. Returns the run and `tokenizer`,
    `against`, `passed` and `limits`, one row for each: figure, value, low, high, the limit (at_least, at_most, end),
    `verdict` (`passes`, `fails` or `not measured`, which is no pass) and `why`. A tokenizer without another one to be
    compared with, because it is the champion or there is no champion, passes limits of churn.

    Raises ConfigError without limits, BadInput for a limit of a level or slice that the report does not have,
    ArtifactError for an unknown tokenizer, StoreError if the tokenizer has no IDs.
    """
    if config.gate is None:
        raise ConfigError(f"the configuration has no {setting('gate.limits')}; docs/refits.md shows how to set them")
    limits = {name: (figure_named(name), limit) for name, limit in config.gate.limits.items()}
    store = Store.open(uri)
    store.dataset("contents")
    with writing_job(store, "gate", config) as run:
        tokenizer_id = store.tokenizer_named(tokenizer_id)
        champion = store.setting("champion")
        if against is not None and store.tokenizer_named(against) == tokenizer_id:
            raise BadInput(f"{option('against')} names {tokenizer_id} itself; name another tokenizer")
        before = store.tokenizer_named(against) if against is not None else champion
        before = None if before == tokenizer_id else before
        with run.timed("measure"):
            wanted = [figure for figure, _ in limits.values()]
            figures = _measured(uri, config.gate, tokenizer_id, before, wanted, run.shown_by(progress))
        rows = [_judged(name, figure, limit, figures, before) for name, (figure, limit) in limits.items()]
        put_result(store, tokenizer_id, before, config.gate, rows)
        reached("gate.recorded")
        failed = sum(row["verdict"] != "passes" for row in rows)
        run.tokenizer_id, run.role = tokenizer_id, "champion" if tokenizer_id == champion else "candidate"
        run.counts |= {"limits": len(rows), "limits_failed": failed}
    return run, {"tokenizer": tokenizer_id, "against": before, "passed": not failed, "limits": rows}


class _Figures:
    """The figures of a report about a tokenizer, and about the churn to it if it is compared with another one."""

    def __init__(self, column: Mapping[str, Any], churn: Mapping[str, Any] | None) -> None:
        self._column, self._churn = column, churn

    def find(self, figure: Figure) -> Mapping[str, Any] | None:
        """The measure; None if it could not be measured. Raises BadInput for a level or slice that is not there."""
        part = self._churn if is_churn(figure) else self._column
        if part is None:
            return None
        inside = part if figure.by is None else _slice(part["slices"], figure)
        if inside is None:
            return None
        same = [one for one in inside["measures"] if one["name"] == figure.name]
        found = next((one for one in same if one["level"] == figure.level), None)
        if same and found is None:
            there = [str(Figure(figure.name, one["level"], figure.by, figure.value)) for one in same]
            raise BadInput(f"the report has no figure {str(figure)!r}; {hint(str(figure), there)}")
        return found if found is None or found["value"] is not None else None


def is_churn(figure: Figure) -> bool:
    return figure.name.startswith("churn")


def _slice(slices: list[dict[str, Any]], figure: Figure) -> Mapping[str, Any] | None:
    """None for one that has no item now. Raises BadInput for one that the report does not know."""
    names = {f"{one['by'].removeprefix('attributes.')} = {one['value']}": one for one in slices if not one["rest"]}
    wanted = f"{figure.by} = {figure.value}"
    sliced = figure.by in {one["by"] for one in slices}
    if wanted not in names and not (sliced and figure.value in FIXED.get(figure.by or "", ())):
        raise BadInput(f"the report has no slice {wanted!r} for {str(figure)!r}; {hint(wanted, names)}")
    return names.get(wanted)


def _measured(
    uri: str, config: GateConfig, tokenizer_id: str, before: str | None, figures: Iterable[Figure], progress: Progress
) -> _Figures:
    attributes = dict.fromkeys(one.by for one in figures if one.by not in (None, *FIXED))
    document = report(
        uri, before or tokenizer_id, compare=None if before is None else tokenizer_id, sample=config.sample,
        popularity=config.popularity, attributes=[by for by in attributes if by], cold=False, progress=progress,
    )  # fmt: skip
    return _Figures(document["tokenizers"][-1], document["churn"])


def _judged(name: str, figure: Figure, limit: LimitConfig, figures: _Figures, before: str | None) -> dict[str, Any]:
    row = {"figure": name, "value": None, "low": None, "high": None, **limit.model_dump()}
    if is_churn(figure) and before is None:
        return row | {"verdict": "passes", "why": "there is no other tokenizer to compare with"}
    found = figures.find(figure)
    if found is None:
        return row | {"verdict": "not measured", "why": "the report has no such figure of this tokenizer"}
    row |= {key: found[key] for key in ("value", "low", "high")}
    worst_first = {"worse": ("low", "high"), "middle": ("value", "value"), "better": ("high", "low")}[limit.end]
    above, below = (row["value"] if row[end] is None else row[end] for end in worst_first)
    fails = (limit.at_least is not None and above < limit.at_least) or (
        limit.at_most is not None and below > limit.at_most
    )
    return row | {"verdict": "fails" if fails else "passes", "why": None}
