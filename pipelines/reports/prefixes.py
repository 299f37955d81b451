"""Items that share a prefix: how many share all codes, and examples below first codes, from coarse to fine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fuseid.pipelines.reports.items import Codes, Sample
from fuseid.pipelines.reports.keywords import telling_words, words_of
from fuseid.tokenizers.buckets import bucket_ids


@dataclass(frozen=True)
class SharedCodes:
    """Items of the same codes: the first row and the size of each bucket, and which items are alone in theirs."""

    firsts: np.ndarray
    counts: np.ndarray
    alone_N: np.ndarray

    @classmethod
    def of(cls, codes_NL: np.ndarray) -> SharedCodes:
        which, firsts = bucket_ids(codes_NL)
        counts = np.bincount(which)
        return cls(firsts, counts, counts[which] == 1)

    def histogram(self) -> list[dict[str, int]]:
        """Buckets by size: 1, 2, 3-4, 5-8, ..."""
        classes = np.ceil(np.log2(self.counts)).astype(int)
        rows = []
        for number in range(int(classes.max()) + 1):
            inside = self.counts[classes == number]
            first = 2 ** (number - 1) + 1 if number else 1
            rows.append({"from": first, "to": 2**number, "buckets": len(inside), "items": int(inside.sum())})
        return rows

    def largest(self, codes: Codes, most: int = 5) -> list[dict[str, Any]]:
        """The codes that the most items share, and how many different vectors these items have."""
        shared = np.flatnonzero(self.counts > 1)
        found = []
        for bucket in shared[np.argsort(-self.counts[shared], kind="stable")[:most]]:
            row = codes.codes_NL[self.firsts[bucket]]
            vectors = len(np.unique(codes.vectors_N[(codes.codes_NL == row).all(1)]))
            found.append({"codes": _text(row), "items": int(self.counts[bucket]), "vectors": vectors})
        return found


# How many first codes are shown: of the largest ones, and of those of typical size.
_LARGEST, _TYPICAL, _EXAMPLES = 4, 4, 10
_CAPTION = 300


def first_codes(codes_NL: np.ndarray, sizes: Sequence[int], sample: Sample) -> list[dict[str, Any]]:
    """First codes with a path below each of them: the largest prefix at the next depth, and so on."""
    counts = np.bincount(codes_NL[:, 0], minlength=sizes[0])
    used = sorted(np.flatnonzero(counts).tolist(), key=lambda code: (-counts[code], code))
    middle = len(used) // 2 - _TYPICAL // 2
    typical = [code for code in used[max(middle, 0) :][:_TYPICAL] if code not in used[:_LARGEST]]
    captions = captions_of(sample)
    everywhere = Counter(word for caption in captions for word in words_of(caption))
    rows = []
    for choice, chosen in (("largest", used[:_LARGEST]), ("typical", typical)):
        for code in chosen:
            here = sample.codes_SL[:, 0] == code
            words = telling_words((captions[at] for at in np.flatnonzero(here)), everywhere, len(captions))
            depths = _descent(code, codes_NL, sample, captions)
            rows.append({"choice": choice, "code": code, "words": words, "depths": depths})
    return rows


def captions_of(sample: Sample) -> list[str | None]:
    """The caption of each item of a sample, or the generated one."""
    both = (sample.rows[column].to_pylist() for column in ("caption", "vlm_caption"))
    return [own or generated for own, generated in zip(*both, strict=True)]


def example(sample: Sample, captions: Sequence[str | None], at: int) -> dict[str, str | None]:
    """An item of a sample, for a reader to look at."""
    return {
        "content_id": sample.rows["content_id"][at].as_py(),
        "sid": sample.sids[at],
        "caption": (captions[at] or "")[:_CAPTION] or None,
    }


def _descent(code: int, codes_NL: np.ndarray, sample: Sample, captions: Sequence[str | None]) -> list[dict[str, Any]]:
    """For each depth the prefix, its number of items, and examples of them from the sample."""
    rows_N, rows_S = np.flatnonzero(codes_NL[:, 0] == code), np.flatnonzero(sample.codes_SL[:, 0] == code)
    prefix, out = [code], []
    while True:
        examples = [example(sample, captions, at) for at in rows_S[:_EXAMPLES].tolist()]
        out.append({"prefix": "-".join(map(str, prefix)), "items": len(rows_N), "examples": examples})
        depth = len(prefix)
        if depth == codes_NL.shape[1] or not len(rows_S):
            return out
        prefix.append(int(np.bincount(sample.codes_SL[rows_S, depth]).argmax()))
        rows_N, rows_S = (
            rows_N[codes_NL[rows_N, depth] == prefix[-1]],
            rows_S[sample.codes_SL[rows_S, depth] == prefix[-1]],
        )


def _text(codes: np.ndarray) -> str:
    return "-".join(map(str, codes.tolist()))
