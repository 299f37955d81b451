"""The exit status of every error is part of the command line's contract."""

import pytest

from fuseid.core import errors

STATUS = {
    "FuseidError": 1,
    "BadInput": 1,
    "NotReady": 1,
    "ConfigError": 1,
    "ModelError": 1,
    "FingerprintMismatch": 1,
    "ArtifactError": 1,
    "StoreError": 1,
    "DamagedTable": 1,
    "LeaseLost": 1,
    "LeaseHeld": 3,
    "TooManyRejected": 4,
    "Stopped": 143,
}


def tree(base: type[Exception]) -> dict[str, type[Exception]]:
    found = {base.__name__: base}
    for child in base.__subclasses__():
        found |= tree(child)
    return found


def test_every_error_that_ends_a_run_has_its_documented_status():
    assert {name: kind.exit_status for name, kind in tree(errors.FuseidError).items()} == STATUS


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
