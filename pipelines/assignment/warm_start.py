"""The start and the alignment of a later fit: by the codes that the sampled items have under an earlier tokenizer.

A tokenizer of the same kind and fusion gives its codebooks as the start, one of another fusion and adopted IDs their
codes. One of another kind gives none: codes of an unknown meaning are aligned to, but not started from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.artifacts import ADOPTED, kind_of
from fuseid.core.config import TokenizerConfig
from fuseid.core.errors import BadInput, NotReady
from fuseid.core.protocols import AlignableTokenizer, FittedTokenizer, Tokenizer, WarmTokenizer
from fuseid.core.surface import command, option, setting
from fuseid.pipelines.assignment.champion import load_tokenizer
from fuseid.pipelines.assignment.ledger import Ledger
from fuseid.pipelines.store.store import Store
from fuseid.tokenizers.alignment import kept, permutations, renumbered
from fuseid.tokenizers.registry import TOKENIZERS

# Codes are compared on so many items at most, the first ones in the order of the fit's blocks.
COMPARED = 200_000


def earlier_id(store: Store, kind: str, cold: bool, align_to: str | None, notes: list[str]) -> str | None:
    """The id of the tokenizer that a fit starts from and is aligned to: `align_to`, or the champion; None for a cold
    fit, which the first one is.

    notes: receives why a later fit is cold although that was not asked for. Raises BadInput for an unknown id, for
    both `cold` and `align_to`, and for `align_to` and a kind that cannot be aligned.
    """
    if cold and align_to is not None:
        raise BadInput(f"{option('cold', True)} and {option('align_to')} exclude each other; give one of them")
    name = store.setting("champion") if align_to is None else store.tokenizer_named(align_to)
    if cold or name is None:
        return None
    if getattr(TOKENIZERS[kind], "permuted", None) is None:
        problem = f"tokenizers of kind {kind} cannot be aligned to others: they have no method `permuted`"
        if align_to is not None:
            raise BadInput(f"{problem}; fit with {option('cold', True)}")
        notes.append(f"fitted cold: {problem}")
        return None
    return name


def nothing_kept(store: Store, name: str, named: bool) -> str:
    """The note that a fit is cold because no sampled item has an ID of the champion. Raises NotReady if the tokenizer
    was `named` by the caller."""
    problem = f"no sampled item of {store.uri} has an ID of {name}"
    if named:
        raise NotReady(
            f"{problem}, so nothing can be aligned to it; {command('assign', store.uri, tokenizer=name)} gives some"
        )
    return f"fitted cold: {problem}"


def other_sizes(store: Store, name: str, sizes: Sequence[int]) -> str | None:
    """A note if the codebooks of a fit have other sizes than those of the earlier tokenizer. Raises ArtifactError if
    that one cannot be read."""
    before = store.describe_tokenizer(name).meta.get("codebook_sizes")
    if before is None or list(before) == list(sizes):
        return None
    now, then = (", ".join(map(str, each)) for each in (sizes, before))
    same = setting("tokenizer.codebook_sizes")
    return f"{name} has codebooks of {then} codes, this fit of {now}; with the same {same} more items keep their codes"


@dataclass(frozen=True)
class Earlier:
    """What the items of a sample have under an earlier tokenizer. has: bool [N], whether an item has an ID. codes_NL:
    int32 [n, L] of the n items that have one. tokenizer: if its codebooks are of the same kind and fusion."""

    id: str
    has: np.ndarray
    codes_NL: np.ndarray
    tokenizer: Tokenizer | None

    @classmethod
    def of(
        cls, store: Store, name: str, content_ids: pa.Array, config: TokenizerConfig, fusion_id: str
    ) -> Earlier | None:
        """content_ids: of the items of the sample; None if none of them has an ID under the tokenizer. Raises
        ArtifactError if it cannot be read."""
        has, rows = np.zeros(len(content_ids), bool), np.zeros(len(content_ids), np.int64)
        parts: list[np.ndarray] = []
        for found in Ledger(store, name).rows("content_id", content_ids, ["codes"]):
            at = pc.index_in(found["content_id"], value_set=content_ids).to_numpy()
            has[at] = True
            rows[at] = np.arange(len(at)) + sum(map(len, parts))
            parts.append(found["codes"].combine_chunks().flatten().to_numpy().reshape(len(at), -1))
        if not parts:
            return None
        codes = np.concatenate(parts)[rows[has]]
        return cls(name, has, codes, _same_space(store, name, config.kind, fusion_id))

    def refitted(
        self,
        fit: Callable[..., Tokenizer],
        kind: type[FittedTokenizer],
        vectors_ND: np.ndarray,
        sizes: Sequence[int],
        seed: int,
        notes: list[str],
        most_r2_lost: float = 0.005,
    ) -> Tokenizer:
        """A tokenizer of the sample, started from here if the kind can be, and aligned. Its meta has `aligned_to`: the
        id, what it started from, and the share of the sampled items that keep their first code, first two, and so on.

        fit: with `start` or without. vectors_ND: float32 [N, D], the sample. most_r2_lost: a start from codes is given
        up if the R^2 of a cold fit is higher by more: the earlier codes may be those of quite other vectors.
        """
        started = None
        if kind_of(self.id) in (kind.KIND, ADOPTED) and getattr(kind, "start_from", None) is not None:
            start = cast(type[WarmTokenizer], kind).start_from(
                self.tokenizer, vectors_ND[self.has], self.codes_NL, sizes
            )
            started = None if start is None else "codes" if self.tokenizer is None else "codebooks"
        tokenizer = fit(start=start) if started else fit()
        if started == "codes":
            cold = fit()
            lost = _r2(cold) - _r2(tokenizer)
            if lost > most_r2_lost:
                tokenizer, started = cold, None
                notes.append(f"the codes of {self.id} are no start: R² would be {lost:.3f} below that of a cold fit")
        return self._aligned(tokenizer, started, vectors_ND, seed, notes)

    def _aligned(
        self, tokenizer: Tokenizer, started: str | None, vectors_ND: np.ndarray, seed: int, notes: list[str]
    ) -> Tokenizer:
        assert isinstance(tokenizer, AlignableTokenizer)
        codes_NL = tokenizer.encode(vectors_ND[self.has])
        numbers = permutations(self.codes_NL, codes_NL, tokenizer.codebook_sizes, seed)
        shares = kept(self.codes_NL, renumbered(codes_NL, numbers))
        how = f"started from its {started}" if started else "started cold"
        shown = ", ".join(f"{share:.1%}" for share in shares)
        notes.append(f"aligned to {self.id}, {how}: sampled items that keep their codes, by depth: {shown}")
        return tokenizer.permuted(numbers, {"tokenizer": self.id, "start": started, "kept": shares})


def _r2(tokenizer: Tokenizer) -> float:
    return float(tokenizer.meta["metrics"]["r2_per_level"][-1])


def _same_space(store: Store, name: str, kind: str, fusion_id: str) -> Tokenizer | None:
    """The tokenizer, if its codebooks can be a start."""
    if kind_of(name) != kind:
        return None
    found = load_tokenizer(store, name)
    return found if found.meta["fusion"] == fusion_id else None
