"""Fits a fusion on rows of the store: a linear one and, where pairs are given, a learned one that starts from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from fuseid.core.config import Config, LearnedFusionConfig
from fuseid.core.errors import BadInput, NotReady
from fuseid.core.faults import reached
from fuseid.core.modalities import ENCODED, EXTERNAL, modalities
from fuseid.core.names import hint
from fuseid.core.surface import option, setting
from fuseid.encoders.devices import pick_device
from fuseid.encoders.fusion import Fusion
from fuseid.encoders.learned_fusion import LearnedFusion
from fuseid.pipelines.assignment.fit_blocks import LocalFitRunner
from fuseid.pipelines.assignment.fit_rows import FitRows, Joined, any_of
from fuseid.pipelines.assignment.paired_rows import PairedRows
from fuseid.pipelines.engagement.pairs_file import Pairs
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.store.store import Store


def fit_fusion(store: Store, config: Config, progress: Progress, pairs: Pairs | None, notes: list[str]) -> Fusion:
    """A fusion of the kind that the config names. pairs: for a learned one. notes: receives what it has learned.

    Raises BadInput for a learned one without pairs, and for pairs that cannot be used; FitFailed if it diverges.
    """
    section = config.fusion
    if isinstance(section, LearnedFusionConfig) and pairs is None:
        raise BadInput(f"{setting('fusion.kind')} is learned, which takes pairs of items; {option('pairs')} names them")
    if isinstance(section, LearnedFusionConfig):
        pick_device(section.device)
    sizes = store.dims()
    dims = {each.name: sizes[each.name] for each in modalities(sizes)}
    weights = _weights(store, dims, section.weights)
    encoders = encoders_of(store, dims)
    rows = FitRows.of(store, section.sample, Joined(dims), any_of(dims))
    with LocalFitRunner().blocks(rows, progress) as blocks:
        linear = Fusion.fit(blocks, weights, section.dim, encoders, fill=section.fill, dims=dims)
    if pairs is None:
        return linear
    assert isinstance(section, LearnedFusionConfig)
    return _learned(store, section, linear, pairs, progress, notes)


def _learned(
    store: Store, section: LearnedFusionConfig, linear: Fusion, pairs: Pairs, progress: Progress, notes: list[str]
) -> Fusion:
    paired = PairedRows.of(store, pairs, linear.dims, section.sample)
    if len(paired.pairs) < section.batch_size:
        raise BadInput(
            f"{len(paired.pairs):,} of {len(pairs):,} pairs are of items of {store.uri}, fewer than a batch needs; "
            f"{setting('fusion.batch_size')} is {section.batch_size}"
        )

    def show(done: int, epochs: int) -> None:
        if done:
            progress.advance("learn", 1)
            reached("fit.epoch")
        else:
            progress.begin("learn", epochs)

    with LocalFitRunner().blocks(paired.rows, progress) as blocks:
        learned = LearnedFusion.fit(
            linear, blocks, paired.pairs, paired.weights, hashes=paired.hashes, source=pairs.facts(), progress=show,
            **section.options() | {"device": pick_device(section.device)},
        )  # fmt: skip
    notes += [line for line in (paired.known.note(), _found(learned)) if line]
    return learned


def _found(learned: Fusion) -> str:
    metrics = learned.meta["metrics"]
    first, best = metrics["history"][0], metrics["history"][metrics["best_epoch"]]
    if best is first:
        return (
            f"the pairs have taught the fusion nothing: in no epoch were more held-out partners among the 10 nearest "
            f"items than with the linear fusion ({first['hit@10']:.1%})"
        )
    return (
        f"held-out partners among the 10 nearest items: {first['hit@10']:.1%} with the linear fusion, "
        f"{best['hit@10']:.1%} with the learned one, which keeps {best['content_kept']:.0%} of the nearest by content"
    )


def _weights(
    store: Store, dims: Mapping[str, int], chosen: Literal["auto"] | Mapping[str, float] | None
) -> Mapping[str, float] | None:
    """The weight of each modality, None to compute them from the data. Raises BadInput for the name of a modality that
    the database does not have."""
    if chosen is None:
        return {modality.name: modality.weight for modality in modalities(dims)}
    if chosen == "auto":
        return None
    known = {*dims, *(modality.name for modality in ENCODED), EXTERNAL}
    if unknown := sorted(chosen.keys() - known):
        raise BadInput(f"fusion.weights: {store.uri} has no vectors {unknown[0]!r}; {hint(unknown[0], dims)}")
    return chosen


def encoders_of(store: Store, dims: Iterable[str]) -> dict[str, str | None]:
    """The fingerprint of the encoder of each modality's stored vectors, None for ready-made ones. Raises NotReady if
    rows come from different models."""
    out: dict[str, str | None] = {}
    for modality in modalities(dims):
        name, column = modality.name, modality.fingerprint
        if modality.made_from == "outside":
            out[name] = None
            continue
        batches = store.dataset("contents").to_batches(columns=[column], filter=f"{name} IS NOT NULL")
        found = sorted({value for batch in batches for value in batch[column].unique().to_pylist() if value})
        if len(found) > 1:
            raise NotReady(
                f"{name} vectors in {store.uri} come from {len(found)} models ({', '.join(found)}); "
                "run ingest again with one model over the whole catalogue before the fit"
            )
        out[name] = found[0] if found else None
    return out
