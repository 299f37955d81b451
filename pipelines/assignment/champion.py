"""The fusions and the tokenizers of a database, loaded and checked against each other; and the champions in turn."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fuseid.core.artifacts import ADOPTED, encodes, kind_of, tokenizer_kind
from fuseid.core.errors import FingerprintMismatch, NotReady, StoreError
from fuseid.core.modalities import FUSED, FUSED_OTHER
from fuseid.core.protocols import Tokenizer
from fuseid.core.surface import command
from fuseid.pipelines.assignment.ledger import Ledger
from fuseid.pipelines.store.generations import (
    LAST,
    fused_column,
    generations,
    other_generation,
    with_tokenizer,
)
from fuseid.pipelines.store.store import Store

if TYPE_CHECKING:
    from fuseid.encoders.fusion import Fusion


# The setting that holds every champion in order: [[id, since, run_id of a rollback or None, fusion before], ...], with
# the fusion that was in force until then. Earlier versions of fuseid recorded [id, since].
CHAMPIONS = "champions"


def load_tokenizer(store: Store, name: str) -> Tokenizer:
    """A tokenizer by its id. Raises ArtifactError if it is missing, altered, or of a kind or version that this fuseid
    does not know."""
    # Imports torch, as fusion does: a database that has neither is filled without it.
    from fuseid.tokenizers.registry import class_of

    return store.get_artifact(class_of(tokenizer_kind(name)), name)


def load_fusion(store: Store, name: str | None = None) -> Fusion:
    """A fusion by its id, by default the one in force. Raises StoreError before the first fit, ArtifactError for a
    damaged artifact."""
    name = name or store.setting("fusion")
    if name is None:
        raise StoreError(f"{store.uri} has no fusion yet; {command('fit', store.uri)} makes one")
    from fuseid.encoders.fusions import Fusions

    found: Fusion = store.get_artifact(Fusions, name)
    return found


def load_fusions(store: Store) -> dict[str, Fusion]:
    """The fusion of each generation, by the column of its vectors in a writing job, the one in force first; none before
    the first fit. Raises ArtifactError for a damaged artifact."""
    columns = (FUSED, FUSED_OTHER)
    return {columns[not each.in_force]: load_fusion(store, each.fusion) for each in generations(store.settings())}


def load_champion(store: Store) -> tuple[dict[str, Fusion], Tokenizer | None]:
    """`load_fusions`, and the champion, None before the first fit.

    Raises ArtifactError for a damaged artifact, FingerprintMismatch if champion and fusion do not belong together.
    """
    settings = store.settings()
    champion, fusions = settings.get("champion"), load_fusions(store)
    tokenizer = load_tokenizer(store, champion) if champion else None
    if tokenizer is not None and fusions and encodes(tokenizer) and tokenizer.meta["fusion"] != fusions[FUSED].id:
        raise _mismatch(store, tokenizer)
    return fusions, tokenizer


def load_to_assign(store: Store, name: str) -> Tokenizer:
    """A tokenizer by whose IDs items are to be shown. name: its id, or an unambiguous beginning of it.

    Raises what `load_tokenizer` raises, StoreError before the first fit and for adopted IDs of which the ledger has
    none, FingerprintMismatch for one that was fitted on vectors which the database does not have.
    """
    name = store.tokenizer_named(name)
    tokenizer = load_tokenizer(store, name)
    if kind_of(name) == ADOPTED and Ledger(store, name).empty:
        raise StoreError(
            f"the adoption of {name} was not completed; run the same {command('adopt', store.uri, ids='IDS')} again"
        )
    if encodes(tokenizer):
        there = generations(store.settings())
        if not there:
            raise StoreError(f"{store.uri} has no fusion yet; {command('fit', store.uri)} makes one")
        if tokenizer.meta["fusion"] not in [each.fusion for each in there]:
            raise _mismatch(store, tokenizer)
    return tokenizer


def load_other(store: Store) -> Tokenizer | None:
    """The tokenizer whose IDs new items get beside the champion's, while there is another generation."""
    other = other_generation(store.settings())
    return None if other is None or other.tokenizer is None else load_tokenizer(store, other.tokenizer)


