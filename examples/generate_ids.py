"""From a folder of pictures to a small generator of semantic IDs.

    python examples/generate_ids.py OUT [PICTURES]

Five steps: ingest the pictures, fit a tokenizer, join users' histories with the IDs, train a tiny transformer to
continue them, and let it generate the next ID, held to IDs that exist. The model is far too small and the users are
made up; with real interactions, steps 3 to 5 stay as they are and only sizes change.
"""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LogitsProcessorList

from fuseid.api import Catalog, Config, export_sequences, fit, ingest
from fuseid.pipelines.exports.tries import export_trie, open_trie
from fuseid.pipelines.exports.vocabularies import export_vocabulary
from fuseid.tokenizers.constrained import ConstrainedLogits
from fuseid.tokenizers.vocabulary import Vocabulary

SAMPLE = Path(__file__).parent.parent / "assets" / "sample" / "images"

# Codebooks are small because the catalogue is: with 256 codes a level, hardly two pictures would share a code, and
# nothing that is learned about one would help with another.
CONFIG = Config.model_validate({"tokenizer": {"codebook_sizes": [16, 8, 8]}, "fusion": {"dim": 64}})
USERS, EVENTS, NEIGHBOURS = 300, 10, 3
HISTORY = 3  # items that the model reads
STEPS, BATCH, LEARNING_RATE = 150, 32, 3e-3
BEAMS = 5


def main(out: Path, pictures: Path = SAMPLE) -> None:
    # 1. and 2. Vectors by the bundled CLIP, then IDs of three codes, coarse to fine.
    db = out / "db"
    ingest(db, pictures, CONFIG)
    fit(db, CONFIG)

    # What a generator needs of the catalogue: a token for every code, and a trie of all IDs.
    export_vocabulary(str(db), out / "vocabulary.json")
    export_trie(str(db), out / "trie")
    vocabulary, trie = Vocabulary.load(out / "vocabulary.json"), open_trie(out / "trie")

    # 3. Histories and IDs. Of each user the last item is kept for the test and the one before for validation.
    write_interactions(db, trie.items["content_id"].to_pylist(), out / "interactions.csv")
    # Every history has the same length, so that nothing needs padding.
    export_sequences(db, out / "interactions.csv", out / "sequences", min_history=HISTORY, max_history=HISTORY)
    examples = pa.concat_tables(map(pq.read_table, sorted((out / "sequences").glob("*.parquet"))))
    train, test = (examples.filter(pc.equal(examples["split"], split)) for split in ("train", "test"))

    # 4. The model learns to write the whole sequence, target included.
    torch.manual_seed(0)
    torch.set_num_threads(1)  # matrices this small gain nothing from more
    model = new_model(vocabulary)
    print(f"{model.num_parameters()} parameters, {len(train)} examples to train on")
    train_model(model, torch.cat([prompts(train, vocabulary), answers(train, vocabulary)], dim=1))

    # 5. Beam search for the next ID. Tokens that lead to no item of the catalogue are masked at every step.
    only_items = ConstrainedLogits(trie.trie, vocabulary, brackets=True)
    made = model.eval().generate(
        prompts(test, vocabulary), logits_processor=LogitsProcessorList([only_items]), do_sample=False,
        num_beams=BEAMS, num_return_sequences=BEAMS, max_new_tokens=vocabulary.levels,
    )  # fmt: skip
    codes_NM = vocabulary.codes(made[:, -vocabulary.levels :].numpy())
    found = np.array([trie.content_ids(trie.trie.items(codes))[0] for codes in codes_NM]).reshape(-1, BEAMS).tolist()

    for history, generated in list(zip(test["items"].to_pylist(), found, strict=True))[:3]:
        print(f"after {', '.join(history)}\n   -> {', '.join(generated)}")
    hits = [target in generated for target, generated in zip(test["target"].to_pylist(), found, strict=True)]
    share, chance = sum(hits) / len(hits), BEAMS / len(trie.items)
    print(f"the next item is among {BEAMS} generated ones for {share:.0%} of the users; by chance for {chance:.0%}")


def write_interactions(db: Path, content_ids: list[str], file: Path) -> None:
    """Made-up users: each begins with some picture and goes on, again and again, to one that looks like the last."""
    catalog = Catalog.open(db)
    alike = {
        content_id: catalog.search(like=content_id, k=NEIGHBOURS, columns=["content_id"])["content_id"].to_pylist()
        for content_id in content_ids
    }
    chance = random.Random(0)
    with file.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["user_id", "content_id", "timestamp"])
        for user in range(USERS):
            item = chance.choice(content_ids)
            for event in range(EVENTS):
                writer.writerow([f"user-{user}", item, 1_700_000_000 + 3600 * event])
                item = chance.choice(alike[item])


def new_model(vocabulary: Vocabulary) -> GPT2LMHeadModel:
    """A decoder of a quarter of a million parameters over the tokens of IDs alone."""
    config = GPT2Config(
        vocab_size=vocabulary.padded_size, n_positions=(HISTORY + 1) * (1 + vocabulary.levels), n_embd=96, n_layer=2,
        n_head=4, bos_token_id=None, eos_token_id=None, pad_token_id=vocabulary.pad,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def train_model(model: GPT2LMHeadModel, sequences_ET: torch.Tensor) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    model.train()
    for step in range(STEPS):
        rows = sequences_ET[torch.randint(len(sequences_ET), (BATCH,))]
        logits = model(input_ids=rows[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == STEPS - 1:
            print(f"step {step:3d}: loss {loss.item():.2f}")


def prompts(examples: pa.Table, vocabulary: Vocabulary) -> torch.Tensor:
    """int64 [E, T]: the histories, `begin` before each ID, and the `begin` of the ID that comes next."""
    codes_IM = np.array(examples["codes"].to_pylist()).reshape(-1, vocabulary.levels)
    ids_IT = np.insert(vocabulary.ids(codes_IM), 0, vocabulary.begin, axis=1)
    histories_ET = ids_IT.reshape(len(examples), -1)
    return torch.from_numpy(np.insert(histories_ET, histories_ET.shape[1], vocabulary.begin, axis=1))


def answers(examples: pa.Table, vocabulary: Vocabulary) -> torch.Tensor:
    """int64 [E, M]: the tokens of the targets."""
    return torch.from_numpy(vocabulary.ids(np.array(examples["target_codes"].to_pylist())))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
