"""Rounds: a retriever labels its own training data, as in CORA (Asai et al. 2021) and in self-training.

A round trains the encoder, embeds and indexes the passages, searches the training questions, and lets a judge turn what
it finds into the data of the next round. The judge ``generator`` is trained in each round, too. The first round trains
on the questions that keep their relevant passages, with BM25's negatives. If there are none, its encoder is the model
to start from, as it is. Questions of the recipe's ``gold`` keep their positives, and get new negatives in each round.

Every step is a stage of its own, so an interrupted run resumes at the step where it stopped, and inside one that is
resumed by itself, such as a training. The folder:

* ``first``: the data of the first round before they are joined. All further rounds take theirs from the one before;
* ``round-N/data.jsonl``, ``encoder``, ``embeddings`` and ``index``;
* ``round-N/questions.txt`` and ``labels.jsonl``: the run of the questions, and their labels; for the first file of
  ``gold``, ``gold-1.txt`` and ``gold-1.jsonl``, and so on;
* ``round-N/holders.jsonl``, ``answers.jsonl`` and ``answerer``: what the answer generator learns from, and itself;
* ``round-N/held-out.txt`` and ``held-out.json``: the run of the held-out questions, and its scores;
* ``rounds.json``, ``rounds.svg`` and ``encoder``: see :mod:`xqg_repro.train.rounds_report`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import MANIFEST, check_output
from xqg_repro.evaluation.evaluate import evaluate
from xqg_repro.evaluation.scores import Scores
from xqg_repro.representation.encode import encode
from xqg_repro.retrieval.index import build_index
from xqg_repro.retrieval.search import search
from xqg_repro.train import answerer, distributed, xdr
from xqg_repro.train.gold import ALL_GOLD
from xqg_repro.train.joined import join_files
from xqg_repro.train.judge_settings import JudgeConfig, JudgeKind, choose_judge
from xqg_repro.train.label import Labelled, label
from xqg_repro.train.mine import mine
from xqg_repro.train.rounds_check import RoundsData, check_data, write_topics
from xqg_repro.train.rounds_recipe import RoundsRecipe, Start
from xqg_repro.train.rounds_report import MEASURE, Round, rises, write_report

logger = logging.getLogger(__name__)

STRING = JudgeConfig(JudgeKind.STRING)


def train(recipe: RoundsRecipe, output: str | Path, *, device: str | None = None, force: bool = False) -> list[Round]:
    """Train an encoder in rounds, or resume or reuse what is there.

    Args:
        output: the folder of all rounds; ``output/encoder`` is the final encoder.
        device: torch device of encoding, searching and judging; ``None`` takes a GPU if available. Training takes one
            in any case.
        force: do every step again, even if its output matches.

    Returns:
        the rounds, which ``rounds.json`` describes.

    Raises:
        InputError: as the stages; a question is both trained on and held out; or no question has a positive.
    """
    output = Path(output)
    check_output(output, folder=True)
    link = output / "encoder"
    if (output / MANIFEST).exists() or (link.exists() and not link.is_symlink()):
        raise InputError("holds other output than rounds", path=output, hint="choose another --output")
    if distributed.world_size() > 1:
        raise InputError("rounds train in one process", hint="start xqg-repro without torchrun")
    loop = _Loop(recipe, check_data(recipe, output), output, device, force)
    write_topics(loop.data)
    sources, labels = loop.first_data(), None
    rounds: list[Round] = []
    for number in range(recipe.rounds):
        logger.info(f"rounds: round {number} of {recipe.rounds}")
        rounds.append(loop.train_round(number, sources, labels, rounds))
        is_last = number + 1 == recipe.rounds or (recipe.stop_early and not rises(rounds))
        write_report(recipe, rounds, output, finished=is_last)
        if is_last:
            break
        sources, labels = loop.label_round(rounds[-1])
    return rounds


@dataclass(frozen=True)
class _Loop:
    """The steps of a round, and what they share."""

    recipe: RoundsRecipe
    data: RoundsData
    output: Path
    device: str | None
    force: bool

    @property
    def _how(self) -> dict[str, Any]:
        return {"device": self.device, "force": self.force}

    @property
    def _limits(self) -> dict[str, Any]:
        return {"depth": self.recipe.judge.depth, "negatives": self.recipe.judge.negatives}

    def _folder(self, number: int) -> Path:
        return self.output / f"round-{number}"

    def first_data(self) -> list[Path]:
        """The questions that keep their relevant passages, with BM25's negatives; empty if there are none."""
        names = [("labels", self.recipe.questions, self.recipe.kept)] if self.data.keeps_gold else []
        names += [(f"gold-{place}", data, ALL_GOLD) for place, data in enumerate(self.recipe.gold, 1)]
        paths = []
        for name, data, kept in names:
            path = self.output / "first" / f"{name}.jsonl"
            passages = self.recipe.collection if data.endswith(".jsonl") else ""
            settings = {"passages": passages, "gold": kept, **self._limits, **self._how}
            mine(data, path, bm25=self.output / "bm25", **settings)
            paths.append(path)
        return paths

    def train_round(self, number: int, sources: list[Path], labels: Labelled | None, before: list[Round]) -> Round:
        """Train the encoder of a round, and measure it on the held-out questions."""
        folder = self._folder(number)
        joined = join_files(sources, folder / "data.jsonl", force=self.force) if sources else None
        continues = before and self.recipe.start is Start.CONTINUED
        start = before[-1].encoder if continues else ""
        recipe = self.recipe.encoder_recipe(folder / "data.jsonl", start)
        trained = xdr.train(recipe, folder / "encoder", force=self.force) if joined else None
        model = str(folder / "encoder") if joined else recipe.model
        encode(self.recipe.collection, recipe.encoder(model), folder / "embeddings", **self._how)
        build_index(folder / "embeddings", folder / "index", force=self.force)
        held_out = self._measure(folder) if self.recipe.held_out_data else None
        return Round(number, joined, labels, model, trained, recipe.keep_best, held_out)

    def _measure(self, folder: Path) -> Scores:
        run = search(folder / "index", self.recipe.held_out_data, folder / "held-out.txt", **self._how)
        scores = evaluate(run, self.recipe.held_out_data, [MEASURE], passages=self.recipe.collection)
        scores.write(folder / "held-out.json")
        return scores

    def label_round(self, done: Round) -> tuple[list[Path], Labelled]:
        """Label the passages that a round's encoder finds: the sources of the next round's data, and the counts."""
        folder = self._folder(done.number)
        gold = []
        for place, data in enumerate(self.recipe.gold, 1):
            run = self._search(folder, f"gold-{place}", data)
            gold.append(self._label(folder, f"gold-{place}", data, run, STRING, gold=ALL_GOLD)[0])
        run = self._search(folder, "questions", self.recipe.questions)
        judge = self._judge(folder, done, gold, run)
        limit = self.recipe.judge.positives
        path, labels = self._label(folder, "labels", self.recipe.questions, run, judge, positives=limit)
        return [path, *gold], labels

    def _search(self, folder: Path, name: str, data: str) -> Path:
        depth = self.recipe.judge.depth
        return search(folder / "index", self.data.topics[data], folder / f"{name}.txt", depth=depth, **self._how)

    def _label(
        self, folder: Path, name: str, data: str, run: Path, judge: JudgeConfig, **settings: Any
    ) -> tuple[Path, Labelled]:
        path = folder / f"{name}.jsonl"
        settings = {"gold": self.recipe.kept, **self._limits, **self._how, **settings}
        return path, label(data, judge, path, run=run, passages=self.recipe.collection, **settings)

    def _judge(self, folder: Path, done: Round, gold: list[Path], run: Path) -> JudgeConfig:
        """The judge of a round; an answer generator is trained first.

        In the first round it learns from the gold passages. Later it reads, as in CORA, retrieved passages, of which
        those that hold the answer count as positives.
        """
        kind = self.recipe.judge.kind
        if kind is not JudgeKind.GENERATOR:
            return choose_judge(kind, self.recipe.judge.reader)
        data = folder / "data.jsonl"
        if done.number or not done.data:
            holders, _ = self._label(folder, "holders", self.recipe.questions, run, STRING)
            data = folder / "answers.jsonl"
            join_files([holders, *gold], data, force=self.force)
        before = self._folder(done.number - 1) / "answerer"
        continues = done.number and self.recipe.answerer_start is Start.CONTINUED
        recipe = self.recipe.answerer_recipe(data, str(before) if continues else "")
        answerer.train(recipe, folder / "answerer", force=self.force)
        return choose_judge(kind, answerer=str(folder / "answerer"))
