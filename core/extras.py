"""What is installed only with an extra of the package, and the line that names it where it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fuseid.core.errors import MissingPackage

# Scheme of a uri -> the extra with its file system.
EXTRA_OF_SCHEME = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}


def install(extra: str) -> str:
    """How an extra is installed."""
    return f"install fuseid[{extra}] (pip install 'fuseid[{extra}]')"


@contextmanager
def importing_file_system(scheme: str) -> Iterator[None]:
    """Raises MissingPackage if the block cannot import the file system of `scheme`."""
    try:
        yield
    except ImportError:
        if scheme not in EXTRA_OF_SCHEME:
            raise
        raise MissingPackage(f"{scheme}:// cannot be opened here: {install(EXTRA_OF_SCHEME[scheme])}") from None
