"""What makes commands start fast, in the process of the command line only: `import fuseid` in a user's process does
none of this."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


class _Refused(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is not imported by a command of fuseid", name=fullname)


def import_pyarrow() -> None:
    """Imports pyarrow without pandas. When it makes its first array, it imports pandas if that is installed, which
    takes half as long as all that a look-up needs, and remembers whether it could. Pandas can still be imported
    afterwards, and pyarrow then converts to it on request."""
    if "pyarrow" in sys.modules or "pandas" in sys.modules:
        return
    refused = _Refused()
    sys.meta_path.insert(0, refused)
    try:
        import pyarrow

        pyarrow.scalar(0)
    finally:
        sys.meta_path.remove(refused)
