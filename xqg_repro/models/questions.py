"""Questions as an encoder reads them: ``query_prefix + question + query_suffix``.

The suffix may name the question's language: CORA's ``" [{lang}]"`` makes *Missä Turku on?* end in ``[fi]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xqg_repro.core.errors import InputError, quote
from xqg_repro.models.settings import LANGUAGE, EncoderConfig


def add_suffix(question: str, language: str, config: EncoderConfig) -> str:
    """A question with its suffix; the language may be empty unless the suffix names it.

    >>> add_suffix("Missä Turku on?", "fi", EncoderConfig("m", query_suffix=" [{lang}]"))
    'Missä Turku on? [fi]'

    Raises:
        InputError: the suffix names the language, which is empty.
    """
    if config.needs_language and not language:
        problem = f"the language of the question {quote(question)} is unknown, but query_suffix names it"
        raise InputError(problem, hint='give the question a "lang"')
    return question + config.query_suffix.replace(LANGUAGE, language)


def question_text(question: str, language: str, config: EncoderConfig) -> str:
    """The text of a question as the model reads it; see :func:`add_suffix`."""
    return config.query_prefix + add_suffix(question, language, config)


def question_texts(questions: Iterable[str], languages: Iterable[str] | None, config: EncoderConfig) -> Iterator[str]:
    """The texts of any number of questions, one after another.

    Args:
        languages: that of each question; needed only if the suffix names it.
    """
    if not config.needs_language:
        return (question_text(question, "", config) for question in questions)
    if languages is None:
        raise InputError(
            f"the suffix {config.query_suffix!r} needs the language of each question, which is not given",
            hint="give the languages to encode_queries, or replace {lang} in query_suffix by the only language",
        )
    return (question_text(*pair, config) for pair in zip(questions, languages, strict=True))
