"""What DR.DECR's stages read: triples, triples with English twins, and pairs of parallel texts."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xqg_repro.core.errors import InputError, quote
from xqg_repro.core.files import digest, file_digest
from xqg_repro.core.languages import LANGUAGE_NAMES
from xqg_repro.core.text import read_lines
from xqg_repro.models.encoder import passage_text
from xqg_repro.models.late import scored_tokens
from xqg_repro.models.punctuation import Punctuation
from xqg_repro.train.data import Example, Split, TevatronFile, load_split, training_file
from xqg_repro.train.decr_recipe import DecrRecipe, Stage
from xqg_repro.train.parallel_data import PACKAGED, load_pairs
from xqg_repro.train.xdr import draw_positive

if TYPE_CHECKING:
    import torch

Batch = dict[str, Any]
"""``query``, ``passage`` and, for the teacher, ``english``: tokenised texts with ``input_ids``, ``attention_mask`` and
``scored``, (texts, tokens). There are as many positives as questions, then as many negatives."""


class Pair(NamedTuple):
    """A text and its English translation; ``line`` is that of its file."""

    lang: str
    text: str
    english: str
    line: int

    @property
    def label(self) -> str:
        """The text as messages name it."""
        return f"line {self.line} {quote(self.text)}"


class Twin(NamedTuple):
    """A training question and its English translation."""

    example: Example
    english: str

    @property
    def label(self) -> str:
        """The question as messages name it."""
        return self.example.label


class Twins(Sequence[Twin]):
    """Two files of the same triples, line by line, the second with English questions; lines are read when accessed."""

    def __init__(self, examples: TevatronFile, twins: TevatronFile) -> None:
        self._examples, self._twins = examples, twins
        if len(examples) != len(twins):
            problem = f"has {len(twins):,} lines, but {examples.path} has {len(examples):,}"
            raise InputError(problem, path=twins.path, hint="write the same lines with English questions")

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, i: Any) -> Any:
        """A question with its twin; :class:`InputError` names the line if their passages differ."""
        mine, other = self._examples.read(i), self._twins.read(i)
        for name in ("positive", "other_positives", "negatives"):
            if getattr(mine.example, name) != getattr(other.example, name):
                problem = f"has other passages than line {mine.number} of {self._examples.path}"
                hint = "write the same lines with English questions"
                raise InputError(problem, path=self._twins.path, line=other.number, hint=hint)
        return Twin(mine.example, other.example.query)

    def check(self) -> None:
        """Read all lines once, before a training starts."""
        for i in range(len(self)):
            self[i]


def read_pairs(path: str | Path) -> list[Pair]:
    """The lines ``language<TAB>text<TAB>English text`` of a file; :class:`InputError` names a line that is not so."""
    path, pairs = Path(path), []
    for number, line in read_lines(path, "file of parallel texts"):
        columns = line.split("\t")
        if len(columns) != 3 or not all(column.strip() for column in columns):
            raise InputError("is not language<TAB>text<TAB>English text", path=path, line=number)
        if columns[0] not in LANGUAGE_NAMES:
            raise InputError(f"has the unknown language {quote(columns[0])}", path=path, line=number)
        language, text, english = columns
        pairs.append(Pair(language, text, english, number))
    if not pairs:
        raise InputError("holds no texts", path=path)
    return pairs


def packaged_pairs() -> list[Pair]:
    """The parallel questions of xor-mini; each one's line counts those of all languages."""
    examples = load_pairs(PACKAGED).examples
    return [Pair(pair.lang, pair.query, pair.positive.text, line) for line, pair in enumerate(examples, 1)]


