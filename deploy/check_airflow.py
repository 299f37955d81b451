# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["apache-airflow==3.3.2"]
# ///
"""`make airflow-check`: Airflow itself reads the DAG of deploy/airflow and runs it, in an environment of its own.

In the place of fuseid is a command that ends with a given status: what matters here is what Airflow makes of each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent / "airflow"
# status of the ingest -> what becomes of the two tasks
OUTCOMES = {0: ["success", "success"], 3: ["skipped", "success"], 1: ["failed", "upstream_failed"]}


def main(home: Path) -> None:
    command = home / "fuseid"
    command.write_text('#!/bin/sh\n[ "$1" = ingest ] && exit "$FUSEID_STATUS"\nexit 0\n')
    command.chmod(0o755)
    os.environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(FOLDER),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "FUSEID_COMMAND": str(command),
    }
    subprocess.run([Path(sys.executable).parent / "airflow", "db", "migrate"], check=True, capture_output=True)
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(FOLDER))
    if bag.import_errors:
        raise SystemExit(str(bag.import_errors))
    dag = bag.dags["fuseid_nightly"]
    for task in dag.tasks:
        task.retries = 0  # Airflow would wait for ten minutes
    for status, expected in OUTCOMES.items():
        os.environ["FUSEID_STATUS"] = str(status)
        states = {each.task_id: str(each.state) for each in dag.test().get_task_instances()}
        if [states[name] for name in ("ingest", "fresh")] != expected:
            raise SystemExit(f"status {status}: expected {expected}, got {states}")
        print(f"status {status}: {states}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="fuseid-airflow-") as folder:
        main(Path(folder))
