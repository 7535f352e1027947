"""Reranks a run by the likelihood of the question under each passage's prompt (see :mod:`xqg_repro.models.scorer`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from xqg_repro import collection
from xqg_repro.collection.documents import question_languages, question_texts, to_passage
from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import file_digest
from xqg_repro.core.languages import question_language
from xqg_repro.core.outputs import is_stream
from xqg_repro.core.stages import Manifest, build_file
from xqg_repro.models.loading import writer_fingerprints
from xqg_repro.models.scorer import AskedPassage
from xqg_repro.models.scorer_settings import ScorerConfig
from xqg_repro.representation.likelihood import score_in_shards
from xqg_repro.retrieval.metadata import write_metadata
from xqg_repro.retrieval.runfile import Hit, Run, rank, read_run_of, write_run
from xqg_repro.retrieval.stage import check_search

DEPTH = 50


class Place(NamedTuple):
    """A pair of question and passage, and the positions of its prompt and of the question among the prompt's."""

    qid: str
    docid: str
    prompt: int
    question: int


def rerank_by_likelihood(
    run: str | Path,
    topics: str,
    config: ScorerConfig,
    output: str | Path,
    *,
    tag: str = "likelihood",
    depth: int = DEPTH,
    passages: str = "",
    tokens_per_batch: int | None = None,
    device: str | None = None,
    force: bool = False,
) -> Path:
    """Order the first passages of a run by likelihood and write them as a run, or reuse one that matches.

    Args:
        run: a TREC run file.
        topics: ir-datasets id, or file, of its questions. A question whose language it does not name has that of its
            script.
        config: the generator.
        output: the run file. Beside it are ``<output>.json``, the manifest, and ``<output>.yaml``, the metadata.
        tag: the run's last column.
        depth: passages per question that are scored and written; further ones are left out.
        passages: id of the collection that was searched, if the topics do not have its passages.
        tokens_per_batch, device: see :class:`~xqg_repro.models.scorer.QuestionScorer`.

    Raises:
        InputError: as the class; a depth below 1; a run that is malformed, belongs to other passages or has none of
            the questions; unknown topics; or the language of a question is unknown.
    """
    run, output = Path(run), Path(output)
    check_search(run, output, tag, depth)
    dataset = collection.load(topics, needs=["queries", "docs"], passages=passages)
    if not run.exists():
        raise InputError("no such run", path=run, hint="search first")
    questions, languages = question_texts(dataset), question_languages(dataset)
    wanted = Manifest(
        "rerank",
        {"topics": topics, "depth": depth, "tag": tag, "scorer": dataclasses.asdict(config)},
        {
            "run": file_digest(run),
            "topics": collection.fingerprint(dataset, "queries"),
            "passages": collection.fingerprint(dataset, "docs"),
            **writer_fingerprints(config.model, config.chat),
        },
    )

    def write(path: Path) -> dict[str, int]:
        hits = {qid: ranking[:depth] for qid, ranking in read_run_of(run, questions, topics).items()}
        docids = {hit.docid for ranking in hits.values() for hit in ranking}
        docs = {docid: to_passage(doc) for docid, doc in collection.run_documents(dataset, docids, run).items()}
        named = {qid: question_language(questions[qid], languages.get(qid, "")) for qid in hits}
        asked, places = _group_by_prompt(hits, docs, questions, named)
        settings: dict[str, Any] = {"tokens_per_batch": tokens_per_batch, "device": device, "force": force}
        with score_in_shards(asked, config, path, wanted.identity, **settings) as (scores, cut):
            scored: Run = {qid: [] for qid in hits}
            for place in places:
                scored[place.qid].append(Hit(place.docid, scores[place.prompt][place.question]))
            write_run(scored, path, tag)
        if not is_stream(path):
            described = {"name": "query likelihood", "depth": depth, "scorer": dataclasses.asdict(config)}
            write_metadata(path, wanted, retrieval={**described, "reranks": run.name})
        changed = sum(rank(scored[qid])[0].docid != ranking[0].docid for qid, ranking in hits.items())
        counts = {"questions": len(hits), "pairs": len(places), "prompts": len(asked), **cut}
        return {**counts, "questions with another first passage": changed}

    build_file(output, wanted, write, force=force)
    return output


def _group_by_prompt(
    run: Run, passages: Mapping[str, Passage], questions: Mapping[str, str], languages: Mapping[str, str]
) -> tuple[list[AskedPassage], list[Place]]:
    """The distinct prompts of a run's pairs with their questions, and the place of each pair."""
    asked: dict[tuple[str, str], list[str]] = {}
    numbers: dict[tuple[str, str], int] = {}
    places = []
    for qid, ranking in run.items():
        for hit in ranking:
            key = (languages[qid], hit.docid)
            own = asked.setdefault(key, [])
            places.append(Place(qid, hit.docid, numbers.setdefault(key, len(numbers)), len(own)))
            own.append(questions[qid])
    prompts = [
        AskedPassage(language, passages[docid].title, passages[docid].text, tuple(own))
        for (language, docid), own in asked.items()
    ]
    return prompts, places
