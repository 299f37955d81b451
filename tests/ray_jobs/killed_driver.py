"""A driver that SIGKILLs itself right after the commit of wave N: `killed_driver.py DB MANIFEST N`."""

from __future__ import annotations

import os
import signal
import sys

from fuseid.core.config import load_config
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.sources import open_source
from fuseid.ray_jobs.runner import RayRunner, connect


def main(db: str, manifest: str, wave: int) -> None:
    def after_wave(count: int) -> None:
        if count == wave:
            os.kill(os.getpid(), signal.SIGKILL)

    connect()
    config = load_config(None, {"tokenizer.codebook_sizes": [8, 8], "run.wave_rows": 20, "run.block_rows": 8})
    ingest(db, open_source(manifest), config, RayRunner(), after_wave=after_wave)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
