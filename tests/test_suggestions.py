"""Commands and options that messages and documents suggest exist, and can be pasted into a shell."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.apps import options
from fuseid.apps.cli import app
from fuseid.core import surface
from fuseid.core.config import Config

ROOT = Path(__file__).parents[1]
FOLDERS = ("core", "encoders", "tokenizers", "pipelines", "ray_jobs", "api", "apps")
# The nodes of each syntax tree.
SOURCES = {
    path: [*ast.walk(ast.parse(path.read_text()))]
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
}
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
# Options of functions that are not part of the public surface, by what takes them.
INNER = {
    "against": "evaluate", "attr": "lookup", "cold_share": "evaluate", "compare": "report", "exports": "restore",
    "facet": "lookup", "from_": "lookup", "has": "lookup", "interactions": "export_sequences", "last": "runs",
    "limit": "rejected", "max_attempts": "retry", "sample": "report", "seeds": "evaluate", "users": "evaluate",
    "warm_start": "evaluate", "weight": "lookup",
}  # fmt: skip
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
GROUP = typer.main.get_command(app)
NASTY = [
    "my db",
    "it's",
    'a"b',
    "$HOME",
    "`id`",
    "-rf",
    "--",
    "a\\b",
    "kind = 'video'",
    "!x",
    "*",
    "~",
    "#a",
    "é",
    "a\nb",
]


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """A suggestion in backquotes, read by a shell's parser and the command's -> its verb, its parameters by name."""
    assert line[0] == line[-1] == "`"
    program, *words = shlex.split(line[1:-1])
    assert program == "fuseid"
    verb, command, context = "", GROUP, None
    while True:
        context = command.make_context(command.name, words, parent=context)
        if not hasattr(command, "commands"):
            return verb.strip(), context.params
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        verb += f" {name}"


def calls(name: str) -> Iterator[tuple[Path, ast.Call]]:
    """The calls of a function of `core.surface`, with the files that they are in."""
    for path, nodes in SOURCES.items():
        imported = any(
            isinstance(node, ast.ImportFrom)
            and node.module == "fuseid.core.surface"
            and name in [each.name for each in node.names]
            for node in nodes
        )
        for node in nodes if imported else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                yield path, node


def flags(command: Any, path: str = "") -> dict[str, set[str]]:
    found = {path: {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)} | {"--help"}}
    for name, child in getattr(command, "commands", {}).items():
        found |= flags(child, f"{path} {name}".strip())
    return found


FLAGS = flags(GROUP)


# What a shell makes of a suggestion


@settings(max_examples=20)
@given(TEXT, TEXT, TEXT)
def test_a_suggested_command_reaches_the_command_as_it_was_meant(db: str, content_id: str, page: str) -> None:
    verb, values = parsed(surface.command("explain", db, content_id, page=page, json=True))
    assert (verb, values["db"], values["content_id"], values["json"]) == ("explain", db, content_id, True)
    assert values["page"] == Path(page)


@settings(max_examples=20)
@given(st.lists(TEXT, min_size=1, max_size=3))
def test_a_suggested_option_that_repeats_has_every_value(attributes: list[str]) -> None:
    assert parsed(surface.command("report", "db", by=attributes))[1]["by"] == attributes


def test_a_real_shell_reads_every_word_as_it_was_meant() -> None:
    script = "".join(f"printf '%s\\0' {surface.quoted(word)}\n" for word in NASTY)
    for shell in ("sh", "bash"):
        out = subprocess.run([shell, "-c", script], check=True, capture_output=True).stdout
        assert out.decode().split("\0")[:-1] == NASTY


# Suggestions in the code


def suggested() -> list[Any]:
    return [pytest.param(call, id=f"{path.relative_to(ROOT)}:{call.lineno}") for path, call in calls("command")]


@pytest.mark.parametrize("call", suggested())
def test_the_commands_that_messages_suggest_are_commands(call: ast.Call) -> None:
    verb, *rest = call.args
    given = {k.arg: True if isinstance(k.value, ast.Constant) and k.value.value is True else "1" for k in call.keywords}
    if isinstance(verb, ast.Constant):
        arguments = ["a db", *("an argument" for _ in rest[1:])] if rest else []
        assert parsed(surface.command(verb.value, *arguments, **given))[0] == verb.value


NAMES = {call.args[0].value for _, call in calls("option") if isinstance(call.args[0], ast.Constant)}

PUBLIC = [nodes for path, nodes in SOURCES.items() if path.parent.name == "api" or path.name == "lookup.py"]
PUBLIC_ARGUMENTS = {node.arg for nodes in PUBLIC for node in nodes if isinstance(node, ast.arg)}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_options_that_messages_name_are_those_of_the_shell_and_of_python(name: str) -> None:
    assert any(surface.flag(name) in known for known in FLAGS.values())
    assert name in PUBLIC_ARGUMENTS or name in INNER


def test_the_settings_that_have_an_option_are_those_of_the_configuration() -> None:
    for key, name in surface.SETTINGS.items():
        section, field = key.split(".")
        assert field in type(getattr(Config(), section)).model_fields
        assert any(surface.flag(name) in known for known in FLAGS.values())


def test_messages_below_the_command_line_write_no_option_by_hand() -> None:
    found = []
    for path, nodes in SOURCES.items():
        if path.is_relative_to(ROOT / "apps"):
            continue
        prose = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        prose |= {id(node.value) for node in nodes if isinstance(node, ast.keyword) and node.arg == "description"}
        texts = [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        by_hand = [
            node
            for node in texts
            if re.search(r"(^|[\s(`])(?<!tar )--[a-z]|`fuseid ", node.value) and id(node) not in prose
        ]
        found += [f"{path.relative_to(ROOT)}:{node.lineno}: {node.value}" for node in by_hand]
    assert not found


# The two ways to write an option


def test_an_option_is_written_as_its_caller_writes_it() -> None:
    assert surface.option("max_history", 5) == "max_history=5"
    assert surface.option("where", "kind = 'x'") == "where=\"kind = 'x'\""
    assert surface.setting("run.max_prune", "9%") == "run.max_prune: 9%"
    with surface.shell():
        assert surface.option("max_history", 5) == "--max-history 5"
        assert surface.option("where", "kind = 'x'") == "--where \"kind = 'x'\""
        assert surface.option("from_") == "--from"
        assert surface.option("k") == "-k"
        assert surface.option("unique", True) == "--unique"
        assert surface.setting("run.max_prune", "9%") == "--max-prune 9%"
        assert surface.setting("run.wave_rows") == "run.wave_rows"
    assert surface.option("like") == "like="


@pytest.mark.parametrize(("verb", "name"), options.FORMER_NAMES)
def test_the_former_name_of_an_option_works_and_is_not_listed(verb: str, name: str) -> None:
    former = options.FORMER_NAMES[verb, name]
    assert former not in FLAGS[verb]
    assert parsed(f"`fuseid {verb} --db x {former} y`") == parsed(f"`fuseid {verb} --db x --{name} y`")


# Commands in documents


def written() -> Iterator[tuple[str, str]]:
    """(document, command) of every command in a code span or block of shell."""
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        blocks = re.findall(r"```(?:bash|sh|console)?\n(.*?)```", text, re.DOTALL)
        lines = [
            line.strip().removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()
        ]
        spans = re.findall(r"(?<!`)`(fuseid [^`]+)`(?!`)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        for line in (*lines, *spans):
            if line.startswith("fuseid "):
                yield path.relative_to(ROOT).as_posix(), " ".join(line.split())


@pytest.mark.parametrize(("document", "line"), sorted(set(written())))
def test_the_commands_in_documents_have_only_options_that_exist(document: str, line: str) -> None:
    words = shlex.split(re.split(r" (?:\||>|2>|&&|;|<) ?", line)[0], comments=True)[1:]
    verb = ""
    while words and f"{verb} {words[0]}".strip() in FLAGS:
        verb = f"{verb} {words.pop(0)}".strip()
    used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert verb or used <= FLAGS[""]
    assert used <= FLAGS[verb]
