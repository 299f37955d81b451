"""How sequences are made from a user's events: the split, the training examples, the length of histories."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from fuseid.core.errors import BadInput
from fuseid.core.names import check_known
from fuseid.core.surface import option
from fuseid.pipelines.sequences.clock import instant

SPLITS = ("train", "valid", "test")
METHODS = ("leave-one-out", "by-time")
# `prefix`: every event is a target, and the events before it are its history. `window`: the same, but only with full
# histories, or with the whole of a shorter sequence. `last`: only the last event, for trainers that make parts of
# sequences themselves.
TRAIN = ("prefix", "window", "last")
# What a format that is a table of interactions has instead: every event once, without a history.
EVENTS = "events"
# Each is an open file while events are read.
MOST_SHARDS = 256


@dataclass(frozen=True)
class Options:
    """cuts: of the split by time, where validation and test begin, in microseconds since 1970 UTC; or, until they are
    known, as shares of all events. train: None means what the format's trainer expects.

    max_history: how many of the newest events of a history are kept. min_history: an event with fewer events before it
    is not a target. min_events: a user with fewer events has no example; in a split by time, only events up to the end
    of the example's split count.
    """

    split: str = "leave-one-out"
    cuts: tuple[int | Fraction, ...] = ()
    train: str | None = None
    max_history: int = 50
    min_history: int = 1
    min_events: int = 1

    def __post_init__(self) -> None:
        check_known("split", self.split, METHODS)
        if self.train is not None:
            check_known("kind of training examples", self.train, TRAIN)
        if not 1 <= self.min_history <= self.max_history:
            raise BadInput(
                f"histories of {self.min_history} to {self.max_history} events cannot be; "
                f"{option('min_history')} is at least 1 and at most {option('max_history')}"
            )
        if self.min_events < 1:
            raise BadInput(f"{option('min_events')} is at least 1, got {self.min_events}")
        if self.split != "by-time" and self.cuts:
            raise BadInput(f"{option('cuts')} belong to {option('split', 'by-time')}, not to {self.split}")
        if self.split == "by-time":
            _check_cuts(self.cuts)


def _check_cuts(cuts: tuple[int | Fraction, ...]) -> None:
    if len(cuts) != 2 or len({type(cut) for cut in cuts}) != 1:
        raise BadInput(
            f"{option('split', 'by-time')} takes two {option('cuts')}, where validation and test begin: time stamps "
            "(2024-05-01T00:00Z,2024-06-01T00:00Z) or shares of all events (0.8,0.9)"
        )
    if cuts[0] >= cuts[1]:
        raise BadInput(f"the first of the {option('cuts')} must lie before the second")


def parse_cuts(text: str, zone: str | None) -> tuple[int | Fraction, ...]:
    """`0.8,0.9` or two ISO time stamps; zone: of time stamps without one. Raises BadInput for anything else."""
    return tuple(_cut(part.strip(), zone) for part in text.split(","))


def _cut(text: str, zone: str | None) -> int | Fraction:
    try:
        share = Fraction(text)
    except (ValueError, ZeroDivisionError):
        pass
    else:
        if not 0 < share < 1:
            raise BadInput(f"a share in {option('cuts')} lies between 0 and 1, got {text}")
        return share
    when = instant(text, zone)
    if when is None:
        raise BadInput(f"{option('cuts')} takes shares like 0.8 or time stamps like 2024-05-01T00:00Z, got {text!r}")
    return when
