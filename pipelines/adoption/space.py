"""The vectors that codebooks from outside quantize: the fused ones or, before the first fit, one column of vectors."""

from __future__ import annotations

from fuseid.core.errors import BadInput
from fuseid.core.modalities import modalities
from fuseid.core.names import hint
from fuseid.core.surface import option
from fuseid.encoders.fusion import IDENTITY, Fusion
from fuseid.pipelines.adoption.codebooks import Codebooks
from fuseid.pipelines.assignment.champion import load_fusion
from fuseid.pipelines.assignment.fusion_fitting import encoders_of
from fuseid.pipelines.store.store import Store


def space_of(store: Store, books: Codebooks | None, space: str | None) -> tuple[Fusion | None, str | None]:
    """-> the fusion in force, or the one that is to be, None if there are no codebooks and was no fit; and the column
    whose vectors the codebooks quantize, None without codebooks. Changes nothing.

    space: the name of that column, in a database without a fusion. Raises BadInput if no column is of the right size,
    or if several are.
    """
    in_force = load_fusion(store) if store.setting("fusion") is not None else None
    if books is None:
        return in_force, None
    if in_force is not None:
        _check_in_force(store, in_force, books, space)
        return in_force, "fused"
    sizes = store.dims()
    columns = {each.name: sizes[each.name] for each in modalities(sizes)}
    if space is not None and space not in columns:
        raise BadInput(f"{store.uri} has no vectors {space!r}; {hint(space, columns)}")
    chosen = [name for name, size in columns.items() if size == books.dim and space in (None, name)]
    if len(chosen) != 1:
        there = ", ".join(f"{name} ({size} numbers)" for name, size in columns.items()) or "none"
        wanted = option("space", space or "NAME")
        problem = "several columns fit" if len(chosen) > 1 else "no such column fits"
        raise BadInput(
            f"the codebooks quantize vectors of {books.dim} numbers, and {problem}: {store.uri} has {there}; "
            f"{wanted} has to name one of {books.dim}"
        )
    (name,) = chosen
    return Fusion.identity(name, books.dim, encoders_of(store, {name: books.dim})[name]), name


def _check_in_force(store: Store, fusion: Fusion, books: Codebooks, space: str | None) -> None:
    if fusion.dim != books.dim:
        raise BadInput(
            f"the codebooks quantize vectors of {books.dim} numbers, the fused ones of {store.uri} have {fusion.dim}; "
            f"adopt them in a database before its first fit, or leave {option('codebooks')} out"
        )
    if space is not None and (fusion.meta["fill"] != IDENTITY or space not in fusion.dims):
        raise BadInput(
            f"{store.uri} has the fusion {fusion.id}, whose vectors codebooks quantize here; "
            f"{option('space', space)} is for a "
            "database before its first fit"
        )
