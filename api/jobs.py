"""The jobs that write to a database, each with a default configuration."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from fuseid.api.runners import runner_named
from fuseid.core.config import Config
from fuseid.pipelines.assign import assign as run_assign
from fuseid.pipelines.fit import fit as run_fit
from fuseid.pipelines.ingest import ingest as run_ingest
from fuseid.pipelines.ingestion.runners import Runner
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.jobs.runs import Run
from fuseid.pipelines.promote import promote as run_promote
from fuseid.pipelines.remove import remove as run_remove
from fuseid.pipelines.sources.item import Source
from fuseid.pipelines.sources.open import open_source


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


def fit(db: str | Path, config: Config | None = None, *, progress: Progress | None = None) -> Run:
    """Fits fusion and tokenizer and gives every item its ID; the first tokenizer of a database becomes its champion.

    Raises what `pipelines.fit.fit` raises.
    """
    return run_fit(str(db), config or Config(), progress)


def assign(
    db: str | Path,
    config: Config | None = None,
    *,
    tokenizer_id: str | None = None,
    progress: Progress | None = None,
) -> Run:
    """Gives IDs to the items that have none under a tokenizer, by default the champion.

    Raises what `pipelines.assign.assign` raises.
    """
    return run_assign(str(db), config or Config(), tokenizer_id, progress)


def promote(db: str | Path, tokenizer_id: str, config: Config | None = None) -> Run:
    """Makes a fitted tokenizer the champion. Raises what `pipelines.promote.promote` raises."""
    return run_promote(str(db), tokenizer_id, config or Config())
