"""A command of `fuseid` as a job of its own: `python -m fuseid.ray_jobs.NAME` takes what `fuseid NAME` takes
(`sequences`: `fuseid export sequences`)."""

from __future__ import annotations

import importlib
import os
import sys


def run(name: str) -> None:
    """The command line stands above the jobs: it is looked up when one starts, never imported by them.

    A job is read in its log: its runs and rejected items are logged unless FUSEID_LOG says otherwise.
    """
    os.environ.setdefault("FUSEID_LOG", "INFO")
    sys.argv = ["fuseid", name, *sys.argv[1:]]
    importlib.import_module("fuseid.apps.cli").main()
