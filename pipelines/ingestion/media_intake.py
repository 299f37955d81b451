"""The intake of media and captions: planned, decoded, encoded, and committed as whole rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from fuseid.core.config import Config
from fuseid.core.errors import FingerprintMismatch
from fuseid.core.nearest import nearest
from fuseid.encoders.model_identity import is_fake, pinned
from fuseid.encoders.video_decoder import decoder_here
from fuseid.pipelines.ingestion.commit import WaveCommitter
from fuseid.pipelines.ingestion.failures import Failures
from fuseid.pipelines.ingestion.fingerprints import as_known_by, stage_fingerprints, stored_fingerprints
from fuseid.pipelines.ingestion.plan import Plan
from fuseid.pipelines.ingestion.removal import Withdrawal
from fuseid.pipelines.ingestion.runners import Runner
from fuseid.pipelines.jobs.runs import Run
from fuseid.pipelines.sources.item import MANIFEST_COLUMNS, Source
from fuseid.pipelines.sources.listing import Listing
from fuseid.pipelines.store.indexes import extend_key_index
from fuseid.pipelines.store.store import Store

if TYPE_CHECKING:
    from fuseid.encoders.fusion import Fusion


class MediaIntake:
    """See `Intake`."""

    stages: tuple[str, ...] = ("decode", "encode")
    removes = True
    ahead: int = 1

    def __init__(
        self, source: Source, config: Config, scratch: Path, listed: Callable[[int], None] = lambda items: None
    ) -> None:
        self.source = source
        self.listing = Listing(source, scratch, config.source.expect_rows, listed)
        self.keys = self.listing.keys
        self.items = self.keys.count - self.listing.deleted
        self._scratch = scratch
        self.config = pinned(config.model_copy(update={"decode": decoder_here(config.decode)}))
        self._without_decord = self.config.decode != config.decode
        stage_fingerprints(self.config)  # raises for a model that does not exist, before there is a database
        self.wave_rows = config.run.wave_rows

    def prepare(self, store: Store, fusions: Mapping[str, Fusion]) -> None:
        self._store = store
        self.config = as_known_by(store, self.config)
        self._fingerprints = stored_fingerprints(store, self.config)
        self._precision = _precision(store, self.config)
        for fusion in fusions.values():
            fusion.check_encoders(self._fingerprints.encoders())
        self.plan = Plan(store, self.listing, self.config, self._fingerprints)

    def withdrawal(self) -> Withdrawal | None:
        if not self.listing.deleted:
            return None
        return Withdrawal(self._store, enumerate(self.listing.withdrawn()), self._scratch)

    def begin(self, store: Store, run: Run, fusions: Mapping[str, Fusion]) -> None:
        self.prepare(store, fusions)
        settings = store.settings()
        if self._precision != settings.get("precision"):
            store.put_settings({"precision": self._precision}, settings)
        if self.listing.deleted:
            # First, so that neither hours of encoding nor other items that fail delay a withdrawal.
            with run.timed("remove"):
                withdrawal = self.withdrawal()
                assert withdrawal is not None
                withdrawal.remove(run)
        self.committer = WaveCommitter(store, run.run_id, self._fingerprints, fusions)

    def look_through(self) -> Iterator[None]:
        return (None for _ in self.plan.due())

    def stream(self, runner: Runner, go_on: Callable[[], bool]) -> Iterator[pa.RecordBatch]:
        return runner.stream(self.plan.work(go_on), self.config)

    def committed(self, waves: int) -> None:
        if waves == 1:
            _remember_models(self._store, self.config)
        if self._store.has_contents():
            extend_key_index(self._store, waves)

    def finish(self, run: Run) -> None:
        """Every wave is complete."""

    def end(self, run: Run, kept: Failures) -> None:
        _remember_models(self._store, self.config)
        if run.counts["missing_kept"]:
            # Of a file that cannot be reached now, planning makes no failure.
            most = f", most often as {kept.commonest()}" if kept.count else ""
            run.notes.append(f"{run.counts['missing_kept']} known items cannot be read now, and their rows stay{most}")
        if is_fake(self.config.clip.model if self.config.clip else None) or is_fake(self.config.vlm.model):
            run.notes.append(
                "FAKE ENCODER: these vectors are for tests and mean nothing; give real ones another database"
            )
        run.notes += self.plan.notes
        if self._without_decord:
            run.notes.append(
                "decode.video_decoder is decord, which is not installed here: videos went by PyAV as under auto, and "
                "items of runs with decord were decoded again"
            )
        if hint := self.hint():
            run.notes.append(hint)

    def hint(self) -> str | None:
        """A note about columns of a manifest that are not read: a misspelt name is among them."""
        ignored = getattr(self.source, "ignored", ())
        meant = [f"; is {name} meant for {near[0]}?" for name in ignored if (near := nearest(name, MANIFEST_COLUMNS))]
        return f"columns of the manifest that were not read: {', '.join(ignored)}{''.join(meant)}" if ignored else None


def _precision(store: Store, config: Config) -> dict[str, str]:
    """The precision in which the vectors of this database are computed, by model, which the first ingest pins. Raises
    FingerprintMismatch for another one."""
    wanted = {
        "clip": config.clip.precision if config.clip else None,
        "vlm": config.vlm.precision if config.vlm.model else None,
    }
    pinned: dict[str, str] = store.setting("precision") or {}
    for model, precision in wanted.items():
        if precision and pinned.get(model, precision) != precision:
            raise FingerprintMismatch(
                f"{store.uri} holds {model} vectors computed in {pinned[model]}, this run asks for {precision}; "
                f"set {model}.precision to {pinned[model]} or use another database"
            )
    return pinned | {model: precision for model, precision in wanted.items() if precision}


def _remember_models(store: Store, config: Config) -> None:
    """Records the models of this ingest, CLIP with its settings: by default look-ups encode queries as the last ingest
    did that was not refused."""
    settings = store.settings()
    models = {"clip": config.clip and config.clip.model_dump(mode="json"), "vlm": config.vlm.model}
    new = {name: value for name, value in models.items() if value and settings.get(name) != value}
    if new and store.has_contents():
        store.put_settings(new, settings)
