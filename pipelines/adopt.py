"""Adopt: semantic IDs that are in production elsewhere enter the ledger, as they are."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from fuseid.core.config import Config
from fuseid.core.errors import BadInput
from fuseid.core.faults import reached
from fuseid.core.protocols import Tokenizer
from fuseid.core.schemas import ASSIGNMENTS
from fuseid.core.surface import option
from fuseid.encoders.fusion import Fusion
from fuseid.pipelines.adoption.checked import CheckedIds, sids_of
from fuseid.pipelines.adoption.codebooks import Codebooks, read_codebooks
from fuseid.pipelines.adoption.known import KnownItems
from fuseid.pipelines.adoption.open import open_ids
from fuseid.pipelines.adoption.space import space_of
from fuseid.pipelines.assignment.champion import load_tokenizer, make_champion
from fuseid.pipelines.assignment.finish import finish, fuse
from fuseid.pipelines.assignment.ledger import Ledger, pin_policy
from fuseid.pipelines.assignment.placement import base_texts
from fuseid.pipelines.exports.columns import column, matrix
from fuseid.pipelines.jobs.progress import Lines, Progress
from fuseid.pipelines.jobs.runs import Run, writing_job
from fuseid.pipelines.store.indexes import index_key
from fuseid.pipelines.store.store import Store
from fuseid.tokenizers.adopted import Adopted
from fuseid.tokenizers.collisions import Policy


def adopt(
    uri: str,
    ids: str | Path,
    config: Config,
    *,
    codebooks: str | Path | None = None,
    space: str | None = None,
    item_map: str | Path | None = None,
    sizes: Sequence[int] | None = None,
    unique: bool = False,
    promote: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Puts the IDs of a file into the ledger under a tokenizer of their own, in one commit after all were checked. The
    first tokenizer of a database becomes its champion, a later one a candidate. The same file again changes nothing.

    ids: what `open_ids` opens. codebooks: what `read_codebooks` reads; with them new items get IDs. space: the column
    of vectors that the codebooks quantize, in a database before its first fit. item_map: see `open_ids`. sizes: of the
    codebooks, where none are given. unique: refuse an ID of two items. promote: make it champion in any case.

    Raises BadInput for a file that holds anything but one ID for each item, and for codebooks that do not belong to
    the IDs or to the vectors; then nothing is changed. StoreError for a database without items.
    """
    reading = progress or Lines()
    if space is not None and codebooks is None:
        raise BadInput(f"{option('space')} names the vectors of {option('codebooks')}; give both")
    if sizes is not None and codebooks is not None:
        raise BadInput(f"{option('sizes')} are those of {option('codebooks')}; leave one of them out")
    store = Store.open(uri)
    store.dataset("contents")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fuseid-adopt-") as directory:
        scratch = Path(directory)
        books = None if codebooks is None else read_codebooks(Path(codebooks))
        file = open_ids(Path(ids), None if item_map is None else Path(item_map), scratch)
        reading.begin("read", None)
        checked = CheckedIds.of(
            file, Path(ids), scratch, books.sizes if books else tuple(sizes or ()) or None, unique,
            lambda rows: reading.advance("read", rows),
        )  # fmt: skip
        read_seconds = time.perf_counter() - started
        with writing_job(store, "adopt", config) as run:
            run.seconds["read"] = read_seconds
            run.notes += file.notes
            _adopt(store, run, config, run.shown_by(progress), checked, books, space, promote, scratch)
            run.seconds["total"] = time.perf_counter() - started
    return run


def _adopt(
    store: Store, run: Run, config: Config, progress: Progress, checked: CheckedIds, books: Codebooks | None,
    space: str | None, promote: bool, scratch: Path,
) -> None:  # fmt: skip
    fusion, vectors = space_of(store, books, space)
    if fusion is not None and vectors == "fused":
        fuse(store, run)
    with run.timed("compare"):
        known = KnownItems.of(store, checked, vectors, scratch)
        tokenizer = _tokenizer(store, run, checked, books, fusion, known, vectors)
    with run.timed("append"):
        adopted = _append(store, run, checked, tokenizer, fusion)
    run.counts |= {"ids": checked.count, "in_catalogue": known.count, "adopted": adopted}
    role = _role(store, tokenizer, promote)
    if fusion is not None and vectors != "fused":
        fuse(store, run)
    finish(store, run, config, progress, tokenizer, champion=role == "champion")
    _note(run, checked, known, role, tokenizer)


