"""Cursors: where the next page of a search begins, as a text for the one who turns the page."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass

from fuseid.core.errors import BadInput
from fuseid.core.fingerprints import fingerprint
from fuseid.core.surface import option

_FORM = 1


@dataclass(frozen=True)
class Cursor:
    """version: of `contents`, made by `commit`. query: its digest. last: where the page before it ended."""

    version: int
    commit: str
    query: str
    last: tuple[str | int | None, ...]

    def __str__(self) -> str:
        text = json.dumps([_FORM, self.version, self.commit, self.query, *self.last], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(zlib.crc32(text).to_bytes(4, "big") + text).decode().rstrip("=")

    @classmethod
    def of(cls, text: str) -> Cursor:
        """Raises BadInput for what is no cursor."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            form, version, commit, query, *last = json.loads(raw[4:])
            if int.from_bytes(raw[:4], "big") != zlib.crc32(raw[4:]) or form != _FORM or not isinstance(version, int):
                raise ValueError
        except (ValueError, TypeError, RecursionError):
            raise BadInput(
                f"{option('after', _shortened(text))} is no cursor; copy the whole `next` of the page before it, or "
                f"leave it out for the first page"
            ) from None
        return cls(version, str(commit), str(query), tuple(last))

    def check(self, query: str, asked: str) -> None:
        """Raises BadInput if the cursor is not of this query. asked: the query, for a message."""
        if self.query != query:
            raise BadInput(
                f"the cursor of {option('after')} is not of {asked}; repeat the query that it came from, or leave it "
                f"out for the first page"
            )


def query_digest(**parts: str | None) -> str:
    """A short hash of what determines which items a search finds, and their order."""
    return fingerprint("query", **parts)[-12:]


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
