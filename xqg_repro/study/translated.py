"""Machine translations of the paragraphs, as ``xqg-repro translate`` wrote them, checked against the study's data."""

from __future__ import annotations

from pathlib import Path

from xqg_repro import collection
from xqg_repro.collection.xquad import NAME
from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import verify
from xqg_repro.representation.translate import STAGE, read_translations
from xqg_repro.study.data import ParallelData
from xqg_repro.study.settings import Study


def read_translated(folder: str | Path, study: Study, data: ParallelData) -> dict[str, list[str]]:
    """The paragraphs in each of the study's other languages, in the order of the data.

    Args:
        folder: a stage folder of translations from the one language that the study's paragraphs are in.
        study: which languages are needed.
        data: of these languages.

    Raises:
        InputError: the folder holds something else, translations of other paragraphs or from another language, or
            lacks a language or a paragraph; a translation is empty.
    """
    folder = Path(folder)
    manifest = verify(folder)
    if manifest.stage != STAGE:
        hint = f"xqg-repro {STAGE} writes them"
        raise InputError(f"is the output of {manifest.stage}, not translations", path=folder, hint=hint)
    translated = manifest.parameters["collection"]
    if [translated] != [f"{NAME}/{code}" for code in study.passages]:
        raise InputError(
            f"holds translations of {translated}, but the study's paragraphs are {NAME}/{' '.join(study.passages)}",
            path=folder,
            hint="give the translations of the one language that --passages names",
        )
    if manifest.inputs["collection"] != collection.fingerprint(collection.load(translated, needs=["docs"]), "docs"):
        hint = f"translate again with xqg-repro {STAGE}"
        raise InputError(f"holds translations of another version of {translated}", path=folder, hint=hint)
    wanted = [code for code in study.languages if code not in study.passages]
    if lacking := [code for code in wanted if code not in manifest.parameters["languages"]]:
        raise InputError(
            f"holds no translations into {' '.join(lacking)}",
            path=folder,
            hint="translate into these too, or leave them out of --languages",
        )
    held = {passage.docid: passage.texts for passage in read_translations(folder)}
    for docid in data.docids:
        for code in wanted:
            if not held.get(docid, {}).get(code, "").strip():
                problem = "is empty" if code in held.get(docid, {}) else "is missing"
                raise InputError(
                    f"the translation of {docid} into {code} {problem}",
                    path=folder,
                    hint="translate again, with --force or by another model",
                )
    return {code: [held[docid][code] for docid in data.docids] for code in wanted}
