"""RQ-KMeans beside FAISS and `semantic-id` on the same vectors and threads:
`python benchmarks/tokenizers.py --vectors FILE.npy [--levels 3] [--codes 256] [--json OUT]`.

FILE holds floats [N, D]. Peers that are not installed are left out, and named: `uv pip install faiss-cpu semantic-id`.
R^2 is 1 - squared error / variance over the same vectors. Each figure is the median over the seeds; the systems take
turns within a seed, so that a slow minute of the machine falls on all of them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from fuseid.apps.show import print_rows
from fuseid.tokenizers.rq_kmeans import RQKMeans

Figures = dict[str, float | str | list[float] | None]
QUALITY_REFINEMENTS = 8


def timed(function: Callable, *arguments, **options):
    started = time.perf_counter()
    found = function(*arguments, **options)
    return found, time.perf_counter() - started


class Judge:
    """What every system is measured by."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors
        self._variance = float(np.square(vectors - vectors.mean(0), dtype=np.float64).sum())

    def r2(self, decoded: np.ndarray) -> float:
        return 1.0 - float(np.square(self.vectors - decoded, dtype=np.float64).sum()) / self._variance

    def figures(self, system: str, fit_s: float, encode_s: float, codes: np.ndarray, decoded: np.ndarray) -> Figures:
        used = [len(np.unique(level)) / (int(level.max()) + 1) for level in codes.T]
        return {
            "system": system,
            "fit_s": fit_s,
            "r2": self.r2(decoded),
            "encode_per_s": len(codes) / encode_s,
            "unique": len(np.unique(codes, axis=0)) / len(codes),
            "least_used_level": min(used),
        }


def ours(judge: Judge, sizes: tuple[int, ...], seed: int) -> Iterator[Figures]:
    vectors = judge.vectors
    for system, beams, options in (
        ("fuseid-greedy", (1,), {"beam": 1, "refinements": 0}),
        ("fuseid", (5,), {}),
        ("fuseid-quality", (5,), {"refinements": QUALITY_REFINEMENTS}),
        ("fuseid-balanced", (5,), {"balanced": True}),
    ):
        tokenizer, fit_s = timed(RQKMeans.fit, vectors, sizes, seed=seed, **options)
        for beam in beams:
            tokenizer.encode(vectors[:4096], beam=beam)
            codes, encode_s = timed(tokenizer.encode, vectors, beam=beam)
            found = judge.figures(system, fit_s, encode_s, codes, tokenizer.decode(codes))
            found["least_entropy"] = min(_entropy(level, size) for level, size in zip(codes.T, sizes, strict=True))
            found["r2_by_level"] = [judge.r2(tokenizer.decode(codes[:, : n + 1])) for n in range(len(sizes))]
            yield found
            if system == "fuseid":
                yield found | {"system": "fuseid-beam5"}


def faiss_rq(judge: Judge, sizes: tuple[int, ...], seed: int, threads: int) -> Iterator[Figures]:
    import faiss

    faiss.omp_set_num_threads(threads)
    bits = [int(size).bit_length() - 1 for size in sizes]
    for beam in (1, 5):
        found = []
        quantizer = faiss.ResidualQuantizer(judge.vectors.shape[1], len(bits), bits[0])
        quantizer.max_beam_size = beam
        quantizer.cp.seed = 1234 + seed
        _, fit_s = timed(quantizer.train, judge.vectors)
        for tables in (0, 1):
            quantizer.use_beam_LUT = tables
            quantizer.compute_codes(judge.vectors[:4096])
            packed, encode_s = timed(quantizer.compute_codes, judge.vectors)
            figures = judge.figures(f"faiss-beam{beam}", fit_s, encode_s, packed, quantizer.decode(packed))
            found.append(figures | {"tables": str(tables)})
        plain, tabled = found
        best = max(found, key=lambda figures: (figures["r2"], figures["encode_per_s"]))
        yield best | {"encode_per_s_plain": plain["encode_per_s"], "encode_per_s_tables": tabled["encode_per_s"]}


