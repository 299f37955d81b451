"""Commands start fast: what they import, seen from inside a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

HEAVY = {"lancedb", "pandas", "ray", "torch", "transformers"}
SCRIPT = """
import json, sys
from fuseid.apps.cli import main
try:
    main()
finally:
    print(json.dumps(sorted(name for name in sys.modules if "." not in name)), file=sys.stderr)
"""


def imported(*arguments: str) -> set[str]:
    """The top-level modules of a process after a command."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FUSEID")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    *said, modules = done.stderr.splitlines()
    assert (done.returncode, said) == (0, [])
    return set(json.loads(modules))


@pytest.mark.parametrize(
    "command",
    [
        ["lookup", "--id", "v03"],
        ["lookup", "--id", "v03", "--json", "--where", "content_id > 'v1'"],
        ["lookup", "--sid", "1"],
        ["explain", "v03"],
        ["rejected"],
    ],
    ids=" ".join,
)
def test_look_ups_by_id_import_neither_models_nor_lancedb_nor_pandas(made, command):
    modules = imported(command[0], "--db", str(made / "db"), *command[1:])
    assert not HEAVY & modules
    assert "lance" in modules


def test_help_imports_no_library_of_data():
    assert not (HEAVY | {"lance", "numpy", "pyarrow"}) & imported("lookup", "--help")


def test_pyarrow_still_converts_to_pandas():
    script = """
import sys
from fuseid.apps.start_up import import_pyarrow
import_pyarrow()
import pyarrow
assert "pandas" not in sys.modules
assert pyarrow.table({"a": [1, 2]}).to_pandas()["a"].tolist() == [1, 2]
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
