"""Whether an ingest's memory grows with the catalogue: `python benchmarks/memory.py [--json OUT]`.

`fuseid ingest` of real files with the fake encoder, at two sizes, with both runners: the peak memory of all its
processes, shared pages counted once (proportional set size), sampled three times a second.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

from benchmarks.ingest import PICTURE, write_pictures
from benchmarks.plan import write_manifest
from benchmarks.processes import fuseid
from fuseid.apps.show import print_rows

RUNNERS = ("local", "ray")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs=2, default=[5000, 50_000], metavar=("FEW", "MANY"))
    parser.add_argument("--runner", choices=RUNNERS, action="append", help="default: both")
    parser.add_argument("--work", type=Path, help="keeps the files here and reuses existing ones")
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="fuseid-bench-") as name:
        media = (arguments.work or Path(name)) / "media"
        media.mkdir(parents=True, exist_ok=True)
        names = [path.name for path in write_pictures(media, max(arguments.items))]
        for runner in arguments.runner or RUNNERS:
            for items in arguments.items:
                manifest = write_manifest(media, names[:items])
                with tempfile.TemporaryDirectory(dir=name) as db:
                    run = fuseid("ingest", manifest, "--db", f"{db}/db", "--clip", "fake", "--runner", runner)
                if run.output["counts"]["committed"] != items:
                    raise RuntimeError(f"only {run.output['counts']} of {items} arrived")
                rows.append({
                    "runner": runner, "items": items, "seconds": run.seconds, "items_s": items / run.seconds,
                    "peak_mib": run.peak_mib,
                })  # fmt: skip
            rows[-1]["many_over_few"] = rows[-1]["peak_mib"] / rows[-2]["peak_mib"]
    print(f"JPEG of {PICTURE[0]} x {PICTURE[1]}, fake encoder")
    print_rows(rows, ("runner", "items", "seconds", "items_s", "peak_mib", "many_over_few"))
    if arguments.json:
        arguments.json.write_text(json.dumps({"picture": PICTURE, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
