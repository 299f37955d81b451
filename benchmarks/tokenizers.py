"""All kinds of tokenizers, FAISS, vector-quantize-pytorch and `semantic-id` on the same vectors and threads:
`python benchmarks/tokenizers.py --vectors FILE.npy [--codebooks 256,256,256] [--kinds KINDS] [--json OUT]`.

FILE holds floats [N, D]; every tenth row (chosen at random, always the same) is held out. Libraries that are not
installed are skipped and listed: `uv pip install faiss-cpu vector-quantize-pytorch semantic-id`. r2 is 1 - squared
error / variance of the held-out vectors, r2_fitted of the others; entropy is the normalised entropy of the held-out
vectors' codes, of the level where it is least; collision B is the share of the distinct vectors of FILE that share
their codes with another one. A kind that keeps a `history` has its first epoch as a row of its own, measured like
`r2_own` on the rows that its fit held out. `rq-kmeans, reassign` is `rq-kmeans` with other codes for colliding items;
moved_r2 is R^2 of the moved items only. FAISS encodes with look-up tables or without: the row is the one with the
better R^2, or the faster one if they are equal, and `encode_per_s_plain` and `encode_per_s_tables` hold both. Each
figure is the median over the seeds; the systems take turns within a seed, so that a slow minute of the machine affects
all of them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

from fuseid.apps.show import print_rows
from fuseid.core.config import RQKMeansConfig, TokenizerConfig
from fuseid.core.protocols import Tokenizer
from fuseid.core.variants import variants
from fuseid.tokenizers.buckets import bucket_ids
from fuseid.tokenizers.code_use import code_measures
from fuseid.tokenizers.collisions import alternatives, digits, placed
from fuseid.tokenizers.registry import TOKENIZERS

Figures = dict[str, float | str | list[float] | None]
KINDS = (
    "rq-kmeans:beam=1:refinements=0,rq-kmeans,rq-kmeans:refinements=8,rq-kmeans:balanced=true,rq-kmeans:last=fsq,"
    "rq-vae,fsq"
)


def timed(function: Callable, *arguments, **options):
    started = time.perf_counter()
    found = function(*arguments, **options)
    return found, time.perf_counter() - started


class Judge:
    """The measures that every system is evaluated with."""

    def __init__(self, vectors: np.ndarray, sizes: tuple[int, ...]) -> None:
        held = np.zeros(len(vectors), dtype=bool)
        held[np.random.default_rng(0).permutation(len(vectors))[: len(vectors) // 10]] = True
        self.vectors, self.sizes, self.held = vectors, sizes, held
        self.fitted = np.ascontiguousarray(vectors[~held])
        self.distinct = np.unique(vectors, axis=0, return_inverse=True)[1].ravel()

    def r2(self, decoded: np.ndarray, rows: np.ndarray) -> float:
        """decoded: of all vectors. rows: bool [N], those that count."""
        vectors = self.vectors[rows]
        variance = float(np.square(vectors - vectors.mean(0), dtype=np.float64).sum())
        return 1.0 - float(np.square(vectors - decoded[rows], dtype=np.float64).sum()) / variance

    def figures(self, system: str, codes: np.ndarray, decoded: np.ndarray, **seconds: float) -> Figures:
        measures = code_measures(codes, self.sizes, shared_with=self.distinct, permutations=0)
        used = code_measures(codes[self.held], self.sizes, permutations=0)
        entropies = [measure.value for measure in used if measure.name == "normalised_entropy"]

        def of(name: str) -> list[float]:
            return [measure.value for measure in measures if measure.name == name]

        return {
            "system": system,
            "r2": self.r2(decoded, self.held),
            "r2_fitted": self.r2(decoded, ~self.held),
            "unique": 1 - of("collision_a")[0],
            "collision_b": of("collision_b_distinct")[0],
            "least_used_level": min(of("utilisation")),
            "entropy": min(entropies),
            "entropy_by_level": entropies,
        } | dict(seconds)


def ours(judge: Judge, sections: dict[str, TokenizerConfig], seed: int) -> Iterator[Figures]:
    for name, section in sections.items():
        fit = TOKENIZERS[section.kind].fit
        tokenizer, fit_s = timed(fit, judge.fitted, judge.sizes, seed=seed, **section.options())
        codes, per_s = encoding(tokenizer.encode, judge.vectors)
        found = judge.figures(name, codes, tokenizer.decode(codes), fit_s=fit_s, encode_per_s=per_s)
        depths = range(1, len(judge.sizes) + 1)
        found["r2_by_level"] = [judge.r2(tokenizer.decode(codes[:, :depth]), judge.held) for depth in depths]
        history = tokenizer.meta["metrics"].get("history")
        if history:
            # Of the rows that the fit itself held out, as is the rest of its history.
            first = history[0]
            yield {"system": f"{name}, epoch 0", "r2_own": first["r2"], "entropy": min(first["entropy"])}
            best = tokenizer.meta["metrics"]["best_epoch"]
            found |= {"best_epoch": float(best), "r2_own": history[best]["r2"]}
        yield found
        if name == "rq-kmeans":
            yield _reassigned(judge, tokenizer, codes, fit_s)


def _reassigned(judge: Judge, tokenizer: Tokenizer, codes: np.ndarray, fit_s: float) -> Figures:
    (given, extra, no_room), seconds = timed(reassigned, tokenizer, judge.vectors, codes)
    moved = extra != 0
    before, after = (np.square(judge.vectors - tokenizer.decode(c)).sum(1) for c in (codes, given))
    found = judge.figures("rq-kmeans, reassign", given, tokenizer.decode(given), fit_s=fit_s, reassign_s=seconds)
    centred = judge.vectors - judge.vectors.mean(0)
    return found | {
        "moved": float(moved.mean()),
        "no_room": float(no_room.mean()),
        "distortion_all": float(after.sum() / before.sum() - 1),
        "distortion_moved": float(after[moved].sum() / before[moved].sum() - 1),
        "moved_r2": 1 - float(after[moved].sum() / np.square(centred[moved]).sum()),
    }


def reassigned(
    tokenizer: Tokenizer, vectors_ND: np.ndarray, codes_NL: np.ndarray, capacity: int = 1, count: int = 32
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The policy `reassign` over a whole catalogue at once, in memory: N x count x L codes.

    codes_NL: the codes of vectors_ND. -> (codes int32 [N, L]; extra squared errors float32 [N], 0 if the codes are the
    item's own; bool [N], items that found no room and stay in a full bucket).
    """
    ids, _ = bucket_ids(codes_NL)
    counts = np.bincount(ids)
    over = np.flatnonzero(digits(ids, np.zeros(len(counts), np.int64)) >= capacity)
    out, extra, no_room = codes_NL.astype(np.int32), np.zeros(len(ids), np.float32), np.zeros(len(ids), bool)
    if len(over):
        options, errors = alternatives(tokenizer, vectors_ND[over], codes_NL[over], count)
        levels = codes_NL.shape[1]
        buckets, _ = bucket_ids(np.concatenate([codes_NL, options.reshape(-1, levels)]))
        taken = np.bincount(buckets[: len(ids)], minlength=buckets.max() + 1)
        own, others = buckets[over], buckets[len(ids) :].reshape(len(over), -1)
        chosen, _ = placed(own, others, np.minimum(taken, capacity), capacity)
        moved, rows = chosen >= 0, np.arange(len(over))
        out[over[moved]] = options[rows, chosen][moved]
        extra[over[moved]] = errors[rows, chosen][moved]
        no_room[over[~moved]] = True
    return out, extra, no_room