def _fit_semantic_id(vectors: np.ndarray, sizes: tuple[int, ...], seed: int, threads: int, out) -> None:
    from semantic_id import RQKMeans as Peer

    torch.set_num_threads(threads)
    peer, fit_s = timed(Peer(n_levels=len(sizes), n_clusters=list(sizes), random_state=seed).fit, vectors)
    codes, encode_s = timed(peer.encode, vectors)
    out.put((fit_s, encode_s, np.asarray(codes), np.asarray(peer.decode(codes))))


def semantic_id(judge: Judge, sizes: tuple[int, ...], seed: int, threads: int, limit: float) -> Figures:
    """In a process of its own, which is ended after `limit` seconds: then fit_s is that bound and R^2 is unknown."""
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    process = context.Process(target=_fit_semantic_id, args=(judge.vectors, sizes, seed, threads, out), daemon=True)
    process.start()
    try:
        fit_s, encode_s, codes, decoded = out.get(timeout=limit)
    except Exception:
        process.kill()
        return {"system": "semantic-id", "fit_s": limit, "r2": None, "note": f"not done after {limit:g} s"}
    process.join()
    return judge.figures("semantic-id", fit_s, encode_s, codes, decoded)


def product(judge: Judge, sizes: tuple[int, ...]) -> Figures:
    """The float32 product [N, D] x [D, sum K] alone, in the blocks that encoding uses."""
    vectors, across = torch.from_numpy(judge.vectors), torch.randn(judge.vectors.shape[1], sum(sizes))

    def run() -> None:
        for start in range(0, len(vectors), 1024):
            vectors[start : start + 1024] @ across

    run()
    return {"system": "product", "encode_per_s": len(vectors) / timed(run)[1]}


def _entropy(codes: np.ndarray, size: int) -> float:
    shares = np.bincount(codes, minlength=size) / len(codes)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum() / np.log(size))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--codes", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--semantic-id-limit", type=float, default=500.0, help="seconds; 0 leaves it out")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    vectors = np.ascontiguousarray(np.load(arguments.vectors, allow_pickle=False), dtype=np.float32)
    judge, sizes = Judge(vectors), (arguments.codes,) * arguments.levels
    runs: dict[str, list[Figures]] = defaultdict(list)
    missing = []
    for seed in range(arguments.seeds):
        found = [*ours(judge, sizes, seed), product(judge, sizes)]
        try:
            found += faiss_rq(judge, sizes, seed, arguments.threads)
        except ImportError:
            missing.append("faiss")
        for figures in found:
            runs[str(figures["system"])].append(figures)
    if arguments.semantic_id_limit:
        try:
            import semantic_id as _  # noqa: F401

            runs["semantic-id"].append(semantic_id(judge, sizes, 0, arguments.threads, arguments.semantic_id_limit))
        except ImportError:
            missing.append("semantic-id")
    rows = [_median(figures) for figures in runs.values()]
    print(f"{len(vectors)} x {vectors.shape[1]}, {arguments.levels} x {arguments.codes} codes, "
          f"{arguments.threads} threads, median of {arguments.seeds} seeds")  # fmt: skip
    columns = ("system", "fit_s", "r2", "r2_spread", "encode_per_s", "unique", "least_used_level", "least_entropy")
    shown = [{name: _shown(name, row.get(name)) for name in columns} for row in rows]
    print_rows(shown, columns)
    if missing:
        print(f"left out, not installed: {', '.join(sorted(set(missing)))}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


def _median(figures: list[Figures]) -> Figures:
    numbers = {key for row in figures for key, value in row.items() if isinstance(value, float)}
    out = dict(figures[0]) | {key: statistics.median(row[key] for row in figures) for key in numbers}  # type: ignore[type-var]
    if all(isinstance(row.get("r2"), float) for row in figures):
        out["r2_spread"] = max(row["r2"] for row in figures) - min(row["r2"] for row in figures)  # type: ignore[operator, type-var]
    return out


def _shown(name: str, value: object) -> object:
    if not isinstance(value, float):
        return value
    return f"{value:,.0f}" if name == "encode_per_s" else f"{value:.1f}" if name == "fit_s" else f"{value:.4f}"


if __name__ == "__main__":
    main()
