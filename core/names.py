"""Names that a person types: what an unknown one may have meant, and ids that are given by their beginning."""

from __future__ import annotations

from collections.abc import Iterable

from fuseid.core.errors import BadInput
from fuseid.core.nearest import nearest

# So many names are listed in full.
_LISTED = 16
# An id may be given by its beginning, up to its last part and at least so many characters of that.
LEAST_OF_ID = 4


def hint(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: which it may have meant, and which there are."""
    names = list(dict.fromkeys(known))
    there = f"there are {_listed(names)}" if names else "there are none"
    near = nearest(name, names)
    if not near:
        return there
    meant = f"did you mean {' or '.join(near)}?"
    return meant if near == names or len(names) > _LISTED else f"{meant} T{there[1:]}"


def unknown(what: str, name: str, known: Iterable[str]) -> BadInput:
    """The error about a name outside a closed set. what: `format`, for instance."""
    return BadInput(f"unknown {what} {name!r}; {hint(name, known)}")


def check_known(what: str, name: str, known: Iterable[str]) -> None:
    """Raises BadInput, which proposes the nearest ones, for an unknown name."""
    names = list(known)
    if name not in names:
        raise unknown(what, name, names)


def id_named(what: str, text: str, known: Iterable[str], place: object, error: type[BadInput] = BadInput) -> str:
    """The id that `text` is; or the only one that begins with it, if it has at least four characters of its last part.

    what, place: what the ids are of, and what has them. Raises `error`, which names the ids that it may be, or those
    that there are.
    """
    ids = sorted(known)
    found = [each for each in ids if text and each.startswith(text)]
    if text in found:
        return text
    if len(found) > 1:
        raise error(f"{place} has {len(found)} {what}s that begin with {text!r}: {_listed(found)}; give more of one")
    if found and len(text) >= len(found[0].rpartition("-")[0]) + 1 + LEAST_OF_ID:
        return found[0]
    if found:
        least = f"{LEAST_OF_ID} characters of its last part"
        raise error(f"{text!r} is too little of {found[0]}; give {least}, or all of it")
    raise error(f"{place} has no {what} {text!r}; {hint(text, ids)}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
