"""Why stored items are to be decoded, encoded or described again: the keys of the configuration that differ from the
run that wrote them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from fuseid.core.config import Config
from fuseid.core.errors import FuseidError
from fuseid.core.fingerprints import STEP_VERSIONS
from fuseid.pipelines.jobs.runs import run_of
from fuseid.pipelines.store.rows import sql_string
from fuseid.pipelines.store.store import Store

# By column of fingerprints: what is done again, and the keys that its fingerprint depends on.
_VLM = ("model", "revision", "frames", "precision")
_STAGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "decode_fp": ("decoded", "decode", ("sampling", "long_side", "video_decoder")),
    "clip_fp": ("encoded", "clip", ("model", "revision", "precision")),
    "vlm_fp": ("encoded", "vlm", (*_VLM, "prompt", "system", "pooling", "dim")),
    "describe_fp": ("described", "vlm", (*_VLM, "caption", "tags", "max_new_tokens")),
}


@dataclass(frozen=True)
class Change:
    """A key of the configuration: its value in the run that wrote the items, and now. None is `not set`, as of a model
    that is switched off."""

    key: str
    before: Any
    now: Any


@dataclass(frozen=True)
class Cause:
    """column: of the fingerprint that differs. items: how many planned items have it. done_again: `decoded`, `encoded`
    or `described`. run_id: of a run that wrote such items; None if it is not known any more. changes: the keys that
    differ; none if that run had the same, or is not known."""

    column: str
    items: int
    done_again: str
    run_id: str | None
    changes: list[Change]

    def __str__(self) -> str:
        keys = ", ".join(f"{each.key} was {_shown(each.before)} and is {_shown(each.now)}" for each in self.changes)
        stage = self.column.removesuffix("_fp")
        if self.run_id is None:
            keys = "the run that wrote them is not known any more"
        elif not keys:
            version = f", whose version of this step is {STEP_VERSIONS[stage]}" if stage in STEP_VERSIONS else ""
            files = "" if stage == "decode" else "the model's files are others, or it is "
            keys = f"no key differs from the run {self.run_id}: {files}this fuseid{version}"
        return f"{self.items:,} items are {self.done_again} again ({self.column}): {keys}"


def causes(store: Store, config: Config, stale: Counter[tuple[str, str | None]]) -> list[Cause]:
    """stale: see `Plan`. The commonest first."""
    found = []
    for (column, mark), items in stale.most_common():
        done_again, section, keys = _STAGES[column]
        where = f"{column} IS NULL" if mark is None else f"{column} = {sql_string(mark)}"
        rows = store.dataset("contents").to_table(columns=["run_id"], filter=where, limit=1)["run_id"].to_pylist()
        run_id, before = rows[0] if rows else None, None
        if run_id is not None:
            try:
                before, _ = run_of(store, run_id)
            except FuseidError:  # of another fuseid, or its row is gone
                run_id = None
        changes = [] if before is None else _changes(section, keys, before, config)
        found.append(Cause(column, items, done_again, run_id, changes))
    return found


def _changes(section: str, keys: tuple[str, ...], before: Config, now: Config) -> list[Change]:
    one, other = (_flat(section, getattr(config, section), keys) for config in (before, now))
    names = dict.fromkeys((*one, *other))
    return [Change(key, one.get(key), other.get(key)) for key in names if one.get(key) != other.get(key)]


def _flat(section: str, values: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    """The values of a section by dotted key; none of a section that is switched off."""
    flat: dict[str, Any] = {}
    for key, value in ({} if values is None else values.model_dump(mode="json")).items():
        if key in keys and isinstance(value, dict):
            flat |= {f"{section}.{key}.{inner}": one for inner, one in value.items()}
        elif key in keys:
            flat[f"{section}.{key}"] = value
    return flat


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)
