"""Train the mini VLM to caption and tag, over the mini CLIP's frozen trunk.

The trunk's feature maps of several augmented views of every picture are computed once; then only the projector and the
decoder are trained. The loss is next-token prediction of the answer, plus a contrast that makes the pooled states of
one concept in two styles similar, because fuseid uses those states as embeddings.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from augment import plain_views, shrunk, views
from batches import Sampler
from clip_model import normalise_pixels
from concepts import Concept, mentions
from data import CLIPART, PictureSet, build
from optim import Average, Schedule, new_optimizer
from process import restart_with_settings
from texts import label_text
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast
from vlm_model import (
    CAPTION_PROMPT,
    CELLS,
    EOS,
    FEATURES,
    PAD,
    SIDE,
    TAGS_PROMPT,
    new_model,
    new_processor,
    save,
    take_trunk,
    train_tokenizer,
)

SEED = 20261
# Other wordings, so that a prompt other than the two exact words also gets an answer.
CAPTION_ASKED = (CAPTION_PROMPT, CAPTION_PROMPT, CAPTION_PROMPT, "what is this?", "describe the picture")
TAGS_ASKED = (TAGS_PROMPT, TAGS_PROMPT, TAGS_PROMPT, "keywords", "list keywords for the picture")
PAIRS_PER_STEP = 64  # each is two pictures of one class
CONTRAST, SHARPNESS = 0.5, 15.0  # weight and inverse temperature of the contrast between pooled states


def tags_answer(concept: Concept, banned: set[str]) -> str:
    """Up to six keywords, without any that names a held-out concept."""
    tags = [t for t in concept.tags if len(t) > 1 and not t.isupper() and not mentions(t, banned)]
    return ", ".join(dict.fromkeys(t.lower() for t in tags[:6]))


def trunk_maps(data: PictureSet, trunk: nn.Module, rows: list[int], count: int, args: argparse.Namespace) -> Tensor:
    """Frozen maps of `count` views of each picture: float16 [rows, count, CELLS * CELLS, FEATURES]; view 0 is plain."""
    pictures = shrunk(data.pictures[rows], SIDE)
    maps = torch.empty(len(rows), count, CELLS * CELLS, FEATURES, dtype=torch.float16)
    rng = torch.Generator().manual_seed(args.seed)
    trunk.to(args.device).eval()
    with torch.inference_mode():
        for start in range(0, len(rows), 256):
            part = pictures[start : start + 256]
            for view in range(count):
                pixels = plain_views(part, SIDE) if view == 0 else views(part, SIDE, rng, args.strength)
                pixels = normalise_pixels(pixels).to(args.device, memory_format=torch.channels_last)
                found = trunk.forward_features(pixels)
                maps[start : start + 256, view] = found.flatten(2).transpose(1, 2).half().cpu()
            if start % 2560 == 0:
                print(f"maps of {start} pictures", flush=True)
    return maps


class Lessons:
    """Draws pictures of one class in two styles with a question and its answer, as padded token rows."""

    def __init__(self, data: PictureSet, sampler: Sampler, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
        self.rng, self.tokenizer = np.random.default_rng(seed), tokenizer
        self.rows, self.concept_count = sampler.rows, sampler.concept_count
        labels = {label_text(c).lower(): c for c in data.concepts}
        self.captions = [sampler.texts[start].lower() for start, _ in sampler.spans]
        self.tags = [
            tags_answer(labels[caption], data.banned) if number < self.concept_count else ""
            for number, caption in enumerate(self.captions)
        ]

    def draw(self) -> tuple[list[int], Tensor, Tensor, Tensor]:
        """(picture rows [2P], tokens [2P, L], question lengths [2P], mask of answer tokens [2P, L])."""
        # Three steps in four are about concepts; clip art's captions are noisier.
        emoji = self.rng.choice(self.concept_count, PAIRS_PER_STEP * 3 // 4, replace=False)
        others = self.rng.choice(len(self.rows) - self.concept_count, PAIRS_PER_STEP // 4, replace=False)
        first, second, asked, answers = [], [], [], []
        for number in [*emoji.tolist(), *(others + self.concept_count).tolist()]:
            pair = self.rng.choice(self.rows[number], 2, replace=len(self.rows[number]) < 2)
            first.append(int(pair[0]))
            second.append(int(pair[1]))
            tags = self.tags[number] and self.rng.random() < 0.25
            asked.append(str(self.rng.choice(TAGS_ASKED if tags else CAPTION_ASKED)))
            answers.append(self.tags[number] if tags else self.captions[number])
        questions = self.tokenizer([f"{q}<answer>" for q in asked], add_special_tokens=False)["input_ids"]
        replies = self.tokenizer(answers, add_special_tokens=False)["input_ids"]
        longest = max(len(q) + len(r) + 1 for q, r in zip(questions, replies, strict=True))
        tokens = torch.full((len(asked), longest), PAD)
        answered = torch.zeros(len(asked), longest, dtype=torch.bool)
        for i, (question, reply) in enumerate(zip(questions, replies, strict=True)):
            line = [*question, *reply, EOS]
            tokens[i, : len(line)] = torch.tensor(line)
            answered[i, len(question) : len(line)] = True
        lengths = torch.tensor([len(q) for q in questions])
        return first + second, tokens.repeat(2, 1), lengths.repeat(2), answered.repeat(2, 1)


def step_loss(
    model: nn.Module, maps: Tensor, tokens: Tensor, lengths: Tensor, answered: Tensor
) -> tuple[Tensor, Tensor]:
    """(answer loss, contrast) of one draw; `maps` [B, CELLS * CELLS, FEATURES], first half pairs with second half."""
    seen = model.model.multi_modal_projector(maps)
    states = model.model.language_model(
        inputs_embeds=torch.cat([seen, model.get_input_embeddings()(tokens)], 1), use_cache=False
    ).last_hidden_state
    cells = seen.shape[1]
    # The state before a token predicts it. Padding comes last, where it cannot affect a causal decoder.
    before = states[:, cells - 1 : -1][answered]
    words = F.cross_entropy(model.lm_head(before), tokens[answered], label_smoothing=0.05)
    place = torch.arange(states.shape[1], device=states.device)
    pooled_over = (place < cells + lengths[:, None]).unsqueeze(-1)
    pooled = F.normalize((states * pooled_over).sum(1), dim=-1)
    first, second = pooled.chunk(2)
    scores = SHARPNESS * first @ second.T
    pairs = torch.arange(len(first), device=scores.device)
    return words, (F.cross_entropy(scores, pairs) + F.cross_entropy(scores.T, pairs)) / 2


def main() -> None:
    restart_with_settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".cache"), help="folder for downloads, renders and states")
    parser.add_argument("--clip", type=Path, default=Path("../../encoders/checkpoints/mini-clip"))
    parser.add_argument("--out", type=Path, default=Path("../../encoders/checkpoints/mini-vlm"))
    parser.add_argument("--minutes", type=float, default=22, help="time budget of the decoder's training")
    parser.add_argument("--views", type=int, default=7, help="views of each picture")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--strength", type=float, default=0.6, help="strength of the augmentation, 0 to 1")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    started, data = time.monotonic(), build(args.work)
    sampler = Sampler(data, args.seed, PAIRS_PER_STEP * 3 // 4, PAIRS_PER_STEP // 4, (CLIPART,))
    answers = [tags_answer(c, data.banned) for c in data.concepts if c.in_training]
    tokenizer = train_tokenizer([*(t.lower() for t in sampler.texts), *answers, *CAPTION_ASKED, *TAGS_ASKED])
    processor, model = new_processor(tokenizer), new_model()
    take_trunk(model, args.clip / "open_clip_model.safetensors")
    used = sorted({row for rows in sampler.rows for row in rows})
    maps = trunk_maps(data, model.model.vision_tower.timm_model, used, args.views, args)
    place_of = {row: i for i, row in enumerate(used)}
    save(model, processor, args.out)
    model.to(args.device).train().model.vision_tower.eval().requires_grad_(False)
    learning = nn.ModuleList([model.model.multi_modal_projector, model.model.language_model])
    optimizer, average = new_optimizer([(learning, 1.0)]), Average(learning, 0.998)
    lessons, rng = Lessons(data, sampler, tokenizer, args.seed), torch.Generator().manual_seed(args.seed)
    schedule, step = Schedule(optimizer, args.rate, args.minutes), 0
    while (spent := schedule.step()) < 1:
        rows, *drawn = lessons.draw()
        view = torch.randint(args.views, (len(rows),), generator=rng)
        chosen = maps[torch.tensor([place_of[row] for row in rows]), view].float()
        words, contrast = step_loss(model, chosen.to(args.device), *(t.to(args.device) for t in drawn))
        optimizer.zero_grad(set_to_none=True)
        (words + CONTRAST * contrast).backward()
        nn.utils.clip_grad_norm_(learning.parameters(), 1.0)
        optimizer.step()
        average.update(learning)
        step += 1
        if step % 200 == 0:
            print(f"step {step} spent {spent:.3f} words {words.item():.3f} contrast {contrast.item():.3f}", flush=True)
    learning.load_state_dict(average.module.state_dict())
    size = save(model.cpu(), processor, args.out)
    print(f"{size} bytes, {(time.monotonic() - started) / 60:.0f} minutes", flush=True)


if __name__ == "__main__":
    main()
