"""The texts of the pictures, the further texts on which the text side is distilled, and the teacher's vectors of
both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from concepts import FLAG_GROUP, Concept, mentions
from sources import sentence_encoder_dir
from torch import Tensor
from torch.nn import functional as F
from words import WordNet

TAGS_LEANT_ON, LOOK_WEIGHT = 8, 2
TEMPLATES = ("{}", "a picture of {}", "a drawing of {}", "an icon of {}", "{} emoji", "a small {}")


def label_text(concept: Concept) -> str:
    """The label in natural words: 'flag of France' is 'flag: France' in emojibase."""
    label = concept.label.replace("⊛ ", "").replace("’", "'")
    return f"flag of {label.removeprefix('flag: ')}" if concept.group == FLAG_GROUP else label


def concept_tags(concept: Concept, banned: set[str]) -> list[str]:
    """Keywords other than the label itself; none that names one of `banned`, and no country codes."""
    label = label_text(concept).lower()
    tags = [t for t in concept.tags if not mentions(t, banned) and len(t) > 1 and t.lower() != label]
    return [t for t in tags if not t.isupper() and t != "flag"] if concept.group == FLAG_GROUP else tags


def concept_texts(concept: Concept, banned: set[str]) -> list[str]:
    """Texts for a concept's pictures in training: the label first, then wordings and keywords.

    Keywords that name a held-out concept are dropped.
    """
    label, tags = label_text(concept), concept_tags(concept, banned)
    texts = [template.format(label) for template in TEMPLATES]
    if tags:
        texts += [", ".join(tags[:6]), f"{label}, {', '.join(tags[:4])}", f"{label}: {', '.join(tags[-3:])}"]
    return texts


def wide_texts(concepts: list[Concept], captions: list[str], net: WordNet) -> tuple[list[str], list[int], int]:
    """(texts, owners, near): texts about the concepts and the other pictures' captions, then WordNet's words.

    `owners` are concept indices, or -1; the first `near` texts are about pictures. Held-out names are allowed here: the
    text side must know words that it never sees together with a picture.
    """
    owner_of: dict[str, int] = {}
    for index, concept in enumerate(concepts):
        owner_of.setdefault(label_text(concept), index)
    for index, concept in enumerate(concepts):
        for text in concept_texts(concept, set()):
            owner_of.setdefault(text, index)
    for concept in concepts:
        for tag in concept_tags(concept, set()):
            owner_of.setdefault(tag, -1)
    for caption in captions:
        owner_of.setdefault(caption, -1)
    near = len(owner_of)
    for word in net.texts:
        owner_of.setdefault(word, -1)
    return list(owner_of), list(owner_of.values()), near


def meanings(concepts: list[Concept], looks: dict[int, str], banned: set[str], cache: Path) -> Tensor:
    """A vector for each concept, added to the targets of its texts, float32 [C + 1, 384]: from keywords and
    description.

    The last row is zero, for texts without a concept (owner -1). Measured: pictures of unseen things are nearer to
    their keywords than to the label alone. For concepts with pictures, no keyword names a held-out concept.
    """
    texts: list[str] = []
    owners: list[int] = []
    for index, concept in enumerate(concepts):
        tags = concept_tags(concept, banned if concept.in_training else set())[:TAGS_LEANT_ON]
        own = [", ".join(tags) or label_text(concept), *([looks[index]] * LOOK_WEIGHT if index in looks else [])]
        texts += own
        owners += [index] * len(own)
    vectors = torch.from_numpy(teacher_vectors(texts, cache))
    return torch.zeros(len(concepts) + 1, vectors.shape[1]).index_add_(0, torch.tensor(owners), vectors)


def target_vectors(texts: list[str], owners: list[int], adjustments: Tensor, cache: Path) -> Tensor:
    """Target unit vectors [N, 384] of `texts`: the teacher's, moved towards the vector of their concept."""
    return F.normalize(torch.from_numpy(teacher_vectors(texts, cache)) + adjustments[owners], dim=-1)


@torch.inference_mode()
def teacher_vectors(texts: list[str], cache: Path, batch: int = 256) -> np.ndarray:
    """all-MiniLM-L6-v2 sentence vectors of `texts`, unit length, float32 [N, 384]; cached in `cache` (.npy)."""
    if cache.is_file():
        vectors = np.load(cache)
        if len(vectors) == len(texts):
            return vectors
    from transformers import AutoModel, AutoTokenizer

    source = sentence_encoder_dir()
    tokenizer, model = AutoTokenizer.from_pretrained(source), AutoModel.from_pretrained(source).eval()
    vectors = np.zeros((len(texts), model.config.hidden_size), np.float32)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # similar lengths together: little padding
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        tokens = tokenizer([texts[i] for i in rows], padding=True, truncation=True, max_length=48, return_tensors="pt")
        hidden = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None]
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        vectors[rows] = torch.nn.functional.normalize(pooled, dim=-1).numpy()
    np.save(cache, vectors)
    return vectors
