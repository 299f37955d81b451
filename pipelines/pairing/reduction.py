"""From partial counts to the pairs that are kept: sums, weights, the best of each item."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fuseid.pipelines.pairing.keys import expanded, items_of, summed
from fuseid.pipelines.pairing.options import COOCCURRENCE, SWING, WINDOW, Options
from fuseid.pipelines.pairing.swing import users_of_pairs

# A pair as one of its items has it.
OWNED = pa.schema([("owner", pa.int32()), ("partner", pa.int32()), ("count", pa.int32()), ("sum", pa.float64())])
BEST = pa.schema([("owner", pa.int32()), ("partner", pa.int32()), ("weight", pa.float32())])


@dataclass(frozen=True)
class Reduce:
    """`PARTIAL` of all pairs whose lower item is in a range -> the same, each pair once. Rows are added in their order,
    so that the sums do not depend on who made them."""

    def __call__(self, partial: pa.Table) -> pa.Table:
        return summed(*(partial[name].to_numpy() for name in ("key", "sum", "count")))


def owned(reduced: pa.Table) -> pa.Table:
    """`PARTIAL` -> `OWNED`: each pair once for both of its items."""
    low, high = items_of(reduced["key"].to_numpy())
    count, total = reduced["count"].to_numpy(), reduced["sum"].to_numpy()
    columns = [np.append(low, high), np.append(high, low), np.append(count, count), np.append(total, total)]
    return pa.Table.from_arrays(columns, schema=OWNED)


@dataclass(frozen=True)
class Totals:
    """What weights need of each item. users_I: who used it. sums_I: the sum of its pairs, float64, for cooccurrence."""

    users_I: np.ndarray
    sums_I: np.ndarray


def weights(rows: pa.Table, options: Options, totals: Totals) -> np.ndarray:
    """`OWNED` -> float32 [N], at most 0 for pairs without a weight.

    window: sum / (n_i n_j)^popularity, n the users of an item; with 0.5 and a window over whole histories, the cosine
    between the users of two items (Deshpande and Karypis 2004). swing: the sum. cooccurrence: pointwise mutual
    information log(P(i, j) / (P(i) P'(j))), where P' comes from counts raised to `smoothing` (Levy et al. 2015, sec.
    3.2); the mean of both directions, since a pair has none.
    """
    sums = rows["sum"].to_numpy()
    one, other = rows["owner"].to_numpy(), rows["partner"].to_numpy()
    # The same for both directions: the lower item is always the first factor.
    one, other = np.minimum(one, other), np.maximum(one, other)
    if options.method == WINDOW:
        users = totals.users_I.astype(float)
        found = sums / (users[one] * users[other]) ** options.popularity
    elif options.method == SWING:
        found = sums
    else:
        assert options.method == COOCCURRENCE
        assert options.smoothing is not None
        of_items = totals.sums_I
        smoothed = float((of_items[of_items > 0] ** options.smoothing).sum())
        logs = np.log(of_items[one]) + np.log(of_items[other])
        found = np.log(sums * smoothed) - 0.5 * (1 + options.smoothing) * logs
    return found.astype(np.float32)


@dataclass(frozen=True)
class Choose:
    """`OWNED` of all pairs of the items in a range -> `BEST`: of each item the `most` pairs of the largest weight, the
    largest first, those of equal weight by the number of the partner."""

    options: Options
    totals: Totals

    def __call__(self, rows: pa.Table) -> pa.Table:
        weight = weights(rows, self.options, self.totals)
        count = rows["count"].to_numpy()
        users = users_of_pairs(count) if self.options.method == SWING else count
        good = np.flatnonzero((weight > 0) & (users >= self.options.least))
        owner, partner, weight = rows["owner"].to_numpy()[good], rows["partner"].to_numpy()[good], weight[good]
        order = np.lexsort((partner, -weight, owner))
        starts = np.flatnonzero(np.diff(owner[order], prepend=-1))
        best = order[expanded(np.diff(np.append(starts, len(order)))) < self.options.most]
        return pa.Table.from_arrays([owner[best], partner[best], weight[best]], schema=BEST)
