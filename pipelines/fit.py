"""Fit: learns fusion and tokenizer on a sample of the store, and gives every item its ID."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from fuseid.core.config import Config, TokenizerConfig
from fuseid.core.errors import BadInput, NotReady
from fuseid.core.faults import reached
from fuseid.core.modalities import ENCODED, EXTERNAL, modalities
from fuseid.core.names import hint
from fuseid.core.protocols import Tokenizer
from fuseid.core.row_blocks import for_fit
from fuseid.core.surface import command, option
from fuseid.encoders.fusion import Fusion
from fuseid.pipelines.assignment.champion import make_champion
from fuseid.pipelines.assignment.finish import finish, fuse
from fuseid.pipelines.assignment.fit_blocks import FitBlocks, FitRunner, LocalFitRunner
from fuseid.pipelines.assignment.fit_rows import FitRows, Joined, any_of, rows_of_tokenizer
from fuseid.pipelines.assignment.resumable_fit import ResumableFit
from fuseid.pipelines.assignment.warm_start import COMPARED, Earlier, earlier_id, nothing_kept, other_sizes
from fuseid.pipelines.ingestion.commit import reconcile
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.jobs.runs import Run, writing_job
from fuseid.pipelines.store.store import Store
from fuseid.tokenizers.drift import CodeUse
from fuseid.tokenizers.registry import TOKENIZERS


def fit(
    uri: str,
    config: Config,
    progress: Progress | None = None,
    *,
    cold: bool = False,
    align_to: str | None = None,
    refit_fusion: bool = False,
    generation: int | None = None,
    runner: FitRunner | None = None,
) -> Run:
    """The first fit of a database also learns its fusion and makes the tokenizer champion; a later fit makes a
    candidate, whose IDs are only in the ledger, beside the champion's, until `promote`. It starts from the champion and
    is aligned to it, so that most items keep their codes.

    cold: do neither. align_to: the id of another tokenizer to start from, or an unambiguous beginning of it.
    refit_fusion: learns the fusion again, too, whose vectors are the next generation, beside the one in force.
    generation: whose vectors the tokenizer is fitted on, by default those in force.
    runner: of a tokenizer that is fitted on all items, by default this process; a sample always is fitted here.
    A fit that was killed goes on when it is repeated before any other job has run.
    Raises BadInput for a generation that does not exist, NotReady for an empty database, for one with fewer items than
    codes, and for a third generation, and what `warm_start.earlier_id` raises.
    """
    if refit_fusion and generation is not None:
        raise BadInput(
            f"{option('refit_fusion')} begins the next generation, so {option('generation')} cannot name one; "
            "leave one of them out"
        )
    store = Store.open(uri)
    store.dataset("contents")
    with writing_job(store, "fit", config) as run:
        progress = run.shown_by(progress)
        start_notes: list[str] = []
        with run.timed("fit"):
            reconcile(store)
            earlier = earlier_id(store, config.tokenizer.kind, cold, align_to, start_notes)
            fit = ResumableFit.begin(store, run, config, refit_fusion, generation, [cold, align_to])
            fusion = fit.fusion(lambda: _fit_fusion(store, config, progress))

            def fitted() -> Tokenizer:
                section, start = config.tokenizer, None
                rows = rows_of_tokenizer(store, fusion, section.sample, section.seed, max(section.codebook_sizes))
                if earlier is not None:
                    start = Earlier.of(store, earlier, rows.first_ids(COMPARED), section, fusion.id)
                    if start is None:
                        start_notes.append(nothing_kept(store, earlier, align_to is not None))
                    elif (note := other_sizes(store, earlier, section.codebook_sizes)) is not None:
                        start_notes.append(note)
                chosen = runner if runner is not None and section.sample == "all" else LocalFitRunner()
                with chosen.blocks(rows, progress) as blocks:
                    return _fit_tokenizer(blocks, section, fusion, progress, start, start_notes)

            tokenizer = fit.tokenizer(fitted)
        fuse(store, run)
        champion = store.setting("champion")
        if champion is None:
            champion = tokenizer.id
            make_champion(store, tokenizer)
            reached("fit.champion")
        finish(store, run, config, progress, tokenizer, champion=champion == tokenizer.id, fitted=True)
        run.counts["sample"] = tokenizer.meta["metrics"]["sample"]
        run.notes += [f"{run.role} {tokenizer.id} on {fusion.id}", *start_notes]
        if fit.number is not None:
            run.notes.append(f"generation {fit.number}; {command('promote', uri, tokenizer.id)} puts it in force")
        r2 = tokenizer.meta["metrics"]["r2_per_level"]
        run.notes.append("R² by level: " + ", ".join(f"{value:.3f}" for value in r2))
    return run


def _fit_tokenizer(
    blocks: FitBlocks,
    config: TokenizerConfig,
    fusion: Fusion,
    progress: Progress,
    earlier: Earlier | None,
    notes: list[str],
) -> Tokenizer:
    """A tokenizer of the kind that the config names; its metrics include how well it quantizes vectors that it was not
    fitted on, for `drift`."""

    def show(done: int, steps: int) -> None:
        if done:
            progress.advance("fit", 1)
        else:
            progress.begin("fit", steps)

    kind, sizes = TOKENIZERS[config.kind], config.codebook_sizes

    def fitted(**start: Any) -> Tokenizer:
        settings = {"seed": config.seed, "fusion": fusion.id, "progress": show, **config.options()}
        return kind.fit(for_fit(kind, blocks), sizes, **settings, **start)

    if earlier is None:
        tokenizer = fitted()
    else:
        tokenizer = earlier.refitted(fitted, kind, blocks.sample(COMPARED), sizes, config.seed, notes)
    tokenizer.meta["metrics"]["sample"] = blocks.rows
    held_out_MD = blocks.held_out()
    if len(held_out_MD):
        use = CodeUse.under(tokenizer, held_out_MD)
        spread = float(np.square(held_out_MD - held_out_MD.mean(0), dtype=np.float64).sum(1).mean())
        tokenizer.meta["metrics"] |= {"held_out": use.document(), "held_out_r2": 1 - use.error / max(spread, 1e-30)}
    return tokenizer


def _fit_fusion(store: Store, config: Config, progress: Progress) -> Fusion:
    sizes = store.dims()
    dims = {each.name: sizes[each.name] for each in modalities(sizes)}
    weights = _weights(store, dims, config.fusion.weights)
    encoders = encoders_of(store, dims)
    rows = FitRows.of(store, config.fusion.sample, Joined(dims), any_of(dims))
    with LocalFitRunner().blocks(rows, progress) as blocks:
        return Fusion.fit(blocks, weights, config.fusion.dim, encoders, fill=config.fusion.fill, dims=dims)


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
