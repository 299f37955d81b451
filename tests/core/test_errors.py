"""The exit status of every error is part of the command line's contract."""

import errno
import re
from pathlib import Path

import pyarrow as pa
import pytest

from fuseid.core import errors

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def tree(base: type[Exception]) -> dict[str, type[Exception]]:
    found = {base.__name__: base}
    for child in base.__subclasses__():
        found |= tree(child)
    return found


def test_the_table_of_the_documents_has_every_class_with_its_status():
    text = PAGE.read_text(encoding="utf-8")
    table = text[text.index("| Class | Status |") :].partition("\n\n")[0]
    documented = re.findall(r"^\| (\w+) \| (\d+) \| \w", table, re.MULTILINE)
    assert len(table.splitlines()) == len(documented) + 2
    kinds = tree(errors.FuseidError)
    assert sorted(documented) == sorted((name, str(kind.exit_status)) for name, kind in kinds.items())


def test_bad_input_and_only_bad_input_ends_with_2():
    kinds = tree(errors.FuseidError).values()
    assert all((kind.exit_status == 2) == issubclass(kind, errors.BadInput) for kind in kinds)
    assert not any(issubclass(kind, errors.BadInput) and issubclass(kind, errors.NotReady) for kind in kinds)


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (FileNotFoundError(errno.ENOENT, "no such file"), errors.BadInput),
        (IsADirectoryError(errno.EISDIR, "a folder"), errors.BadInput),
        (pa.ArrowInvalid("no Parquet magic bytes"), errors.BadInput),
        (OSError("corrupt snappy data"), errors.BadInput),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), errors.BadInput),
        (errors.MissingFile("no such key"), errors.BadInput),
        (PermissionError(errno.EACCES, "not yours"), errors.NotReady),
        (OSError(errno.ENOSPC, "full"), errors.NotReady),
        (OSError(errno.EIO, "disk"), errors.NotReady),
        (TimeoutError("slow"), errors.NotReady),
        (ConnectionResetError("gone"), errors.NotReady),
        (errors.FetchFailed("503"), errors.NotReady),
    ],
    ids=repr,
)
def test_what_cannot_be_read_is_wrong_or_may_be_read_later(cause, kind):
    found = errors.unusable("cannot read it", cause)
    assert (type(found), str(found)) == (kind, "cannot read it")


@pytest.mark.parametrize("kind", tree(errors.ItemError).values(), ids=lambda kind: kind.__name__)
def test_item_errors_and_run_errors_are_distinct(kind):
    assert not issubclass(kind, errors.FuseidError)


@pytest.mark.parametrize(
    "kind", [*tree(errors.FuseidError).values(), *tree(errors.ItemError).values()], ids=lambda kind: kind.__name__
)
def test_every_error_says_what_it_means(kind):
    # Item errors are documented one by one: their class name is what a user reads in `rejected`.
    assert kind.__doc__
    assert kind.__doc__.rstrip().endswith(".")
