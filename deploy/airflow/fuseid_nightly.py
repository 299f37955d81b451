"""Every night: ingest what has changed, then fail if no ingest has succeeded for more than a day. For Airflow 3.

fuseid is in an environment of its own on the workers, because its dependencies are not Airflow's. Status 3, another run
holds the lease, is `skipped`. A stopped task sends SIGTERM to the command, which commits its last wave.
"""

from __future__ import annotations

import os
from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

FUSEID = os.environ.get("FUSEID_COMMAND", "/opt/fuseid/bin/fuseid")
SOURCE = "s3://BUCKET/catalogue.parquet"
ENV = {"FUSEID_DB": "s3://BUCKET/fuseid", "FUSEID_CONFIG": "/etc/fuseid/fuseid.yaml", "FUSEID_LOG": "INFO"}

with DAG(
    dag_id="fuseid_nightly",
    schedule="30 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=10)},
    tags=["fuseid"],
) as dag:
    ingest = BashOperator(
        task_id="ingest",
        bash_command=f"exec {FUSEID} ingest {SOURCE} --max-rejected 5%",
        env=ENV,
        append_env=True,
        skip_on_exit_code=3,
        execution_timeout=timedelta(hours=8),
    )
    # Also where another run was at work every night.
    fresh = BashOperator(
        task_id="fresh",
        bash_command=f"exec {FUSEID} runs --job ingest --max-age 26h",
        env=ENV,
        append_env=True,
        trigger_rule="none_failed",
    )
    ingest >> fresh
