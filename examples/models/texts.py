"""The words beside the pictures, the wide text the text side is distilled on, and the teacher's vectors of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from concepts import FLAG_GROUP, Concept, mentions
from sources import sentence_encoder_dir
from words import WordNet

TEMPLATES = ("{}", "a picture of {}", "a drawing of {}", "an icon of {}", "{} emoji", "a small {}")


def label_text(concept: Concept) -> str:
    """The label as a person would type it: 'flag of France' is written 'flag: France' in emojibase."""
    label = concept.label.replace("⊛ ", "").replace("’", "'")
    return f"flag of {label.removeprefix('flag: ')}" if concept.group == FLAG_GROUP else label


def concept_texts(concept: Concept, banned: set[str]) -> list[str]:
    """Texts that stand beside a concept's pictures in training: the label first, then wordings and keywords.

    Keywords that name a held-out concept are dropped.
    """
    label = label_text(concept)
    tags = [t for t in concept.tags if not mentions(t, banned) and len(t) > 1 and t.lower() != label.lower()]
    if concept.group == FLAG_GROUP:
        tags = [t for t in tags if not t.isupper() and t != "flag"]
    texts = [template.format(label) for template in TEMPLATES]
    if tags:
        texts += [", ".join(tags[:6]), f"{label}, {', '.join(tags[:4])}", f"{label}: {', '.join(tags[-3:])}"]
    return texts


def wide_texts(concepts: list[Concept], net: WordNet) -> tuple[list[str], list[str]]:
    """(near, wide): texts about the concepts, held-out ones included, and WordNet's words.

    Held-out names may stand here: the text side has to know words that it never sees beside a picture.
    """
    near: list[str] = []
    for concept in concepts:
        near += concept_texts(concept, set())
        near += [t for t in concept.tags if len(t) > 1]
        near += [template.format(t) for t in concept.tags[:3] for template in TEMPLATES[1:3] if len(t) > 1]
    return list(dict.fromkeys(near)), net.texts


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
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # like lengths together: little padding
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        tokens = tokenizer([texts[i] for i in rows], padding=True, truncation=True, max_length=48, return_tensors="pt")
        hidden = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None]
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        vectors[rows] = torch.nn.functional.normalize(pooled, dim=-1).numpy()
    np.save(cache, vectors)
    return vectors
