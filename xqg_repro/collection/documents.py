"""Documents and questions of ir-datasets, checked for what every stage needs: text, and ids that fit into a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unicodedata import normalize

from xqg_repro.collection.records import Passage, PlainDocument
from xqg_repro.core.errors import InputError, quote
from xqg_repro.core.ids import check_unique, is_id, lookalike_hint
from xqg_repro.core.progress import track
from xqg_repro.core.shards import split_shards

_MISSING = object()


def check_document(doc: Any) -> Any:
    """The document itself; :class:`InputError` unless its docid fits into a run and its text is text.

    A title may be missing or ``None``. Other fields, and ``default_text()``, never stand in for the text.
    """
    docid, text, title = (getattr(doc, name, _MISSING) for name in ("doc_id", "text", "title"))
    _check_name("docid", docid)
    if text is _MISSING:
        fields = ", ".join(getattr(doc, "_fields", ())) or "no fields"
        hint = "docs/guides/add-a-collection.md shows how to give its documents a text"
        raise InputError(f"document {docid!r} has no field 'text' ({type(doc).__name__}: {fields})", hint=hint)
    for name, value in (("text", text), ("title", "" if title is _MISSING or title is None else title)):
        if not isinstance(value, str):
            raise InputError(f"document {docid!r} has the {name} {quote(value)}, expected text")
        if _is_broken(value):
            raise InputError(f"the {name} of document {docid!r} contains half a character (an unpaired surrogate)")
    return doc


def to_passage(doc: Any) -> Passage:
    """The passage of an ir-datasets document, which may have no title; checked as by :func:`check_document`."""
    check_document(doc)
    return Passage(doc.doc_id, getattr(doc, "title", None) or "", doc.text)


def check_documents(dataset: Any) -> None:
    """Read a collection once, before the work of a stage starts.

    :class:`InputError` if it has no documents, one fails :func:`check_document`, or a docid occurs twice.
    """
    name = _name(dataset)

    def checked() -> Iterator[str]:
        for doc in track(dataset.docs_iter(), dataset.docs_count(), "check", "passages"):
            try:
                yield check_document(doc).doc_id
            except InputError as error:
                raise InputError(f"{name}: {error.problem}", hint=error.hint) from None

    def repeated(docid: str, count: int) -> InputError:
        if hasattr(dataset, "repeated"):  # a file, which can say where
            return dataset.repeated(docid)
        return InputError(f"{name}: the docid {docid!r} occurs {count} times")

    if not sum(1 for _ in check_unique(checked(), str, lambda: (doc.doc_id for doc in dataset.docs_iter()), repeated)):
        raise InputError(f"{name} has no passages")


def lookalike_docid(store: Any, docid: str) -> str:
    """:func:`~xqg_repro.core.ids.lookalike_hint` for a docid that a collection's docstore lacks."""
    return lookalike_hint(docid, store.get_many([normalize(form, docid) for form in ("NFC", "NFD", "NFKC")]))


def passage_shards(
    dataset: Any, folder: Path, size: int, suffix: str = ".npy"
) -> Iterator[tuple[Path, list[PlainDocument]]]:
    """Split an ir-datasets collection's passages into shards, see :func:`~xqg_repro.core.shards.split_shards`."""
    checked = map(check_document, dataset.docs_iter())
    plain = (PlainDocument(doc.doc_id, getattr(doc, "title", None), doc.text) for doc in checked)
    return split_shards(plain, folder, size, suffix)


def check_questions(dataset: Any) -> Iterator[Any]:
    """Yield a dataset's questions; :class:`InputError` if one has a bad or repeated qid or answers, or is blank."""
    name, seen = _name(dataset), set()
    for query in dataset.queries_iter():
        qid, text = query.query_id, query.default_text()
        _check_name("qid", qid, f"{name}: ")
        if qid in seen:
            raise InputError(f"{name}: the qid {qid!r} occurs twice")
        if not isinstance(text, str):
            raise InputError(f"{name}: question {qid!r} is {quote(text)}, expected text")
        if not text.strip() or _is_broken(text):
            fault = "contains half a character (an unpaired surrogate)" if text.strip() else "is blank"
            raise InputError(f"{name}: question {qid!r} {fault}")
        answers = getattr(query, "answers", ())
        if isinstance(answers, str) or not all(isinstance(answer, str) for answer in answers):
            raise InputError(f"{name}: question {qid!r} has the answers {quote(answers)}, expected a list of texts")
        seen.add(qid)
        yield query


def question_texts(dataset: Any) -> dict[str, str]:
    """Qid → text of a dataset's questions, checked as by :func:`check_questions`."""
    return {query.query_id: query.default_text() for query in check_questions(dataset)}


def question_languages(dataset: Any) -> dict[str, str]:
    """Qid → language of each of a dataset's questions, in order; empty if it is not known."""
    default = dataset.queries_lang() or ""
    return {query.query_id: getattr(query, "lang", None) or default for query in dataset.queries_iter()}


def _name(dataset: Any) -> str:
    """The id of a dataset, as messages name it; an unregistered one has none."""
    return getattr(dataset, "dataset_id", lambda: "the collection")()


def _check_name(kind: str, name: Any, where: str = "") -> None:
    if not isinstance(name, str):
        raise InputError(f"{where}a {kind} is {'missing' if name is _MISSING else f'{quote(name)}, expected text'}")
    if not is_id(name):
        raise InputError(f"{where}the {kind} {name!r} is empty, or contains white space or half a character")


def _is_broken(text: str) -> bool:
    """Whether a text contains half a character; faster than a look at each character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
