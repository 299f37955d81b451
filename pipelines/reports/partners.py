"""The part of a report about co-engaged items: how often a held-out partner is among an item's nearest, by vector and
by ID, beside what content alone, a category and chance find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fuseid.core.artifacts import encodes
from fuseid.core.errors import BadInput
from fuseid.core.modalities import modalities
from fuseid.core.protocols import Tokenizer
from fuseid.core.surface import command
from fuseid.encoders.fusion import Fusion
from fuseid.encoders.fusions import Fusions
from fuseid.encoders.learned_fusion import HELD_UP_TO, LearnedFusion
from fuseid.pipelines.engagement.pairs_file import Pairs
from fuseid.pipelines.jobs.progress import Progress, note
from fuseid.pipelines.reports.partner_choice import Asked
from fuseid.pipelines.reports.partner_figures import Name, Placed, figures
from fuseid.pipelines.reports.partner_ranking import Scores, by_chance, by_prefix, by_value, by_vector, placed
from fuseid.pipelines.reports.refitting import refitted_codes
from fuseid.pipelines.reports.slices import value_text
from fuseid.pipelines.store.generations import fused_column
from fuseid.pipelines.store.pinned_tables import PinnedTables
from fuseid.pipelines.store.rows import attributes_of
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.tables import vector_sizes
from fuseid.pipelines.store.vector_columns import nan_rows

# What items are ranked by: the IDs of a tokenizer, the vectors of a learned or a linear fusion, those of one modality,
# the value of an attribute, or nothing.
IDS, LEARNED, LINEAR, MODALITY, ATTRIBUTE, CHANCE = "ids", "learned", "linear", "modality", "attribute", "chance"


@dataclass(frozen=True)
class Ranking:
    """make: what ranks, or why there is nothing. reference: the ranking of the linear fusion to compare it with.
    permute: whether it also ranks partners of other items."""

    name: Name
    make: Callable[[], Scores | str]
    reference: Name | None = None
    permute: bool = False


def partners_of(
    store: Store, pinned: PinnedTables, tokenizers: Sequence[Tokenizer], pairs: Pairs, attributes: Sequence[str],
    progress: Progress, *, most: int, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """attributes: those by whose values items are ranked. most: candidates.

    Only pairs that no learned fusion of the tokenizers has learned from are asked for: those whose hash is at most the
    highest that its training held out, whatever file they come from. Without a learned fusion, those that a fit would
    hold out. Memory: the pairs, and the vectors of the candidates. Raises BadInput if there are none to ask for.
    """
    fusions = {name: store.get_artifact(Fusions, name) for name in _fusions(store, pinned, tokenizers)}
    learned = {name: fusion for name, fusion in fusions.items() if isinstance(fusion, LearnedFusion)}
    limits = [_limit(store, fusion) for fusion in learned.values()]
    names = [each.id for each in tokenizers]
    asked = Asked.of(store.uri, pinned, pairs, names, min(limits, default=None), most)
    if passed_over := asked.known.note():
        note(progress, passed_over)
    rankings = list(_Rankings(pinned, tokenizers, fusions, asked).every(attributes))
    stage = "rank partners"
    progress.begin(stage, len(rankings))
    permuted_E2 = asked.permuted(seed)
    found: list[Placed] = []
    for ranking in rankings:
        scores = ranking.make()
        if isinstance(scores, str):
            found.append(Placed.without(ranking.name, scores))
        else:
            both_E2 = np.concatenate([asked.asked_E2, permuted_E2 if ranking.permute else permuted_E2[:0]])
            before, same = placed(scores, both_E2, asked.partners, len(asked))
            here, there = slice(len(asked.asked_E2)), slice(len(asked.asked_E2), None)
            found.append(Placed(ranking.name, both_E2[here], before[here], same[here], ranking.reference))
            if ranking.permute:
                found.append(Placed(ranking.name.of_permuted(), both_E2[there], before[there], same[there]))
        progress.advance(stage, 1)
    return {
        "pairs": pairs.facts(),
        "known": int(asked.known.usable_P.sum()),
        "unknown_ids": asked.known.unknown,
        "held_out": asked.held,
        "held_out_by": list(learned),
        "asked": len(np.unique(np.sort(asked.asked_E2, axis=1), axis=0)),
        "anchors": len(np.unique(asked.asked_E2[:, 0])),
        "candidates": len(asked),
        **figures(found, asked, seed),
    }


def _fusions(store: Store, pinned: PinnedTables, tokenizers: Sequence[Tokenizer]) -> list[str]:
    """The fusions whose vectors are ranked by: each tokenizer's own, or the one in force."""
    in_force = store.setting("fusion", pinned.ledger)
    found = [each.meta.get("fusion") if encodes(each) else in_force for each in tokenizers]
    return list(dict.fromkeys(name for name in found if name))


