"""The cost of constrained decoding: `python benchmarks/trie.py [--items 1000000] [--json OUT]`, on random codes.

IDs have `--codebooks` codes and a collision suffix; codes are drawn with the skew of a real tokenizer (perplexity some
90% of the codebook). The trie is built, saved, memory-mapped again and asked for an ID, and one item in a thousand is
added and removed. It is compared with a dictionary from every prefix to the tokens that may follow.

A decoding step is timed for `--beams` rows on the CPU: the step of a small T5 decoder with its key-value cache,
`ConstrainedLogits`, and transformers' `PrefixConstrainedLogitsProcessor` over that dictionary. Each figure is the mean
over the steps of an ID except the first, and the median of `--rounds`. `--device cuda` times the steps on a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import torch
from transformers import PrefixConstrainedLogitsProcessor, T5Config, T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from benchmarks.processes import memory_mib
from fuseid.apps.show import print_rows
from fuseid.tokenizers.buckets import bucket_ids
from fuseid.tokenizers.collisions import digits
from fuseid.tokenizers.constrained import ConstrainedLogits
from fuseid.tokenizers.trie import Trie
from fuseid.tokenizers.vocabulary import Vocabulary, digits_for

_HISTORY = 80
CPU = torch.device("cpu")


def catalogue(items: int, sizes: tuple[int, ...]) -> np.ndarray:
    """int32 [N, L + 1]: random codes and the suffixes that they need, 0 for none."""
    generator = np.random.default_rng(0)
    shares = [weights / weights.sum() for weights in (generator.gamma(5.0, size=size) for size in sizes)]
    codes = np.stack([generator.choice(len(share), items, p=share) for share in shares], 1)
    buckets, first = bucket_ids(codes)
    return np.column_stack([codes, digits(buckets, np.zeros(len(first), np.int64))]).astype(np.int32)


def prefixes(ids_NM: np.ndarray) -> dict[tuple[int, ...], list[int]]:
    """The tokens that may follow each prefix."""
    found: dict[tuple[int, ...], set[int]] = {}
    for row in ids_NM.tolist():
        for depth, token in enumerate(row):
            found.setdefault(tuple(row[:depth]), set()).add(token)
    return {prefix: list(tokens) for prefix, tokens in found.items()}


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds(call: Callable[[], Any], rounds: int, device: torch.device = CPU) -> float:
    """The median of `rounds`, after one that is not counted."""
    taken = []
    for _ in range(rounds + 1):
        started = now(device)
        call()
        taken.append(now(device) - started)
    return statistics.median(taken[1:])


def decoder(vocabulary: Vocabulary, layers: int, d_model: int) -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=vocabulary.padded_size, d_model=d_model, d_kv=64, d_ff=1024, num_heads=6, num_layers=layers,
        pad_token_id=vocabulary.pad, decoder_start_token_id=vocabulary.pad, eos_token_id=vocabulary.eos,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval()


def later_steps(model: T5ForConditionalGeneration, ids_BM: torch.Tensor, states: torch.Tensor) -> float:
    """Seconds of all decoding steps of these tokens except the first, which also processes the encoder's output."""
    cache, started = None, 0.0
    for step in range(ids_BM.shape[1]):
        if step == 1:
            started = now(ids_BM.device)
        out = model(
            decoder_input_ids=ids_BM[:, step : step + 1], encoder_outputs=BaseModelOutput(states),
            past_key_values=cache, use_cache=True,
        )  # fmt: skip
        cache = out.past_key_values
    return now(ids_BM.device) - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--codebooks", default="256,256,256")
    parser.add_argument("--beams", type=int, default=512, help="rows of a step")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--d-model", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7, help="medians of these")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="also write the tables as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device, rounds = torch.device(arguments.device), arguments.rounds
    sizes = tuple(map(int, arguments.codebooks.split(",")))
    codes = catalogue(arguments.items, sizes)
    vocabulary = Vocabulary(sizes, digits_for(int(codes[:, -1].max())))
    ids = vocabulary.ids(codes)
    few = np.arange(0, len(codes), 1000)
    mask = np.arange(len(codes)) % 2 == 0
    trie = Trie.build(codes)
    rest = trie.remove(few)
    built = [
        {"what": "build", "seconds": seconds(lambda: Trie.build(codes), rounds), "mib": trie.nbytes / 2**20},
        {"what": "remove 1 in 1,000", "seconds": seconds(lambda: trie.remove(few), rounds)},
        {"what": "add 1 in 1,000", "seconds": seconds(lambda: rest.add(codes[few], few), rounds)},
        {"what": "filter: every other item", "seconds": seconds(lambda: trie.filtered(mask), rounds)},
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        built.append({"what": "save", "seconds": seconds(lambda: trie.save(folder), 1)})
        size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
        built.append({"what": "open, mapped", "seconds": seconds(lambda: Trie.open(folder), rounds), "mib": size})
        mapped = Trie.open(folder)
        built.append({"what": "items of one ID", "seconds": seconds(lambda: mapped.items(codes[7]), rounds)})
    before, started = memory_mib(os.getpid()), time.perf_counter()
    follow = prefixes(ids)
    taken = time.perf_counter() - started
    built.append({"what": "dictionary of prefixes", "seconds": taken, "mib": memory_mib(os.getpid()) - before})

    model = decoder(vocabulary, arguments.layers, arguments.d_model).to(device)
    rows = np.random.default_rng(1).integers(0, len(codes), arguments.beams)
    beams = torch.from_numpy(np.column_stack([np.full(len(rows), vocabulary.pad), ids[rows]])).to(device)
    tokens = beams.shape[1] - 1
    states = torch.randn(arguments.beams, _HISTORY, arguments.d_model, device=device)
    scores = torch.randn(arguments.beams, vocabulary.padded_size, device=device)
    processors = {
        "ConstrainedLogits": ConstrainedLogits(trie, vocabulary),
        "PrefixConstrainedLogitsProcessor": PrefixConstrainedLogitsProcessor(
            lambda _, row: follow[tuple(row[1:].tolist())], 1
        ),
    }

    def step_of(processor: Any) -> float:
        steps = range(1, tokens)
        return seconds(lambda: [processor(beams[:, : 1 + m], scores) for m in steps], rounds, device) / len(steps)

    with torch.inference_mode():
        same = [[processor(beams[:, : 1 + m], scores) for m in range(tokens)] for processor in processors.values()]
        if not all(map(torch.equal, *same)):
            raise RuntimeError("the two processors do not allow the same tokens")
        own = statistics.median(later_steps(model, beams[:, :-1], states) for _ in range(rounds + 1)) / (tokens - 1)
        stepped = [{"step": f"the decoder's own ({arguments.layers} layers of {arguments.d_model})", "ms": 1000 * own}]
        for name, processor in processors.items():
            taken = step_of(processor)
            stepped.append({"step": name, "ms": 1000 * taken, "of_the_decoder": f"{taken / own:.1%}"})
    what = f"{arguments.items:,} items, {trie.id_count:,} IDs of {vocabulary.sizes}"
    print_rows([row | {"ms": 1000 * row["seconds"]} for row in built], ("what", "ms", "mib"), title=what)
    print_rows(stepped, ("step", "ms", "of_the_decoder"), title=f"{arguments.beams} beams, {arguments.threads} threads")
    if arguments.json:
        document = {key: value for key, value in vars(arguments).items() if key != "json"}
        arguments.json.write_text(json.dumps({**document, "built": built, "steps": stepped}, indent=1) + "\n")


if __name__ == "__main__":
    main()
