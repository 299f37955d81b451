"""What an ingest does with a source before it writes, which a plan of it does too: the intake, and what pruning would
remove."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fuseid.core.config import Config
from fuseid.core.errors import BadInput
from fuseid.core.modalities import EXTERNAL
from fuseid.pipelines.ingestion.media_intake import MediaIntake
from fuseid.pipelines.ingestion.prune import Unlisted
from fuseid.pipelines.ingestion.vector_intake import VectorIntake
from fuseid.pipelines.ingestion.waves import Intake
from fuseid.pipelines.sources.item import Source
from fuseid.pipelines.sources.passed_over import passed_over_by
from fuseid.pipelines.sources.vectors import Vectors
from fuseid.pipelines.store.store import Store


def intake_of(
    source: Source | Vectors, config: Config, scratch: Path, prune: bool,
    listed: Callable[[int], None] = lambda items: None,
) -> Intake:  # fmt: skip
    """Lists the source. listed: see `Listing`.

    Raises BadInput for one that cannot be read, names an id twice or cannot be pruned by.
    """
    if isinstance(source, Vectors):
        if prune and source.modality.name != EXTERNAL:
            raise BadInput(
                f"{source.modality.name} vectors are not the whole catalogue, so nothing can be pruned by them"
            )
        return VectorIntake(source, config, scratch, listed)
    return MediaIntake(source, config, scratch, listed)


def unlisted_by(source: Source | Vectors, intake: Intake, store: Store, scratch: Path) -> Unlisted | None:
    """What pruning would remove; None if the list of the source may lack items, and nothing is to be removed. Raises
    what `Unlisted` raises."""
    if getattr(source, "incomplete", None) is not None:
        return None
    config = intake.config
    # A user who gives the number of items has checked that none is missing.
    within = getattr(source, "line_within_text", None) if config.source.expect_rows is None else None
    return Unlisted(store, intake.keys, scratch, config.run.max_prune, within)


def source_notes(source: Source | Vectors, prune: bool) -> list[str]:
    """Notes about what the source does not list or passes over. To be called after it was listed."""
    notes = []
    incomplete = getattr(source, "incomplete", None)
    if prune and incomplete:
        notes.append(f"nothing was pruned: {incomplete}, so its list may lack items")
    notes += getattr(source, "notes", ())
    if note := passed_over_by(source).note:
        notes.append(note)
    return notes
