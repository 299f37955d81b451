"""The mini CLIP's image tower learns to match fixed vectors of the pictures' texts.

No text tower runs in the loop, so all computation is spent on pictures. The loss is open_clip's own. In the first round
the vectors are a sentence encoder's and pass through one learned matrix; in the last they are the finished text
tower's.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass

import open_clip
import torch
from align import concept_middles, picture_vectors
from augment import plain_views, shrunk, views
from batches import Sampler
from clip_model import SIDE, normalise_pixels
from data import PictureSet
from optim import Average, Schedule, new_optimizer, save_weights
from torch import Tensor, nn
from torch.nn import functional as F

STAGE_1 = "stage1.safetensors"
# The tower accepts any size: most of the time is spent on small pictures, of which more fit into the budget.
SMALL_SIDE, SMALL_SHARE = 64, 0.6
NEARNESS = 15.0  # inverse temperature of the similarity between words in soft answers
CLASS_NEARNESS = 15.0  # inverse temperature of the similarity between a picture and a class


def principal_axes(vectors: Tensor, count: int) -> Tensor:
    """The first `count` principal axes of unit vectors [N, D] as a projection [count, D], scaled towards equal
    variance."""
    centred = vectors - vectors.mean(0)
    _, spread, axes = torch.linalg.svd(centred, full_matrices=False)
    weight = axes[:count] / spread[:count, None].sqrt()
    return weight / weight.norm(dim=1).mean()


@torch.no_grad()
def quick_look(tower: nn.Module, data: PictureSet, queries: Tensor, style: str, device: str) -> str:
    """R@1 and R@10 of label vectors [C, E] among one style's pictures; only a progress line, never used for choices."""
    rows = data.rows(style)
    concepts = torch.tensor(sorted(rows))
    pictures = torch.from_numpy(data.pictures[[rows[int(c)] for c in concepts]])
    found = []
    for part in pictures.split(256):
        pixels = normalise_pixels(plain_views(part, SIDE)).to(device, memory_format=torch.channels_last)
        found.append(F.normalize(tower(pixels), dim=-1).cpu())
    scores = F.normalize(queries[concepts], dim=-1) @ torch.cat(found).T
    rank = (scores > scores.diagonal()[:, None]).sum(1)
    seen = torch.tensor([data.concepts[int(c)].in_training for c in concepts])
    held = torch.tensor([data.concepts[int(c)].held_out for c in concepts])
    return " ".join(
        f"{name} {(rank[m] < 1).float().mean():.3f}/{(rank[m] < 10).float().mean():.3f}"
        for name, m in (("seen", seen), ("held-out", held))
    )


def between_classes(tower: nn.Module, data: PictureSet, sampler: Sampler, vectors: Tensor, device: str) -> Tensor:
    """Each training picture as a mixture of label vectors: float32 [pictures, E], zero where it is not computed.

    A convex combination of the labels' vectors, weighted by the picture's similarity to the mean of each concept's
    pictures, as in ConSE (Norouzi et al., 2014). It finds unseen things better than the picture's own vector, and a
    tower can learn it. It is zero for drawings of one colour, which the given tower has not learned yet.
    """
    rows = [row for same in sampler.rows for row in same if not data.one_colour[row]]
    own = picture_vectors(tower, data, rows, device)
    middles = concept_middles(tower, data, sampler, device)
    labels = vectors[[start for start, _ in sampler.spans[: sampler.concept_count]]]
    found = torch.zeros(len(data.pictures), vectors.shape[1])
    found[rows] = F.normalize(F.softmax(CLASS_NEARNESS * own @ middles.T, dim=-1) @ labels, dim=-1)
    return found


@dataclass
class Round:
    """One round of training: its time, its rate, and the share of its time for small pictures."""

    minutes: float
    rate: float
    small_share: float
    file: str  # of its averaged weights, in the work folder


def train_image(
    data: PictureSet,
    tower: nn.Module,
    projection: nn.Module,
    vectors: Tensor,
    sampler: Sampler,
    plan: Round,
    args: argparse.Namespace,
    between: Tensor | None = None,
) -> nn.ModuleList:
    """Train the tower (and the projection, if it has weights) to match fixed `vectors` [T, D] of `sampler.texts`.

    Returns averaged copies of tower and projection, which are also saved to the work folder every few minutes.
    """
    tower = tower.to(args.device, memory_format=torch.channels_last).train()
    projection.to(args.device)
    logit_scale = nn.Parameter(torch.tensor(math.log(30.0), device=args.device))
    optimizer = new_optimizer([(tower, 1.0), (projection, 0.3)])
    optimizer.add_param_group({"params": [logit_scale], "weight_decay": 0.0, "factor": 3.0})
    loss_of, average = open_clip.ClipLoss(), Average(nn.ModuleList([tower, projection]), 0.998)
    schedule, rng = Schedule(optimizer, plan.rate, plan.minutes), torch.Generator().manual_seed(args.seed)
    full, n, one_colour = shrunk(data.pictures, SIDE), sampler.pairs, torch.from_numpy(data.one_colour)
    small = shrunk(full.numpy(), SMALL_SIDE) if plan.small_share else full
    step, last_save = 0, time.monotonic()
    while (spent := schedule.step()) < 1:
        pictures = small if spent < plan.small_share else full
        drawn = sampler.draw()
        shown = drawn.pictures_a + drawn.pictures_b
        pixels = views(pictures[shown], pictures.shape[1], rng, args.strength, one_colour[shown])
        pixels = normalise_pixels(pixels).to(args.device, memory_format=torch.channels_last)
        image = F.normalize(tower(pixels), dim=-1)
        image_a, image_b = image[: len(drawn.pictures_a)], image[len(drawn.pictures_a) :]
        rows = drawn.texts_a + drawn.texts_b + drawn.gallery
        words = F.normalize(projection(vectors[rows].to(args.device)), dim=-1)
        words_a, words_b, gallery = words.split([len(image_a), len(image_b), len(drawn.gallery)])
        scale = logit_scale.exp().clamp(max=args.top_scale)
        # Texts cost little here, so besides open_clip's loss each picture is contrasted with every concept and many
        # captions.
        wanted = torch.tensor(drawn.classes_a + drawn.classes_b, device=args.device)
        loss = (loss_of(image_a, words_a, scale) + loss_of(image_b, words_b, scale)) / 2
        answers = F.one_hot(wanted, len(gallery)).float()
        if args.soft:  # words of similar meaning share the answer, which helps for unseen things
            near = F.softmax(NEARNESS * words[: len(image)].detach() @ gallery.detach().T, dim=-1)
            answers = (1 - args.soft) * answers + args.soft * near
        loss = loss + F.cross_entropy(scale * image @ gallery.T, answers)
        loss = loss + args.pair_weight * loss_of(image_a[:n], image_b, scale)
        if between is not None:
            aims = F.normalize(words[: len(image)] + between[shown].to(args.device), dim=-1)
            loss = loss + args.regression * (1 - (image * aims).sum(-1).mean())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(tower.parameters(), 2.0)
        optimizer.step()
        average.update(nn.ModuleList([tower, projection]))
        step += 1
        if step % 100 == 0:
            print(f"image step {step} spent {spent:.3f} loss {loss.item():.3f} scale {scale.item():.1f}", flush=True)
        if time.monotonic() - last_save > 240:
            last_save = time.monotonic()
            save_weights(average.module, args.work / plan.file)
    save_weights(average.module, args.work / plan.file)
    return average.module