def load_stage(recipe: DecrRecipe) -> Split:
    """The data of a stage; of D, the questions that are measured on have no twins.

    Raises:
        InputError: as :func:`~xqg_repro.train.data.load_split`; or a file of parallel texts or twins is malformed.
    """
    if recipe.stage is Stage.C:
        is_packaged = recipe.data == PACKAGED
        pairs: Any = packaged_pairs() if is_packaged else read_pairs(recipe.data)
        held_out: Any = read_pairs(recipe.held_out_data) if recipe.held_out_data else []
        if common := {pair[1:3] for pair in pairs} & {pair[1:3] for pair in held_out}:
            problem = f"has the text {quote(min(common)[0])}, which is trained on"
            raise InputError(problem, path=recipe.held_out_data, hint="hold out other texts")
        versions = [digest(pairs) if is_packaged else file_digest(Path(recipe.data))]
        versions += [file_digest(Path(recipe.held_out_data))] if recipe.held_out_data else []
        return Split(pairs, held_out, digest(versions), pairs)
    split = load_split(recipe)
    if recipe.stage is not Stage.D:
        return split
    if not isinstance(split.examples, TevatronFile):
        raise InputError("cannot have twins", path=recipe.data, hint="stage D reads a .jsonl file in Tevatron's format")
    path = training_file(recipe.twins)
    kept: Any = Twins(split.examples, TevatronFile(path))
    return split._replace(kept=kept, version=digest([split.version, file_digest(path)]))


class LateCollator:
    """Collates pairs, examples or twins into a :data:`Batch`.

    Of a question, each epoch uses the next positive, from one that the seed decides, and a negative drawn anew.

    Attributes:
        epoch: returns the current epoch.
    """

    def __init__(self, recipe: DecrRecipe, tokenizer: Any) -> None:
        self.recipe, self.tokenizer = recipe, tokenizer
        self.epoch: Callable[[], int] = lambda: 0
        self._late = recipe.late("")
        self._punctuation = Punctuation(tokenizer)

    def __call__(self, items: Sequence[Any]) -> Batch:
        """Tokenise a batch."""
        labels = {"questions": [item.label for item in items]}
        if isinstance(items[0], Pair):
            english = [pair.english for pair in items]
            passages = [self._late.passage_prefix + text for text in english]
            queries = self._queries([pair.text for pair in items])
            return {"query": queries, "english": self._queries(english), "passage": self._passages(passages), **labels}
        examples = [item.example if isinstance(item, Twin) else item for item in items]
        triples = [self._draw(example) for example in examples]
        passages = [passage_text(p.title, p.text, self._late) for column in zip(*triples, strict=True) for p in column]
        batch = {"query": self._queries([example.query for example in examples]), "passage": self._passages(passages)}
        if isinstance(items[0], Twin):
            batch["english"] = self._queries([twin.english for twin in items])
        return batch | labels

    def _draw(self, example: Example) -> tuple[Any, Any]:
        """A positive and a negative of this epoch."""
        seed, epoch = self.recipe.seed, self.epoch()
        if not example.negatives:
            problem = f"the question {example.label} has no negative passage"
            raise InputError(problem, path=self.recipe.data, hint="xqg-repro train mine finds some")
        negative = random.Random(f"{seed}|{epoch}|{example.query}").choice(example.negatives)
        return draw_positive(example, seed, epoch), negative

    def _queries(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Questions, padded to their fixed length."""
        tokens = self._tokenize([self._late.query_prefix + t for t in texts], self._late.query_max_length, "max_length")
        mask = tokens["attention_mask"].bool()
        return tokens | {"scored": mask | self._late.pad_queries}

    def _passages(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Passages, padded to the longest."""
        import torch

        tokens = self._tokenize(texts, self._late.passage_max_length, "longest")
        scored = tokens["attention_mask"].bool()
        for ids, row in zip(tokens["input_ids"].numpy(), scored, strict=True):
            kept = row.clone()
            row[kept] = torch.from_numpy(scored_tokens(ids[kept.numpy()], self._punctuation, self._late))
        return tokens | {"scored": scored}

    def _tokenize(self, texts: Sequence[str], length: int, padding: str) -> dict[str, torch.Tensor]:
        how: dict[str, Any] = {"truncation": True, "return_tensors": "pt", "return_token_type_ids": False}
        tokens = self.tokenizer(list(texts), max_length=length, padding=padding, **how)
        return {name: tokens[name] for name in ("input_ids", "attention_mask")}
