"""What can be checked of rounds before the first one: the recipes, the data, and that nothing held out is learnt."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from xqg_repro import collection
from xqg_repro.collection.documents import check_questions
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.train.data import refuse_comparison_data
from xqg_repro.train.judge_settings import JudgeKind, choose_judge
from xqg_repro.train.retrieved import Asked, load_questions
from xqg_repro.train.rounds_recipe import RoundsRecipe
from xqg_repro.train.tevatron import TevatronLine


class RoundsData(NamedTuple):
    """The questions of rounds.

    Attributes:
        topics: data → the topics to search: its id or, of a training file, a file of its questions.
        files: the questions of such files.
        keeps_gold: whether any of the recipe's ``questions`` keeps its relevant passages.
    """

    topics: Mapping[str, str]
    files: Mapping[str, list[TevatronLine]]
    keeps_gold: bool


def check_data(recipe: RoundsRecipe, output: Path) -> RoundsData:
    """Read and check the questions of a recipe whose rounds are written to ``output``.

    Raises:
        InputError: data or a recipe is unknown; systems are compared on the data; a question occurs twice, or is both
            trained on and held out; no question has answers to measure; or there is nothing to train on or to label by.
    """
    names = (recipe.questions, *recipe.gold)
    if len({*names}) < len(names):
        raise InputError("data is named twice among questions and gold", hint="name it once")
    refuse_comparison_data(*names, recipe.held_out_data)
    encoder = recipe.encoder_recipe("")
    if recipe.answerer:
        recipe.answerer_recipe("")
    else:
        choose_judge(recipe.judge.kind, recipe.judge.reader)
    asked = {name: load_questions(name, recipe.collection, needs=()) for name in names}
    questions = asked[recipe.questions].questions
    keeps_gold = any(question.positives for question in recipe.kept.hide(questions))
    if recipe.judge.kind is JudgeKind.QRELS and not any(question.positives for question in questions):
        raise InputError(f"{recipe.questions} has no relevance judgements", hint="choose another judge")
    if not (keeps_gold or recipe.gold or encoder.model):
        problem = "no question keeps its relevant passages, and the encoder is trained from scratch"
        raise InputError(problem, hint="raise labelled, name gold data, or start from a model")
    _check_qids(asked.values(), recipe.held_out_data)
    topics, files = {}, {}
    for place, (name, own) in enumerate(asked.items()):
        topics[name] = name
        if name.endswith(".jsonl"):
            topics[name] = str(output / "first" / f"topics-{place}.jsonl")
            files[topics[name]] = [question._replace(positives=()) for question in own.questions]
    return RoundsData(topics, files, keeps_gold)


def _check_qids(asked: Iterable[Asked], held_out_data: str) -> None:
    """Raise :class:`InputError` if two data sets share a question, or the held-out questions have no answers."""
    owners: dict[str, str] = {}
    for own in asked:
        for question in own.questions:
            if owners.setdefault(question.qid, own.data) != own.data:
                problem = f"the question {question.qid} is in {owners[question.qid]} and in {own.data}"
                raise InputError(problem, hint="name each question once")
    if not held_out_data:
        return
    held_out = list(check_questions(collection.load(held_out_data, needs=["queries"])))
    for question in held_out:
        if question.query_id in owners:
            problem = f"the question {question.query_id} of {owners[question.query_id]} is held out, in {held_out_data}"
            raise InputError(problem, hint="hold out other questions")
    if not any(getattr(question, "answers", ()) for question in held_out):
        raise InputError(f"{held_out_data} has no answers, which R2kt needs", hint="hold out other questions")


def write_topics(data: RoundsData) -> None:
    """Write the questions of training files as topics that have languages."""
    for path, questions in data.files.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            for question in questions:
                item = {"id": question.qid, "question": question.query, "lang": question.lang}
                file.write(json.dumps({key: value for key, value in item.items() if value}, ensure_ascii=False) + "\n")
