"""The beam search by torch and compiled, FAISS with look-up tables and the product alone, on the same codebooks:
`python benchmarks/beam.py --vectors FILE.npy [--codebooks 256,256,256] [--threads 1] [--json OUT]`.

FILE holds floats [N, D]; the codebooks are fitted on every second row. The four take turns; medians over the rounds.
With one thread the figures are processor time, so that other processes disturb them less. Also: how many codes differ
between torch and the compiled search, which must be 0.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

from fuseid.apps.show import print_rows
from fuseid.core.parallel_blocks import each_block
from fuseid.tokenizers import residual_search
from fuseid.tokenizers.rq_kmeans import RQKMeans

BEAM = 5


def faiss_quantizer(tokenizer: RQKMeans, threads: int):
    """With the codebooks of the tokenizer; sizes are powers of two and all the same."""
    import faiss

    faiss.omp_set_num_threads(threads)
    sizes = tokenizer.codebook_sizes
    quantizer = faiss.ResidualQuantizer(tokenizer.dim, len(sizes), sizes[0].bit_length() - 1)
    quantizer.train_type = faiss.ResidualQuantizer.Skip_codebook_tables
    quantizer.max_beam_size = BEAM
    faiss.copy_array_to_vector(
        np.concatenate([book.numpy() for book in tokenizer.codebooks]).ravel(), quantizer.codebooks
    )
    quantizer.is_trained, quantizer.use_beam_LUT = True, 1
    quantizer.compute_codebook_tables()
    return quantizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--codebooks", default="256,256,256", help="codes per level, all the same power of two")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    vectors = np.ascontiguousarray(np.load(arguments.vectors, allow_pickle=False), dtype=np.float32)
    tokenizer = RQKMeans.fit(vectors[::2].copy(), tuple(map(int, arguments.codebooks.split(","))), beam=BEAM)
    products = tokenizer._search(torch.device("cpu"))._products
    quantizer = faiss_quantizer(tokenizer, arguments.threads)

    def encoding(after: int) -> Callable[[], np.ndarray]:
        def encode() -> np.ndarray:
            residual_search._FEW_ROWS = after
            return tokenizer.encode(vectors)

        return encode

    systems: dict[str, Callable[[], object]] = {
        "product": lambda: each_block(torch.from_numpy(vectors), 512, lambda start, rows, count: products(rows)),
        "torch": encoding(2**62),
        "compiled": encoding(-1),
        "FAISS, tables": lambda: quantizer.compute_codes(vectors),
    }
    differ = int((systems["torch"]() != systems["compiled"]()).any(1).sum())  # type: ignore[attr-defined]
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {system: [] for system in systems}
    for _ in range(arguments.rounds):
        for system, run in systems.items():
            started = clock()
            run()
            seconds[system].append(clock() - started)
    rows = []
    for system, found in seconds.items():
        against = statistics.median(a / b for a, b in zip(seconds["FAISS, tables"], found, strict=True))
        us = statistics.median(found) / len(vectors) * 1e6
        rows.append({"system": system, "us_per_vector": round(us, 2), "times_faiss": round(against, 2)})
    shape = f"{len(vectors)} x {vectors.shape[1]}"
    print(f"{shape}, codebooks {arguments.codebooks}, beam {BEAM}, threads {arguments.threads}")
    print_rows(rows, ("system", "us_per_vector", "times_faiss"))
    print(f"vectors whose codes differ between torch and compiled: {differ}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"differ": differ, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
