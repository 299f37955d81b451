"""Train the mini CLIP from scratch in three stages, each within a time budget.

1. The image tower learns against a sentence encoder's vectors of the labels, through one learned matrix.
2. The small text tower learns to give those same vectors for the labels, their wordings and WordNet's words, so that it
   knows words which no picture came with.
3. The image tower goes on against the finished text tower's own vectors, at full resolution.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
from batches import Sampler
from clip_model import EMBED_DIM, PAD, new_model, save_model, train_tokenizer
from data import PictureSet, build, load_words
from open_clip import CustomTextCLIP
from optim import Average, Schedule, new_optimizer
from process import restart_with_settings
from safetensors.torch import load_file
from sources import HELD_OUT_STYLE
from texts import label_text, teacher_vectors, wide_texts
from torch import Tensor, nn
from torch.nn import functional as F
from train_clip_image import SMALL_SHARE, STAGE_1, Round, principal_axes, quick_look, train_image

TEXTS_PER_STEP = 384
SHARPNESS = 20.0  # inverse temperature of the text-to-text contrast


class WideText:
    """Draws texts with the vectors that the text tower shall give them; half are about concepts, half are WordNet's."""

    def __init__(self, work: Path, tokens_of: open_clip.tokenizer.HFTokenizer, projection: Tensor, seed: int) -> None:
        net, concepts, _ = load_words(work)
        near, wide = wide_texts(concepts, net)
        vectors = torch.from_numpy(teacher_vectors(near + wide, work / "teacher-wide.npy"))
        self.targets = F.normalize(vectors @ projection.T, dim=-1)
        self.tokens = tokens_of(near + wide)
        self.near, self.total = len(near), len(near) + len(wide)
        self.rng = np.random.default_rng(seed)
        self.lengths = (self.tokens != PAD).sum(1).numpy()
        self.queue: list[np.ndarray] = []

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Tokens [count, L], cut to the longest text of the draw, and target vectors [count, E].

        Eight draws are made at once and sorted by length: most texts are a few words, and padding would cost more
        than they do.
        """
        if not self.queue:
            half = 4 * count
            rows = np.concatenate(
                [
                    self.rng.choice(self.near, half, replace=False),
                    self.near + self.rng.choice(self.total - self.near, half, replace=False),
                ]
            )
            rows = rows[np.argsort(self.lengths[rows], kind="stable")]
            self.queue = [rows[i * count : (i + 1) * count] for i in self.rng.permutation(8)]
        rows = self.queue.pop()
        return trimmed(self.tokens[rows]), self.targets[rows]


def trimmed(tokens: Tensor) -> Tensor:
    """Without the columns where every text is padding."""
    return tokens[:, : int((tokens != PAD).sum(1).max())]


def encode(tower: nn.Module, tokens: Tensor) -> Tensor:
    """Unit vectors [N, E] of trimmed tokens [N, L]: those of the full context, sooner, since the tower is causal."""
    whole, length = tower.attn_mask, tokens.shape[1]
    tower.attn_mask = whole[:length, :length]  # open_clip cuts the positions to the text, but not this mask
    try:
        return F.normalize(tower(tokens), dim=-1)
    finally:
        tower.attn_mask = whole


def text_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Distance to the teacher's vectors, plus telling the texts of one draw apart; both inputs are unit vectors."""
    target = torch.arange(len(found), device=found.device)
    return 4 * (1 - (found * wanted).sum(-1).mean()) + F.cross_entropy(SHARPNESS * found @ wanted.T, target)


def train_text(model: CustomTextCLIP, texts: WideText, minutes: float, device: str) -> None:
    """Stage 2, in place; ends with averaged weights."""
    tower = model.text.to(device).train()
    optimizer, average = new_optimizer([(tower, 1.0)]), Average(tower, 0.998)
    schedule, step = Schedule(optimizer, 1.5e-3, minutes), 0
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
    """Write the checkpoint and print a first look at it; evaluate_clip.py gives the figures that count."""
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
    parser.add_argument("--work", type=Path, default=Path(".cache"), help="where downloads, renders and states go")
    parser.add_argument("--out", type=Path, default=Path("../../encoders/checkpoints/mini-clip"))
    parser.add_argument("--minutes", type=float, default=30, help="time budget of stage 1")
    parser.add_argument("--resume", action="store_true", help="skip stage 1 and go on from the checkpoint in --out")
    parser.add_argument("--text-minutes", type=float, default=6, help="time budget of stage 2")
    parser.add_argument("--last-minutes", type=float, default=15, help="time budget of stage 3; 0 leaves it out")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate of stage 1")
    parser.add_argument("--last-rate", type=float, default=1e-3, help="peak learning rate of stage 3")
    parser.add_argument("--strength", type=float, default=0.6, help="strength of the augmentation, 0 to 1")
    parser.add_argument("--pair-weight", type=float, default=0.3, help="weight of the loss between two styles")
    parser.add_argument("--top-scale", type=float, default=100, help="largest inverse temperature")
    parser.add_argument("--soft", type=float, default=0.0, help="share of the answer for words of like meaning")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=20260)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    started = time.monotonic()
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    data = build(args.work)
    sampler = Sampler(data, args.work, args.seed)
    net, concepts, _ = load_words(args.work)
    near, wide = wide_texts(concepts, net)
    if not args.resume:  # ties make its numbering differ from run to run, so it stays with the weights it came with
        train_tokenizer(near * 5 + wide, args.out)
    model = new_model(args.out)
    tokens_of = open_clip.get_tokenizer(f"local-dir:{args.out}")
    projection = nn.Linear(sampler.vectors.shape[1], EMBED_DIM, bias=False)
    projection.weight.data.copy_(principal_axes(sampler.vectors, EMBED_DIM))
    if args.resume:
        saved = load_file(args.out / "open_clip_model.safetensors")
        model.load_state_dict({name: v.float() if v.is_floating_point() else v for name, v in saved.items()})
        projection.weight.data.copy_(load_file(args.work / STAGE_1)["1.weight"])
    else:
        plan = Round(args.minutes, args.rate, SMALL_SHARE, STAGE_1)
        train_image(data, model.visual, projection, sampler.vectors, sampler, plan, args)
        nn.ModuleList([model.visual, projection]).load_state_dict(load_file(args.work / STAGE_1))
    texts = WideText(args.work, tokens_of, projection.weight.detach(), args.seed + 2)
    if args.text_minutes > 0:
        train_text(model, texts, args.text_minutes, args.device)
        finish(model, data, tokens_of, args.out)
    if args.last_minutes > 0:
        vectors = text_vectors(model, sampler.texts, tokens_of)
        plan = Round(args.last_minutes, args.last_rate, 0.0, "stage3.safetensors")
        tower, _ = train_image(data, model.visual, nn.Identity(), vectors, sampler, plan, args)
        model.visual.load_state_dict(tower.state_dict())
        finish(model, data, tokens_of, args.out)
    print(f"{(time.monotonic() - started) / 60:.0f} minutes", flush=True)


if __name__ == "__main__":
    main()
