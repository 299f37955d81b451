"""Fits fusions and tokenizers on the rows of a store, and stores nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from fuseid.core.config import TokenizerConfig
from fuseid.core.protocols import Tokenizer
from fuseid.core.row_blocks import for_fit
from fuseid.encoders.fusion import Fusion
from fuseid.pipelines.assignment.fit_blocks import FitBlocks, FitRunner, LocalFitRunner
from fuseid.pipelines.assignment.fit_rows import FitRows, rows_of_tokenizer
from fuseid.pipelines.assignment.warm_start import COMPARED, Earlier, earlier_id, nothing_kept, other_sizes
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.store.store import Store
from fuseid.tokenizers.drift import CodeUse
from fuseid.tokenizers.registry import TOKENIZERS


@dataclass(frozen=True)
class Fitting:
    """Fits tokenizers on the vectors of a fusion. cold, align_to: what they start from, see `pipelines.fit.fit`."""

    store: Store
    fusion: Fusion
    progress: Progress
    cold: bool = False
    align_to: str | None = None

    @contextmanager
    def blocks(self, config: TokenizerConfig, runner: FitRunner | None) -> Iterator[tuple[FitRows, FitBlocks]]:
        """The rows that a tokenizer is fitted on. runner: used for all rows of the table; a sample is read here."""
        rows = rows_of_tokenizer(self.store, self.fusion, config.sample, max(config.codebook_sizes))
        chosen = runner if runner is not None and config.sample == "all" else LocalFitRunner()
        with chosen.blocks(rows, self.progress) as blocks:
            yield rows, blocks

    def tokenizer(self, rows: FitRows, blocks: FitBlocks, config: TokenizerConfig, notes: list[str]) -> Tokenizer:
        """A tokenizer of the kind that the config names; its metrics include how well it quantizes vectors that it was
        not fitted on, for `drift`. notes: receives what it started from, or why from nothing."""

        def show(done: int, steps: int) -> None:
            if done:
                self.progress.advance("fit", 1)
            else:
                self.progress.begin("fit", steps)

        kind, sizes = TOKENIZERS[config.kind], config.codebook_sizes

        def fitted(**start: Any) -> Tokenizer:
            settings = {"seed": config.seed, "fusion": self.fusion.id, "progress": show, **config.options()}
            return kind.fit(for_fit(kind, blocks), sizes, **settings, **start)

        earlier = self._earlier(rows, config, notes)
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

    def _earlier(self, rows: FitRows, config: TokenizerConfig, notes: list[str]) -> Earlier | None:
        name = earlier_id(self.store, config.kind, self.cold, self.align_to, notes)
        if name is None:
            return None
        found = Earlier.of(self.store, name, rows.first_ids(COMPARED), config, self.fusion.id)
        if found is None:
            notes.append(nothing_kept(self.store, name, self.align_to is not None))
        elif (note := other_sizes(self.store, name, config.codebook_sizes)) is not None:
            notes.append(note)
        return found


def check_start(store: Store, kind: str, cold: bool, align_to: str | None) -> None:
    """Raises what `warm_start.earlier_id` raises, before anything is fitted."""
    earlier_id(store, kind, cold, align_to, [])
