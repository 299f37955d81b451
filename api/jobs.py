"""The jobs that write to a database, and the plan of an ingest, each with a default configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from fuseid.api.renamed import renamed
from fuseid.api.runners import fit_runner_named, runner_named
from fuseid.core.config import Config
from fuseid.core.errors import BadInput
from fuseid.core.modalities import EXTERNAL
from fuseid.core.surface import option
from fuseid.pipelines.adopt import adopt as run_adopt
from fuseid.pipelines.assign import assign as run_assign
from fuseid.pipelines.assignment.comparison import Compared, Comparison
from fuseid.pipelines.assignment.fit_blocks import FitRunner
from fuseid.pipelines.drop import drop as run_drop
from fuseid.pipelines.fit import compare as run_compare
from fuseid.pipelines.fit import fit as run_fit
from fuseid.pipelines.gate import gate as run_gate
from fuseid.pipelines.ingest import ingest as run_ingest
from fuseid.pipelines.ingestion.runners import Runner
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.jobs.runs import Run
from fuseid.pipelines.maintain import Maintained
from fuseid.pipelines.maintain import maintain as run_maintain
from fuseid.pipelines.plan import IngestPlan
from fuseid.pipelines.plan import plan as run_plan
from fuseid.pipelines.promote import promote as run_promote
from fuseid.pipelines.remove import remove as run_remove
from fuseid.pipelines.rollback import rollback as run_rollback
from fuseid.pipelines.sources.item import Source
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.sources.vectors import Vectors
from fuseid.pipelines.upgrade import upgrade as run_upgrade


def ingest(
    db: str | Path,
    source: str | Path | Source,
    config: Config | None = None,
    *,
    runner: Literal["local", "ray"] | Runner = "local",
    progress: Progress | None = None,
    prune: bool = False,
) -> Run:
    """Decodes and encodes what is new or changed in a source; gives IDs once a tokenizer is fitted.

    db: a directory or an object-store URI, created where it does not exist. source: what `open_source` opens (a
    manifest, a folder of media, tar shards), or any `Source`. runner: `local` works in this process, `ray` on the
    cluster that RAY_ADDRESS names, or on one of its own. prune: afterwards removes items that the source, the whole
    catalogue, does not list.
    Raises what `pipelines.ingest.ingest` and `open_source` raise.
    """
    config = config or Config()
    opened = open_source(source, config.source) if isinstance(source, str | Path) else source
    chosen = runner_named(runner) if isinstance(runner, str) else runner
    return run_ingest(str(db), opened, config, chosen, progress, prune=prune)


def ingest_vectors(
    db: str | Path,
    source: str | Path,
    config: Config | None = None,
    *,
    name: str = EXTERNAL,
    runner: Literal["local", "ray"] | Runner = "local",
    progress: Progress | None = None,
) -> Run:
    """Takes in ready-made vectors under a name, beside media and other vectors of the same items, which stay.

    source: what `pipelines.sources.vectors.Vectors` opens: Parquet, `.npy`, a folder or pattern of such files, a uri,
    or `lance:PATH#COLUMN`. runner: see `ingest`. Raises what it and `pipelines.ingest.ingest` raise.
    """
    config = config or Config()
    chosen = runner_named(runner) if isinstance(runner, str) else runner
    return run_ingest(str(db), Vectors(source, config.source, name), config, chosen, progress)


def plan(
    db: str | Path,
    source: str | Path | Source | None = None,
    config: Config | None = None,
    *,
    vectors: str | Path | None = None,
    name: str = EXTERNAL,
    progress: Progress | None = None,
    prune: bool = False,
) -> IngestPlan:
    """What `ingest` of a source, or `ingest_vectors` of ready-made vectors, would do now: how many items it would take
    up and why, what it would read, and how long that would take. Writes nothing; `db` need not exist.

    source, vectors, name, prune: as there; one source. Raises BadInput for two or none, and what
    `pipelines.plan.plan` and `open_source` raise.
    """
    config = config or Config()
    if (source is None) == (vectors is None):
        raise BadInput(f"name one source: a manifest, folder or shards, or ready-made vectors with {option('vectors')}")
    if vectors is not None:
        opened: Source | Vectors = Vectors(vectors, config.source, name)
    else:
        assert source is not None
        opened = open_source(source, config.source) if isinstance(source, str | Path) else source
    return run_plan(str(db), opened, config, progress, prune)


def remove(
    db: str | Path,
    ids: str | Path | Iterable[str],
    config: Config | None = None,
    *,
    progress: Progress | None = None,
) -> Run:
    """Removes items by their ids. The ledger keeps the IDs they had: an item that is ingested again has the same one.

    ids: content_ids; or the path, as a string or a Path, of a list of them: `.txt` with one a line, or `.csv`, `.jsonl`
    or `.parquet` with a column `content_id`. Ids that the database does not have are counted in `removed_unknown`.
    Raises what `pipelines.remove.remove` raises.
    """
    return run_remove(str(db), ids, config or Config(), progress)


def fit(
    db: str | Path,
    config: Config | None = None,
    *,
    cold: bool = False,
    align_to: str | None = None,
    refit_fusion: bool = False,
    generation: int | None = None,
    pairs: str | Path | None = None,
    runner: Literal["local", "ray"] | FitRunner = "local",
    progress: Progress | None = None,
) -> Run:
    """Fits fusion and tokenizer and gives every item its ID; the first tokenizer of a database becomes its champion, a
    later one is a candidate. It starts from the champion, or the tokenizer `align_to`, and keeps most of its codes,
    unless `cold`.

    refit_fusion: fits the fusion of the next generation, too. generation: on whose vectors the tokenizer is fitted, by
    default those in force. pairs: a file that `pairs` has written, or one of your own: items that the same people use,
    from which a learned fusion is fitted, later as that of the next generation. runner: with `tokenizer.sample: all`,
    `ray` fits the tokenizer on the cluster that RAY_ADDRESS names, or on one of its own; the result is the same. Raises
    what `pipelines.fit.fit` raises.
    """
    config = config or Config()
    chosen = fit_runner_named(runner, config) if isinstance(runner, str) else runner
    return run_fit(
        str(db), config, progress, cold=cold, align_to=align_to, refit_fusion=refit_fusion, generation=generation,
        pairs=pairs, runner=chosen,
    )  # fmt: skip


def compare(
    db: str | Path,
    kinds: str,
    config: Config | None = None,
    *,
    cold: bool = False,
    runner: Literal["local", "ray"] | FitRunner = "local",
    progress: Progress | None = None,
) -> list[Compared]:
    """Fits several tokenizers on the same items and measures them on held-out ones; stores nothing, gives no IDs.

    kinds: `rq-kmeans,rq-kmeans:last=fsq,rq-vae`, see `core.variants`. cold, runner: see `fit`. Raises BadInput for
    kinds, keys and values that do not exist, and what `pipelines.fit.fit` raises; a tokenizer that cannot be fitted has
    a row with its `problem`.
    """
    config = config or Config()
    chosen = fit_runner_named(runner, config) if isinstance(runner, str) else runner
    comparison = Comparison.of(config.tokenizer, kinds)
    return run_compare(str(db), config, comparison, progress, cold=cold, runner=chosen)


def drop(db: str | Path, generation: int, config: Config | None = None, *, progress: Progress | None = None) -> Run:
    """Frees the fused vectors of a generation that is not in force. Raises what `pipelines.drop.drop` raises."""
    return run_drop(str(db), generation, config or Config(), progress)


def adopt(
    db: str | Path,
    ids: str | Path,
    config: Config | None = None,
    *,
    codebooks: str | Path | None = None,
    space: str | None = None,
    item_map: str | Path | None = None,
    sizes: Sequence[int] | None = None,
    unique: bool = False,
    promote: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Puts IDs that were given elsewhere into the ledger, as they are; docs/adopt.md has the forms of the files.

    Raises what `pipelines.adopt.adopt` raises.
    """
    return run_adopt(
        str(db), ids, config or Config(), codebooks=codebooks, space=space, item_map=item_map, sizes=sizes,
        unique=unique, promote=promote, progress=progress,
    )  # fmt: skip


