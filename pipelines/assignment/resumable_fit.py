"""A fit that can be repeated after a kill: the settings keep what it was asked for and what it has stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fuseid.core.artifacts import LEARNED
from fuseid.core.config import Config
from fuseid.core.errors import NotReady
from fuseid.core.faults import reached
from fuseid.core.fingerprints import text_hash
from fuseid.core.protocols import Tokenizer
from fuseid.core.surface import command
from fuseid.pipelines.assignment.champion import load_fusion, load_tokenizer
from fuseid.pipelines.jobs.runs import Run, is_repeated
from fuseid.pipelines.store.generations import (
    begin_next,
    check_room,
    generation_numbered,
    other_generation,
    with_tokenizer,
)
from fuseid.pipelines.store.store import Store

if TYPE_CHECKING:
    from fuseid.encoders.fusion import Fusion

# The setting that says what the last fit made: its request and run, and once they are stored, fusion and tokenizer.
_FITTING = "fitting"


@dataclass
class ResumableFit:
    """The state of a fit that is kept in the settings, so that a repeated one goes on with what a killed one made.

    began: the fusion and the tokenizer that the killed one had stored, and the learned fusion that it had not put into
    use yet. number: of the generation that it fits, None for the one in force. new: a fusion that is not in use yet.
    """

    store: Store
    began: dict[str, Any]
    refit_fusion: bool
    number: int | None
    new: Fusion | None = None

    @classmethod
    def begin(
        cls, store: Store, run: Run, config: Config, refit_fusion: bool, number: int | None, start: list[Any]
    ) -> ResumableFit:
        """number: of the generation asked for. start: what the fit was asked to start from. Raises BadInput for a
        generation that does not exist."""
        settings = store.settings()
        if number is not None and generation_numbered(store.uri, settings, number).in_force:
            number = None
        asked = {"fusion": config.fusion.model_dump(mode="json"), "tokenizer": config.tokenizer.model_dump(mode="json")}
        request = text_hash(json.dumps([asked, refit_fusion, number, start], sort_keys=True))
        began = settings.get(_FITTING) or {}
        if began.get("request") != request or not is_repeated(store, began["run_id"], run):
            began = {"request": request}
        began = {**began, "run_id": run.run_id}
        store.put_settings({_FITTING: began}, settings)
        return cls(store, began, refit_fusion, number)

    def fusion(self, fitted: Callable[[], Fusion]) -> Fusion:
        """The fusion on whose vectors the tokenizer is to be fitted; a new one, made by `fitted`, is not stored yet.

        Raises NotReady for a third generation, and for a new fusion that is the one in force.
        """
        store, settings = self.store, self.store.settings()
        in_force = settings.get("fusion")
        if self.number is not None:
            return load_fusion(store, generation_numbered(store.uri, settings, self.number).fusion)
        if in_force is not None and (not self.refit_fusion or in_force == self.began.get("fusion")):
            return load_fusion(store)
        other = other_generation(settings)
        if other is not None and other.fusion == self.began.get("fusion"):
            self.number = other.number
            return load_fusion(store, other.fusion)
        if in_force is not None:
            check_room(store.uri, settings)
        self.new = load_fusion(store, self.began["learned"]) if "learned" in self.began else fitted()
        if self.new.id == in_force:
            raise NotReady(
                f"the fusion of {store.uri} would be the same again: neither its vectors nor the section fusion: of the"
                f" configuration, nor pairs, have changed; {command('fit', store.uri)} makes a tokenizer on it"
            )
        if LEARNED in self.new.meta and "learned" not in self.began:
            # It takes long to train, and its tokenizer is yet to be fitted.
            store.put_artifact(self.new)
            reached("fit.learned")
            self.began |= {"learned": self.new.id}
            store.put_settings({_FITTING: self.began}, settings)
        return self.new

    def tokenizer(self, fitted: Callable[[], Tokenizer]) -> Tokenizer:
        """The tokenizer that a killed fit has made, else a new one, stored, as is a new fusion."""
        if name := self.began.get("tokenizer"):
            return load_tokenizer(self.store, name)
        tokenizer = fitted()
        if self.new is not None:
            self._store(self.new)
        self.store.put_artifact(tokenizer)
        reached("fit.tokenizer")
        settings = self.store.settings()
        self.began |= {"tokenizer": tokenizer.id}
        values = {} if self.number is None else with_tokenizer(settings, tokenizer.meta["fusion"], tokenizer.id)
        self.store.put_settings({**values, _FITTING: self.began}, settings)
        return tokenizer

    def _store(self, fusion: Fusion) -> None:
        self.store.put_artifact(fusion)
        reached("fit.fusion")
        settings = self.store.settings()
        if settings.get("fusion") is None:
            self.began |= {"fusion": fusion.id}
            self.store.put_settings({"fusion": fusion.id, _FITTING: self.began}, settings)
            return
        self.began |= {"fusion": fusion.id}
        self.number = begin_next(self.store, fusion.id, settings, also={_FITTING: self.began})
