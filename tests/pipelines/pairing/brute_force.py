"""The three methods in a few lines of plain Python, without any bound on memory or time."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from hashlib import blake2b
from itertools import combinations

from fuseid.pipelines.pairing.options import Options

Event = tuple[str, str, int]
Pair = tuple[str, str]
Weights = dict[Pair, float]


def histories(events: Sequence[Event], options: Options) -> dict[str, list[tuple[int, str]]]:
    """The events of each user that are used, (microseconds, item), oldest first. events: with times in seconds."""
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for user, item, time in dict.fromkeys(events):
        if options.until is None or time * 10**6 < options.until:
            found[user].append((time * 10**6, item))
    for user, history in found.items():
        history.sort(key=lambda event: event[0])
        kept = history[: len(history) - options.leave_out] if options.leave_out < len(history) else []
        found[user] = kept[-options.max_history :]
    return {user: history for user, history in found.items() if history}


def named(one: str, other: str) -> Pair:
    return (one, other) if one.encode() < other.encode() else (other, one)


def closest(history: Sequence[tuple[int, str]], options: Options) -> dict[Pair, int]:
    """The smallest distance of each pair within the window and a session."""
    found: dict[Pair, int] = {}
    for at, after in combinations(range(len(history)), 2):
        gaps = [history[place + 1][0] - history[place][0] for place in range(at, after)]
        together = options.session is None or all(gap <= options.session * 60e6 for gap in gaps)
        if after - at <= options.window and together and history[at][1] != history[after][1]:
            pair = named(history[at][1], history[after][1])
            found[pair] = min(after - at, found.get(pair, after - at))
    return found


def by_closeness(events: Sequence[Event], options: Options) -> tuple[Weights, Counter[Pair]]:
    """-> (the weight of every pair, how many users have it), of `window` and `cooccurrence`."""
    sums: Weights = defaultdict(float)
    users: Counter[Pair] = Counter()
    users_of: Counter[str] = Counter()
    for history in histories(events, options).values():
        users_of.update({item for _, item in history})
        for pair, distance in closest(history, options).items():
            sums[pair] += 1 / distance if options.by_distance else 1
            users[pair] += 1
    if options.method == "window":
        scale = {item: count**options.popularity for item, count in users_of.items()}
        return {pair: total / (scale[pair[0]] * scale[pair[1]]) for pair, total in sums.items()}, users
    of_item: dict[str, float] = defaultdict(float)
    for (one, other), total in sums.items():
        of_item[one] += total
        of_item[other] += total
    whole = sum(of_item.values())
    smoothed = {item: count**options.smoothing for item, count in of_item.items()}
    as_context = {item: count / sum(smoothed.values()) for item, count in smoothed.items()}

    def information(word: str, context: str, total: float) -> float:
        return math.log(total / whole / (of_item[word] / whole * as_context[context]))

    found = {
        (one, other): (information(one, other, total) + information(other, one, total)) / 2
        for (one, other), total in sums.items()
    }
    return found, users


def by_swing(events: Sequence[Event], options: Options) -> tuple[Weights, Counter[Pair]]:
    """-> (the score of every pair, how many of the users that both of its items keep have it)."""
    every = {user: {item for _, item in history} for user, history in histories(events, options).items()}
    order = sorted(every, key=lambda user: blake2b(user.encode(), digest_size=8).digest())
    kept: dict[str, set[str]] = {user: set() for user in every}
    for item in {item for items in every.values() for item in items}:
        for user in [user for user in order if item in every[user]][: options.most_users]:
            kept[user].add(item)
    scores: Weights = defaultdict(float)
    for u, v in combinations(every, 2):
        shared = kept[u] & kept[v]
        for one, other in combinations(shared, 2):
            scores[named(one, other)] += 1 / math.sqrt(len(every[u]) * len(every[v])) / (options.alpha + len(shared))
    users = Counter(named(*pair) for items in kept.values() for pair in combinations(items, 2))
    return scores, users


def weights_of(events: Sequence[Event], options: Options) -> Weights:
    """The pairs that have a weight and enough users, before each item keeps its best."""
    found, users = (by_swing if options.method == "swing" else by_closeness)(events, options)
    return {pair: weight for pair, weight in found.items() if weight > 0 and users[pair] >= options.least}