@renamed(tokenizer_id="tokenizer")
def assign(
    db: str | Path,
    config: Config | None = None,
    *,
    tokenizer: str | None = None,
    progress: Progress | None = None,
) -> Run:
    """Gives IDs to the items that have none under a tokenizer, by default the champion.

    Raises what `pipelines.assign.assign` raises.
    """
    return run_assign(str(db), config or Config(), tokenizer, progress)


def gate(
    db: str | Path,
    tokenizer: str,
    config: Config,
    *,
    against: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compares a tokenizer with the limits in `config.gate`, and stores the result for `promote`: `passed`, and
    `limits`, with figure, interval and verdict each. against: from which churn is counted, by default the champion.

    Raises what `pipelines.gate.gate` raises.
    """
    return run_gate(str(db), config, tokenizer, against, progress)[1]


@renamed(tokenizer_id="tokenizer")
def promote(db: str | Path, tokenizer: str, config: Config | None = None, *, force: bool = False) -> Run:
    """Makes a fitted tokenizer the champion; if `config` has a gate, one that passed it, or any with `force`.

    Raises what `pipelines.promote.promote` raises.
    """
    return run_promote(str(db), tokenizer, config or Config(), force=force)


def rollback(db: str | Path, config: Config | None = None, *, progress: Progress | None = None) -> Run:
    """Makes the former champion champion again, with its generation of fused vectors. Raises what
    `pipelines.rollback.rollback` raises."""
    return run_rollback(str(db), config or Config(), progress)


def maintain(
    db: str | Path, config: Config | None = None, *, dry_run: bool = False, progress: Progress | None = None
) -> Maintained:
    """Makes and extends the indexes, measures how much look-ups find through them, and makes those again that find less
    than `lookup.recall`. dry_run: changes nothing, and says for each index what would be done. Raises what
    `pipelines.maintain.maintain` raises."""
    return run_maintain(str(db), config or Config(), progress, dry_run=dry_run)


def upgrade(db: str | Path, config: Config | None = None, *, progress: Progress | None = None) -> Run:
    """Brings the database of an earlier fuseid to the present schema version, in place; if it has that version, nothing
    is written. Raises what `pipelines.upgrade.upgrade` raises."""
    return run_upgrade(str(db), config or Config(), progress)
