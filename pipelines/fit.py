"""Fit: learns fusion and tokenizer on a sample of the store, and gives every item its ID."""

from __future__ import annotations

from pathlib import Path

from fuseid.core.config import Config, LearnedFusionConfig, TokenizerConfig
from fuseid.core.errors import BadInput
from fuseid.core.faults import reached
from fuseid.core.protocols import Tokenizer
from fuseid.core.surface import command, option
from fuseid.pipelines.assignment.champion import load_fusion, make_champion
from fuseid.pipelines.assignment.comparison import Compared, Comparison
from fuseid.pipelines.assignment.finish import finish, fuse
from fuseid.pipelines.assignment.fit_blocks import FitRunner
from fuseid.pipelines.assignment.fitting import Fitting, check_start
from fuseid.pipelines.assignment.fusion_fitting import fit_fusion
from fuseid.pipelines.assignment.resumable_fit import ResumableFit
from fuseid.pipelines.engagement.pairs_file import read_pairs
from fuseid.pipelines.ingestion.commit import reconcile
from fuseid.pipelines.jobs.progress import Lines, Progress
from fuseid.pipelines.jobs.runs import Run, writing_job
from fuseid.pipelines.store.generations import generation_numbered
from fuseid.pipelines.store.store import Store


def fit(
    uri: str,
    config: Config,
    progress: Progress | None = None,
    *,
    cold: bool = False,
    align_to: str | None = None,
    refit_fusion: bool = False,
    generation: int | None = None,
    pairs: str | Path | None = None,
    runner: FitRunner | None = None,
    comparison: Comparison | None = None,
) -> Run:
    """The first fit of a database also learns its fusion and makes the tokenizer champion; a later fit makes a
    candidate, whose IDs are only in the ledger, beside the champion's, until `promote`. It starts from the champion and
    is aligned to it, so that most items keep their codes.

    cold: do neither. align_to: the id of another tokenizer to start from, or an unambiguous beginning of it.
    refit_fusion: learns the fusion again, too, whose vectors are the next generation, beside the one in force.
    generation: whose vectors the tokenizer is fitted on, by default those in force. pairs: a file of items that the
    same people use (`engagement.pairs_file`), from which a learned fusion is fitted, on a database that has a fusion as
    that of the next generation; the configuration's fusion becomes one of kind `learned`.
    runner: of a tokenizer that is fitted on all items, by default this process; a sample always is fitted here.
    comparison: fits several tokenizers, of which the one to keep takes the place of the configuration's.
    A fit that was killed goes on when it is repeated before any other job has run.
    Raises BadInput for a generation that does not exist and for pairs that cannot be used, NotReady for an empty
    database, for one with fewer items than codes, and for a third generation, FitFailed for a fit that diverges, and
    what `warm_start.earlier_id` raises.
    """
    refit_fusion = _check_one_generation(refit_fusion, generation, pairs)
    config = _with_pairs(config, pairs)
    if comparison is not None:
        assert comparison.keep is not None, "nothing to keep: call `compare`"
        config = config.model_copy(update={"tokenizer": comparison.sections[comparison.keep]})
    store = Store.open(uri)
    store.dataset("contents")
    known = None if pairs is None else read_pairs(pairs)
    with writing_job(store, "fit", config) as run:
        progress = run.shown_by(progress)
        start_notes: list[str] = []
        with run.timed("fit", here=runner is None or runner.name == "local"):
            reconcile(store)
            start = [cold, align_to, *([] if known is None else [known.fingerprint])]
            fit = ResumableFit.begin(store, run, config, refit_fusion, generation, start)
            check_start(store, config.tokenizer.kind, cold, align_to)
            fusion = fit.fusion(lambda: fit_fusion(store, config, progress, known, start_notes))
            fitting = Fitting(store, fusion, progress, cold, align_to)

            def fitted() -> Tokenizer:
                section = config.tokenizer
                with fitting.blocks(section, runner) as (rows, blocks):

                    def one(each: TokenizerConfig) -> Tokenizer:
                        return fitting.tokenizer(rows, blocks, each, start_notes if each is section else [])

                    kept = one(section) if comparison is None else comparison.run(blocks, one)
                    assert kept is not None
                    return kept

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


def compare(
    uri: str,
    config: Config,
    comparison: Comparison,
    progress: Progress | None = None,
    *,
    cold: bool = False,
    align_to: str | None = None,
    refit_fusion: bool = False,
    generation: int | None = None,
    pairs: str | Path | None = None,
    runner: FitRunner | None = None,
) -> list[Compared]:
    """Fits several tokenizers as `fit` would, and measures them; nothing is stored and no item gets an ID.

    Arguments and errors are those of `fit`; nothing of the comparison is kept.
    """
    refit_fusion = _check_one_generation(refit_fusion, generation, pairs)
    config = _with_pairs(config, pairs)
    store, progress = Store.open(uri), progress or Lines()
    settings = store.settings()
    if generation is not None:
        fusion = load_fusion(store, generation_numbered(uri, settings, generation).fusion)
    elif refit_fusion or settings.get("fusion") is None:
        fusion = fit_fusion(store, config, progress, None if pairs is None else read_pairs(pairs), [])
    else:
        fusion = load_fusion(store)
    fitting = Fitting(store, fusion, progress, cold, align_to)
    with fitting.blocks(config.tokenizer, runner) as (rows, blocks):
        comparison.run(blocks, lambda section: fitting.tokenizer(rows, blocks, section, []))
    return comparison.rows


def _check_one_generation(refit_fusion: bool, generation: int | None, pairs: str | Path | None) -> bool:
    """-> whether to fit a fusion although there is one."""
    asked = option("refit_fusion") if refit_fusion else option("pairs")
    if (refit_fusion or pairs is not None) and generation is not None:
        raise BadInput(
            f"{asked} begins the next generation, so {option('generation')} cannot name one; leave one of them out"
        )
    return refit_fusion or pairs is not None


def _with_pairs(config: Config, pairs: str | Path | None) -> Config:
    """With pairs, a configuration whose fusion is a learned one."""
    if pairs is None or isinstance(config.fusion, LearnedFusionConfig):
        return config
    section = LearnedFusionConfig(**config.fusion.model_dump(exclude={"kind"}))
    return config.model_copy(update={"fusion": section})
