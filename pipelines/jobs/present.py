"""The run that this process works on, or worked on last: what its log lines belong to."""

from __future__ import annotations

_run: dict[str, str] = {}


def begin(run_id: str, job: str) -> None:
    global _run
    _run = {"run_id": run_id, "job": job}


def present_run() -> dict[str, str]:
    """`run_id` and `job`; empty before the first run of this process."""
    return dict(_run)
