"""Recipes of rounds, in which a retriever labels its own training data; see :mod:`xqg_repro.train.rounds`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from xqg_repro import collection
from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import convert_enums, parse
from xqg_repro.train.gold import Gold
from xqg_repro.train.judge_settings import JudgeKind
from xqg_repro.train.recipe import KINDS, NO_CHANGES, AnswererRecipe, EncoderRecipe, Recipe, load_recipe, read_recipe


class Start(StrEnum):
    """What a model starts from in each round but the first: the recipe's own start, or the round before."""

    FRESH = "fresh"
    CONTINUED = "continued"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A model that each round trains.

    Attributes:
        recipe: name of a packaged recipe, or a YAML file.
        settings: settings to replace in it, as a recipe's file has them.
    """

    recipe: str
    settings: Mapping[str, object] = field(default_factory=dict)

    _OWN: ClassVar[tuple[str, ...]] = ("data", "held_out_data", "seed")

    def __post_init__(self) -> None:
        for name in self._OWN:
            if name in self.settings:
                problem = f"the settings of {self.recipe} have the key {name!r}, which the rounds decide"
                raise InputError(problem, hint="leave it out")


@dataclass(frozen=True, kw_only=True)
class Judging:
    """How retrieved passages become labels; see :mod:`xqg_repro.train.label`.

    Attributes:
        kind: the judge.
        reader: of the judge ``reader``: a preset, or a folder that ``train reader`` wrote.
        depth: passages to retrieve and to judge per question.
        positives: positives to keep per question, the highest-ranked; ``None`` keeps all.
        negatives: negatives to keep per question, the highest-ranked.
    """

    kind: JudgeKind
    reader: str = ""
    depth: int = 20
    positives: int | None = None
    negatives: int = 30

    def __post_init__(self) -> None:
        convert_enums(self, kind=JudgeKind)
        if bool(self.reader) != (self.kind is JudgeKind.READER):
            problem = f"the judge {self.kind} {'has no' if self.reader else 'needs a'} reader"
            raise InputError(problem, hint="leave out reader" if self.reader else "name one with reader")
        if not 1 <= self.negatives <= self.depth or (self.positives is not None and self.positives < 1):
            problem = f"cannot keep {self.positives or 'all'} positives and {self.negatives} negatives of {self.depth}"
            raise InputError(problem, hint="keep at least one of each, and no more negatives than depth")


@dataclass(frozen=True, kw_only=True)
class RoundsRecipe:
    """A recipe of rounds.

    Attributes:
        name: the recipe's name.
        rounds: trainings of the encoder; between two of them, passages are labelled.
        questions: training questions with answers: an ir-datasets id, or a ``.jsonl`` file in Tevatron's format.
        collection: id of the passages to search.
        gold: further training questions, all of which keep their relevant passages; same values as ``questions``.
        labelled, hidden_languages: which of the ``questions`` keep them, see :class:`~xqg_repro.train.gold.Gold`.
        held_out_data: questions with answers to search for in each round, an ir-datasets id or a path; empty for none.
            The loss is measured on them, too, if their relevant passages are known.
        start: what the encoder starts from in each round but the first.
        answerer_start: the same of the answer generator.
        stop_early: stop once the held-out R2kt does not rise, and end with the encoder of the round before.
        encoder: recipe of ``train xdr``.
        answerer: recipe of ``train answerer``, which the judge ``generator`` needs.
        judge: what makes labels.
        seed: of every training.
    """

    KIND: ClassVar[str] = "rounds"

    name: str
    questions: str
    collection: str
    encoder: Part
    judge: Judging
    answerer: Part | None = None
    rounds: int = 3
    gold: tuple[str, ...] = ()
    labelled: float = 1.0
    hidden_languages: tuple[str, ...] = ()
    held_out_data: str = ""
    start: Start = Start.FRESH
    answerer_start: Start = Start.CONTINUED
    stop_early: bool = False
    seed: int = 42

    def __post_init__(self) -> None:
        convert_enums(self, start=Start, answerer_start=Start)
        if self.rounds < 1:
            raise InputError(f"rounds is {self.rounds}", hint="it must be at least 1")
        if self.stop_early and not self.held_out_data:
            raise InputError("stop_early needs held_out_data")
        if (self.answerer is not None) != (self.judge.kind is JudgeKind.GENERATOR):
            problem = f"the judge {self.judge.kind} {'has no' if self.answerer else 'needs an'} answerer"
            raise InputError(problem, hint="only the judge generator has one")
        Gold(self.labelled)  # checks the share

    @property
    def kept(self) -> Gold:
        """Which of the questions keep their relevant passages."""
        return Gold(self.labelled, self.hidden_languages)

    def encoder_recipe(self, data: str | Path, start: str = "") -> EncoderRecipe:
        """The training of the encoder on a file; ``start`` is a model to start from instead of the recipe's.

        :class:`InputError` if it learns scores, which labelled passages do not have.
        """
        changes = dict(self.encoder.settings)
        if start:
            changes |= {"model": start, "architecture": None, "names_steps": 0}
        recipe = load_recipe(self.encoder.recipe, EncoderRecipe, changes, **self._own(data))
        if recipe.needs_scores:
            hint = "leave out its distillation"
            raise InputError(f"{self.encoder.recipe} learns a teacher's scores, which labels do not have", hint=hint)
        return recipe

    def answerer_recipe(self, data: str | Path, start: str = "") -> AnswererRecipe:
        """The training of the answer generator on a file; ``start`` is as for the encoder."""
        assert self.answerer is not None
        changes = dict(self.answerer.settings)
        if start:
            changes |= {"model": start, "architecture": None}
        return load_recipe(self.answerer.recipe, AnswererRecipe, changes, **self._own(data))

    def _own(self, data: str | Path) -> dict[str, Any]:
        held_out = self.held_out_data
        if held_out and not collection.load(held_out, needs=["queries"]).has_qrels():
            held_out = ""
        return {"data": str(data), "held_out_data": held_out, "seed": self.seed}

    def settings(self) -> dict[str, Any]:
        """The settings as ``rounds.json`` records them."""
        parts = {"encoder": self.encoder, "answerer": self.answerer}
        settings = {own.name: getattr(self, own.name) for own in dataclasses.fields(self)}
        named = {
            name: {"recipe": part.recipe, "settings": dict(part.settings)} if part else None
            for name, part in parts.items()
        }
        return settings | named | {"judge": dataclasses.asdict(self.judge)}


def load_rounds(
    name_or_path: str,
    *,
    encoder: Mapping[str, object] = NO_CHANGES,
    judge: str | None = None,
    reader: str | None = None,
    **overrides: Any,
) -> RoundsRecipe:
    """Load a recipe of rounds by name, or from a YAML file.

    Args:
        encoder: settings to replace in the encoder's recipe, such as ``steps``; those that are ``None`` are ignored.
        judge, reader: another judge, and its reader; a judge other than ``generator`` needs no answerer.
        overrides: settings to replace, such as ``labelled``; those that are ``None`` are ignored.

    Raises:
        InputError: there is no such recipe, or it has unknown or invalid settings.
    """
    path, settings = read_recipe(name_or_path, RoundsRecipe.KIND)
    recipe = parse(RoundsRecipe, settings, path)
    changes = {key: value for key, value in overrides.items() if value is not None}
    if own := {key: value for key, value in encoder.items() if value is not None}:
        changes["encoder"] = dataclasses.replace(recipe.encoder, settings={**recipe.encoder.settings, **own})
    if judge or reader:
        kind = JudgeKind(judge or JudgeKind.READER)
        named = (reader or recipe.judge.reader) if kind is JudgeKind.READER else reader or ""
        changes["judge"] = dataclasses.replace(recipe.judge, kind=kind, reader=named)
        changes["answerer"] = recipe.answerer if kind is JudgeKind.GENERATOR else None
    return dataclasses.replace(recipe, **changes)


def trainings(name: str, kind: str) -> list[Recipe]:
    """The recipes of the models that a packaged recipe of this kind trains: itself, or those of its rounds."""
    if kind != RoundsRecipe.KIND:
        return [load_recipe(name, KINDS[kind])]
    rounds = load_rounds(name)
    recipes: list[Recipe] = [rounds.encoder_recipe(data) for data in (rounds.questions, *rounds.gold)]
    return [*recipes, rounds.answerer_recipe(rounds.questions)] if rounds.answerer else recipes
