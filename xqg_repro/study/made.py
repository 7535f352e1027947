"""Machine-made texts about the paragraphs: generated queries, filtered ones, and translations.

Several folders may share the work, such as those of two models that each wrote for the articles that the other was
trained on. Together they must have each paragraph exactly once, and no model may have been trained on an article that
it wrote for (:func:`~xqg_repro.study.seen.check_writer`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from xqg_repro import collection
from xqg_repro.collection.xquad import NAME
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import digest
from xqg_repro.core.stages import MANIFEST, open_stage, verify
from xqg_repro.representation.queries import read_queries
from xqg_repro.representation.translate import STAGE, read_translations
from xqg_repro.study.data import ParallelData
from xqg_repro.study.seen import check_writer
from xqg_repro.study.settings import Study

logger = logging.getLogger(__name__)

Sources = Sequence[str | Path]

Queries = Mapping[str, Sequence[Sequence[str]]]
"""Language → for each paragraph, in the order of the data, its queries, possibly none."""

EVERY_QUERY = 2**31

T = TypeVar("T")


@dataclass(frozen=True)
class MadeTexts:
    """Machine-made texts; what there is none of is empty.

    Attributes:
        generated, filtered: queries. The filtered ones are among the generated ones.
        translations: language → translation of each paragraph, in the order of the data.
        cut: the same, cut to the cost of the generated queries (see :mod:`~xqg_repro.study.budget`).
    """

    generated: Queries = field(default_factory=dict)
    filtered: Queries = field(default_factory=dict)
    translations: Mapping[str, Sequence[str]] = field(default_factory=dict)
    cut: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def versions(self) -> dict[str, str]:
        """Fingerprints of the texts, whatever files they are from; empty for those that there are none of."""
        texts = {
            "queries": self.generated,
            "translations": self.translations,
            "filtered": self.filtered,
            "cut": self.cut,
        }
        return {name: digest(value) if value else "" for name, value in texts.items()}


def read_made(
    generated: Sources, filtered: Sources, translated: Sources, study: Study, data: ParallelData
) -> MadeTexts:
    """Read and check all machine-made texts.

    Raises:
        InputError: as :func:`read_generated` and :func:`read_translated`; a filtered query is not among the generated
            ones of its paragraph and language.
    """
    made = MadeTexts(
        read_generated(generated, study, data) if generated else {},
        read_generated(filtered, study, data) if filtered else {},
        read_translated(translated, study, data) if translated else {},
    )
    for language, by_paragraph in made.filtered.items():
        known = made.generated.get(language, [()] * len(data.docids))
        for docid, kept, queries in zip(data.docids, by_paragraph, known, strict=True):
            if missing := [query for query in kept if query not in queries]:
                problem = f"the query {missing[0]!r} for {docid} is not among the generated ones in {language}"
                raise InputError(problem, path=filtered[0], hint="name the folders that were filtered as --generated")
    return made


def read_generated(sources: Sources, study: Study, data: ParallelData) -> dict[str, list[tuple[str, ...]]]:
    """All queries in each of the study's languages, without blank ones.

    Args:
        sources: see :func:`~xqg_repro.representation.queries.query_files`.

    Raises:
        InputError: a paragraph is missing, is there twice or is not one of XQuAD; there are no queries in a language; a
            writer was trained on an article that it wrote for.
    """
    by_docid: dict[str, Mapping[str, Sequence[str]]] = {}
    for source in sources:
        if (Path(source) / MANIFEST).exists():
            verify(Path(source))
        passages = [
            (p.docid, p.queries) for p in read_queries(source, study.languages, EVERY_QUERY, allow_missing=True)
        ]
        _add(by_docid, passages, source, data, "queries")
    _check_complete(by_docid, sources, data, "queries")

    queries: dict[str, list[tuple[str, ...]]] = {}
    for code in study.languages:
        texts = [by_docid[docid].get(code, ()) for docid in data.docids]
        queries[code] = [tuple(text for text in by_paragraph if text.strip()) for by_paragraph in texts]
        if without := sum(not by_paragraph for by_paragraph in queries[code]):
            if without == len(data.docids):
                hint = "generate some, or leave the language out of --languages"
                raise InputError(f"has no queries in {code}", path=sources[0], hint=hint)
            logger.info(f"study: {without} paragraphs have no generated queries in {code}")
    return queries


def read_translated(folders: Sources, study: Study, data: ParallelData) -> dict[str, list[str]]:
    """The paragraphs in each of the study's other languages, in the order of the data.

    ``folders`` are stage folders with translations from the study's only paragraph language, of ``xquad/<language>`` or
    of files with some of its paragraphs.

    Raises:
        InputError: a folder is not one of translations, or has translations of other paragraphs or from another
            language; it lacks a language; a paragraph is missing or is there twice; a translation is empty; a
            translator was trained on an article that it wrote for.
    """
    languages = [code for code in study.languages if code not in study.passages]
    texts: dict[str, Mapping[str, str]] = {}
    for folder in folders:
        manifest = open_stage(folder, STAGE)
        if missing := [code for code in languages if code not in manifest.parameters["languages"]]:
            problem = f"has no translations into {' '.join(missing)}"
            raise InputError(problem, path=folder, hint="translate into these too, or leave them out of --languages")
        _check_origin(folder, manifest.parameters["collection"], manifest.inputs["collection"], study, data)
        passages = [(passage.docid, passage.texts) for passage in read_translations(folder)]
        _add(texts, passages, folder, data, "translations")
        for docid, translations in passages:
            for code in languages:
                if not translations.get(code, "").strip():
                    state = "empty" if code in translations else "missing"
                    problem = f"the translation of {docid} into {code} is {state}"
                    hint = "translate again with --force or with another model"
                    raise InputError(problem, path=folder, hint=hint)
    _check_complete(texts, folders, data, "translations")
    return {code: [texts[docid][code] for docid in data.docids] for code in languages}


def _check_origin(folder: str | Path, name: str, version: str, study: Study, data: ParallelData) -> None:
    """Raise :class:`InputError` if a folder has translations of other texts than the study's paragraphs.

    The texts of a file that is no longer there cannot be compared.
    """
    expected = [f"{NAME}/{code}" for code in study.passages]
    is_file = not name.startswith(f"{NAME}/")
    if len(expected) > 1 or (not is_file and [name] != expected):
        problem = f"has translations of {name}, but the study's paragraphs are {' '.join(expected)}"
        raise InputError(problem, path=folder, hint="use translations from the one language of --passages")
    if is_file and not Path(name).expanduser().exists():
        return
    dataset = collection.load(name, needs=["docs"])
    is_same = collection.fingerprint(dataset, "docs") == version
    if is_file:
        texts = {doc.doc_id: doc.text for doc in data.paragraphs[study.passages[0]]}
        is_same &= all(texts.get(doc.doc_id, doc.text) == doc.text for doc in dataset.docs_iter())
    if not is_same:
        problem = f"has translations of another version of {name if not is_file else expected[0]}"
        raise InputError(problem, path=folder, hint=f"translate again with xqg-repro {STAGE}")


def _add(
    by_docid: dict[str, T], passages: Sequence[tuple[str, T]], source: str | Path, data: ParallelData, what: str
) -> None:
    """Add the texts of a source; :class:`InputError` if a paragraph is unknown, repeated or known to the writer."""
    for docid, texts in passages:
        if docid not in data.docids:
            problem = f"has {what} for {docid}, which is not a paragraph of {NAME}"
            raise InputError(problem, path=source, hint=f"they must be about the paragraphs of {NAME}/en")
        if docid in by_docid:
            problem = f"has {what} for {docid}, which has some already"
            raise InputError(problem, path=source, hint="together, the folders must have each paragraph exactly once")
        by_docid[docid] = texts
    check_writer(source, [docid for docid, _ in passages], data)


def _check_complete(by_docid: Mapping[str, object], sources: Sources, data: ParallelData, what: str) -> None:
    """Raise :class:`InputError` if a paragraph is missing from all sources."""
    if missing := [docid for docid in data.docids if docid not in by_docid]:
        problem = f"has no {what} for {missing[0]} ({len(missing)} of {len(data.docids)} paragraphs are missing)"
        hint = "together, the folders must have each paragraph exactly once"
        raise InputError(problem, path=sources[-1], hint=hint)
