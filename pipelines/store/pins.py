"""Pins: tags that protect the versions of a long reader from clean-up, until the reader ends or the tags expire."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta

import lance

from fuseid.core.errors import StoreError
from fuseid.core.reasons import reason

# Longer than any reader takes. The pins of a killed reader stay until then.
_EXPIRY = timedelta(days=7)
_PIN = re.compile(r"pin-(\d+)-[0-9a-f]+")


@contextmanager
def pinned(datasets: Mapping[str, lance.LanceDataset]) -> Iterator[None]:
    """Inside, the files of these versions are kept. Raises StoreError if the database cannot be written to."""
    name = f"pin-{int(time.time() + _EXPIRY.total_seconds())}-{secrets.token_hex(4)}"
    made: list[lance.LanceDataset] = []
    try:
        for dataset in datasets.values():
            try:
                dataset.tags.create(name, dataset.version)
            except (OSError, RuntimeError, ValueError) as error:
                what = f"cannot tag a version of {dataset.uri}, which keeps it while it is read: {reason(error)}"
                raise StoreError(what) from None
            made.append(dataset)
        yield
    finally:
        for dataset in made:
            # A pin that cannot be removed now expires later.
            with suppress(OSError, RuntimeError, ValueError):
                dataset.tags.delete(name)


def is_pin(tag: str) -> bool:
    return _PIN.fullmatch(tag) is not None


def remove_expired(dataset: lance.LanceDataset) -> None:
    """Removes expired pins, which killed readers have left."""
    for tag in dataset.tags.list():
        found = _PIN.fullmatch(tag)
        if found is not None and int(found[1]) < time.time():
            dataset.tags.delete(tag)
