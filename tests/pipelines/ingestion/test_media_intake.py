"""A system without decord: its runs say so, and leave no vectors of two decoders behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
def test_a_run_without_decord_decodes_again_what_decord_has_decoded(bare: Any, tmp_path: Path) -> None:
    """It is a real process in which nothing can import decord, nor can the processes that it starts."""
    config = bare.settings(
        clip={"model": "fake"}, decode={"sampling": {"frames": 2, "method": "uniform"}, "video_decoder": "decord"}
    )
    manifest = bare.manifest([{"content_id": "film", "uri": bare.video("film.mp4")}])
    (tmp_path / "fuseid.yaml").write_text(config.model_dump_json(exclude_unset=True))
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['decord'] = None\n")

    def ingested(path: str) -> tuple[dict[str, Any], list[str]]:
        """-> the film's row, and the notes of the run about decoding."""
        command = [sys.executable, "-P", "-m", "fuseid.apps.cli", "ingest", manifest, "--db", bare.uri()]
        command += ["--runner", "local", "--config", tmp_path / "fuseid.yaml", "--json"]
        environment = {**os.environ, "PYTHONPATH": path}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        (row,) = bare.rows().values()
        return row, [note for note in json.loads(done.stdout)["notes"] if note.startswith("decode.")]

    first, notes = ingested("")
    assert (first["decoder"], notes) == ("decord", [])
    second, notes = ingested(str(tmp_path))
    assert second["decoder"] == "pyav"
    assert second["decode_fp"] != first["decode_fp"]
    assert len(notes) == 1
    assert notes[0].startswith("decode.video_decoder is decord, which is not installed here: videos went by PyAV")
    third, notes = ingested("")
    assert (third["decoder"], third["decode_fp"], notes) == ("decord", first["decode_fp"], [])
