"""Ways to give cold items places in a list of all items: `python benchmarks/cold.py --db DB --sequences FOLDER`.

DB and FOLDER are those of `benchmarks/kinds.py` (in its WORK, `db` and `sequences`). One model is trained for each
seed, then the same places of the same lists are filled in each of these ways:

search     a second beam search, among cold items alone
back-off   the same, where the codes that only cold items have share what the model gives to their siblings
generated  cold items that share most leading codes with an ID of the list, the best first (as in TIGER)
vectors    cold items whose vector is most similar to that of an item of the history
history    cold items that share most leading codes with an item of the history (`fuseid.tokenizers.cold`)
training   no places, but training examples once more with a cold item that shares two codes in place of their target

Printed: recall@10 in percent of cold items among all, and of warm ones with the change to the lists without places.
Items of the history get no place.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import torch
from transformers import LogitsProcessor, LogitsProcessorList, T5ForConditionalGeneration

from fuseid.pipelines.evaluation.evaluate import opened_sequences, read_ids
from fuseid.pipelines.evaluation.histories import TestHistories, read_sequences
from fuseid.pipelines.evaluation.model import Tokens, new_model
from fuseid.pipelines.evaluation.ranking import IdIndex, places
from fuseid.pipelines.evaluation.settings import setting_named
from fuseid.pipelines.evaluation.training import train
from fuseid.pipelines.exports.snapshot import Snapshot
from fuseid.pipelines.jobs.progress import Lines
from fuseid.tokenizers.cold import beside, cold_neighbours
from fuseid.tokenizers.constrained import ConstrainedLogits
from fuseid.tokenizers.ranks import recall
from fuseid.tokenizers.trie import Trie

SHARES = (0.1, 0.2)
_ROWS = 64
# A cold neighbour of a target is one of so many.
_NEAR = 10


class BackOff(LogitsProcessor):
    """Codes that no warm item has after this prefix weigh together as much as those that some warm item has, in the
    model's proportions; after such a code only the proportions count. Only items of `only` are left."""

    def __init__(self, everything: ConstrainedLogits, warm: np.ndarray, only: np.ndarray) -> None:
        self._warm, self._cold, self._all = everything.filtered(warm), everything.filtered(only), everything

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        allowed = self._all(input_ids, scores).isfinite()
        warm = allowed & self._warm(input_ids, scores).isfinite()
        new = allowed & ~warm
        level = torch.where(warm.any(1), scores.where(warm, -torch.inf).logsumexp(1), 0.0)[:, None]
        among = scores - scores.where(new, -torch.inf).logsumexp(1, keepdim=True)
        return self._cold(input_ids, torch.where(new, level + among, scores))


@torch.inference_mode()
def searched(model, tokens: Tokens, history_EH: np.ndarray, held: LogitsProcessor, beams: int) -> np.ndarray:
    """int64 [E, B, M]: codes, best first."""
    model.eval()
    parts = []
    for start in range(0, len(history_EH), _ROWS):
        made = model.generate(
            **tokens.inputs(history_EH[start : start + _ROWS]), num_beams=beams, num_return_sequences=beams,
            do_sample=False, max_new_tokens=tokens.levels, logits_processor=LogitsProcessorList([held]),
        )  # fmt: skip
        parts.append(tokens.vocabulary.codes(made[:, 1:].numpy()).reshape(-1, beams, tokens.levels))
    return np.concatenate(parts)


def nearest(vectors_ND: np.ndarray, cold: np.ndarray, own: Sequence[np.ndarray], count: int) -> list[list[int]]:
    """The cold items most similar to any item of each history."""
    best = [(vectors_ND[items] @ vectors_ND[cold].T).max(0) for items in own]
    return [cold[np.argsort(-row, kind="stable")[:count]].tolist() for row in best]


def fused(uri: str, snapshot: Snapshot, names: list[str]) -> np.ndarray:
    """float32 [N, D], unit norm: the vectors that the tokenizer quantized."""
    table = snapshot.pinned.contents.to_table(columns=["content_id", "fused"])
    flat = table["fused"].combine_chunks().flatten().to_numpy().reshape(len(table), -1).astype(np.float32)
    row_of = {name: row for row, name in enumerate(table["content_id"].to_pylist())}
    vectors = flat[[row_of[name] for name in names]]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def augmented(examples: TestHistories, codes_NM: np.ndarray, cold: Trie, seed: int) -> TestHistories:
    """The examples, and those whose target has cold neighbours once more, with one of these as their target."""
    near = cold_neighbours(cold, [codes_NM[[target]] for target in examples.target_E], _NEAR, 2)
    rows = np.flatnonzero([bool(one.items) for one in near])
    generator = np.random.default_rng(seed)
    more = replace(
        examples.rows(rows), target_E=np.array([generator.choice(near[row].items) for row in rows], np.int32)
    )
    return TestHistories(
        *(np.concatenate([getattr(part, field) for part in (examples, more)]) for field in vars(examples))
    )


