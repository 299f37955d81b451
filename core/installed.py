"""Which package is installed: `fuseid`, or `fuseid-reader`, which has the same code and the requirements of reading."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from fuseid.core.errors import MissingPackage

WHOLE, READER = "fuseid", "fuseid-reader"


def fuseid_version() -> str:
    """Of whichever is installed. Raises PackageNotFoundError if neither is."""
    return _version(WHOLE) or version(READER)


def versions(*packages: str) -> dict[str, str]:
    """The version of each package that is installed, by name; `fuseid` stands for both packages."""
    found = {name: fuseid_version() if name == WHOLE else _version(name) for name in packages}
    return {name: number for name, number in found.items() if number is not None}


def left_out(error: ModuleNotFoundError) -> MissingPackage | None:
    """The error for a module that `fuseid-reader` leaves out; None if that is not why it is missing."""
    if error.name is None or error.name.partition(".")[0] == WHOLE or _version(WHOLE) is not None:
        return None
    return MissingPackage(
        f"this needs {error.name}, which {READER} leaves out: pip uninstall {READER}, then pip install {WHOLE}"
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
