"""Runs jobs in processes that may be killed: each line of standard input is a job, or asks how one ended, in JSON.

It forks for every job and answers with the process id. The imports are paid once; before a fork this process has opened
no database, started no Ray and made no thread of its own.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
import warnings
from typing import Any

from fuseid.core import faults
from fuseid.core.config import Config
from fuseid.core.errors import FuseidError
from fuseid.pipelines.adopt import adopt
from fuseid.pipelines.assignment import finish
from fuseid.pipelines.assignment.fit_blocks import FitRunner, LocalFitRunner
from fuseid.pipelines.drop import drop
from fuseid.pipelines.fit import fit
from fuseid.pipelines.gate import gate
from fuseid.pipelines.indexing import upkeep
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.removal import Removal
from fuseid.pipelines.ingestion.runners import LocalRunner, Runner
from fuseid.pipelines.promote import promote
from fuseid.pipelines.remove import remove
from fuseid.pipelines.rollback import rollback
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.sources.vectors import Vectors
from fuseid.pipelines.upgrade import upgrade

# Their warnings do not apply: neither has opened anything yet.
warnings.filterwarnings("ignore", message="lance(db)? .*fork")
# With the real limits the few items of a test would have no vector index and no ID order to damage.
upkeep.maintain.__defaults__ = (20, 20, *upkeep.maintain.__defaults__[2:])
upkeep.maintain.__kwdefaults__["order_rows"] = 1
# The few items of a test are removed in several commits.
Removal.remove.__defaults__ = (*Removal.remove.__defaults__[:-1], 2)


def run(job: dict[str, Any]) -> None:
    # A killed process leaves its scratch files.
    tempfile.tempdir = os.path.dirname(job["db"])
    os.environ.update(job["environment"])
    faults.arm()
    config = Config.model_validate(job["settings"])
    if job["job"] == "fit":
        refit, pairs = job.get("refit_fusion", False), job.get("pairs")
        fit(job["db"], config, refit_fusion=refit, pairs=pairs, runner=_fit_runner(job))
    elif job["job"] == "adopt":
        adopt(job["db"], job["ids"], config, codebooks=job["codebooks"], promote=job["promote"])
    elif job["job"] == "gate":
        gate(job["db"], config, job["tokenizer"])
    elif job["job"] == "promote":
        promote(job["db"], job["tokenizer"], config)
    elif job["job"] == "rollback":
        rollback(job["db"], config)
    elif job["job"] == "drop":
        drop(job["db"], job["generation"], config)
    elif job["job"] == "upgrade":
        upgrade(job["db"], config)
    elif job["job"] == "remove":
        remove(job["db"], job["ids"], config)
    elif job["job"] == "vectors":
        if job.get("scattered"):  # without maintenance what is new stays in fragments of its own
            finish.maintain = lambda store, recall: []
        ingest(job["db"], Vectors(job["vectors"], name=job["name"]), config, _runner(job))
    else:
        ingest(job["db"], open_source(job["manifest"]), config, _runner(job), prune=True)


def _runner(job: dict[str, Any]) -> Runner:
    if "ray" not in job:
        return LocalRunner()
    _join(job)
    from fuseid.ray_jobs import flow
    from fuseid.ray_jobs.runner import RayRunner
    from fuseid.ray_jobs.sizing import Sizes

    flow._MOST_TRIES = job["ray"].get("tries", flow._MOST_TRIES)
    return RayRunner(sizes=Sizes(*job["ray"]["sizes"]))


def _fit_runner(job: dict[str, Any]) -> FitRunner:
    if "ray" not in job:
        return LocalFitRunner()
    _join(job)
    from fuseid.ray_jobs.fit import RayFitRunner

    return RayFitRunner()


def _join(job: dict[str, Any]) -> None:
    """Workers and actors get the faults of the driver, unless they have some of their own."""
    import ray

    variables = {name: value for name, value in job["environment"].items() if name.startswith("FUSEID")}
    if "fault" in job["ray"]:
        variables["FUSEID_FAULT"] = job["ray"]["fault"]
    ray.init(job["ray"]["address"], runtime_env={"env_vars": variables}, log_to_driver=False)


def _forked(job: dict[str, Any], errors: int) -> None:
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)
    os.dup2(errors, 2)
    status = 0
    try:
        run(job)
    except FuseidError as error:
        print(error, file=sys.stderr)
        status = error.exit_status
    except BaseException:
        traceback.print_exc()
        status = 99
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
    said = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            with said.pop(request["wait"]) as errors:
                errors.seek(0)
                words = errors.read().decode("utf-8", "replace")
            print(json.dumps([os.waitstatus_to_exitcode(status), words]), flush=True)
            continue
        errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed when it is read)
        process = os.fork()
        if process == 0:
            _forked(request, errors.fileno())
        said[process] = errors
        print(process, flush=True)


if __name__ == "__main__":
    main()
