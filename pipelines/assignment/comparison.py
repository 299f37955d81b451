"""Several tokenizers fitted on the same rows, to choose a kind by figures; no item gets an ID by that."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fuseid.core.config import TokenizerConfig
from fuseid.core.errors import BadInput, FuseidError
from fuseid.core.protocols import Tokenizer
from fuseid.core.surface import option
from fuseid.core.variants import variants
from fuseid.pipelines.assignment.fit_blocks import FitBlocks
from fuseid.tokenizers.comparison import Figures, figures

# Vectors of the fit that are measured; collisions among more are rarer or not by how many there are, not by the kind.
_MEASURED = 200_000


@dataclass(frozen=True)
class Compared:
    """name: as it was asked for. id: of the tokenizer, None if it could not be fitted because of `problem`. seconds: of
    the fit. measured: how many fitted vectors the figures are of, held_out: how many others; 0 if the fit left none
    out."""

    name: str
    id: str | None
    seconds: float
    measured: int
    held_out: int
    figures: Figures | None
    problem: str | None

    def document(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "name": self.name, "id": self.id, "seconds": self.seconds, "measured": self.measured,
            "held_out": self.held_out, **({} if self.figures is None else self.figures.document()),
            "problem": self.problem,
        }  # fmt: skip


@dataclass
class Comparison:
    """sections: the settings of each tokenizer, by name. keep: the name of the one that is to be a candidate. rows: of
    those that were fitted."""

    sections: Mapping[str, TokenizerConfig]
    keep: str | None = None
    rows: list[Compared] = field(default_factory=list)

    @classmethod
    def of(cls, given: TokenizerConfig, kinds: str, keep: str | None = None) -> Comparison:
        """kinds: see `core.variants`. Raises BadInput for what that refuses, for another sample, and for a tokenizer
        to keep that is not compared."""
        sections = variants(given, kinds)
        for name, section in sections.items():
            if section.sample != given.sample:
                raise BadInput(f"{name}: all are fitted on the same items; set tokenizer.sample in the configuration")
        if keep is not None and keep not in sections:
            raise BadInput(f"{option('keep', keep)} is not among those compared: {', '.join(sections)}")
        return cls(sections, keep)

    def run(self, blocks: FitBlocks, fit: Callable[[TokenizerConfig], Tokenizer]) -> Tokenizer | None:
        """Fits and measures all, and returns the one to keep. One that cannot be fitted has a row with the reason.

        Raises the error of the one to keep.
        """
        held_out_MD = blocks.held_out()
        fitted_ND = blocks.sample(_MEASURED)
        kept = None
        for name, section in self.sections.items():
            started = time.perf_counter()
            try:
                tokenizer = fit(section)
            except FuseidError as error:
                if name == self.keep:
                    raise
                self.rows.append(Compared(name, None, time.perf_counter() - started, 0, 0, None, str(error)))
                continue
            seconds = time.perf_counter() - started
            found = figures(tokenizer, fitted_ND, held_out_MD if len(held_out_MD) else None)
            self.rows.append(Compared(name, tokenizer.id, seconds, len(fitted_ND), len(held_out_MD), found, None))
            if name == self.keep:
                kept = tokenizer
        return kept
