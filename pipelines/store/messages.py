"""What messages about a database have in common: commands to paste, and the first line of what Lance says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path


def first_line(error: BaseException) -> str:
    """The first line of what Lance says, without the place in its sources."""
    line = (str(error) or type(error).__name__).splitlines()[0]
    return re.sub(r", /\S+\.rs:.*", "", line)[:300]


def command(name: str, uri: str | Path, more: str = "") -> str:
    """A command on a database as a message names it, to be pasted into a shell. more: what follows the database."""
    return f"`fuseid {name} --db {shlex.quote(str(uri))}{more}`"


def no_ids(uri: str | Path) -> str:
    """The line about a database whose items have no IDs."""
    return f"{uri} has no semantic IDs yet; {command('fit', uri)} gives them"


def check_command(uri: str) -> str:
    """The command that says what is damaged, and repairs it where that loses nothing."""
    return command("check", uri, " --repair")


def damage(uri: str, table: str, what: str) -> str:
    """The line about a damaged table."""
    return f"the table {table} of {uri} is damaged: {what}; {check_command(uri)} says what that costs and repairs it"
