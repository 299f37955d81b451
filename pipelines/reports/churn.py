"""The part of a report about two tokenizers' IDs of the same items: what changes if the second replaces the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fuseid.core.protocols import Tokenizer
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.reports.items import Codes, Sample
from fuseid.pipelines.reports.prefixes import captions_of, example
from fuseid.pipelines.reports.refitting import refitted_codes
from fuseid.pipelines.reports.slices import SMALL_SLICE, Slicing
from fuseid.tokenizers.alignment import permutations, renumbered
from fuseid.tokenizers.churn import churn_measures, spreads

# How many codes that split or merged are listed, of each the largest parts, and of each part examples.
_CODES, _PARTS, _EXAMPLES = 6, 4, 4


def churn_of(
    tokenizers: Sequence[Tokenizer], codes: Sequence[Codes], samples: Sequence[Sample], slicing: Slicing,
    progress: Progress, *, cold: bool,
) -> dict[str, Any]:  # fmt: skip
    """Churn from the first of two tokenizers to the second, among the items that have an ID of both.

    samples: of the same items under both. cold: whether to fit a tokenizer on the sample, to compare with.
    """
    both = codes[0].there & codes[1].there
    rows = [both[one.there] for one in codes]
    old_NL, new_NL = (one.codes_NL[here] for one, here in zip(codes, rows, strict=True))
    out: dict[str, Any] = {
        "from": tokenizers[0].id, "to": tokenizers[1].id, "items": len(old_NL),
        "only_from": len(codes[0].codes_NL) - len(old_NL), "only_to": len(codes[1].codes_NL) - len(old_NL),
    }  # fmt: skip
    if not len(old_NL):
        return {**out, "measures": [], "references": [], "slices": [], "split": [], "merged": []}
    labels = {by: values[rows[0]] for by, values in codes[0].labels.items()}
    slicing.add_prefix_size(labels, old_NL[:, 0])
    old_N, new_N = (one.suffixes_N[here] for one, here in zip(codes, rows, strict=True))
    parts = list(slicing.slices(labels))
    stage = "compare"
    progress.begin(stage, 2 + len(parts))
    measures = [one.document() for one in churn_measures(old_NL, new_NL, (old_N, new_N))]
    progress.advance(stage, 1)
    slices = []
    for naming, label in parts:
        here = labels[naming["by"]] == label
        found = churn_measures(old_NL[here], new_NL[here], (old_N[here], new_N[here]))
        count = int(here.sum())
        wanted = [one.document() for one in found if one.name != "churn_prefixes"]
        slices.append({**naming, "items": count, "small": count < SMALL_SLICE, "measures": wanted})
        progress.advance(stage, 1)
    sizes = tokenizers[1].codebook_sizes
    references = [_reference("permuted", old_NL, _permuted(old_NL, new_NL, sizes))]
    references += _cold_references(tokenizers, samples) if cold else []
    progress.advance(stage, 1)
    firsts = old_NL[:, 0], new_NL[:, 0]
    return {
        **out, "measures": measures, "references": references, "slices": slices,
        "split": _examined(firsts, samples, merged=False), "merged": _examined(firsts, samples, merged=True),
    }  # fmt: skip


def _permuted(old_NL: np.ndarray, new_NL: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    return renumbered(new_NL, permutations(old_NL, new_NL, sizes))


def _reference(name: str, old_NL: np.ndarray, new_NL: np.ndarray) -> dict[str, Any]:
    kept = [one.document() for one in churn_measures(old_NL, new_NL) if one.name == "churn"]
    return {"name": name, "items": len(old_NL), "measures": kept, "reason": None}


def _cold_references(tokenizers: Sequence[Tokenizer], samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """What a tokenizer would change among the sampled items that did not start from another; and that with its codes
    permuted. {"name", "items", "measures", "reason"} each; if it was not computed, the reason says why."""
    both = samples[0].there & samples[1].there
    old_SL = samples[0].codes_SL[both[samples[0].there]]
    other_seed = tokenizers[1].meta.get("seed", 0) + 1
    cold, why = refitted_codes(tokenizers[1], samples[1].vectors_SD, other_seed)
    if cold is None or not len(old_SL):
        reason = why or "no sampled item has an ID of both"
        return [{"name": "cold", "items": len(old_SL), "measures": [], "reason": reason}]
    cold = cold[both[samples[1].there]]
    permuted = _permuted(old_SL, cold, tokenizers[1].codebook_sizes)
    return [_reference("cold", old_SL, cold), _reference("cold, permuted", old_SL, permuted)]


def _examined(firsts: Sequence[np.ndarray], samples: Sequence[Sample], *, merged: bool) -> list[dict[str, Any]]:
    """The first codes whose items are spread over the most codes of the other tokenizer, with examples: old codes that
    split, or new ones that merged."""
    way = -1 if merged else 1
    found = [one for one in spreads(*firsts[::way])[:_CODES] if one.entropy > 0]
    both = samples[0].there & samples[1].there
    rows = [np.flatnonzero(both[one.there]) for one in samples]
    here, other = (one.codes_SL[at, 0] for one, at in list(zip(samples, rows, strict=True))[::way])
    captions = captions_of(samples[1])
    out = []
    for one in found:
        parts = []
        for code, items in one.parts[:_PARTS]:
            at = rows[1][(here == one.code) & (other == code)][:_EXAMPLES].tolist()
            examples = [example(samples[1], captions, number) for number in at]
            parts.append({"code": code, "items": items, "examples": examples})
        out.append(
            {"code": one.code, "items": one.items, "entropy": one.entropy, "codes": len(one.parts), "parts": parts}
        )
    return out
