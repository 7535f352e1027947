"""What a causal model learns: passages with questions about them, and sentences with their translations."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import LANGUAGE_NAMES, SHORTEST_SENTENCE, check_languages
from xqg_repro.core.text import read_records
from xqg_repro.models.prompts import encode_prompt, split_prompt
from xqg_repro.models.settings import count_prompts
from xqg_repro.train.data import Example, question_label
from xqg_repro.train.packing import Block, PackedText, pack
from xqg_repro.train.recipe import CausalRecipe
from xqg_repro.train.xqg import question_language


class Task(StrEnum):
    """What is written from a text."""

    QUESTION = "question"
    TRANSLATION = "translation"


class Target(NamedTuple):
    """A question about a text, or its translation; ``qid`` is a question's id."""

    language: str
    text: str
    qid: str = ""


class Text(NamedTuple):
    """A passage, or a sentence without a title, and all that is to be written from it."""

    task: Task
    title: str
    text: str
    targets: tuple[Target, ...]


def question_texts(examples: Sequence[Example]) -> list[Text]:
    """The passages of training questions, each with its questions, in the order of the data.

    Raises:
        InputError: the language of a question is unknown.
    """
    by_passage: dict[tuple[str, str], list[Target]] = {}
    for example in examples:
        passage = example.positive
        target = Target(question_language(example), example.query, example.qid)
        by_passage.setdefault((passage.title, passage.text), []).append(target)
    return [Text(Task.QUESTION, title, text, tuple(targets)) for (title, text), targets in by_passage.items()]


def translation_texts(path: str | Path) -> list[Text]:
    """The sentences of a file of translations.

    Its lines are ``{"text": …, "translations": {"de": …, …}}``; further fields are not read.

    Raises:
        InputError: the file is missing or empty; a line is malformed; a language is unknown, or a text is blank.
    """
    path = Path(path)
    texts = []
    for record in read_records(path, hint='expected {"text": …, "translations": {"de": …}}'):
        sentence, translations = record.text("text"), record.mapping("translations", str)
        check_languages(translations)
        if not translations or not all(text.strip() for text in (sentence, *translations.values())):
            raise record.error("has a blank text, or no translation")
        targets = tuple(Target(language, text) for language, text in translations.items())
        texts.append(Text(Task.TRANSLATION, "", sentence, targets))
    if not texts:
        raise InputError("holds no translations", path=path)
    return texts


def check_apart(learnt: Sequence[Text], held_out: Sequence[Text]) -> None:
    """Raise :class:`InputError` if a held-out question or text is learnt: the same id, or one text in the other.

    Sentences shorter than :data:`~xqg_repro.core.languages.SHORTEST_SENTENCE` may be in any text.
    """
    qids = {target.qid for text in learnt for target in text.targets if target.qid}
    for text in held_out:
        if common := sorted(qids & {target.qid for target in text.targets}):
            raise _leak(f"the question {common[0]}")
    texts = {" ".join(text.text.split()) for text in learnt}
    for text in held_out:
        words = " ".join(text.text.split())
        if len(words) >= SHORTEST_SENTENCE and any(
            words in other or (len(other) >= SHORTEST_SENTENCE and other in words) for other in texts
        ):
            raise _leak(f"the {'passage' if text.task is Task.QUESTION else 'sentence'} {words[:60]!r}")


def _leak(what: str) -> InputError:
    hint = "hold out whole articles: xqg-repro train folds --parallel writes such files"
    return InputError(f"{what} is both in the training and in the held-out data", hint=hint)


# batches


class Lesson(NamedTuple):
    """Positions of a text and of those of its targets that are learnt at once."""

    text: int
    targets: tuple[int, ...]


def draw_lessons(texts: Sequence[Text], recipe: CausalRecipe) -> Iterator[Lesson]:
    """Endless lessons: the two tasks in the ratio of the recipe, evenly mixed, each text of a task once per pass.

    Each text has an own random order of its targets. A lesson takes the next ones, so that all are learnt equally
    often.
    """
    tasks = [[i for i, text in enumerate(texts) if text.task is task] for task in Task]
    share = recipe.translation_share if tasks[1] else 0.0
    streams = [_shuffled(positions, f"{recipe.seed}|{task}") for task, positions in zip(Task, tasks, strict=True)]
    for number in count():
        is_translation = int((number + 1) * share) > int(number * share)
        position, epoch = next(streams[is_translation])
        yield Lesson(position, _take(len(texts[position].targets), recipe.targets, epoch, f"{recipe.seed}|{position}"))


