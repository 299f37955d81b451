"""Common parts of messages about a database."""

from __future__ import annotations

from pathlib import Path

from fuseid.core.surface import command


def no_ids(uri: str | Path) -> str:
    """The line about a database whose items have no IDs."""
    return f"{uri} has no semantic IDs yet; {command('fit', uri)} gives them"


def check_command(uri: str) -> str:
    """The command that reports what is damaged, and repairs it where nothing is lost by that."""
    return command("check", uri, repair=True)


def damage(uri: str, table: str, what: str) -> str:
    """The message about a damaged table."""
    return f"the table {table} of {uri} is damaged: {what}; {check_command(uri)} says what that costs and repairs it"