def _limit(store: Store, fusion: LearnedFusion) -> int:
    """Up to which hash a learned fusion has held pairs out."""
    limit = fusion.meta["metrics"].get(HELD_UP_TO)
    if limit is None:
        raise BadInput(
            f"{fusion.id} does not say which pairs it has held out; "
            f"{command('fit', store.uri, pairs='FILE')} makes one that does"
        )
    return int(limit)


class _Rankings:
    def __init__(
        self, pinned: PinnedTables, tokenizers: Sequence[Tokenizer], fusions: Mapping[str, Fusion], asked: Asked
    ) -> None:
        self._pinned, self._tokenizers, self._fusions, self._asked = pinned, tokenizers, fusions, asked
        schema = pinned.contents.schema
        self._sizes = vector_sizes(schema)
        self._columns = {name: fused_column(schema, name) for name in fusions}

    def every(self, attributes: Sequence[str]) -> Iterator[Ranking]:
        for tokenizer, codes in zip(self._tokenizers, self._asked.codes, strict=True):
            linear = self._linear_of(tokenizer)
            reference = None if linear is None else self._linear_ids(linear, tokenizer)
            yield Ranking(Name(IDS, "id", tokenizer.id), partial(by_prefix, codes), reference, permute=True)
        for name, fusion in self._fusions.items():
            learned = isinstance(fusion, LearnedFusion)
            reference = Name(LINEAR, "vector", fusion.meta["metrics"]["linear"]) if learned else None
            made = Name(LEARNED if learned else LINEAR, "vector", name)
            if column := self._columns[name]:
                yield Ranking(made, partial(self._by_column, column), reference, permute=True)
        for fusion in self._fusions.values():
            if isinstance(fusion, LearnedFusion):
                yield from self._linear_rankings(fusion)
        for modality in modalities(self._sizes):
            yield Ranking(Name(MODALITY, "vector", modality.name), partial(self._by_column, modality.name))
        for attribute in attributes:
            yield Ranking(Name(ATTRIBUTE, "value", attribute), partial(self._by_attribute, attribute))
        yield Ranking(Name(CHANCE, "chance"), partial(by_chance, len(self._asked)))

    def _linear_rankings(self, learned: LearnedFusion) -> Iterator[Ranking]:
        """The linear fusion in which a learned one began, and IDs made from it, where no tokenizer of the report has
        them."""
        linear = learned.meta["metrics"]["linear"]
        if self._columns.get(linear) is None:
            yield Ranking(Name(LINEAR, "vector", linear), lambda: by_vector(self._linear_vectors(learned)))
        for tokenizer in self._tokenizers:
            name = self._linear_ids(linear, tokenizer)
            if self._linear_of(tokenizer) == linear and name.kind == LINEAR:
                yield Ranking(name, partial(self._by_linear_ids, learned, tokenizer))

    def _linear_of(self, tokenizer: Tokenizer) -> str | None:
        """The linear fusion in which that of a tokenizer began; None if its own is not a learned one."""
        fusion = self._fusions.get(tokenizer.meta["fusion"]) if encodes(tokenizer) else None
        return str(fusion.meta["metrics"]["linear"]) if isinstance(fusion, LearnedFusion) else None

    def _linear_ids(self, linear: str, like: Tokenizer) -> Name:
        """The IDs of a linear fusion: a tokenizer's of the report, or those of one like that of the learned fusion."""
        there = (each.id for each in self._tokenizers if encodes(each) and each.meta["fusion"] == linear)
        found = next(there, None)
        return Name(LINEAR, "id", linear, like.id) if found is None else Name(IDS, "id", found)

    def _vectors(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """float32 [C, D] each, a row of NaN for an item without one."""
        rows = self._asked.read(self._pinned, names)
        return {name: nan_rows(rows[name], self._sizes[name]) for name in names}

    def _by_column(self, column: str) -> Scores:
        return by_vector(self._vectors([column])[column])

    def _linear_vectors(self, learned: LearnedFusion) -> np.ndarray:
        return learned.linear(self._vectors([name for name in learned.dims if name in self._sizes]))

    def _by_linear_ids(self, learned: LearnedFusion, like: Tokenizer) -> Scores | str:
        codes, why = refitted_codes(like, self._linear_vectors(learned), like.meta.get("seed", 0))
        return why if codes is None else by_prefix(codes)

    def _by_attribute(self, name: str) -> Scores:
        rows = self._asked.read(self._pinned, ["attributes"])["attributes"].to_pylist()
        values = [attributes_of(text).get(name) for text in rows]
        return by_value([None if value is None else value_text(value) for value in values])
