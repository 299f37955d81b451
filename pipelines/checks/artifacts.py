"""Checks of settings, artifacts and tags: whether what they refer to exists and is intact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from fuseid.core.artifacts import FUSION, encodes, kind_of
from fuseid.core.errors import ArtifactError, StoreError
from fuseid.core.reasons import reason
from fuseid.core.surface import command
from fuseid.pipelines.assignment.ledger import tokenizers_with_ids
from fuseid.pipelines.checks.damage import Damage
from fuseid.pipelines.store.pinned_tables import NAMES as TAGGED
from fuseid.pipelines.store.store import Store, filesystem
from fuseid.pipelines.store.table_files import broken_files


def damaged_settings(store: Store) -> Iterator[Damage]:
    try:
        settings = store.settings()
    except ValueError as error:
        yield Damage("settings", f"a setting is not JSON: {reason(error)}", "which fusion and tokenizer are in force")
        return
    champion, fusion = settings.get("champion"), settings.get("fusion")
    for key, described in (("champion", store.describe_tokenizer), ("fusion", store.describe_fusion)):
        if settings.get(key) is not None and (problem := _problem(described, settings[key])):
            yield Damage(f"setting {key}", problem, f"the {key} in force: nothing can be ingested or looked up by ID")
            return
    if champion is None:
        if store.dataset("assignments").count_rows():
            yield Damage("setting champion", "IDs were given and no tokenizer is champion", "nothing shows IDs",
                         command("promote", store.uri, "TOKENIZER"))  # fmt: skip
        return
    tokenizer = store.describe_tokenizer(champion)
    wanted = tokenizer.meta["fusion"]
    if encodes(tokenizer) and wanted != fusion:
        problem = _problem(store.describe_fusion, str(wanted))
        yield Damage(
            "setting fusion", f"it is {fusion}, the champion {champion} was fitted on vectors of {wanted}",
            "every ingest is refused" if problem is None else f"every ingest is refused; {problem}",
            repair=None if problem else partial(store.put_settings, {"fusion": wanted}, settings),
        )  # fmt: skip


def damaged_artifacts(store: Store) -> Iterator[Damage]:
    """Checks every stored artifact, and every tokenizer under which the ledger has IDs."""
    fs, root = filesystem(store.uri)
    folder = f"{root}/artifacts"
    there = {path.rstrip("/").rpartition("/")[2] for path in fs.ls(folder, detail=False)} if fs.isdir(folder) else set()
    given = tokenizers_with_ids(store)
    for name in sorted(there.union(given)):
        described = store.describe_fusion if kind_of(name) == FUSION else store.describe_tokenizer
        if problem := _problem(described, name):
            cost = "IDs of its items cannot be given or explained" if name in given else "nothing that is in use"
            yield Damage(f"artifact {name}", problem, cost)


def damaged_tags(store: Store) -> Iterator[Damage]:
    """Tags of exports whose version is missing or incomplete, or that only one of the two tables has."""
    try:
        tags = {name: set(store.dataset(name).tags.list()) for name in TAGGED}
    except (OSError, RuntimeError, ValueError):
        return  # a tag cannot be read, which `damaged_history` reports
    for tag in sorted(set.union(*tags.values())):
        problem = next((f"{name} has no such tag" for name in TAGGED if tag not in tags[name]), "")
        for name in TAGGED if not problem else ():
            try:
                broken = broken_files(store.dataset(name).checkout_version(tag))
                problem = problem or (f"{name}: {broken[0]}" if broken else "")
            except (OSError, RuntimeError, ValueError) as error:
                problem = problem or f"{name}: {reason(error)}"
        if problem and tag.startswith("export-"):
            yield Damage(
                f"tag {tag}", problem, "its export cannot be made again", command("export tags", store.uri, remove=tag)
            )


def _problem(described: Callable[[str], object], name: str) -> str | None:
    try:
        described(name)
    except (ArtifactError, StoreError) as error:
        return str(error)
    return None
