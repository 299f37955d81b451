"""k-means for one level: shrunk seeds, Lloyd's iterations, no dead codes, and prices that balance the use of codes."""

from __future__ import annotations

import torch

from fuseid.core.parallel_blocks import each_block
from fuseid.tokenizers.products import Products

# Rows per matrix product.
BLOCK = 1024
# Shrunk seeds have this share of their vector's distance from the mean; see `_start`.
_SHRINK = 0.3
_SEED_ROWS_PER_CODE, _CANDIDATES = 8, 3
_RACE_ROWS_PER_CODE, _RACE_ITERATIONS = 32, 3
_BALANCE_ROWS_PER_CODE, _SINKHORN_ROUNDS = 64, 20


def kmeans(
    vectors: torch.Tensor,
    size: int,
    iterations: int,
    generator: torch.Generator,
    balanced: bool = False,
    start: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 [N, D] -> (codebook [size, D], price of each code [size], zero unless `balanced`).

    A vector takes the code with the least |x - c|^2 / 2 + price. start: [size, D], by default chosen from the vectors.
    """
    book = _start(vectors, size, generator) if start is None else start
    prices = torch.zeros(size, device=vectors.device)
    rows = _some_rows(vectors, _BALANCE_ROWS_PER_CODE * size, generator) if balanced else vectors[:0]
    for step in range(iterations):
        codes = nearest(vectors, book, prices)
        counts = torch.bincount(codes, minlength=size)
        book = _moved(vectors, book, codes, counts, restart=not balanced)
        if balanced:
            prices = _balanced(rows, book, prices, 0.3 * 0.1 ** (step / iterations))
    return book, prices


def _moved(
    vectors: torch.Tensor, book: torch.Tensor, codes: torch.Tensor, counts: torch.Tensor, restart: bool = True
) -> torch.Tensor:
    """Moves every code to the mean of its members, and restarts dead codes, unless prices will give them members."""
    sums = torch.zeros_like(book).index_add_(0, codes, vectors)
    book = torch.where((counts > 0)[:, None], sums / counts.clamp(min=1)[:, None], book)
    if restart:
        restart_dead(book, vectors, codes, counts)
    return book


def nearest(vectors: torch.Tensor, book: torch.Tensor, prices: torch.Tensor | None = None) -> torch.Tensor:
    """[N, D], [K, D] -> int64 [N]: the code with the least |x - c|^2 / 2 + price; ties go to the lower code."""
    offsets = book.square().sum(1) / 2
    if prices is not None:
        offsets = offsets + prices
    products = Products(-book, offsets, BLOCK)
    codes = torch.empty(len(vectors), dtype=torch.int64, device=vectors.device)

    def find(start: int, rows: torch.Tensor, count: int) -> None:
        codes[start : start + count] = products(rows).argmin(1)[:count]

    each_block(vectors, BLOCK, find)
    return codes


def _start(vectors: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """k-means++ seeds, unchanged or shrunk towards the mean, whichever has the lower error after a few iterations.

    In many dimensions residuals are nearly orthogonal: a centroid that starts *on* a vector is farther from all other
    vectors than a centroid near the mean, so it keeps only that vector and never moves. Measured on 60,000 text
    embeddings, 3 x 256 codes, three seeds: R^2 0.38 to 0.43 without shrinking, 0.453 to 0.455 with it. For
    well-separated clusters, unchanged seeds are better.
    """
    chosen = _plus_plus(_some_rows(vectors, _SEED_ROWS_PER_CODE * size, generator), size, generator)
    rows = _some_rows(vectors, _RACE_ROWS_PER_CODE * size, generator)
    mean = vectors.mean(0)
    starts = []
    for shrink in (1.0, _SHRINK):
        book = mean + shrink * (chosen - mean)
        for _ in range(_RACE_ITERATIONS):
            codes = nearest(rows, book)
            book = _moved(rows, book, codes, torch.bincount(codes, minlength=size))
        starts.append((float((rows - book[nearest(rows, book)]).square().sum()), book))
    return min(starts, key=lambda start: start[0])[1]


def _some_rows(vectors: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    if count >= len(vectors):
        return vectors
    return vectors[torch.randperm(len(vectors), generator=generator)[:count].to(vectors.device)]


def _plus_plus(sample: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """Greedy D^2 seeding (Arthur and Vassilvitskii 2007, sec. 2.2 and 5) -> [size, D], vectors of the sample."""
    norms = sample.square().sum(1)
    chosen = torch.randint(len(sample), (1,), generator=generator).tolist()
    distance = (sample - sample[chosen[0]]).square().sum(1)
    while len(chosen) < size:
        weights = distance.double().cpu()
        if float(weights.sum()) <= 0:
            chosen.append(int(torch.randint(len(sample), (1,), generator=generator)))
            continue
        tried = torch.multinomial(weights, _CANDIDATES, replacement=True, generator=generator).to(sample.device)
        to_tried = (norms + norms[tried][:, None] - 2 * sample[tried] @ sample.T).clamp_(min=0)
        after = torch.minimum(distance, to_tried)
        best = int(after.sum(1).argmin())
        chosen.append(int(tried[best]))
        distance = after[best]
        distance[chosen[-1]] = 0.0
    return sample[torch.tensor(chosen, device=sample.device)]


def restart_dead(book: torch.Tensor, vectors: torch.Tensor, codes: torch.Tensor, counts: torch.Tensor) -> None:
    """Splits the codes with the largest total error: a dead code and such a code move apart, to either side of it."""
    dead = (counts == 0).nonzero().flatten()
    if not len(dead):
        return
    error = torch.zeros(len(book), device=book.device)
    error.index_add_(0, codes, (vectors - book[codes]).square().sum(1))
    worst = error.topk(len(dead)).indices
    worst = worst[counts[worst] > 1]
    for code, source in zip(dead.tolist(), worst.tolist(), strict=False):
        farthest = (vectors[codes == source] - book[source]).square().sum(1).argmax()
        shift = _SHRINK * (vectors[codes == source][farthest] - book[source])
        book[code] = book[source] + shift
        book[source] -= shift


def _balanced(rows: torch.Tensor, book: torch.Tensor, prices: torch.Tensor, softness: float) -> torch.Tensor:
    """Prices under which all codes get equally many rows: the column potentials of Sinkhorn's iterations (Cuturi 2013),
    with an entropy term of `softness` times the mean distortion."""
    costs = book.square().sum(1) / 2 - rows @ book.T
    softness *= max(float((costs.min(1).values + rows.square().sum(1) / 2).mean()), 1e-12)
    for _ in range(_SINKHORN_ROUNDS):
        shares = torch.softmax(-(costs + prices) / softness, dim=1).mean(0)
        prices = prices + softness * (shares * len(book)).clamp(min=1e-6).log()
    return prices - prices.mean()


def raised_prices(prices: torch.Tensor, counts: torch.Tensor, step: float) -> torch.Tensor:
    """One step of the same ascent with hard counts: the prices of codes used more than their share rise. step: in
    squared units of the vectors."""
    share = counts.clamp(min=0.5) * (len(prices) / counts.sum())
    prices = prices + step * share.log().clamp(-2, 2)
    return prices - prices.mean()
