"""Machine translations of the paragraphs, written by ``xqg-repro translate`` and checked against the study's data."""

from __future__ import annotations

from pathlib import Path

from xqg_repro import collection
from xqg_repro.collection.xquad import NAME
from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import open_stage
from xqg_repro.representation.translate import STAGE, read_translations
from xqg_repro.study.data import ParallelData
from xqg_repro.study.settings import Study


def read_translated(folder: str | Path, study: Study, data: ParallelData) -> dict[str, list[str]]:
    """The paragraphs in each of the study's other languages, in the order of the data.

    ``folder`` is a stage folder with translations from the study's only paragraph language.

    Raises:
        InputError: the folder is not one of translations, or has translations of other paragraphs or from another
            language; it lacks a language or a paragraph; a translation is empty.
    """
    manifest = open_stage(folder, STAGE)
    translated = manifest.parameters["collection"]
    if [translated] != [f"{NAME}/{code}" for code in study.passages]:
        problem = f"has translations of {translated}, but the study's paragraphs are {NAME}/{' '.join(study.passages)}"
        raise InputError(problem, path=folder, hint="use translations from the one language of --passages")
    if manifest.inputs["collection"] != collection.fingerprint(collection.load(translated, needs=["docs"]), "docs"):
        problem = f"has translations of another version of {translated}"
        raise InputError(problem, path=folder, hint=f"translate again with xqg-repro {STAGE}")
    languages = [code for code in study.languages if code not in study.passages]
    if missing := [code for code in languages if code not in manifest.parameters["languages"]]:
        problem = f"has no translations into {' '.join(missing)}"
        raise InputError(problem, path=folder, hint="translate into these too, or leave them out of --languages")

    texts = {passage.docid: passage.texts for passage in read_translations(Path(folder))}
    for docid in data.docids:
        translations = texts.get(docid, {})
        for code in languages:
            if not translations.get(code, "").strip():
                problem = f"the translation of {docid} into {code} is {'empty' if code in translations else 'missing'}"
                raise InputError(problem, path=folder, hint="translate again with --force or with another model")
    return {code: [texts[docid][code] for docid in data.docids] for code in languages}
