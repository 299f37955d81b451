"""Start-up of commands: processor time of whole processes, compared with the imports that a command cannot do without.

`python benchmarks/startup.py [--rounds 7] [--json OUT]`: each round runs every command once, in
the same order, so that other work on the machine affects all alike; the table has medians of user and system time.
The database has 20 captions, encoded by the bundled CLIP.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BIN = Path(sys.executable).parent
IMPORTS = ("lance", "torch", "open_clip")


def database(folder: Path) -> str:
    rows = [{"content_id": f"c{n}", "caption": f"a {colour} {thing} number {n}"} for n in range(10)
            for colour, thing in (("red", "apple"), ("blue", "car"))]  # fmt: skip
    rows = [{**row, "content_id": f"c{number}"} for number, row in enumerate(rows)]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "fuseid.yaml").write_text("tokenizer: {codebook_sizes: [4, 3]}\nfusion: {dim: 16}\n")
    for command in (["ingest", "manifest.jsonl", "--runner", "local"], ["fit"]):
        subprocess.run([BIN / "fuseid", *command, "--db", "db"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (folder / "fuseid.yaml").unlink()
    return str(folder / "db")


def processor_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commands(db: str) -> dict[str, list[str]]:
    verbs = {
        "--version": ["--version"], "--help": ["--help"], "lookup --sid": ["lookup", "--sid", "1"],
        "lookup --id": ["lookup", "--id", "c1"], "lookup --text": ["lookup", "--text", "red apple"],
        "explain": ["explain", "c1"], "rejected": ["rejected"], "check": ["check"], "export tags": ["export", "tags"],
    }  # fmt: skip
    runs = {f"python -c 'import {name}'": [sys.executable, "-c", f"import {name}"] for name in IMPORTS}
    for name, verb in verbs.items():
        runs[name] = [str(BIN / "fuseid"), *verb, *([] if name.startswith("--") else ["--db", db])]
    return runs


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = commands(database(Path(folder)))
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(chosen.rounds + 1):
            for name, command in runs.items():
                spent = processor_seconds(command)
                if number:  # the first round fills the caches of files
                    seconds[name].append(spent)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    lance, clip = medians["python -c 'import lance'"], medians["python -c 'import open_clip'"]
    print("| command | processor time, s | over `import lance`, s | of `import open_clip` |")
    print("| --- | ---: | ---: | ---: |")
    for name, found in medians.items():
        print(f"| `{name}` | {found:.2f} | {found - lance:+.2f} | {found / clip:.2f} |")
    if chosen.json:
        chosen.json.write_text(json.dumps({"seconds": seconds, "medians": medians}, indent=1) + "\n")


if __name__ == "__main__":
    main()
