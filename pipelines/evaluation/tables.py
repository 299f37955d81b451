"""The outcomes of trials by slice and measure, as rows of a document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from fuseid.pipelines.evaluation.cold_places import ColdPlaces
from fuseid.pipelines.evaluation.histories import Sequences
from fuseid.pipelines.evaluation.intervals import Estimate, estimates
from fuseid.pipelines.evaluation.ranking import popularity_places
from fuseid.pipelines.evaluation.sasrec import ItemTrial
from fuseid.pipelines.evaluation.trial import Outcome, Ranks, Trial
from fuseid.tokenizers.ranks import MEASURES

KS = (5, 10)
SEMANTIC, POPULAR = "semantic", "most popular"
# The slices of targets; those of the last one are ranked among cold items alone.
ALL, HEAD, TAIL, COLD, COLD_ALONE = "all", "head", "tail", "cold", "cold among cold"
# Head and tail together.
WARM = "warm"


class Tables:
    """Outcomes by slice and measure."""

    def __init__(self, sequences: Sequences, by_name: Mapping[str, Sequence[Outcome]]) -> None:
        test = sequences.test
        self._by_name = by_name
        self._targets_N, self._seen_N, self._target_E = sequences.targets_N, sequences.seen_N, test.target_E
        _, self._user_E = np.unique(test.user_E, return_inverse=True)
        self._border = head_border(sequences.targets_N[sequences.seen_N])
        self._cold_E = ~sequences.seen_N[test.target_E]
        head_E = ~self._cold_E & (sequences.targets_N[test.target_E] > self._border)
        masks = {ALL: np.ones(len(test), bool), HEAD: head_E, TAIL: ~self._cold_E & ~head_E, COLD: self._cold_E}
        masks[COLD_ALONE] = self._cold_E
        self.slices = {name: mask for name, mask in masks.items() if mask.any()}

    def users(self, name: str) -> int:
        return len(np.unique(self._user_E[self.slices[name]]))

    def slice(self, name: str) -> dict[str, Any]:
        """items: how many items the slice has. ranked: among how many items the target is ranked."""
        head_N = self._seen_N & (self._targets_N > self._border)
        own_N = {HEAD: head_N, TAIL: self._seen_N & ~head_N, ALL: np.ones_like(self._seen_N)}.get(name, ~self._seen_N)
        ranked = int((~self._seen_N).sum()) if name == COLD_ALONE else len(self._seen_N)
        examples = int(self.slices[name].sum())
        return {
            "slice": name, "items": int(own_N.sum()), "ranked": ranked, "examples": examples, "users": self.users(name)
        }  # fmt: skip

    def measured(self) -> Iterator[dict[str, Any]]:
        for part in self.slices:
            for name in (POPULAR, *self._by_name):
                if name == POPULAR and part == COLD_ALONE:
                    continue
                for measure, found in self._estimates(part, self._values(name, part)):
                    yield {"slice": part, "ids": name, "measure": measure, **asdict(found)}

    def differences(self) -> Iterator[dict[str, Any]]:
        """SEMANTIC minus each control: same user, same example, same seed."""
        for part in self.slices:
            own = self._values(SEMANTIC, part)
            for name in self._by_name:
                if name != SEMANTIC:
                    for measure, found in self._estimates(part, own - self._values(name, part)):
                        yield {"slice": part, "against": name, "measure": measure, **asdict(found)}

    def with_cold(self, options: Sequence[ColdPlaces]) -> Iterator[dict[str, Any]]:
        """The measures of lists in which cold items have places, and `less`: minus those of the lists without."""
        masks = {ALL: np.ones_like(self._cold_E), WARM: ~self._cold_E, COLD: self._cold_E}
        with_ids = {name: outcomes for name, outcomes in self._by_name.items() if outcomes[0].with_cold}
        for number, option in enumerate(options):
            for part, mask in masks.items():
                for name, outcomes in with_ids.items() if mask.any() else ():
                    own = _measured([outcome.with_cold[number] for outcome in outcomes], mask)
                    less = own - _measured([outcome.ranks for outcome in outcomes], mask)
                    pairs = zip(self._named(own, mask), self._named(less, mask), strict=True)
                    for (measure, found), (_, change) in pairs:
                        row = {"share": option.share, "codes": option.codes, "slice": part, "ids": name}
                        yield row | {"measure": measure, **asdict(found), "less": asdict(change)}

    def _estimates(self, part: str, values_VSE: np.ndarray) -> Iterator[tuple[str, Estimate]]:
        return self._named(values_VSE, self.slices[part])

    def _named(self, values_VSE: np.ndarray, mask_E: np.ndarray) -> Iterator[tuple[str, Estimate]]:
        names = [f"{measure}@{k}" for measure in MEASURES for k in KS]
        return zip(names, estimates(values_VSE, self._user_E[mask_E]), strict=True)

    def _values(self, name: str, part: str) -> np.ndarray:
        """float64 [V, S, E] of the examples of a slice."""
        mask = self.slices[part]
        if name == POPULAR:
            popular = Ranks(*popularity_places(self._target_E, self._targets_N))
            return _measured([popular], mask)
        if part == COLD_ALONE:
            return _measured([outcome.cold_ranks for outcome in self._by_name[name]], np.ones(mask.sum(), bool))
        return _measured([outcome.ranks for outcome in self._by_name[name]], mask)


def _measured(ranks: Sequence[Ranks], mask_E: np.ndarray) -> np.ndarray:
    """float64 [V, S, E] of the examples of a mask; ranks: of each seed."""
    return np.array(
        [
            [measure(one.before_E[mask_E], one.same_E[mask_E], k) for one in ranks]
            for measure in MEASURES.values()
            for k in KS
        ]
    )


def head_border(targets_N: np.ndarray) -> int:
    """Items that were targets more often than this are the head: the most popular fifth, without ties with the rest."""
    return int(np.sort(targets_N)[::-1][max(1, len(targets_N) // 5) :].max(initial=0))


def summary(trial: Trial | ItemTrial, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The means over seeds for one kind of IDs, None for what it does not have; `seconds` is the time of one trial."""

    def mean(name: str) -> float | None:
        found = [getattr(outcome, name) for outcome in outcomes]
        return None if None in found else float(np.mean(found))

    ids = trial.ids if isinstance(trial, Trial) else None
    return {
        "ids": trial.name,
        "codebook_sizes": None if ids is None else list(ids.codebook_sizes),
        "with_suffix": None if ids is None else int((ids.codes_NM[:, -1] > 0).sum()),
        "invalid_free": mean("invalid_free"),
        "invalid_trie": mean("invalid_held"),
        "steps": mean("steps"),
        "valid_loss": mean("loss"),
        "seconds": mean("seconds"),
    }
