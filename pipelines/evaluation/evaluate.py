"""Evaluate: how well a generative recommender learns from the IDs, compared with IDs that do not depend on content."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import BadInput, NotReady, UnknownArtifact
from fuseid.core.names import hint
from fuseid.core.platform import usable_cores
from fuseid.core.surface import command, option
from fuseid.pipelines.evaluation.cold_places import ColdPlaces
from fuseid.pipelines.evaluation.controls import HASHED, RANDOM, Ids, hashed_ids, random_ids
from fuseid.pipelines.evaluation.estimate import trial_seconds
from fuseid.pipelines.evaluation.histories import read_sequences
from fuseid.pipelines.evaluation.id_files import ids_of_file, named_files
from fuseid.pipelines.evaluation.leaks import check_unseen
from fuseid.pipelines.evaluation.sasrec import SASREC, ItemTrial
from fuseid.pipelines.evaluation.settings import TINY, Setting, for_examples
from fuseid.pipelines.evaluation.tables import ALL, SEMANTIC, Tables, summary
from fuseid.pipelines.evaluation.trial import Data, Outcome, Trial
from fuseid.pipelines.evaluation.workers import one_thread, run_trials
from fuseid.pipelines.exports.folder import read_manifest
from fuseid.pipelines.exports.snapshot import Snapshot
from fuseid.pipelines.jobs.progress import Lines, Progress, duration, note
from fuseid.pipelines.sequences.items import Items
from fuseid.pipelines.store.store import Store

_CONTROLS = (RANDOM, HASHED, SASREC)


def evaluate(
    uri: str,
    folder: Path,
    tokenizer_id: str | None = None,
    *,
    against: Sequence[str] = (RANDOM, HASHED),
    ids: Sequence[str | Path] = (),
    seeds: int = 5,
    setting: Setting = TINY,
    users: int | None = None,
    cold_share: Sequence[float] = (),
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """A plain dictionary that can be written as JSON. One model is trained for every kind of IDs and every seed, on the
    sequences in `folder`, and generates IDs for the test examples; docs/evaluation.md says what is measured.

    against: `random`, `hashed`, `sasrec` (a recommender without IDs), or ids of other tokenizers. ids: files of any
    system's IDs, in the forms that `adopt` reads, each named in the tables as its file is. users: test examples of at
    most so many users are used; by default what the setting says. cold_share: the lists of IDs are also measured with
    so many of their places offered to cold items, for every number of leading codes that these may have to share with
    the history. workers: how many trials run in parallel, by default one for each processor; the number changes only
    the time.

    Raises BadInput for a folder that is not an export of sequences, or one of another tokenizer or database, for a file
    that lacks the ID of an item, for a share if no item is cold, and for IDs that have seen what is tested
    (`leaks.check_unseen`).
    """
    progress = progress or Lines()
    started = time.perf_counter()
    chosen = setting if users is None else replace(setting, users=users)
    against = [_control(uri, name) for name in against]
    check_counts(seeds, users)
    shares = _checked_shares(cold_share)
    if len(set(against)) < len(against):
        raise BadInput(f"{option('against')} names a control twice")
    files = named_files(ids, (SEMANTIC, *_CONTROLS, *against))
    manifest = opened_sequences(uri, folder, tokenizer_id)
    made_for = str(manifest["tokenizer_id"])
    rivals = [name for name in against if name not in _CONTROLS]
    check_unseen(uri, folder, manifest, [made_for, *rivals], progress)
    names, own = read_ids(Snapshot.of_manifest(uri, manifest), SEMANTIC)
    others = [ids_of_another(uri, manifest, name, names, "against") for name in rivals]
    others += [ids_of_file(name, file, names) for name, file in files.items()]
    compared = (SEMANTIC, *against, *files)
    sequences = read_sequences(
        folder, names, history=chosen.history, train=chosen.steps * chosen.batch, valid=chosen.valid_examples,
        users=chosen.users, progress=progress,
    )  # fmt: skip
    chosen = for_examples(chosen, sequences.counts["train"])
    content_ids = names.to_pylist()
    trials = [_trial(name, own, others, content_ids, seed) for seed in range(seeds) for name in compared]
    if shares and sequences.seen_N.all():
        raise BadInput(f"every item occurs in training, so that none is cold; leave out {option('cold_share')}")
    cold_places = [ColdPlaces(share, codes) for share in shares for codes in range(1, len(own.codebook_sizes) + 1)]
    data, parallel = Data(sequences, chosen, tuple(cold_places)), workers or usable_cores()
    _announce(data, trials, parallel, progress)
    outcomes = run_trials(data, trials, parallel, progress)
    by_name: dict[str, list[Outcome]] = {name: [] for name in compared}
    for trial, outcome in zip(trials, outcomes, strict=True):
        by_name[trial.name].append(outcome)
    tables = Tables(sequences, by_name)
    return {
        "database": uri,
        "sequences": str(folder),
        "tokenizer_id": made_for,
        "codebook_sizes": list(own.codebook_sizes),
        "versions": manifest["versions"],
        "setting": asdict(chosen),
        "seeds": seeds,
        "items": len(names),
        "examples": {**sequences.counts, "tested": len(sequences.test), "users": tables.users(ALL)},
        "slices": [tables.slice(name) for name in tables.slices],
        "measures": list(tables.measured()),
        "differences": list(tables.differences()),
        "cold_places": list(tables.with_cold(cold_places)),
        "ids": [summary(trial, by_name[trial.name]) for trial in trials[: len(by_name)]],
        "seconds": time.perf_counter() - started,
    }


def opened_sequences(uri: str, folder: Path, tokenizer_id: str | None) -> dict[str, Any]:
    """The manifest of exported sequences, whose files are compared with it. tokenizer_id: whose IDs they must have.

    Raises BadInput for another folder, and for sequences of another tokenizer.
    """
    manifest = read_manifest(folder)
    if "interactions" not in manifest or manifest.get("format") != "parquet":
        raise BadInput(
            f"{folder} holds no sequences as Parquet; "
            f"{command('export sequences', uri, interactions='FILE', out='NEW_FOLDER')} writes them"
        )
    made_for = str(manifest.get("tokenizer_id"))
    tokenizer_id = tokenizer_id and Store.open(uri).tokenizer_named(tokenizer_id)
    if tokenizer_id not in (None, made_for):
        raise BadInput(
            f"{folder} holds sequences of {made_for}, not of {tokenizer_id}; export them with "
            f"{option('tokenizer', tokenizer_id)}"
        )
    return {**manifest, "tokenizer_id": made_for}


def _announce(data: Data, trials: Sequence[Trial | ItemTrial], workers: int, progress: Progress) -> None:
    """Says how long the trials will take, as if none was shorter than those of IDs."""
    with one_thread():
        each = trial_seconds(data, next(trial for trial in trials if isinstance(trial, Trial)))
    at_once = min(workers, len(trials))
    whole = duration(each * math.ceil(len(trials) / at_once))
    parallel = f", {at_once} at a time" if at_once > 1 else ""
    note(progress, f"{len(trials)} models to train{parallel}: about {whole}, less where training ends early")


def read_ids(snapshot: Snapshot, name: str) -> tuple[pa.Array, Ids]:
    """The content_ids of all items with an ID, sorted, and their IDs."""
    with snapshot.items() as (_, batches):
        items = Items.of(batches, snapshot.codebook_sizes, None)
    return items.content_ids, Ids(name, items.codes_NM, snapshot.codebook_sizes)


def _control(uri: str, name: str) -> str:
    """`random`, `hashed`, `sasrec`, or the id of a tokenizer, by an unambiguous beginning of it."""
    if name in _CONTROLS:
        return name
    try:
        return Store.open(uri).tokenizer_named(name)
    except UnknownArtifact as error:
        raise BadInput(f"unknown control {name!r}; {hint(name, list(_CONTROLS))} and tokenizers: {error}") from None


def ids_of_another(uri: str, manifest: Mapping[str, Any], name: str, names: pa.Array, argument: str) -> Ids:
    """Another tokenizer's IDs of the same items, at the same version of the tables. argument: that names it.

    Raises BadInput for the tokenizer of the manifest itself, NotReady if an item has no ID of the other one.
    """
    if name == manifest.get("tokenizer_id"):
        raise BadInput(f"{option(argument)} names {name}, the tokenizer of the sequences; name another one")
    found, ids = read_ids(Snapshot.of_manifest(uri, {**manifest, "tokenizer_id": name}), name)
    rows = pc.index_in(names, value_set=found)
    if rows.null_count:
        raise NotReady(
            f"{rows.null_count} items of the sequences have no ID of {name} in the version that they were exported "
            f"from; run {command('assign', uri, tokenizer=name)} and export the sequences again"
        )
    return Ids(name, ids.codes_NM[rows.to_numpy()], ids.codebook_sizes)


def _trial(name: str, ids: Ids, others: Sequence[Ids], content_ids: Sequence[str], seed: int) -> Trial | ItemTrial:
    if name == SASREC:
        return ItemTrial(seed)
    if name == RANDOM:
        return Trial(random_ids(ids, seed), seed)
    if name == HASHED:
        return Trial(hashed_ids(content_ids, ids.codebook_sizes, seed), seed)
    return Trial(next(one for one in (ids, *others) if one.name == name), seed)


def _checked_shares(shares: Sequence[float]) -> list[float]:
    """The shares, ascending. Raises BadInput for one that is not between 0 and 1, and for one that occurs twice."""
    for share in shares:
        if not 0 < share <= 1:
            raise BadInput(f"{option('cold_share')} takes a share of the places, above 0 and at most 1, got {share:g}")
    if len(set(shares)) < len(shares):
        raise BadInput(f"{option('cold_share')} names a share twice")
    return sorted(shares)


def check_counts(seeds: int, users: int | None) -> None:
    if seeds < 1:
        raise BadInput(f"{option('seeds')} takes 1 or more, got {seeds}")
    if users is not None and users < 2:
        raise BadInput(f"{option('users')} takes 2 or more, got {users}")
