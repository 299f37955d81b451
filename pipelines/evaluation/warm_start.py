"""Warm start: how soon a recommender of the old IDs is as good with new ones, compared with one that starts from
scratch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fuseid.core.errors import BadInput
from fuseid.core.platform import usable_cores
from fuseid.core.surface import option
from fuseid.pipelines.evaluation.carrying import K, Start, Tested, Training, run_training
from fuseid.pipelines.evaluation.controls import Ids
from fuseid.pipelines.evaluation.estimate import trial_seconds
from fuseid.pipelines.evaluation.evaluate import check_counts, ids_of_another, opened_sequences, read_ids
from fuseid.pipelines.evaluation.histories import read_sequences
from fuseid.pipelines.evaluation.intervals import estimates
from fuseid.pipelines.evaluation.leaks import check_unseen
from fuseid.pipelines.evaluation.settings import TINY, Setting, for_examples
from fuseid.pipelines.evaluation.trial import Data, Trial
from fuseid.pipelines.evaluation.workers import one_thread, run_jobs
from fuseid.pipelines.exports.snapshot import Snapshot
from fuseid.pipelines.jobs.progress import Lines, Progress, duration, note
from fuseid.pipelines.store.store import Store
from fuseid.tokenizers.alignment import kept

OLD, SCRATCH, CARRIED = "old", "scratch", "old model"
RECALL, LOSS = f"recall@{K}", "loss"
# The numbers of steps that are tried, as divisors of those of the old model; 0 steps besides.
_DIVISORS = (27, 9, 3, 1)
# Reached is this share of the old recall, and of the old probability of a target (its geometric mean). Without it, a
# model that is exactly as good as the old one would fail as often as not.
SHARE = 0.95
_RESAMPLES = 1000


@dataclass(frozen=True)
class Row:
    """The trainings on one new tokenizer's IDs, from scratch or from the old model's weights."""

    ids: Ids
    start: str
    steps: tuple[int, ...]


def warm_start(
    uri: str,
    folder: Path,
    new: Sequence[str],
    tokenizer_id: str | None = None,
    *,
    seeds: int = 5,
    setting: Setting = TINY,
    users: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """A plain dictionary that can be written as JSON. For every seed one model is trained on the old IDs, those of the
    sequences in `folder`, for `setting.steps` steps; then models on the IDs of each new tokenizer, each for 0, a 27th,
    a ninth, a third and all of these steps, from the old model's weights and, on the first tokenizer's IDs, also from
    scratch. docs/evaluation.md says what is measured.

    new: ids of tokenizers. The other arguments are those of `evaluate`. Raises what `evaluate` raises, and BadInput for
    a new tokenizer that is the old one or is named twice.
    """
    progress = progress or Lines()
    started = time.perf_counter()
    chosen = setting if users is None else replace(setting, users=users)
    check_counts(seeds, users)
    store = Store.open(uri)
    new = [store.tokenizer_named(name) for name in new]
    if not new or len(set(new)) < len(new):
        raise BadInput(f"{option('warm_start')} takes one or more tokenizers, each once")
    manifest = opened_sequences(uri, folder, tokenizer_id)
    check_unseen(uri, folder, manifest, [manifest["tokenizer_id"], *new], progress)
    names, old = read_ids(Snapshot.of_manifest(uri, manifest), OLD)
    others = [ids_of_another(uri, manifest, name, names, "warm_start") for name in new]
    sequences = read_sequences(
        folder, names, history=chosen.history, train=chosen.steps * chosen.batch, valid=chosen.valid_examples,
        users=chosen.users, progress=progress,
    )  # fmt: skip
    chosen = for_examples(chosen, sequences.counts["train"])
    data, parallel = Data(sequences, chosen), workers or usable_cores()
    rows = rows_of(others, chosen.steps)
    _announce(data, old, rows, seeds, parallel, progress)
    before, after = train_all(data, old, rows, seeds, parallel, progress)
    _, user_E = np.unique(sequences.test.user_E, return_inverse=True)
    return {
        "database": uri,
        "sequences": str(folder),
        "tokenizer_id": manifest["tokenizer_id"],
        "codebook_sizes": list(old.codebook_sizes),
        "versions": manifest["versions"],
        "setting": asdict(chosen),
        "seeds": seeds,
        "items": len(names),
        "examples": {**sequences.counts, "tested": len(sequences.test), "users": len(np.unique(user_E))},
        **measured(old, rows, before, after, user_E, chosen.steps),
        "seconds": time.perf_counter() - started,
    }


def rows_of(new: Sequence[Ids], steps: int) -> list[Row]:
    tried = tuple(dict.fromkeys(max(1, steps // divisor) for divisor in _DIVISORS))
    return [Row(new[0], SCRATCH, tried), *(Row(ids, CARRIED, (0, *tried)) for ids in new)]


def train_all(
    data: Data, old: Ids, rows: Sequence[Row], seeds: int, workers: int, progress: Progress
) -> tuple[list[Tested], list[list[list[Tested]]]]:
    """-> (the old models, by seed; those of each row, by number of steps and seed)."""
    first = [Training(old, seed, data.setting.steps, keep=True) for seed in range(seeds)]
    before = run_jobs(run_training, data, first, [job.steps for job in first], workers, progress, "train on old IDs")
    starts: dict[str, list[Start | None]] = {
        SCRATCH: [None] * seeds,
        CARRIED: [Start(old, one.weights) for one in before],
    }
    jobs = [
        Training(row.ids, seed, steps, starts[row.start][seed])
        for row in rows
        for steps in row.steps
        for seed in range(seeds)
    ]
    found = iter(run_jobs(run_training, data, jobs, [job.steps for job in jobs], workers, progress, "train on new IDs"))
    return before, [[[next(found) for _ in range(seeds)] for _ in row.steps] for row in rows]


def measured(
    old: Ids,
    rows: Sequence[Row],
    before: Sequence[Tested],
    after: Sequence[Sequence[Sequence[Tested]]],
    user_E: np.ndarray,
    steps: int,
) -> dict[str, Any]:
    """The part of the document that follows from the trainings."""
    old_VSE = _values(before)
    return {
        "share": SHARE,
        "old": {"steps": steps, **_measures(old_VSE, user_E)},
        "new": [
            {
                "tokenizer_id": row.ids.name,
                "codebook_sizes": list(row.ids.codebook_sizes),
                "start": row.start,
                "kept": kept(old.codes_NM[:, :-1], row.ids.codes_NM[:, :-1]),
                "curve": [
                    {"steps": steps, **_measures(_values(tested), user_E)}
                    for steps, tested in zip(row.steps, curve, strict=True)
                ],
                "reached": _reached(old_VSE, np.stack([_values(tested) for tested in curve]), row.steps, user_E),
            }
            for row, curve in zip(rows, after, strict=True)
        ],
    }


def _announce(data: Data, old: Ids, rows: Sequence[Row], seeds: int, workers: int, progress: Progress) -> None:
    with one_thread():
        each = trial_seconds(data, Trial(old, 0))
    steps = seeds * (data.setting.steps + sum(sum(row.steps) for row in rows))
    models = seeds * (1 + sum(len(row.steps) for row in rows))
    at_once = min(workers, models)
    whole = duration(each * steps / data.setting.steps / at_once)
    parallel = f", {at_once} at a time" if at_once > 1 else ""
    note(progress, f"{models} models to train{parallel}, {steps:,} steps: about {whole}")


def _values(tested: Sequence[Tested]) -> np.ndarray:
    """float64 [2, S, E]: recall and loss."""
    return np.stack([np.stack([one.recall_E for one in tested]), np.stack([one.loss_E for one in tested])])


def _measures(values_VSE: np.ndarray, user_E: np.ndarray) -> dict[str, Any]:
    return {name: asdict(one) for name, one in zip((RECALL, LOSS), estimates(values_VSE, user_E), strict=True)}


def _reached(
    old_VSE: np.ndarray, new_BVSE: np.ndarray, steps: Sequence[int], user_E: np.ndarray
) -> dict[str, dict[str, int | None]]:
    """By measure the fewest of the steps tried after which it is as good as before (see `SHARE`), and its 95% interval
    by resampling users, each with all their examples; None for more steps than were tried."""
    _, users = np.unique(user_E, return_inverse=True)
    counts_U = np.bincount(users).astype(float)
    # [curves + 1, V, U]: sums over a user's examples, averaged over seeds; the old model's first.
    means_BVE = np.concatenate([old_VSE[None], new_BVSE]).mean(2)
    sums_BVU = np.stack([[np.bincount(users, weights=row) for row in rows] for rows in means_BVE])
    number = len(counts_U)
    drawn_RU = np.random.default_rng(0).multinomial(number, np.full(number, 1 / number), _RESAMPLES)
    # The first row is the users themselves.
    weights_RU = np.concatenate([np.ones((1, number)), drawn_RU])
    means_RBV = np.einsum("ru,bvu->rbv", weights_RU, sums_BVU) / (weights_RU @ counts_U)[:, None, None]
    old_RV, new_RBV = means_RBV[:, 0], means_RBV[:, 1:]
    good_RBV = np.stack(
        [new_RBV[..., 0] >= SHARE * old_RV[:, None, 0], new_RBV[..., 1] <= old_RV[:, None, 1] - np.log(SHARE)], axis=-1
    )
    found = {}
    for measure, name in enumerate((RECALL, LOSS)):
        good_RB = good_RBV[..., measure]
        first_R = np.where(good_RB.any(1), good_RB.argmax(1), len(steps))
        low, high = np.sort(first_R[1:])[[int(0.025 * _RESAMPLES), int(0.975 * _RESAMPLES) - 1]]
        found[name] = {
            part: None if at == len(steps) else steps[at]
            for part, at in (("steps", first_R[0]), ("low", low), ("high", high))
        }
    return found
