"""How messages write options and commands: for the shell inside `shell`, for Python outside."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Options of the shell that set a key of the configuration, by key.
SETTINGS = {
    "clip.model": "clip",
    "vlm.model": "vlm",
    "run.max_prune": "max_prune",
    "run.max_rejected": "max_rejected",
    "source.expect_rows": "expect_rows",
    "source.require_success": "require_success",
    "tokenizer.codebook_sizes": "codebooks",
    "tokenizer.seed": "seed",
}

_in_shell = False


@contextmanager
def shell() -> Iterator[None]:
    """Inside, messages name options as the command line has them."""
    global _in_shell
    before, _in_shell = _in_shell, True
    try:
        yield
    finally:
        _in_shell = before


def in_shell() -> bool:
    return _in_shell


def flag(name: str) -> str:
    """`max_history` -> `--max-history`, `k` -> `-k`. An underscore at the end, for a word of Python, is left out."""
    name = name.rstrip("_").replace("_", "-")
    return f"--{name}" if len(name) > 1 else f"-{name}"


def option(name: str, value: object = None) -> str:
    """An option as the caller writes it, by the name of its argument: `--max-history 5` or `max_history=5`.

    value: True for a flag; None names the option alone, `--max-history` or `max_history=`.
    """
    if not _in_shell:
        return f"{name}={'' if value is None else repr(value)}"
    return flag(name) if value is None or value is True else f"{flag(name)} {quoted(value)}"


def setting(key: str, value: object = None) -> str:
    """A key of the configuration; in the shell its option, where there is one."""
    if _in_shell and key in SETTINGS:
        return option(SETTINGS[key], value)
    return key if value is None else f"{key}: {value}"


def command(verb: str, db: str | Path | None = None, *arguments: str | Path, **options: Any) -> str:
    """A command in backquotes, to be pasted into a shell.

    db: its database, if it has one. options: by name; True for a flag, a list for an option that is repeated. A word in
    capitals, `SOURCE`, is for the reader to replace.
    """
    words = ["fuseid", *verb.split()]
    for name, value in {"db": db, **options}.items():
        for one in value if isinstance(value, list | tuple) else (value,):
            if one is True:
                words.append(flag(name))
            elif one is not None and one is not False:
                words += [flag(name), str(one)]
    if any(str(argument).startswith("-") for argument in arguments):
        words.append("--")
    return f"`{' '.join(map(quoted, [*words, *arguments]))}`"


def quoted(value: object) -> str:
    """A word for a shell. Text with single quotes, like an SQL condition, is put in double ones where that is safe."""
    text = str(value)
    return f'"{text}"' if "'" in text and not set('"$`\\!') & set(text) else shlex.quote(text)
