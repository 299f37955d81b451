"""`ray job submit` with the wheel, to a head node of its own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from fuseid.pipelines.store.store import Store

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
pytestmark = pytest.mark.slow


def free_ports(count: int) -> list[int]:
    """Outside the range that Ray gives its workers."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """The environment of a client of a head node that runs for this module, separate from every other Ray."""
    # Ray's sockets lie below it, and their paths may not be long.
    folder = Path(tempfile.mkdtemp(prefix="fuseid-", dir="/tmp"))
    gcs, dashboard, agent, client = free_ports(4)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    # Ray installs a wheel by pip; what it depends on is on the nodes already.
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "PIP_NO_DEPS": "1"}
    environment |= {"RAY_JOB_STOP_WAIT_TIME_S": "60"}
    command = [
        BIN / "ray", "start", "--head", "--block", f"--port={gcs}", f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}", "--min-worker-port=0",
        "--max-worker-port=0", f"--temp-dir={folder}", "--num-cpus=2", "--num-gpus=0", "--disable-usage-stats",
        "--include-dashboard=true", f"--object-store-memory={200 << 20}",
    ]  # fmt: skip
    with (folder / "head.log").open("wb") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        yield environment | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}", "LOG": str(folder / "head.log")}
    finally:
        processes = [psutil.Process(head.pid), *psutil.Process(head.pid).children(recursive=True)]
        for process in processes:
            if process.is_running():
                process.kill()
        psutil.wait_procs(processes, timeout=20)
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def submit(
    environment: dict[str, str], wheel: Path, entrypoint: str, *options: str
) -> subprocess.CompletedProcess[str]:
    """Waits for the head node, then, unless `--no-wait` is among the options, for the job."""
    command = [BIN / "ray", "job", "submit", "--runtime-env-json", json.dumps({"py_modules": [str(wheel)]}), *options]
    deadline = time.monotonic() + 120
    while True:
        done = subprocess.run(
            [*command, "--", "sh", "-c", entrypoint],
            env=environment, cwd="/", capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        # Before the head node answers nothing was submitted.
        if "submitted" in done.stdout + done.stderr or time.monotonic() > deadline:
            return done
        time.sleep(1)


@pytest.mark.timeout(400)
def test_a_submitted_job_runs_the_wheel_and_reports_its_outcome(
    cluster: dict[str, str], wheel: Path, tmp_path: Path
) -> None:
    (tmp_path / "fuseid.yaml").write_text("clip: {model: 'fake:8'}\nrun: {block_rows: 16}\n")
    rows = [{"content_id": str(i), "caption": f"words number {i}"} for i in range(60)]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"content_id": "bad"}]))
    where = f'{sys.executable} -c "import fuseid.core.config as found; print(found.__file__)"'
    job = f"FUSEID_LOG=INFO {BIN}/fuseid ingest m.jsonl --db db --config fuseid.yaml --json"
    done = submit(cluster, wheel, f"cd {tmp_path} && {where} && {job}")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:] + Path(cluster["LOG"]).read_text()[-1000:]
    assert f"/py_modules_files/{wheel.stem}/fuseid/core/config.py" in said
    (summary,) = [json.loads(line) for line in said.splitlines() if line.startswith('{"run_id"')]
    assert (summary["counts"]["committed"], summary["counts"]["rejected"]) == (60, 1)
    # The log names each rejected item with run and id.
    assert f"run {summary['run_id']}: rejected 'bad' at decode, attempt 1: EmptyItem" in said
    assert Store.open(tmp_path / "db").dataset("contents").count_rows() == 60


@pytest.mark.timeout(400)
def test_a_stopped_submitted_job_finishes_the_work_in_progress(
    cluster: dict[str, str], wheel: Path, tmp_path: Path
) -> None:
    """Ray signals the job, its shell and all their children."""
    (tmp_path / "fuseid.yaml").write_text("clip: {model: 'fake:8'}\nrun: {block_rows: 4, wave_rows: 8}\n")
    rows = [{"content_id": str(i), "caption": f"words number {i}"} for i in range(2000)]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    hold = f"FUSEID_FAULT=wave.contents=hold FUSEID_FAULT_MARKS={tmp_path}"
    job = f"{hold} {BIN}/fuseid ingest m.jsonl --db db --config fuseid.yaml"
    name = f"fuseid-{secrets.token_hex(4)}"
    submitted = submit(cluster, wheel, f"cd {tmp_path} && {job}", "--no-wait", "--submission-id", name)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    wait_until((tmp_path / "wave.contents").exists)
    ray_job(cluster, "stop", "--no-wait", name)
    # More than the 3 seconds after which Ray's own handler would abort it.
    time.sleep(3.5)
    (tmp_path / "wave.contents.go").touch()
    wait_until(lambda: "was stopped" in ray_job(cluster, "status", name))
    (line,) = [line for line in ray_job(cluster, "logs", name).splitlines() if "error: " in line]
    store = Store.open(tmp_path / "db")
    done = store.dataset("contents").count_rows()
    assert f"error: stopped by SIGTERM: {done} items of this run" in line
    assert 0 < done < 2000
    assert store.dataset("runs").to_table()["outcome"].to_pylist() == ["stopped"]
    assert store.dataset("lease").to_table()["holder"].to_pylist() == [""]
    assert store.dataset("rejected").count_rows() == 0


def ray_job(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [BIN / "ray", "job", *arguments],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout + done.stderr


def wait_until(there: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.2)