def _shuffled(positions: Sequence[int], seed: str) -> Iterator[tuple[int, int]]:
    """Endless (position, epoch): all positions in random order, in each epoch."""
    for epoch in count():
        for position in random.Random(f"{seed}|{epoch}").sample(positions, len(positions)):
            yield position, epoch


def _take(total: int, size: int, epoch: int, seed: str) -> tuple[int, ...]:
    """The targets of an epoch: the next ``size`` of an endless series of random orders, without repetitions."""
    first = min(size, total) * epoch
    rounds = range(first // total, (first + min(size, total) - 1) // total + 1)
    series = [i for number in rounds for i in random.Random(f"{seed}|{number}").sample(range(total), total)]
    skip = first - rounds[0] * total
    return tuple(dict.fromkeys(series[skip : skip + min(size, total)]))


def held_out_lessons(texts: Sequence[Text], recipe: CausalRecipe) -> list[Lesson]:
    """The recipe's number of texts per task, with one target per language, drawn by the recipe's seed."""
    lessons = []
    for task in Task:
        positions = [i for i, text in enumerate(texts) if text.task is task]
        draw = random.Random(f"{recipe.seed}|held out")
        for position in draw.sample(positions, min(recipe.held_out_texts, len(positions))):
            by_language: dict[str, list[int]] = {}
            for number, target in enumerate(texts[position].targets):
                by_language.setdefault(target.language, []).append(number)
            chosen = tuple(draw.choice(numbers) for numbers in by_language.values())
            lessons.append(Lesson(position, chosen))
    return lessons


class Packer:
    """Collates lessons into a batch of :func:`~xqg_repro.train.packing.pack`.

    Args:
        end: the id of the token that ends a target.

    Raises:
        InputError: a prompt has unknown placeholders, names the language before the text, or leaves no room for it.
    """

    def __init__(self, recipe: CausalRecipe, tokenizer: Any, texts: Sequence[Text], end: int) -> None:
        self.recipe, self.tokenizer, self.texts, self.end = recipe, tokenizer, texts, end
        prompts = {Task.QUESTION: recipe.prompt, Task.TRANSLATION: recipe.translation_prompt}
        self.parts = {task: _split(prompt) for task, prompt in prompts.items()}
        names = [LANGUAGE_NAMES[code] for code in sorted({t.language for text in texts for t in text.targets})]
        self.longest = {
            task: max((tail.format(language=name) for name in names), key=self._length, default="")
            for task, (_, tail) in self.parts.items()
        }

    def __call__(self, batches: Sequence[Sequence[Lesson]]) -> dict[str, Any]:
        """Tokenise one batch, which ``Trainer`` passes as a list of one."""
        lessons = [lesson for batch in batches for lesson in batch]
        targets = [self.texts[lesson.text].targets[i] for lesson in lessons for i in lesson.targets]
        labels = [question_label(target.qid, target.text) for target in targets]
        return pack([self.encode(lesson) for lesson in lessons]) | {"questions": labels}

    def encode(self, lesson: Lesson) -> PackedText:
        """The tokens of a lesson. A passage is cut as for the language with the longest end of the prompt."""
        text = self.texts[lesson.text]
        head, tail = self.parts[text.task]
        longest = self.longest[text.task]
        filled = head.format(title=text.title, text=text.text)
        ids = encode_prompt(self.tokenizer, filled, longest, self.recipe.prompt_max_length)
        ids = ids[: len(ids) - self._length(longest)]
        blocks = []
        for target in (text.targets[i] for i in lesson.targets):
            line = " ".join(target.text.split())  # a line break would end it when the model writes
            written = self._ids(line)[: self.recipe.target_max_length - 1]
            blocks.append(Block(self._ids(tail.format(language=LANGUAGE_NAMES[target.language])), [*written, self.end]))
        return PackedText(ids, blocks)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _length(self, text: str) -> int:
        return len(self._ids(text))


def _split(prompt: str) -> tuple[str, str]:
    """The parts of a prompt up to its text, and behind it; :class:`InputError` if they cannot be filled in so."""
    head, tail = split_prompt(prompt)
    filled = (part.format(**values) for part, values in ((head, {"title": "", "text": ""}), (tail, {"language": ""})))
    count_prompts(prompt, filled, "{title} and {text}, and behind them {language}")
    if not head:
        raise InputError(f"the prompt {prompt!r} has no {{text}}")
    return head, tail
