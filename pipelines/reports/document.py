"""Report: how good a tokenizer's semantic IDs are, measured at one pinned version of the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fuseid.core.artifacts import LEARNED, encodes
from fuseid.core.errors import BadInput, StoreError
from fuseid.core.protocols import Tokenizer
from fuseid.core.surface import command, option
from fuseid.pipelines.assignment.champion import load_tokenizer
from fuseid.pipelines.assignment.drift import drift_history
from fuseid.pipelines.engagement.pairs_file import read_pairs
from fuseid.pipelines.indexing.states import index_states
from fuseid.pipelines.jobs.progress import Lines, Progress
from fuseid.pipelines.reports.churn import churn_of
from fuseid.pipelines.reports.findings import comparison, findings
from fuseid.pipelines.reports.items import Codes, Sample, drawn_items, read_codes
from fuseid.pipelines.reports.partners import partners_of
from fuseid.pipelines.reports.prefixes import SharedCodes, first_codes
from fuseid.pipelines.reports.slices import SMALL_SLICE, Slicing
from fuseid.pipelines.reports.vectors import vectors_of
from fuseid.pipelines.store.incomplete import incomplete
from fuseid.pipelines.store.messages import no_ids
from fuseid.pipelines.store.pinned_tables import PinnedTables
from fuseid.pipelines.store.store import Store
from fuseid.tokenizers.code_use import code_measures
from fuseid.tokenizers.drift import CodeUse, held_out_r2
from fuseid.tokenizers.estimates import wilson
from fuseid.tokenizers.fidelity import vector_measures
from fuseid.tokenizers.measures import DEFINITIONS, Measure, in_order
from fuseid.tokenizers.neighbours import neighbour_measures

# The measures of a slice, and at which level or depth; 0 is the last.
_OF_A_SLICE = (
    ("collision_a", None), ("collision_b", None), ("prefix_collision", 1), ("prefix_pairs", 1),
    ("normalised_entropy", 1), ("r2", 0), ("recall@10", None),
)  # fmt: skip


def report(
    uri: str | Path,
    tokenizer_id: str | None = None,
    *,
    compare: str | None = None,
    sample: int = 20_000,
    queries: int = 1_000,
    popularity: str | None = None,
    attributes: Sequence[str] = (),
    pairs: str | Path | None = None,
    seed: int = 0,
    cold: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """A plain dictionary that can be written as JSON: measures of the codes of all items that are in the catalogue now,
    and of the vectors of a sample of them; for one tokenizer, by default the champion, and for `compare` beside it,
    with the churn from the first to the second.

    sample: how many items' vectors are measured, those with the lowest hash of their content_id. queries: how many of
    these, the first ones, are compared with their neighbours in the sample. popularity: a numeric attribute,
    attributes: any others; measures are also given by their slices. pairs: a file of items that the same people use
    (`engagement.pairs_file`); the report says how often those that were not learned from are near each other, among at
    most `sample` items. cold: whether to fit a tokenizer on the sample that does not start from another, for its churn.
    Memory for every item, of each tokenizer: 4 bytes per level, 12 for its suffix and its vector's fingerprint, 1 per
    way to slice, 8 for its popularity, and for a moment a few numbers to sort them by; no text, picture or vector.

    Raises BadInput for an unknown attribute and for pairs of which none can be asked for, StoreError if there are no
    IDs, ArtifactError for an unknown tokenizer.
    """
    progress = progress or Lines()
    store = Store.open(uri)
    pinned = PinnedTables.newest(store)
    champion = store.setting("champion")
    name = tokenizer_id or champion
    if name is None:
        raise StoreError(no_ids(uri))
    if sample < 2 or queries < 1:
        raise BadInput(f"a report looks at 2 items and 1 query at least, got sample {sample} and queries {queries}")
    name, compare = store.tokenizer_named(name), compare and store.tokenizer_named(compare)
    if compare == name:
        raise BadInput(f"{option('compare')} names {name}, the tokenizer that it is compared with; name another one")
    tokenizers = [load_tokenizer(store, each) for each in (name, compare) if each is not None]
    used = None if pairs is None else read_pairs(pairs)
    vectors = vectors_of(pinned.contents, _weights(store, pinned))
    drawn = drawn_items(pinned, sample)
    slicing = Slicing(drawn, attributes, popularity)
    settings = _Settings(queries, seed, uri)
    codes = [read_codes(pinned, each, slicing, progress) for each in tokenizers]
    for each, found in zip(tokenizers, codes, strict=True):
        _check_any(found, each, uri)
    samples = [
        Sample.of(drawn, pinned, each, slicing, found.border) for each, found in zip(tokenizers, codes, strict=True)
    ]
    columns = [
        _column(each, each.id == champion, found, sample, slicing, settings, progress, drift_history(store, each.id))
        | {"fusion": _learned_fusion(store, each)}
        for each, found, sample in zip(tokenizers, codes, samples, strict=True)
    ]
    return {
        "database": str(uri),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": pinned.versions,
        "items": pinned.contents.count_rows(),
        "asked": {
            "sample": sample, "queries": queries, "seed": seed, "popularity": popularity, "attributes": list(attributes)
        },
        "incomplete": incomplete(pinned.contents, {each["name"]: each["items"] for each in vectors}),
        "vectors": vectors,
        "indexes": [asdict(state) for state in index_states(store)],
        "definitions": {key: asdict(definition) for key, definition in DEFINITIONS.items()},
        "tokenizers": columns,
        "comparison": comparison(*columns) if compare else [],
        "partners": partners_of(store, pinned, tokenizers, used, attributes, progress, most=sample, seed=seed)
        if used
        else None,
        "churn": churn_of(tokenizers, codes, samples, slicing, progress, cold=cold) if compare else None,
    }  # fmt: skip


def _weights(store: Store, pinned: PinnedTables) -> dict[str, float]:
    fusion = store.setting("fusion", pinned.ledger)
    return store.describe_fusion(fusion).meta["weights"] if fusion else {}


def _learned_fusion(store: Store, tokenizer: Tokenizer) -> dict[str, Any] | None:
    """Of the learned fusion whose vectors a tokenizer quantizes: what it was learned from, and the figures of each
    epoch; None for another one."""
    name = tokenizer.meta.get("fusion")
    meta = {} if name is None else store.describe_fusion(name).meta
    if LEARNED not in meta:
        return None
    metrics = meta["metrics"]
    return {
        "id": name, "settings": meta[LEARNED], "pairs": meta["pairs"],
        **{key: metrics[key] for key in ("held_out_pairs", "best_epoch", "history")},
    }  # fmt: skip


@dataclass(frozen=True)
class _Settings:
    queries: int
    seed: int
    uri: str | Path


def _check_any(codes: Codes, tokenizer: Tokenizer, uri: str | Path) -> None:
    if not len(codes.codes_NL):
        raise StoreError(
            f"no item in {uri} has an ID of {tokenizer.id}; {command('assign', uri, tokenizer=tokenizer.id)} gives them"
        )


def _column(
    tokenizer: Tokenizer, champion: bool, codes: Codes, sample: Sample, slicing: Slicing, settings: _Settings,
    progress: Progress, history: list[dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """The part of the document about one tokenizer. history: the figures of each epoch of its fit, if it had any."""
    sizes, seed = tokenizer.codebook_sizes, settings.seed
    parts = list(slicing.slices(codes.labels))
    stage = f"measure {tokenizer.id}"
    progress.begin(stage, 3 + len(parts))
    measures = code_measures(codes.codes_NL, sizes, shared_with=codes.vectors_N, seed=seed)
    progress.advance(stage, 1)
    if sample.vectors_SD.size and encodes(tokenizer):
        measures += vector_measures(sample.vectors_SD, tokenizer.decode, sample.codes_SL, seed=seed)
    if held_out := held_out_r2(tokenizer.meta["metrics"]):
        measures.append(held_out)
    progress.advance(stage, 1)
    everyone = np.arange(len(sample.codes_SL))
    measures += _neighbours(sample, everyone, settings)
    progress.advance(stage, 1)
    buckets = SharedCodes.of(codes.codes_NL)
    slices = []
    for naming, label in parts:
        rows_N = codes.labels[naming["by"]] == label
        rows_S = np.flatnonzero(sample.labels[naming["by"]] == label)
        taken = _slice_measures(
            codes.codes_NL[rows_N], sizes, buckets.alone_N[rows_N], sample, rows_S, tokenizer, settings
        )
        count = int(rows_N.sum())
        slices.append(
            {**naming, "items": count, "sampled": len(rows_S), "small": count < SMALL_SLICE, "measures": taken}
        )
        progress.advance(stage, 1)
    column = {
        "id": tokenizer.id,
        "champion": champion,
        "codebook_sizes": list(sizes),
        "config": {name: value for name, value in tokenizer.meta.items() if name != "metrics"},
        "fit": _fit_metrics(tokenizer.meta["metrics"]),
        "history": tokenizer.meta["metrics"].get("history", []),
        "drift": history,
        "items": len(codes.codes_NL),
        "without_id": codes.without,
        "suffixed": codes.suffixed,
        "edited": codes.edited,
        "sampled": len(sample.codes_SL),
        "queries": min(settings.queries, len(sample.codes_SL)) if sample.vectors_SD.shape[1] else 0,
        "measures": [one.document() for one in in_order(measures)],
        "slices": slices,
        "prefixes": first_codes(codes.codes_NL, sizes, sample),
        "bucket_sizes": buckets.histogram(),
        "largest_ids": buckets.largest(codes),
        "code_use": [
            {"level": level, "size": size, "counts": _descending(np.bincount(codes.codes_NL[:, level - 1]))}
            for level, size in enumerate(sizes, 1)
        ],
    }
    return {**column, "stands_out": findings(column, settings.uri)}


def _neighbours(
    sample: Sample, rows_S: np.ndarray, settings: _Settings, ks: tuple[int, ...] = (10, 100), permutations: int = 20
) -> list[Measure]:
    """The measures of neighbours: of the first `queries` rows, among the whole sample."""
    own = rows_S[: settings.queries]
    ks = tuple(k for k in ks if k < len(sample.codes_SL))
    if not len(own) or not ks or not sample.vectors_SD.shape[1]:
        return []
    return neighbour_measures(
        sample.vectors_SD[own], sample.codes_SL[own], sample.vectors_SD, sample.codes_SL,
        ks=ks, own_rows=own, permutations=permutations, seed=settings.seed,
    )  # fmt: skip


def _slice_measures(
    codes_NL: np.ndarray, sizes: Sequence[int], alone_N: np.ndarray, sample: Sample, rows_S: np.ndarray,
    tokenizer: Tokenizer, settings: _Settings,
) -> list[dict[str, Any]]:  # fmt: skip
    """The measures in `_OF_A_SLICE`. Collisions are those among the slice's own items, except for `shares_id`, which
    counts the items that share their ID with any other item: only this one can be compared between slices of different
    size."""
    found = code_measures(codes_NL, sizes, permutations=0)
    if len(rows_S) > 1 and encodes(tokenizer):
        vectors_SD, codes_SL = sample.vectors_SD[rows_S], sample.codes_SL[rows_S]
        found += vector_measures(vectors_SD, tokenizer.decode, codes_SL, permutations=0, seed=settings.seed)
    found += _neighbours(sample, rows_S, settings, ks=(10,), permutations=0)
    depth = len(sizes)
    wanted = {(name, depth if level == 0 else level) for name, level in _OF_A_SLICE}
    shared = float((~alone_N).mean())
    low, high = wilson(shared, len(alone_N))
    shares = Measure("shares_id", shared, None, low, high).document()
    return [shares, *(one.document() for one in found if (one.name, one.level) in wanted)]


def _fit_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    held_out = metrics.get("held_out")
    rest = {name: value for name, value in metrics.items() if name not in ("held_out", "history")}
    return rest | ({"held_out": held_out["items"], "held_out_error": CodeUse.of(held_out).error} if held_out else {})


def _descending(counts: np.ndarray) -> list[int]:
    """The counts of the codes in use, the largest first."""
    return sorted(counts[counts > 0].tolist(), reverse=True)
