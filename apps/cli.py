"""The `fuseid` command: what it is made of, and how it ends. Heavy imports happen inside the commands, so that `--help`
answers at once.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from importlib.metadata import version as installed
from typing import Annotated, Any, NoReturn

import psutil
import typer

from fuseid.apps import options
from fuseid.apps.care_commands import backup, check, restore
from fuseid.apps.export_commands import export_app
from fuseid.apps.run_commands import assign, demo, fit, ingest, promote, retry
from fuseid.apps.view_commands import evaluate, explain, lookup, rejected, report
from fuseid.core.errors import BadInput, FuseidError, Stopped
from fuseid.core.signals import SIGNALS
from fuseid.pipelines.jobs import stopping

# Typer brings its own copy of click, whose base of all usage errors it does not export.
_USAGE = typer.BadParameter.__bases__[0]
# What Typer returns after a KeyboardInterrupt, which Ray raises in place of what a signal raised.
_INTERRUPTED = 130
_STOPPED = tuple(128 + number for number in SIGNALS)


app = typer.Typer(name="fuseid", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
# In the order in which `fuseid --help` lists them.
for command in (
    ingest,
    fit,
    assign,
    promote,
    retry,
    rejected,
    lookup,
    explain,
    report,
    evaluate,
    check,
    backup,
    restore,
    demo,
):
    app.command()(command)
app.add_typer(export_app, name="export")


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"fuseid {installed('fuseid')}")
        raise typer.Exit


@app.callback()
def fuseid(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="show the version and exit")
    ] = False,
) -> None:
    """Turns a catalogue of media into semantic IDs: ingest, fit, look up, export."""


def main() -> None:
    """Entry point of the process. One that was stopped leaves at once, with all that it has started: it would wait for
    what is still at work in it, a model that loads or a Ray that starts, or crash under it in an interpreter that is
    half gone."""
    try:
        run()
    except SystemExit as end:
        if end.code in _STOPPED:
            _leave(end.code)
        raise


def _leave(status: int) -> NoReturn:
    """Ends this process, then those that it has started: Ray ends a process whose raylet is gone with a status of its
    own, so a shell kills them once this one has gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    left = [str(process.pid) for process in psutil.Process().children(recursive=True)]
    if left:
        script = 'kill -9 "$@"; sleep 0.2; kill -9 "$@"'
        nothing = subprocess.DEVNULL
        command = ["/bin/sh", "-c", script, "sh", *left]
        subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
    os._exit(status)


def run() -> None:
    """One line and an exit status for what is wrong, never a stack trace (FUSEID_DEBUG=1 shows it)."""
    try:
        with stopping.command() as stop:
            _log()
            status = app(prog_name="fuseid", standalone_mode=False)
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


def _log() -> None:
    """FUSEID_LOG=INFO shows on standard error what runs log: a line for each run and for each rejected item."""
    level = os.environ.get("FUSEID_LOG", "").upper()
    if not level:
        return
    if level not in logging.getLevelNamesMapping():
        raise BadInput(f"FUSEID_LOG is a level like INFO, not {level!r}")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("fuseid").setLevel(level)


def _stop_usage(error: Any) -> NoReturn:
    """Wrong usage is one line too; a command without its arguments shows its help."""
    message = " ".join(error.format_message().split())
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        command = error.ctx.command_path if error.ctx else "fuseid"
        print(f"error: {message} (`{command} --help` shows what there is)", file=sys.stderr)
    sys.exit(error.exit_code)


def _cause_of(error: Exception) -> FuseidError | None:
    """A full disk, or damage of the database that the command names."""
    from fuseid.pipelines.store.integrity import cause_of

    return cause_of(error, options.database)


def _stop(error: BaseException) -> NoReturn:
    if os.environ.get("FUSEID_DEBUG") == "1":
        raise error
    if isinstance(error, _USAGE):
        _stop_usage(error)
    if isinstance(error, Exception) and not isinstance(error, FuseidError):
        error = _cause_of(error) or error
    if isinstance(error, FuseidError):
        line, status = str(error), error.exit_status
    elif isinstance(error, Exception):
        first = (str(error) or type(error).__name__).strip().splitlines()[0][:300]
        line, status = f"{type(error).__name__}: {first} (FUSEID_DEBUG=1 shows where)", 1
    else:
        raise error
    print(f"error: {line}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