def column_quantized(store: Store, tokenizer: Tokenizer) -> str:
    """The column of the vectors that a tokenizer quantizes. Raises FingerprintMismatch if the database has none."""
    column = fused_column(store.dataset("contents").schema, tokenizer.meta["fusion"])
    if column is None:
        raise _mismatch(store, tokenizer)
    return column


def _mismatch(store: Store, tokenizer: Tokenizer) -> FingerprintMismatch:
    settings = store.settings()
    there = " and ".join(each.fusion for each in generations(settings)) or "no fusion"
    remedy = "fit a tokenizer here, or assign in the database it was fitted on"
    if settings.get(LAST):
        again = command("fit", store.uri, refit_fusion=True)
        remedy = f"a generation that was dropped does not come back, and {again} makes the next one"
    return FingerprintMismatch(
        f"{tokenizer.id} was fitted on vectors of {tokenizer.meta['fusion']}, this database holds vectors of {there}; "
        f"{remedy}"
    )


def make_champion(
    store: Store, tokenizer: Tokenizer, rollback: str | None = None, fusion: str | None = None
) -> str | None:
    """Makes a tokenizer champion, and its generation the one in force, in one commit. Returns the champion before it.

    rollback: the id of the run that goes back to a former champion. fusion: to put in force with adopted IDs that no
    codebook encodes, if its generation still exists.
    """
    settings = store.settings()
    name, before, history = tokenizer.id, settings.get("champion"), settings.get(CHAMPIONS) or []
    if before == name:
        # A run that was killed may have promoted it already: keep what was champion before that.
        before = settings.get("champion_before")
        if rollback:
            history = [*history[:-1], [*history[-1][:2], rollback, *history[-1][3:]]]
    else:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        history = [*history, [name, since, rollback, settings.get("fusion")]]
    values: dict[str, Any] = {"champion": name, "champion_before": before, CHAMPIONS: history}
    if encodes(tokenizer):
        values |= {"fusion": tokenizer.meta["fusion"]} | with_tokenizer(settings, tokenizer.meta["fusion"], name)
    elif fusion in [each.fusion for each in generations(settings)]:
        values |= {"fusion": fusion}
    store.put_settings(values, settings)
    return before


def former_champion(store: Store) -> tuple[str, str | None]:
    """The champion to which a rollback leads: the one before the present one, without those that a rollback has left
    behind; and the fusion that was in force when it was replaced, as far as is known.

    Raises NotReady for a database that has had one champion only.
    """
    settings = store.settings()
    champion, history = settings.get("champion"), settings.get(CHAMPIONS) or []
    if champion is None:
        raise NotReady(f"{store.uri} has no champion yet; {command('fit', store.uri)} makes the first")
    stack: list[tuple[str, str | None]] = []
    for name, _, *more in history:
        rollback, fusion = (*more, None, None)[:2]
        names = [one for one, _ in stack]
        if rollback and name in names:
            del stack[names.index(name) + 1 :]
        elif rollback:
            stack = [(name, None)]
        else:
            stack.append((name, fusion))
    if len(stack) > 1:
        return stack[-2][0], stack[-1][1]
    # Earlier versions of fuseid recorded no history.
    before = None if any(any(more[:1]) for _, _, *more in history) else settings.get("champion_before")
    if before is None:
        others = [name for name in store.tokenizers() if name != champion]
        switch = f"; {command('promote', store.uri, 'TOKENIZER')} makes another tokenizer champion" if others else ""
        raise NotReady(f"{store.uri} has no former champion to go back to: {champion} is the first{switch}")
    return before, stack[-1][1] if stack else None
