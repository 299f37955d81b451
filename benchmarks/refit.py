"""How many codes a refit keeps, and how well it quantizes: four ways, and chance:
`python benchmarks/refit.py --vectors FILE.npy [--seeds 3] [--json OUT]`.

FILE holds floats [N, D]; their order must be random. An earlier tokenizer is fitted on the old vectors, then another:

    cold               without a start
    cold, permuted     and each level's codes renumbered so that most old items keep theirs
    warm               started from the earlier codebooks
    warm, permuted     and renumbered: what `fuseid fit` does
    warm, of codes     started from the earlier codes alone and renumbered: what it does after another fusion
    unchanged          the earlier tokenizer itself, for comparison
    chance             codes drawn from those that `cold, permuted` gave, and renumbered

in four cases:

    a tenth is new     old: 10/12 of the vectors; the refit sees 9 of these 10 twelfths and one new twelfth
    half is new        old: half of 11/12 of the vectors; the refit sees all of it and as many new ones
    new clusters       the vectors of some of 64 clusters, a fifth of all, are new; the refit sees all old ones too
    another space      as `a tenth is new`, with vectors projected at random to two thirds of their numbers: as after
                       another fusion. Codebooks are no start there

first, two, all: the share of the old items that the refit saw or not which keep their first code, first two, all.
held-out R^2: 1 - squared error / variance of the last twelfth, which no fit saw, with as many of new clusters as the
refit saw. fit, s: of the refit. The figures are medians over the seeds, which both fits and the clusters differ by.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fuseid.apps.show import print_rows
from fuseid.core.row_blocks import as_blocks
from fuseid.tokenizers.alignment import kept, permutations, renumbered
from fuseid.tokenizers.kmeans import kmeans
from fuseid.tokenizers.nearest_code import nearest
from fuseid.tokenizers.rq_kmeans import RQKMeans

CLUSTERS, NEW_SHARE = 64, 0.2
# The seed of refits is another than that of the earlier fit.
REFIT = 100
COLUMNS = ("case", "way", "first", "two", "all", "held_out_r2", "r2_to_cold", "fit_s")


@dataclass(frozen=True)
class Case:
    """old: what the earlier tokenizer was fitted on. sample: what the refit sees, of which the first `common` rows are
    the first of `old`. held_out: what no fit saw. after: from the space of the earlier fit to that of the refit."""

    name: str
    old: np.ndarray
    sample: np.ndarray
    common: int
    held_out: np.ndarray
    after: np.ndarray | None = None

    def in_new_space(self, vectors: np.ndarray) -> np.ndarray:
        return vectors if self.after is None else (vectors @ self.after).astype(np.float32)


def cases(vectors: np.ndarray, seed: int) -> Iterator[Case]:
    twelfth = len(vectors) // 12
    seen, held_out = vectors[: 11 * twelfth], vectors[11 * twelfth :]
    old, new, common = seen[: 10 * twelfth], seen[10 * twelfth :], 9 * twelfth
    sample = np.concatenate([old[:common], new])
    yield Case("a tenth is new", old, sample, common, held_out)
    half = len(seen) // 2
    yield Case("half is new", seen[:half], seen, half, held_out)

    rows = torch.from_numpy(vectors)
    book, _ = kmeans(as_blocks(vectors), CLUSTERS, 5, torch.Generator().manual_seed(seed))
    clusters = nearest(rows, book).numpy()
    order = np.random.default_rng(seed).permutation(CLUSTERS)
    sizes = np.bincount(clusters, minlength=CLUSTERS)[order].cumsum()
    is_new = np.isin(clusters, order[: 1 + np.searchsorted(sizes, NEW_SHARE * len(vectors))])
    (old, old_held), (new, new_held) = (
        np.split(part, [len(part) * 11 // 12]) for part in (vectors[~is_new], vectors[is_new])
    )
    yield Case("new clusters", old, np.concatenate([old, new]), len(old), np.concatenate([old_held, new_held]))

    dim = vectors.shape[1]
    project = np.random.default_rng(seed).normal(size=(dim, dim * 2 // 3)) / np.sqrt(dim)
    old = seen[: 10 * twelfth]
    yield Case("another space", old, sample, common, held_out, project)


def r2(tokenizer: RQKMeans, vectors: np.ndarray) -> float:
    left = vectors - tokenizer.decode(tokenizer.encode(vectors))
    spread = vectors - vectors.mean(0)
    return 1 - float(np.square(left, dtype=np.float64).sum() / np.square(spread, dtype=np.float64).sum())


def ways(case: Case, sizes: tuple[int, ...], options: dict, seed: int, log) -> Iterator[dict]:
    earlier = RQKMeans.fit(case.old, sizes, seed=seed, **options)
    codes_NL = earlier.encode(case.old)
    old, sample, held_out = (case.in_new_space(part) for part in (case.old, case.sample, case.held_out))
    shared = slice(0, case.common)

    def row(way: str, tokenizer: RQKMeans | None, after_NL: np.ndarray, fit_s: float | None = None) -> dict:
        first, *_, every = shares = kept(codes_NL, after_NL)
        found = {"case": case.name, "way": way, "first": first, "two": shares[1], "all": every, "fit_s": fit_s}
        log(f"seed {seed}, {case.name}, {way}: {', '.join(f'{share:.3f}' for share in shares)}")
        return found | {"held_out_r2": None if tokenizer is None else r2(tokenizer, held_out)}

    def both(way: str, **start) -> Iterator[dict]:
        began = time.perf_counter()
        tokenizer = RQKMeans.fit(sample, sizes, seed=seed + REFIT, **options, **start)
        fit_s = time.perf_counter() - began
        after_NL = tokenizer.encode(old)
        # By the items that both fits saw, as `fuseid fit` does; the shares are those of all old items.
        numbers = permutations(codes_NL[shared], after_NL[shared], sizes, seed)
        other = tokenizer.permuted(numbers, {"tokenizer": earlier.id})
        permuted_NL = other.encode(old)
        assert np.array_equal(permuted_NL, renumbered(after_NL, numbers))
        plain = row(way, tokenizer, after_NL, fit_s)
        permuted = row(f"{way}, permuted", other, permuted_NL, fit_s)
        assert plain["held_out_r2"] == permuted["held_out_r2"]
        yield from (plain, permuted) if way in ("cold", "warm") else ({**permuted, "way": way},)
        if way == "cold":
            drawn_NL = permuted_NL[np.random.default_rng(seed).permutation(len(permuted_NL))]
            numbers = permutations(codes_NL[shared], drawn_NL[shared], sizes, seed)
            yield row("chance", None, renumbered(drawn_NL, numbers))

    yield from both("cold")
    if case.after is None:
        yield from both("warm", start=RQKMeans.start_from(earlier, old[shared], codes_NL[shared], sizes))
        yield row("unchanged", earlier, codes_NL)
    yield from both("warm, of codes", start=RQKMeans.start_from(None, old[shared], codes_NL[shared], sizes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    parser.add_argument("--codebooks", default="256,256,256", help="codes per level, at least two levels")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--refinements", type=int, default=1)
    parser.add_argument("--balanced", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    vectors = np.ascontiguousarray(np.load(arguments.vectors, allow_pickle=False), dtype=np.float32)
    sizes = tuple(map(int, arguments.codebooks.split(",")))
    options = {"refinements": arguments.refinements, "balanced": arguments.balanced}
    runs: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for seed in range(arguments.seeds):
        for case in cases(vectors, seed):
            found = list(ways(case, sizes, options, seed, lambda line: print(line, flush=True)))
            cold = next(one["held_out_r2"] for one in found if one["way"] == "cold")
            for one in found:
                one["r2_to_cold"] = None if one["held_out_r2"] is None else one["held_out_r2"] - cold
                runs[one["case"], one["way"]].append(one)
    rows = [_median(found) for found in runs.values()]
    print(f"{len(vectors)} x {vectors.shape[1]}, codebooks {arguments.codebooks}, {options}, median of "
          f"{arguments.seeds} seeds, {arguments.threads} threads")  # fmt: skip
    print_rows([{name: _shown(name, row[name]) for name in COLUMNS} for row in rows], COLUMNS)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


def _median(found: list[dict]) -> dict:
    out = dict(found[0])
    for key, value in found[0].items():
        if isinstance(value, float):
            values = [one[key] for one in found]
            out[key] = statistics.median(values)
            out[f"{key}_range"] = [min(values), max(values)]
    return out


def _shown(name: str, value: object) -> object:
    if not isinstance(value, float):
        return value
    if name in ("first", "two", "all"):
        return f"{value:.1%}"
    return f"{value:.1f}" if name == "fit_s" else f"{value:+.4f}" if name == "r2_to_cold" else f"{value:.4f}"


if __name__ == "__main__":
    main()
