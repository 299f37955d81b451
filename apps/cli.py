"""The `fuseid` command: what it is made of, and how it ends. Heavy imports happen inside the commands, so that `--help`
answers at once.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from importlib.metadata import version as installed
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from fuseid.apps.care_commands import backup, check, restore
from fuseid.apps.export_commands import export_app
from fuseid.apps.run_commands import assign, demo, fit, ingest, promote, retry
from fuseid.apps.view_commands import evaluate, explain, lookup, rejected, report
from fuseid.core.errors import BadInput, FuseidError

# Typer brings its own copy of click, whose base of all usage errors it does not export.
_USAGE = typer.BadParameter.__bases__[0]
# What Typer returns after Ctrl-C.
_INTERRUPTED = 130


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


class _Terminated(SystemExit):
    """An exit, not a death: what a command has open is closed, and its row in `runs` says that it was stopped."""


def main() -> None:
    """Entry point: one line and an exit status for what is wrong, never a stack trace (FUSEID_DEBUG=1 shows it)."""
    signal.signal(signal.SIGTERM, _terminate)
    _log()
    try:
        if app(prog_name="fuseid", standalone_mode=False) == _INTERRUPTED:
            _stop(KeyboardInterrupt(), "stopped by Ctrl-C; run the same command again", _INTERRUPTED)
    except _Terminated as stopped:
        _stop(stopped, "stopped by SIGTERM; run the same command again", 128 + signal.SIGTERM)
    except FuseidError as error:
        _stop(error, str(error), error.exit_status)
    except Exception as error:
        if isinstance(error, _USAGE):
            _stop_usage(error)
        first = (str(error) or type(error).__name__).strip().splitlines()[0][:300]
        _stop(error, f"{type(error).__name__}: {first} (FUSEID_DEBUG=1 shows where)", 1)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated(128 + number)


def _log() -> None:
    """FUSEID_LOG=INFO shows on standard error what runs log: a line for each run and for each rejected item."""
    level = os.environ.get("FUSEID_LOG", "").upper()
    if not level:
        return
    if level not in logging.getLevelNamesMapping():
        _stop(BadInput(), f"FUSEID_LOG is a level like INFO, not {level!r}", 1)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("fuseid").setLevel(level)


def _stop_usage(error: Any) -> None:
    """Wrong usage is one line too; a command without its arguments shows its help."""
    message = " ".join(error.format_message().split())
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        command = error.ctx.command_path if error.ctx else "fuseid"
        print(f"error: {message} (`{command} --help` shows what there is)", file=sys.stderr)
    sys.exit(error.exit_code)


def _stop(error: BaseException, line: str, status: int) -> None:
    if os.environ.get("FUSEID_DEBUG") == "1":
        raise error
    print(f"error: {line}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