def lists_of(
    model, tokens: Tokens, codes_NM: np.ndarray, warm_N: np.ndarray, test: TestHistories, beams: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """-> (codes of the lists of all items [E, B, M]; those of cold items alone, by way)."""
    everything = ConstrainedLogits(Trie.build(codes_NM), tokens.vocabulary)
    listed = searched(model, tokens, test.history_EH, everything, beams)
    alone = {"search": everything.filtered(~warm_N), "back-off": BackOff(everything, warm_N, ~warm_N)}
    return listed, {way: searched(model, tokens, test.history_EH, held, beams) for way, held in alone.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--db", required=True)
    parser.add_argument("--sequences", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--setting", default="tiny")
    parser.add_argument("--users", type=int, default=1_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    setting = setting_named(arguments.setting)
    snapshot = Snapshot.of_manifest(arguments.db, opened_sequences(arguments.db, arguments.sequences, None))
    names, ids = read_ids(snapshot, "semantic")
    sequences = read_sequences(
        arguments.sequences, names, history=setting.history, train=setting.steps * setting.batch,
        valid=setting.valid_examples, users=arguments.users, progress=Lines(),
    )  # fmt: skip
    test, codes_NM, warm_N = sequences.test, ids.codes_NM, sequences.seen_N
    index, cold = IdIndex(codes_NM), Trie.build(codes_NM).filtered(~warm_N)
    item_of = np.append(np.empty(len(index.sizes_G), np.int64), -1)
    item_of[index.of_N] = np.arange(len(names))
    own = [items[items >= 0] for items in test.history_EH]
    vectors, beams, levels = fused(arguments.db, snapshot, names.to_pylist()), setting.beams, len(ids.codebook_sizes)
    is_cold_E = ~warm_N[test.target_E]
    found: dict[tuple[str, float], list[tuple[float, float]]] = {}
    tokens = Tokens(ids)

    def trained(examples: TestHistories, seed: int) -> T5ForConditionalGeneration:
        torch.manual_seed(seed)
        model = new_model(setting, tokens)
        train(model, tokens, examples, sequences.valid, setting, seed, lambda: None)
        return model

    def add(way: str, share: float, lists_EB: np.ndarray) -> None:
        hits = recall(*places(lists_EB, index.of_N[test.target_E], index.sizes_G), 10)
        pair = float(hits[is_cold_E].mean()), float(hits[~is_cold_E].mean())
        found.setdefault((way, share), []).append(pair)

    for seed in range(arguments.seeds):
        model = trained(sequences.train, seed)
        listed, searches = lists_of(model, tokens, codes_NM, warm_N, test, beams)
        listed_EB = item_of[index.find(listed)]
        ways = {way: [[one for one in row if one >= 0] for row in item_of[index.find(codes)].tolist()]
                for way, codes in searches.items()}  # fmt: skip
        best_last = [codes_NM[row[row >= 0][::-1]] for row in listed_EB]
        ways["generated"] = [near.items for near in cold_neighbours(cold, best_last, beams, 1)]
        ways["vectors"] = nearest(vectors, np.flatnonzero(~warm_N), own, beams)
        for least in range(1, levels + 1):
            histories = [codes_NM[items] for items in own]
            near = cold_neighbours(cold, histories, beams, least)
            ways[f"history, {least} codes"] = [one.items for one in near]
        for way, rows in {"none": [[]] * len(test), **ways}.items():
            new = [[one for one in row if one not in items] for row, items in zip(rows, own, strict=True)]
            for share in SHARES if way != "none" else (0.0,):
                lists = np.full_like(listed_EB, -1)
                for e, (row, cold_row) in enumerate(zip(listed_EB.tolist(), new, strict=True)):
                    made = beside([one for one in row if one >= 0], cold_row, share)
                    lists[e, : len(made)] = index.of_N[made]
                add(way, share, lists)
        model = trained(augmented(sequences.train, codes_NM, cold, seed), seed)
        held = ConstrainedLogits(Trie.build(codes_NM), tokens.vocabulary)
        add("training", 0.0, index.find(searched(model, tokens, test.history_EH, held, beams)))
    [before] = {float(np.mean([warm for _, warm in rows])) for (way, _), rows in found.items() if way == "none"}
    print("| way | places | cold | warm | warm, change |\n| --- | --- | --- | --- | --- |")
    for (way, share), rows in found.items():
        now_cold, now = np.mean(rows, 0)
        print(f"| {way} | {share:.0%} | {100 * now_cold:.2f} | {100 * now:.2f} | {100 * (now / before - 1):+.1f}% |")


if __name__ == "__main__":
    main()
