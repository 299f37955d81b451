"""Makes the goldens that tests compare with: `python tests/data/make_goldens.py`, after a change that is meant.

rq_kmeans.json, rq_vae.json: codes of a seeded data set whose clusters lie so far apart that no rounding can move one.
fsq.json: the same, of the two forms of FSQ.
cli_surface.json: every command and option, which are an interface to keep.
metrics.prom: the metrics of a frozen database, whose names and labels are an interface to keep.
"""

from __future__ import annotations

import json
import re
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
CODEBOOK_SIZES = (4, 3)
FSQ_ALONE = {"seed": 1, "hidden": 8, "epochs": 10}
FSQ_LAST = {"seed": 1, "iterations": 20, "last": "fsq", "fsq_levels": (2, 2), "fsq_repulsion": 0.0}
RQ_VAE = {"seed": 1, "hidden": 8, "epochs": 3, "refinements": 2}


def two_level_clusters(rows: int = 96) -> np.ndarray:
    """float32 [N, 8]: 4 centres 100 apart, each with 3 places 10 apart, noise of 0.1."""
    generator = np.random.default_rng(20_240_607)
    coarse, fine = np.arange(rows) % 4, np.arange(rows) // 4 % 3
    vectors = 0.1 * generator.standard_normal((rows, 8))
    vectors[np.arange(rows), coarse] += 100
    vectors[np.arange(rows), 4 + fine] += 10
    return vectors.astype(np.float32)


def rq_kmeans_golden() -> dict[str, Any]:
    from fuseid.tokenizers.rq_kmeans import RQKMeans

    vectors = two_level_clusters()
    tokenizer = RQKMeans.fit(vectors, CODEBOOK_SIZES, iterations=20, seed=1)
    return {"codebook_sizes": list(CODEBOOK_SIZES), "seed": 1, "codes": tokenizer.encode(vectors).tolist()}


def rq_vae_golden() -> dict[str, Any]:
    from fuseid.tokenizers.rq_vae import RQVAE

    vectors = two_level_clusters()
    tokenizer = RQVAE.fit(vectors, CODEBOOK_SIZES, **RQ_VAE)
    return {"codebook_sizes": list(CODEBOOK_SIZES), "codes": tokenizer.encode(vectors).tolist()}


def fsq_golden() -> dict[str, Any]:
    from fuseid.tokenizers.fsq import FSQ
    from fuseid.tokenizers.rq_kmeans import RQKMeans

    vectors = two_level_clusters()
    fitted = [FSQ.fit(vectors, (4, 4), **FSQ_ALONE), RQKMeans.fit(vectors, (4, 4), **FSQ_LAST)]
    return {each.KIND: each.encode(vectors).tolist() for each in fitted}


def cli_surface() -> dict[str, Any]:
    """Per command and group, by its path: each parameter's names, whether it must be given, and its default."""
    import typer

    from fuseid.apps.cli import app

    def walk(command: Any, path: str) -> dict[str, Any]:
        found = {path: {p.name: _parameter(p) for p in sorted(command.params, key=lambda p: p.name)}}
        for name, child in sorted(getattr(command, "commands", {}).items()):
            found |= walk(child, f"{path} {name}".strip())
        return found

    return walk(typer.main.get_command(app), "")


def _parameter(parameter: Any) -> dict[str, Any]:
    flags = [*parameter.opts, *parameter.secondary_opts]
    default = parameter.default
    out = {"flags": [f for f in flags if f.startswith("-")] or "argument", "required": parameter.required}
    return out if parameter.required else {**out, "default": default if default is None else str(default)}


def metrics_text() -> str:
    """Without what changes with time and release: the ages of runs, and the version of fuseid."""
    from fuseid.apps.prometheus_text import prometheus_text
    from fuseid.pipelines.metrics import metrics

    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(FOLDER / "frozen" / "schema-3-two-tokenizers.tar.gz") as archive:
            archive.extractall(folder, filter="data")
        text = prometheus_text(metrics(Path(folder) / "db", "catalogue"))
    text = re.sub(r'version="\d[\w.+]*\.\w+"', 'version="V"', text)
    return re.sub(r"(age_seconds\{.*\}) .*", r"\1 AGE", text)


def main() -> None:
    goldens = {
        "rq_kmeans.json": rq_kmeans_golden,
        "rq_vae.json": rq_vae_golden,
        "fsq.json": fsq_golden,
        "cli_surface.json": cli_surface,
    }
    for name, golden in goldens.items():
        (FOLDER / name).write_text(json.dumps(golden(), indent=1) + "\n", encoding="utf-8")
    (FOLDER / "metrics.prom").write_text(metrics_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
