"""What a learned fusion gains from pairs and keeps of content, against the weight of keeping it:
`python benchmarks/keep_content.py --data FOLDER --work WORK [--vectors 8,12,16,...] [--neighbours 2,4,...]
[--seeds 3] [--json OUT] [--plot OUT.svg]`.

FOLDER is as in `benchmarks/kinds.py`. Window pairs of the events before the test; for each weight and seed, a learned
fusion as `fuseid fit --pairs` makes it. `hit@10` is the share of held-out partners among the 10 nearest items, `kept`
that of the 10 nearest by content that are still among them; `times` is hit@10 over that of the linear fusion. Means
over the seeds, which choose both the network's first weights and its batches.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

from benchmarks.kinds import write_histories, write_products
from benchmarks.processes import fuseid
from benchmarks.svg import Chart, write_svg
from fuseid.apps.charts import linear
from fuseid.apps.show import print_rows
from fuseid.core.config import Config, LearnedFusionConfig
from fuseid.pipelines.assignment.fusion_fitting import fit_fusion
from fuseid.pipelines.engagement.pairs_file import Pairs, read_pairs
from fuseid.pipelines.jobs.progress import Lines
from fuseid.pipelines.store.store import Store

COLUMNS = ("keep", "keep_content", "hit@10", "times", "kept", "epochs")
COLOURS = {"vectors": "#1f5f99", "neighbours": "#b3541e"}


def prepared(data: Path, work: Path) -> tuple[Store, Pairs]:
    """The database with the products' vectors, and the pairs."""
    db, pairs = work / "db", work / "pairs.parquet"
    interactions, cuts = write_histories(data, work)
    fuseid("ingest", "--db", db, "--vectors", write_products(data, work))
    limit = ["--method", "window", "--least", "1", "--until", cuts.rpartition(",")[2]]
    fuseid("pairs", "--interactions", interactions, "--out", pairs, *limit)
    return Store.open(str(db)), read_pairs(pairs)


def fit(store: Store, pairs: Pairs, keep: str, weight: float, seeds: int) -> dict[str, Any]:
    found = []
    for seed in range(seeds):
        section = LearnedFusionConfig(keep=keep, keep_content=weight, seed=seed)  # type: ignore[arg-type]
        metrics = fit_fusion(store, Config(fusion=section), Lines(), pairs, []).meta["metrics"]
        found.append((metrics["history"][0], metrics["history"][metrics["best_epoch"]]))
    hit, kept, epochs = (sum(best[key] for _, best in found) / seeds for key in ("hit@10", "content_kept", "epoch"))
    times = sum(best["hit@10"] / first["hit@10"] for first, best in found) / seeds
    return {"keep": keep, "keep_content": weight, "hit@10": hit, "times": times, "kept": kept, "epochs": epochs}


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    x = linear("nearest by content that stay near", 0.0, 1.0, lambda value: f"{value:.0%}")
    y = linear(
        "held-out partners found, over the linear fusion", 1.0, max(row["times"] for row in rows), "{:g}x".format
    )
    lines = {
        keep: sorted((row["kept"], row["times"], f"{row['keep_content']:g}") for row in rows if row["keep"] == keep)
        for keep in COLOURS
    }
    write_svg(path, [Chart(x, y, {keep: line for keep, line in lines.items() if line})], COLOURS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder of products")
    parser.add_argument("--work", type=Path, required=True, help="an empty folder for what is made")
    parser.add_argument("--vectors", default="6,10,14,18,24,32", help="weights for `keep: vectors`")
    parser.add_argument("--neighbours", default="1,2,3,4,5,6,8", help="weights for `keep: neighbours`")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="keeps the rows, after each weight")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    store, pairs = prepared(arguments.data, arguments.work)
    rows = []
    for keep in COLOURS:
        for weight in map(float, filter(None, getattr(arguments, keep).split(","))):
            rows.append(fit(store, pairs, keep, weight, arguments.seeds))
            if arguments.json:
                arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    print_rows(
        [{key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()} for row in rows],
        COLUMNS,
    )
    if arguments.plot:
        plot(rows, arguments.plot)


if __name__ == "__main__":
    main()
