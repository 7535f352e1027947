"""Parallel questions: questions in many languages and their English translations, line by line.

A folder has a subfolder ``<language>-en`` per language, with the files ``<language>.txt`` and ``en.txt``, as in the
translations of XOR-TyDi's questions (``XORQA_site/data/<language>-en.zip``). Some of those are questions on which
systems are compared. Such pairs are left out. The folder ``xor-mini/parallel`` ships with the package; its pairs are
the questions that the training set of xor-mini asks or could have asked.

Questions are compared by their letters, marks and digits alone, so that other spaces, punctuation, capitals or widths
of characters do not hide one.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from xqg_repro import collection
from xqg_repro.collection.documents import check_questions
from xqg_repro.collection.files import DATA_VARIABLE
from xqg_repro.collection.records import Passage
from xqg_repro.collection.xor_mini import FOLDER, NAME
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import digest, file_digest
from xqg_repro.core.languages import check_languages
from xqg_repro.core.settings import resource
from xqg_repro.core.text import read_lines
from xqg_repro.train.data import Example, held_out_split

_LAYOUT = "expected subfolders <language>-en with <language>.txt and en.txt"

PACKAGED = f"{NAME}/parallel"
"""The parallel questions that ship with the package."""


class Pairs(NamedTuple):
    """Parallel questions.

    Attributes:
        examples: the pairs in the order of languages and lines. The English question is the positive passage; its id is
            made of its letters, marks and digits.
        left_out: language → number of pairs with an unseen question.
        blank: number of pairs left out since one side has no letter, mark or digit.
        version: fingerprint of the files.
    """

    examples: list[Example]
    left_out: Counter[str]
    blank: int
    version: str


def load_pairs(data: str, languages: Sequence[str] = (), unseen: frozenset[str] = frozenset()) -> Pairs:
    """Read the parallel questions of a folder.

    A pair is left out if one of its sides is an unseen question, or its English is the translation of one.

    Args:
        data: ``xor-mini/parallel``, or the folder, or its path in ``$XQG_REPRO_DATA``.
        languages: of the questions; empty for all of the folder's.
        unseen: keys of the questions to leave out, see :func:`question_keys`.

    Raises:
        InputError: the folder or a file is missing, a file's lines are not those of ``en.txt``, or no pair is left.
    """
    folder = find_folder(data)
    if folder is None:
        hint = f"{_LAYOUT}, or set {DATA_VARIABLE} to the folder that it is in"
        raise InputError("no such folder of parallel questions", path=data, hint=hint)
    languages = tuple(languages) or sorted(path.name.removesuffix("-en") for path in folder.glob("*-en"))
    check_languages(languages)
    if not languages:
        raise InputError("holds no parallel questions", path=folder, hint=_LAYOUT)

    examples: list[Example] = []
    keys: list[set[str]] = []
    versions, blank = [], 0
    for language in languages:
        files = [folder / f"{language}-en" / f"{name}.txt" for name in (language, "en")]
        pairs = _read_aligned(*files)
        versions.append([language, *map(file_digest, files)])
        for question, english in pairs:
            own, translated = question_key(question), question_key(english)
            if own and translated:
                examples.append(Example(question, Passage(digest(translated), "", english), lang=language))
                keys.append({own, translated})
            else:
                blank += 1

    translations = {example.positive.doc_id for example, own in zip(examples, keys, strict=True) if own & unseen}
    kept = [example for example in examples if example.positive.doc_id not in translations]
    if not kept:
        raise InputError("leaves no parallel question to train on", path=folder)
    left_out = Counter(example.lang for example in examples)
    left_out.subtract(example.lang for example in kept)
    return Pairs(kept, +left_out, blank, digest(versions))


def find_folder(data: str) -> Path | None:
    """The packaged folder of this id, or the folder at this path, or else at this path in ``$XQG_REPRO_DATA``."""
    if data == PACKAGED:
        return resource(FOLDER, "parallel")
    root = os.environ.get(DATA_VARIABLE)
    places = [Path(data), *([Path(root, data)] if root else [])]
    return next((place for place in places if place.is_dir()), None)


def _read_aligned(questions: Path, english: Path) -> list[tuple[str, str]]:
    sides = [[line.strip() for _, line in read_lines(path, "file of questions")] for path in (questions, english)]
    if len(sides[0]) != len(sides[1]):
        problem = f"has {len(sides[0]):,} lines, but {english.name} has {len(sides[1]):,}"
        raise InputError(problem, path=questions, hint="line by line, one must be the translation of the other")
    return list(zip(*sides, strict=True))


def question_key(text: str) -> str:
    """The letters, marks and digits of a text; equal questions have equal keys.

    >>> question_key("Where  is Ｔｕｒｋｕ ?") == question_key("where is Turku")
    True
    """
    import regex

    return regex.sub(r"[^\p{L}\p{M}\p{N}]+", "", unicodedata.normalize("NFKC", text).casefold())


def question_keys(datasets: Sequence[str]) -> tuple[frozenset[str], str]:
    """The keys of all questions of some ir-datasets ids, and the fingerprint of these questions.

    Raises :class:`InputError` if one is unknown, cannot be read or has no questions: nothing is left out unnoticed.
    """
    keys: set[str] = set()
    versions = []
    for dataset_id in datasets:
        dataset = collection.load(dataset_id, needs=["queries"])
        keys |= {question_key(question.default_text()) for question in check_questions(dataset)}
        versions.append([dataset_id, collection.fingerprint(dataset, "queries")])
    return frozenset(keys - {""}), digest(versions)


def split_pairs(examples: Sequence[Example], share: float) -> tuple[list[Example], list[Example]]:
    """Split pairs by a hash of their English question into (kept, held out).

    Pairs of the same English question are on the same side. If a held-out question occurs with another translation as
    well, that pair is not kept either.
    """
    kept, held_out = held_out_split(examples, share)
    measured = {question_key(example.query) for example in held_out}
    return [example for example in kept if question_key(example.query) not in measured], list(held_out)
