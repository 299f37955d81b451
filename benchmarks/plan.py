"""The time of an ingest if nothing, or almost nothing, has changed: `python benchmarks/plan.py --work FOLDER`.

Real files, small JPEGs in folders of a thousand, are made once under `--work` and kept there with their database, which
the first run fills with the fake encoder. `whole` is the command `fuseid ingest`, from start to end, with the peak
memory of all its processes; `run_s` excludes its imports and reading the list. `fuseid plan` is that command, measured
alike. `planning` is reading the list and comparing it with the store, in this process. Then one file is edited, one is
added and one deleted, and the ingest with `--prune` must find exactly these.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

from PIL import Image

from benchmarks.processes import fuseid
from fuseid.apps.show import print_rows
from fuseid.core.config import load_config
from fuseid.pipelines.ingestion.fingerprints import stage_fingerprints
from fuseid.pipelines.ingestion.plan import Plan
from fuseid.pipelines.sources.listing import Listing
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.store.store import Store

SIDE = 32
_PER_FOLDER = 1000
_MODEL = "fake"


def picture(path: Path, number: int) -> None:
    """A different JPEG for every number."""
    red, rest = divmod(number % (1 << 24), 1 << 16)
    image = Image.new("RGB", (SIDE, SIDE), (red, *divmod(rest, 256)))
    image.paste((number * 37 % 256, number * 101 % 256, 128), (0, 0, SIDE // 2, SIDE // 2))
    image.save(path, quality=90)


def make_media(media: Path, count: int) -> list[str]:
    """Writes `count` files, except those that exist, and the manifest that lists them; -> their names."""
    names = [f"{number // _PER_FOLDER:04d}/{number:07d}.jpg" for number in range(count)]
    have = {str(path.relative_to(media)) for path in media.glob("*/*.jpg")}
    for number, name in enumerate(names):
        if name not in have:
            (media / name).parent.mkdir(parents=True, exist_ok=True)
            picture(media / name, number)
    for name in have.difference(names):
        (media / name).unlink()
    write_manifest(media, names)
    return names


def write_manifest(media: Path, names: list[str]) -> Path:
    manifest = media / "manifest.jsonl"
    manifest.write_text("".join(f"{json.dumps({'content_id': name, 'uri': name})}\n" for name in names))
    return manifest


def planned(source: Path, db: Path) -> tuple[float, float]:
    """Seconds for reading the list and for comparing it with the store. Raises RuntimeError if there is work to do."""
    config = load_config(None, {"clip.model": _MODEL})
    with tempfile.TemporaryDirectory() as scratch:
        started = time.perf_counter()
        listing = Listing(open_source(source), Path(scratch))
        listed = time.perf_counter()
        plan = Plan(Store.open(db), listing, config, stage_fingerprints(config))
        if any(True for _ in plan.work()):
            raise RuntimeError(f"something is planned where nothing has changed: {plan.counts}")
        return listed - started, time.perf_counter() - listed


def plan_of(source: Path, db: Path, items: int) -> dict[str, Any]:
    done = fuseid("plan", source, "--db", db, "--clip", _MODEL)
    counts = {key: done.output["counts"][key] for key in ("listed", "unchanged", "planned")}
    return {"seconds": done.seconds, "items_s": items / done.seconds, "peak_mib": done.peak_mib, **counts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--work", type=Path, required=True, help="folder for the files and the database, kept")
    parser.add_argument("--rounds", type=int, default=3, help="medians of these")
    parser.add_argument("--runner", choices=("local", "ray"), default="ray")
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    arguments = parser.parse_args()
    media, db, items = arguments.work / "media", arguments.work / "db", arguments.items
    names = make_media(media, items)
    rows: list[dict[str, Any]] = []

    def ingest(case: str, source: Path, *more: str) -> dict[str, Any]:
        run = fuseid("ingest", source, "--db", db, "--clip", _MODEL, "--runner", arguments.runner, *more)
        counts = run.output["counts"]
        row = {"case": case, "seconds": run.seconds, "items_s": items / run.seconds, "peak_mib": run.peak_mib}
        row["run_s"] = run.output["seconds"]["total"]
        return row | {key: counts.get(key) for key in ("listed", "unchanged", "planned", "committed", "pruned")}

    # With --prune and a high limit, because an earlier run may have filled the database with more files.
    rows.append(ingest("first, or catching up", media, "--prune", "--max-prune", "100%"))
    sources = {"folder": media, "manifest": media / "manifest.jsonl"}
    whole: dict[str, list[dict[str, Any]]] = {name: [] for name in sources}
    alone: dict[str, list[tuple[float, float]]] = {name: [] for name in sources}
    said: dict[str, list[dict[str, Any]]] = {name: [] for name in sources}
    for _ in range(arguments.rounds):
        for name, source in sources.items():
            whole[name].append(ingest(f"nothing changed, {name}: whole", source))
            alone[name].append(planned(source, db))
            said[name].append(plan_of(source, db, items))
    for name in sources:
        rows.append(statistics_of(whole[name]))
        rows.append(statistics_of(said[name]) | {"case": f"nothing changed, {name}: fuseid plan"})
        listing, comparing = (statistics.median(column) for column in zip(*alone[name], strict=True))
        for part, seconds in (("planning", listing + comparing), ("  the list", listing), ("  comparing", comparing)):
            row = {"case": f"nothing changed, {name}: {part}", "seconds": seconds, "items_s": items / seconds}
            rows.append(row | {"listed": items})
    # Another number gives another picture, even if an earlier run of this script edited the same file.
    picture(media / names[0], time.time_ns() % (1 << 24))
    picture(media / "0000" / "added.jpg", items)
    (media / names[-1]).unlink()
    rows.append(ingest("one edited, one added, one deleted, --prune", media, "--prune"))
    print(f"{items} JPEGs of {SIDE} x {SIDE}, fake encoder, runner {arguments.runner}; median of {arguments.rounds}")
    columns = (
        "case", "seconds", "run_s", "items_s", "peak_mib", "listed", "unchanged", "planned", "committed", "pruned",
    )  # fmt: skip
    print_rows([row | {"items_s": f"{row['items_s']:,.0f}"} for row in rows], columns)
    if arguments.json:
        document = {"items": items, "side": SIDE, "runner": arguments.runner, "rounds": arguments.rounds, "rows": rows}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")


def statistics_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of median seconds, with the highest peak."""
    ordered = sorted(rows, key=lambda row: row["seconds"])
    return ordered[len(rows) // 2] | {"peak_mib": max(row["peak_mib"] for row in rows)}


if __name__ == "__main__":
    main()