def encoding(encode: Callable, vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """-> codes, vectors per second of the fastest of three passes."""
    encode(vectors[:4096])
    passes = [timed(encode, vectors) for _ in range(3)]
    return passes[0][0], len(vectors) / min(seconds for _, seconds in passes)


def faiss_rq(judge: Judge, seed: int, threads: int) -> Iterator[Figures]:
    import faiss

    faiss.omp_set_num_threads(threads)
    bits = faiss.UInt64Vector()
    for size in judge.sizes:
        bits.push_back(int(size).bit_length() - 1)
    for beam in (1, 5):
        found = []
        quantizer = faiss.ResidualQuantizer(judge.vectors.shape[1], bits)
        quantizer.max_beam_size = beam
        quantizer.cp.seed = 1234 + seed
        _, fit_s = timed(quantizer.train, judge.fitted)
        for tables in (0, 1):
            quantizer.use_beam_LUT = tables
            packed, per_s = encoding(quantizer.compute_codes, judge.vectors)
            codes = unpacked_codes(packed, judge.sizes)
            figures = judge.figures(
                f"faiss-beam{beam}", codes, quantizer.decode(packed), fit_s=fit_s, encode_per_s=per_s
            )
            found.append(figures | {"tables": str(tables)})
        plain, tabled = found
        best = max(found, key=lambda figures: (round(figures["r2"], 5), figures["encode_per_s"]))
        yield best | {"encode_per_s_plain": plain["encode_per_s"], "encode_per_s_tables": tabled["encode_per_s"]}


def unpacked_codes(packed: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """FAISS's bit strings, lowest bits first -> codes [N, L]."""
    number = sum(packed[:, byte].astype(np.int64) << 8 * byte for byte in range(packed.shape[1]))
    codes = []
    for size in sizes:
        codes.append(number % size)
        number = number // size
    return np.stack(codes, axis=1)


def vq_pytorch(judge: Judge, seed: int) -> Iterator[Figures]:
    from benchmarks.neural_peers import fitted, quantizers

    for system, make in quantizers(judge.sizes).items():
        encode, decode, fit_s = fitted(make, judge.fitted, seed)
        codes, per_s = encoding(encode, judge.vectors)
        yield judge.figures(system, codes, decode(codes), fit_s=fit_s, encode_per_s=per_s)


def _fit_semantic_id(
    fitted: np.ndarray, vectors: np.ndarray, sizes: tuple[int, ...], seed: int, threads: int, out
) -> None:
    from semantic_id import RQKMeans as Peer

    torch.set_num_threads(threads)
    peer, fit_s = timed(Peer(n_levels=len(sizes), n_clusters=list(sizes), random_state=seed).fit, fitted)
    codes, encode_s = timed(peer.encode, vectors)
    out.put((fit_s, encode_s, np.asarray(codes), np.asarray(peer.decode(codes))))


def semantic_id(judge: Judge, seed: int, threads: int, limit: float) -> Figures:
    """Runs in a separate process, which is ended after `limit` seconds; then fit_s is that limit and R^2 is unknown."""
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    process = context.Process(
        target=_fit_semantic_id, args=(judge.fitted, judge.vectors, judge.sizes, seed, threads, out), daemon=True
    )
    process.start()
    try:
        fit_s, encode_s, codes, decoded = out.get(timeout=limit)
    except Exception:
        process.kill()
        return {"system": "semantic-id", "fit_s": limit, "r2": None, "note": f"not done after {limit:g} s"}
    process.join()
    per_s = len(codes) / encode_s
    return judge.figures("semantic-id", codes, decoded, fit_s=fit_s, encode_per_s=per_s)


def product(judge: Judge) -> Figures:
    """The float32 product [N, D] x [D, sum K] alone, by torch's `@`, in blocks."""
    across = torch.randn(judge.vectors.shape[1], sum(judge.sizes))

    def run(vectors: np.ndarray) -> None:
        rows = torch.from_numpy(vectors)
        for start in range(0, len(rows), 1024):
            rows[start : start + 1024] @ across

    return {"system": "product", "encode_per_s": encoding(run, judge.vectors)[1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    parser.add_argument("--codebooks", default="256,256,256", help="codes per level")
    parser.add_argument("--kinds", default=KINDS, help="KIND[:KEY=VALUE...], separated by commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--semantic-id-limit", type=float, default=500.0, help="seconds; 0 leaves it out")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    vectors = np.ascontiguousarray(np.load(arguments.vectors, allow_pickle=False), dtype=np.float32)
    judge = Judge(vectors, tuple(map(int, arguments.codebooks.split(","))))
    sections = variants(RQKMeansConfig(codebook_sizes=judge.sizes), arguments.kinds)
    runs: dict[str, list[Figures]] = defaultdict(list)
    missing = []
    for seed in range(arguments.seeds):
        found = [*ours(judge, sections, seed), product(judge)]
        for peer, library in ((faiss_rq(judge, seed, arguments.threads), "faiss"),
                              (vq_pytorch(judge, seed), "vector-quantize-pytorch")):  # fmt: skip
            try:
                found += peer
            except ImportError:
                missing.append(library)
        for figures in found:
            runs[str(figures["system"])].append(figures)
    if arguments.semantic_id_limit:
        try:
            import semantic_id as _  # noqa: F401

            runs["semantic-id"].append(semantic_id(judge, 0, arguments.threads, arguments.semantic_id_limit))
        except ImportError:
            missing.append("semantic-id")
    rows = [_median(figures) for figures in runs.values()]
    print(f"{len(vectors)} x {vectors.shape[1]}, codebooks {arguments.codebooks}, "
          f"{arguments.threads} threads, median of {arguments.seeds} seeds")  # fmt: skip
    for columns in (
        ("system", "fit_s", "r2", "r2_spread", "r2_fitted", "entropy", "collision_b", "unique", "least_used_level"),
        ("system", "r2_own", "best_epoch"),
        ("system", "encode_per_s", "encode_per_s_plain", "encode_per_s_tables"),
        ("system", "reassign_s", "moved", "no_room", "distortion_all", "distortion_moved", "moved_r2"),
    ):
        some = [row for row in rows if any(row.get(name) is not None for name in columns[1:])]
        if some:
            print_rows([{name: _shown(name, row.get(name)) for name in columns} for row in some], columns)
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
    if name.startswith("encode_per_s"):
        return f"{value:,.0f}"
    return f"{value:.1f}" if name.endswith("_s") else f"{value:.4f}"


if __name__ == "__main__":
    main()
