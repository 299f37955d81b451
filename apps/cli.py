"""The `fuseid` command: its subcommands, and how it ends. Heavy imports happen inside the subcommands, so that `--help`
answers at once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated, Any, NoReturn

import psutil
import typer

from fuseid.apps import logs, options, outlets
from fuseid.apps.care_commands import backup, check, maintain, restore, upgrade
from fuseid.apps.config_commands import config_app
from fuseid.apps.export_commands import export_app
from fuseid.apps.history_commands import runs, tokenizers
from fuseid.apps.ingest_commands import ingest, plan
from fuseid.apps.lookup_command import lookup
from fuseid.apps.neighbours_command import neighbours
from fuseid.apps.pairs_command import pairs
from fuseid.apps.run_commands import adopt, assign, demo, drop, fit, gate, promote, remove, retry, rollback
from fuseid.apps.view_commands import evaluate, explain, rejected, report
from fuseid.core import surface
from fuseid.core.errors import FuseidError, Stopped
from fuseid.core.installed import fuseid_version, left_out
from fuseid.core.reasons import is_fault, reason
from fuseid.core.signals import SIGNALS
from fuseid.core.text import shown
from fuseid.core.waiting import wait_passively
from fuseid.pipelines.jobs import stopping

# Typer brings its own copy of click, whose base of all usage errors it does not export.
_USAGE = typer.BadParameter.__bases__[0]
# What Typer returns after a KeyboardInterrupt, which Ray raises in place of the exception that a signal raised.
_INTERRUPTED = 130
_STOPPED = tuple(128 + number for number in SIGNALS)


app = typer.Typer(name="fuseid", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
# In the order in which `fuseid --help` lists them.
for command in (
    ingest,
    plan,
    remove,
    fit,
    adopt,
    assign,
    gate,
    promote,
    rollback,
    drop,
    retry,
    rejected,
    runs,
    tokenizers,
    lookup,
    neighbours,
    pairs,
    explain,
    report,
    evaluate,
    maintain,
    check,
    backup,
    restore,
    upgrade,
    demo,
):
    app.command(cls=options.Command)(command)
app.add_typer(export_app, name="export")
app.add_typer(config_app, name="config")


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"fuseid {fuseid_version()}")
        raise typer.Exit


@app.callback()
def fuseid(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="show the version and exit")
    ] = False,
) -> None:
    """Turns a catalogue of media into semantic IDs: ingest, fit, look up, export."""


def main() -> None:
    """Entry point of the process. A stopped command exits at once, together with the processes that it has started. An
    ordinary exit would wait for threads that are loading a model or starting Ray, or these would crash while the
    interpreter shuts down."""
    wait_passively()
    outlets.install()
    try:
        run()
    except SystemExit as end:
        if end.code in _STOPPED or _query_runs():
            _leave(int(end.code or 0))
        raise


def _query_runs() -> bool:
    """Whether a query that nobody waits for is still running, with which the process would not end."""
    limits = sys.modules.get("fuseid.pipelines.store.time_limit")
    return limits is not None and limits.abandoned()


def _leave(status: int) -> NoReturn:
    """Ends this process, then those that it has started. A shell kills them after this process has ended: if a raylet
    ended first, Ray would end this process with an exit status of its own."""
    sys.stdout.flush()
    logs.finish()
    left = [str(process.pid) for process in psutil.Process().children(recursive=True)]
    if left:
        script = 'kill -9 "$@"; sleep 0.2; kill -9 "$@"'
        nothing = subprocess.DEVNULL
        command = ["/bin/sh", "-c", script, "sh", *left]
        subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
    os._exit(status)


def run() -> None:
    """Runs the command. An error becomes one line and an exit status, never a stack trace (FUSEID_DEBUG=1 shows it)."""
    try:
        with stopping.command() as stop, surface.shell():
            logs.install()
            status = app(prog_name="fuseid", standalone_mode=False)
            sys.stdout.flush()
            if status == _INTERRUPTED:
                raise KeyboardInterrupt
            if isinstance(status, int) and status:
                sys.exit(status)
    except SystemExit:
        if not stop.requested:
            raise
        _stop(stop.error("run the same command again"))
    except BaseException as error:
        if stop.requested and not isinstance(error, Stopped):
            error = stop.error("run the same command again")
        _stop(error)


def _stop_usage(error: Any) -> NoReturn:
    """Wrong usage is reported in one line, too; a command without its arguments shows its help."""
    message = " ".join(error.format_message().split())
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        command = error.ctx.command_path if error.ctx else "fuseid"
        print(f"error: {shown(message)} (`{command} --help` lists the options)", file=sys.stderr)
    sys.exit(error.exit_code)


def _cause_of(error: Exception) -> FuseidError | None:
    """The error that says so if a full disk or damage of the command's database is the cause; else None."""
    from fuseid.pipelines.store.integrity import cause_of

    return cause_of(error, options.database)


def _stop(error: BaseException) -> NoReturn:
    logs.take_tracebacks()
    if os.environ.get("FUSEID_DEBUG") == "1":
        raise error
    if isinstance(error, _USAGE):
        _stop_usage(error)
    if isinstance(error, ModuleNotFoundError):
        error = left_out(error) or error
    if isinstance(error, Exception) and not isinstance(error, FuseidError):
        error = _cause_of(error) or error
    if isinstance(error, FuseidError):
        line, status = str(error), error.exit_status
    elif isinstance(error, Exception):
        what = f"this is a fault in fuseid, {type(error).__name__}: " if is_fault(error) else ""
        line, status = f"{what}{reason(error)} (FUSEID_DEBUG=1 shows where)", 1
    else:
        raise error
    print(f"error: {shown(line)}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
