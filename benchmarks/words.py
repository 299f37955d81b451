"""Words, vectors and both together: `python benchmarks/words.py DB [--json OUT]`.

DB: the bundled sample, ingested with the bundled CLIP (`fuseid demo` leaves one). Queries are the captions of its
items; the item is the only right answer. `words of its caption`: two of its words, drawn at random without stop words,
over the whole catalogue. `held-out caption`: the whole caption, which is taken out of the catalogue, so that only the
picture is left to find. Intervals: 95%, by 2,000 bootstraps over queries.

The form of the default was chosen on the items with even row numbers; the others are its test.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parents[1])

import lance
import numpy as np
from lance.query import MatchQuery

from fuseid.apps.show import print_rows
from fuseid.core.config import ClipConfig
from fuseid.core.scripts import Terms
from fuseid.encoders.models import load_clip_texts
from fuseid.pipelines.search.combine import with_caption
from fuseid.pipelines.search.words import SHARE_POWER
from fuseid.pipelines.store.vector_columns import nan_rows

STOP = frozenset(
    ("a", "an", "the", "on", "of", "in", "and", "with", "is", "its", "from", "to", "at", "that", "for", "by", "it",
     "are", "into", "under", "up", "over", "one", "out")
)  # fmt: skip
NEVER = 10_000


def standard(cosines: np.ndarray) -> np.ndarray:
    return (cosines - np.nanmean(cosines)) / np.nanstd(cosines)


def places(scores: np.ndarray) -> np.ndarray:
    """The place of each item in a ranked list; infinite where it has no score."""
    order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")
    out = np.empty(len(scores))
    out[order] = np.arange(1, len(scores) + 1)
    return np.where(np.isfinite(scores), out, np.inf)


def systems(image: np.ndarray, text: np.ndarray, words: np.ndarray, share: np.ndarray) -> dict[str, np.ndarray]:
    """Cosines, BM25 (0 for none) and the share of the words in the caption of all items -> scores, NaN for none, by
    system."""
    image, text = standard(image), standard(text)
    vectors, found = np.fmax(image, text), np.where(words > 0, words, np.nan)
    relative = words / max(words.max(), 1e-9)
    covering = relative * share**SHARE_POWER
    return {
        "words": found,
        "vectors": vectors,
        "both, by share (default)": np.fmax(image, with_caption(text, covering, len(words)) if words.any() else text),
        "both, calibrated": np.fmax(image, with_caption(text, relative / 2, len(words)) if words.any() else text),
        "both, reciprocal rank": 1 / (60 + places(vectors)) + 1 / (60 + places(found)),
        "both, deviations of BM25": np.fmax(vectors, (words - words.mean()) / max(words.std(), 1e-9)),
    }


def interval(hits: np.ndarray) -> str:
    drawn = np.random.default_rng(0).choice(hits, (2000, len(hits))).mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{hits.mean():.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("db", type=Path)
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    arguments = parser.parse_args()
    contents = lance.dataset(str(arguments.db / "contents.lance"))
    table = contents.to_table(columns=["content_id", "kind", "caption", "clip_image", "clip_text"])
    row_of = {name: row for row, name in enumerate(table["content_id"].to_pylist())}
    captions, kinds = table["caption"].to_pylist(), table["kind"].to_pylist()
    size = contents.schema.field("clip_image").type.list_size
    images, texts = (nan_rows(table[name], size) for name in ("clip_image", "clip_text"))
    clip, random = load_clip_texts(ClipConfig(model="builtin:mini-clip")), np.random.default_rng(0)
    tasks: dict[str, list[tuple[int, str]]] = {"words of its caption": [], "held-out caption": []}
    for row, caption in enumerate(captions):
        words = [word for word in re.findall("[a-z]+", (caption or "").lower()) if word not in STOP]
        if words:
            tasks["words of its caption"].append((row, " ".join(random.permutation(words)[:2])))
            if kinds[row] != "text":
                tasks["held-out caption"].append((row, captions[row]))
    rows: list[dict[str, Any]] = []
    for task, queries in tasks.items():
        ranks: dict[str, list[float]] = {}
        for (row, query), vector in zip(queries, clip.encode_texts([query for _, query in queries]), strict=True):
            bm25 = np.zeros(len(captions))
            search = MatchQuery(query, "caption")
            for hit in contents.to_table(["content_id", "_score"], full_text_query=search, limit=NEVER).to_pylist():
                bm25[row_of[hit["content_id"]]] = hit["_score"]
            similar = texts @ vector
            if task == "held-out caption":
                similar[row], bm25[row] = np.nan, 0
            terms = Terms(query)
            share = np.array([terms.share_in(caption or "") for caption in captions])
            for name, scores in systems(images @ vector, similar, bm25, np.where(bm25 > 0, share, 0)).items():
                ranks.setdefault(name, []).append(places(scores)[row])
        even = np.array([row % 2 == 0 for row, _ in queries])
        for part, chosen in {"chosen on": even, "test": ~even, "all": even | True}.items():
            for name, found in ranks.items():
                at = {f"R@{k}": interval(np.asarray(found)[chosen] <= k) for k in (1, 10)}
                rows.append({"query": task, "part": part, "queries": int(chosen.sum()), "system": name, **at})
    print_rows(rows, tuple(rows[0]))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
