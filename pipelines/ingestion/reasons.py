"""Why an ingest takes items up, each for one reason, and what that costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from fuseid.pipelines.ingestion.failures import Failures

# How many items are named for each reason.
NAMED = 3
# The entries of `Findings.effort` that are no vectors.
EFFORTS = ("decode", "encode")
# What the keys of the counts of a run begin with.
_COUNTED = "planned_"


class Reason(StrEnum):
    """If several hold, it is the one that costs most."""

    NEW = "new"
    MEDIA = "media"
    ENCODER = "encoder"
    DECODER = "decoder"
    DESCRIPTIONS = "descriptions"
    CAPTION = "caption"
    ATTRIBUTES = "attributes"
    VECTOR = "vector"
    FIRST_LISTED = "first_listed"
    INCOMPLETE = "incomplete"
    UNVERSIONED = "unversioned"
    FETCH_FAILED = "fetch_failed"
    REJECTED_CHANGED = "rejected_changed"
    UNUSABLE = "unusable"


# The reasons of items that are not in the database yet, and may come to be.
ADDS = (Reason.NEW, Reason.FETCH_FAILED, Reason.REJECTED_CHANGED)
MEANINGS: Mapping[Reason, str] = {
    Reason.NEW: "not in the database",
    Reason.MEDIA: "the file is another one, or has another size, time or version",
    Reason.ENCODER: "encoded by another model, or with other settings of it",
    Reason.DECODER: "decoded with other settings, or by another fuseid",
    Reason.DESCRIPTIONS: "described by another VLM or prompt, or not at all",
    Reason.CAPTION: "another caption",
    Reason.ATTRIBUTES: "only kind, attributes or other facts differ",
    Reason.VECTOR: "another vector",
    Reason.FIRST_LISTED: "known by its ready-made vectors alone",
    Reason.INCOMPLETE: "lacks a vector, and is marked to be tried again",
    Reason.UNVERSIONED: "its server does not say whether the file changed",
    Reason.FETCH_FAILED: "its file did not arrive last time",
    Reason.REJECTED_CHANGED: "rejected before, and something has changed since",
    Reason.UNUSABLE: "the source names it in a way that cannot be used",
}


class Reasons:
    """Counts items by reason, and names the first of each."""

    def __init__(self) -> None:
        self.counts: Counter[Reason] = Counter()
        self.examples: dict[Reason, list[str]] = {}

    def add(self, reason: Reason, items: int, first: Sequence[str]) -> None:
        """first: the ids of the first few of the items."""
        if items:
            self.counts[reason] += items
            named = self.examples.setdefault(reason, [])
            named += first[: NAMED - len(named)]

    def as_counts(self) -> dict[str, int]:
        """For the counts of a run: `planned_new` and so on, of the reasons that occur."""
        return {f"{_COUNTED}{reason}": self.counts[reason] for reason in Reason if self.counts[reason]}


@dataclass
class Findings:
    """What planning has found of the planned items.

    reasons: why they are planned. effort: how many of them are to be decoded (`decode`), encoded (`encode`), and get
    each vector, by its column. fetch: of their media, the `items` with a known size and their `bytes`, of which
    `remote_bytes` are not in local files; those `unsized`; and those `unreachable` now. stale: of the known items, how
    many have another fingerprint than is to be made now, by its column and its stored value. unusable: those that the
    source itself makes so. seconds: that planning took, without what goes on between its steps.
    """

    reasons: Reasons = field(default_factory=Reasons)
    effort: Counter[str] = field(default_factory=Counter)
    fetch: Counter[str] = field(default_factory=Counter)
    stale: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    unusable: Failures = field(default_factory=Failures)
    seconds: float = 0.0

    def counts(self) -> dict[str, int]:
        """For the counts of a run: by reason, and how many items are `to_decode` and `to_encode`."""
        to_do = {f"to_{work}": self.effort[work] for work in EFFORTS if self.effort[work]}
        return self.reasons.as_counts() | to_do
