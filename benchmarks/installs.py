"""Sizes and start-up times of installs: each in a fresh environment, at the versions of requirements.lock.

`python benchmarks/installs.py --wheels dist --install fuseid-reader --install fuseid [--install 'fuseid[heif]']
[--rounds 7] [--json OUT]`, after `make wheels`. Sizes are those of the files that the installer has written, without
bytecode. `first` is the first start in the environment, which compiles what it imports; the others are medians of later
starts, each install once per round. Wall-clock time of whole processes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
UV = BIN / "uv"
IMPORT = "import fuseid.api; fuseid.api.Catalog"


def database(folder: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(200, 32)).astype(np.float32)
    np.save(folder / "vectors.npy", vectors)
    (folder / "vectors.ids.txt").write_text("".join(f"v{number:03}\n" for number in range(len(vectors))))
    (folder / "fuseid.yaml").write_text("clip: null\ntokenizer: {codebook_sizes: [8, 8]}\n")
    for command in ("ingest --vectors vectors.npy", "fit"):
        whole = [BIN / "fuseid", *command.split(), "--db", "db", "--runner", "local"]
        subprocess.run(whole, cwd=folder, check=True, capture_output=True)


def environment(folder: Path, install: str, wheels: Path) -> Path:
    """A new one with `install`, NAME or NAME[EXTRA]; -> its folder of commands."""
    name, _, extras = install.partition("[")
    (wheel,) = wheels.glob(f"{name.replace('-', '_')}-*.whl")
    python = folder / "bin" / "python"
    subprocess.run([UV, "venv", "-q", "--python", sys.executable, folder], check=True)
    what = f"{name}[{extras} @ {wheel.resolve().as_uri()}" if extras else str(wheel.resolve())
    subprocess.run([UV, "pip", "install", "-q", "--python", python, "-c", ROOT / "requirements.lock", what], check=True)
    return python.parent


def size_of(commands: Path) -> tuple[int, float]:
    """-> (packages, MiB)"""
    (site,) = commands.parent.glob("lib/python*/site-packages")
    files = [path for path in site.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return len(list(site.glob("*.dist-info"))), sum(path.stat().st_size for path in files) / 2**20


def seconds(command: list[str | Path], folder: Path) -> float:
    begun = time.perf_counter()
    # Some machines switch off bytecode for all processes.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FUSEID_"))}
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, default=Path("dist"))
    parser.add_argument("--install", action="append", required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database(folder)
        rows, runs = {}, {}
        for number, install in enumerate(chosen.install):
            commands = environment(folder / str(number), install, chosen.wheels)
            packages, mebibytes = size_of(commands)
            runs[install] = {
                "lookup": [commands / "fuseid", "lookup", "--db", "db", "--sid", "1"],
                "version": [commands / "fuseid", "--version"],
                "import": [commands / "python", "-c", IMPORT],
            }
            rows[install] = {"packages": packages, "MiB": mebibytes, "first": seconds(runs[install]["lookup"], folder)}
        found: dict[tuple[str, str], list[float]] = {}
        for number in range(chosen.rounds + 1):
            for install, commands_of in runs.items():
                for what, command in commands_of.items():
                    spent = seconds(command, folder)
                    if number:  # the first round compiles what the first start has not imported
                        found.setdefault((install, what), []).append(spent)
    for (install, what), each in found.items():
        rows[install][what] = statistics.median(each)
    print("| Install | packages | MiB | first look-up, s | look-up, s | `--version`, s | `import` of `Catalog`, s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for install, row in rows.items():
        times = " | ".join(f"{row[what]:.2f}" for what in ("first", "lookup", "version", "import"))
        print(f"| `{install}` | {row['packages']} | {row['MiB']:,.0f} | {times} |")
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
