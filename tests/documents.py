"""The examples of a document: its fenced blocks, run in their order in one folder, and its tables."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

Command = Callable[..., tuple[int, str, str]]
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"-?\d+\.\d+")


def shown_and_found(text: str, fuseid: Command) -> Iterator[tuple[str, str, str]]:
    """Runs the blocks of a document in the current folder -> (example, output shown, output found).

    A block with a file name is written to that file; `bash` is run; of `console`, the line after `$` is run and the
    rest is its output; `python` is run, and a `text` block after it is its output. fuseid: runs that command.
    """
    printed = None
    for language, name, body in _BLOCK.findall(text):
        assert language == "text" or printed in (None, ""), f"no block shows this output: {printed}"
        if name:
            Path(name).write_text(body, encoding="utf-8")
        elif language == "bash":
            for line in body.splitlines():
                _run(line, fuseid)
        elif language == "console":
            line, _, shown = body.partition("\n")
            yield line, shown, _run(line.removeprefix("$ "), fuseid)
        elif language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(body, "example", "exec"), {"__name__": "example"})
            printed, example = out.getvalue(), body
        elif language == "text":
            assert printed is not None, "output without a program"
            yield example, body, printed
            printed = None
    assert printed in (None, "")


def _run(line: str, fuseid: Command) -> str:
    if not line.startswith("fuseid "):
        subprocess.run(["bash", "-ec", line], check=True)
        return ""
    # The shell takes its quotes away.
    split = subprocess.run(["bash", "-ec", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True)
    status, out, err = fuseid(*split.stdout.split("\0")[1:-1])
    assert status == 0, f"{line}: {err}"
    return out


def alike(shown: str, found: str) -> bool:
    """Whether two outputs are the same, except for blanks at the ends of lines and the last digits of fractions."""

    def lines(text: str) -> list[str]:
        return [_NUMBER.sub("#", line.rstrip()) for line in text.strip().splitlines()]

    numbers = [list(map(float, _NUMBER.findall(text))) for text in (shown, found)]
    return lines(shown) == lines(found) and all(abs(a - b) < 0.01 for a, b in zip(*numbers, strict=True))


def rows_of(text: str) -> Iterator[list[str]]:
    """The cells of all lines of a document's tables, without the lines between head and body."""
    for line in text.splitlines():
        if line.startswith("| ") and not set(line) <= set("| -:"):
            yield [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