def _tokenizer(
    store: Store, run: Run, checked: CheckedIds, books: Codebooks | None, fusion: Fusion | None, known: KnownItems,
    vectors: str | None,
) -> Tokenizer:  # fmt: skip
    """The tokenizer of these IDs: the stored one if they are in the ledger, else a new one, compared with vectors."""
    ids = {"count": checked.count, "digest": checked.digest}
    if books is None or fusion is None or vectors is None:
        return Adopted.of(checked.sizes, ids)
    tokenizer = Adopted.of(checked.sizes, ids, books.books, books.beam, fusion.id)
    if not Ledger(store, tokenizer.id).empty:
        return load_tokenizer(store, tokenizer.id)
    found = known.compare(store, tokenizer, vectors)
    tokenizer.meta["metrics"].update(found)
    if found["compared"]:
        run.notes.append(
            f"{found['agreement']:.1%} of {found['compared']} items get their own codes from the codebooks and their "
            f"{vectors} vectors"
        )
    else:
        run.notes.append("no item has both an adopted ID and a vector: the codebooks were compared with nothing")
    return tokenizer


def _append(store: Store, run: Run, checked: CheckedIds, tokenizer: Tokenizer, fusion: Fusion | None) -> int:
    """Stores artifacts, settings and IDs, in this order; nothing if the ledger has the IDs. Returns how many."""
    ledger = Ledger(store, tokenizer.id)
    if not ledger.empty:
        return 0
    uses = fusion if tokenizer.meta["fusion"] is not None else None
    if uses is not None:
        store.put_artifact(uses)
    store.put_artifact(tokenizer)
    reached("adopt.artifact")
    policy = Policy("none" if checked.shared else "suffix")
    pin_policy(store, tokenizer.id, policy, {} if uses is None else {"fusion": uses.id})
    reached("adopt.settings")
    rows = pa.RecordBatchReader.from_batches(ASSIGNMENTS, _rows(checked, tokenizer.id, run.run_id))
    store.append("assignments", rows, ledger.version)
    reached("adopt.appended")
    index_key(store, "assignments")
    return checked.count


def _rows(checked: CheckedIds, tokenizer_id: str, run_id: str) -> Iterator[pa.RecordBatch]:
    for table in checked.parts():
        codes_NL = matrix(column(table, "codes"), len(checked.sizes))
        made = {
            "tokenizer_id": pa.repeat(tokenizer_id, len(table)),
            "fused_fp": pa.nulls(len(table), pa.string()),
            "base": base_texts(codes_NL),
            "sid": sids_of(table, codes_NL),
            "moved_error": pa.nulls(len(table), pa.float32()),
            "run_id": pa.repeat(run_id, len(table)),
        }
        columns = [made[name] if name in made else column(table, name) for name in ASSIGNMENTS.names]
        if len(table):
            yield pa.RecordBatch.from_arrays(columns, schema=ASSIGNMENTS)


def _role(store: Store, tokenizer: Tokenizer, promote: bool) -> str:
    champion = store.setting("champion")
    if champion != tokenizer.id and (promote or champion is None):
        make_champion(store, tokenizer)
        reached("adopt.champion")
        champion = tokenizer.id
    return "champion" if champion == tokenizer.id else "candidate"


def _note(run: Run, checked: CheckedIds, known: KnownItems, role: str, tokenizer: Tokenizer) -> None:
    if checked.shared:
        run.notes.append(
            f"{checked.shared} IDs belong to several items, so items of equal codes share an ID from now on"
        )
    if absent := checked.count - known.count:
        run.notes.append(
            f"{absent} IDs are of items that are not in the database; they are shown when the items arrive"
        )
    run.notes.append(f"{role} {tokenizer.id}" if run.counts["adopted"] else f"adopted before: {role} {tokenizer.id}")
