"""Translators: a sequence-to-sequence or causal language model that writes a passage in another language."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import check_languages, split_sentences
from xqg_repro.models.architectures import check_length
from xqg_repro.models.generator import Document
from xqg_repro.models.loading import token_batches
from xqg_repro.models.settings import TranslatorConfig, count_prompts, torch_precision
from xqg_repro.models.writers import open_writer

if TYPE_CHECKING:
    from transformers import GenerationConfig

TOKENS_PER_BATCH = 32_768


class PassageTranslations(NamedTuple):
    """A passage's text in other languages, and the languages in which the model did not finish the text."""

    docid: str
    texts: dict[str, str]
    unfinished: list[str]

    def line(self) -> str:
        """The JSON line, without its end; see :mod:`xqg_repro.representation.translate`."""
        item: dict[str, Any] = {"docid": self.docid, "translations": self.texts}
        if self.unfinished:
            item["unfinished"] = self.unfinished
        return json.dumps(item, ensure_ascii=False)


def check_translator(config: TranslatorConfig, languages: Sequence[str]) -> None:
    """Raise :class:`InputError` unless the settings can name each target language to the model.

    Languages must be known, different, not the source, and have codes if codes are used. The prompt must have only
    known placeholders and differ between languages, unless their codes tell them apart.
    """
    check_languages(languages)
    if not languages or len({*languages}) < len(languages) or config.source in languages:
        raise InputError(
            f"cannot translate from {config.source!r} into {' '.join(languages) or 'no language'}",
            hint="name each target language once, without the source language",
        )
    coded = [config.source, *languages] if config.has_language_tokens else []
    if "{code}" in config.prompt:
        coded = [*languages]
    if missing := [code for code in coded if code not in config.codes]:
        raise InputError(
            f"{config.model}: no code for {missing[0]!r}",
            hint=f"add the model's code for that language to: {' '.join(config.codes) or 'codes (empty so far)'}",
        )
    filled = (config.prompt_for(language, "") for language in languages)
    different = count_prompts(config.prompt, filled, "{language}, {code} and {text}")
    if different < len(languages) and not config.has_language_tokens:
        raise InputError(
            f"the prompt {config.prompt!r} is the same in two languages",
            hint="put {language} or {code} into it, or name the codes of the model's tokenizer",
        )


class Translator:
    """A tokenizer and a model that translate as a :class:`TranslatorConfig` specifies.

    Args:
        config: everything that determines the translations.
        languages: the target languages.
        device: a torch device; ``None`` takes a GPU if available.
        tokens_per_batch: upper bound of a batch's size, where each sentence counts, for each beam, as its padded prompt
            plus its translation's maximum length; affects only speed and memory.

    Raises:
        InputError: as :func:`check_translator` and :func:`~xqg_repro.models.writers.open_writer`; maximum length beyond
            the model's, language code that the tokenizer does not have.
    """

    def __init__(
        self,
        config: TranslatorConfig,
        languages: Sequence[str],
        device: str | None = None,
        tokens_per_batch: int = TOKENS_PER_BATCH,
    ) -> None:
        from transformers import GenerationConfig

        check_translator(config, languages)
        self.config, self.languages, self.tokens_per_batch = config, tuple(languages), tokens_per_batch
        folder, self._tokenizer, self._model, self.device, self._writer = open_writer(
            config.model, torch_precision(config), device, config.chat
        )
        longest = self._writer.longest(config.text_max_length, config.translation_max_length)
        check_length(None, self._model, longest, folder, hint="lower --text-max-length or --translation-max-length")
        self._folder = folder
        # the folder's own settings, such as beams, must not apply
        self._model.generation_config = GenerationConfig()
        self._set_source(folder)
        self._settings = {language: self._generation_settings(folder, language) for language in languages}

    def translate(
        self, passages: Sequence[Document], report: Callable[[int], object] = lambda translations: None
    ) -> list[PassageTranslations]:
        """Translate each passage's text into each of the languages; ``report`` receives the number of each language's.

        :class:`InputError` if the prompt alone exceeds the maximum length.
        """
        results = [PassageTranslations(passage.doc_id, {}, []) for passage in passages]
        for language in self.languages:
            owners: list[int] = []
            prompts: list[list[int]] = []
            for owner, passage in enumerate(passages):
                parts = self._prompts(split_sentences(passage.text, self.config.source), language)
                owners += [owner] * len(parts)
                prompts += parts
            written: list[list[str]] = [[] for _ in passages]
            for owner, (text, finished) in zip(owners, self._write(prompts, language), strict=True):
                written[owner].append(text)
                if not finished and language not in results[owner].unfinished:
                    results[owner].unfinished.append(language)
            for result, texts in zip(results, written, strict=True):
                result.texts[language] = " ".join(filter(None, texts))
            report(len(passages))
        return results

    def _prompts(self, texts: Sequence[str], language: str) -> list[list[int]]:
        """The tokens of each text's prompt; a text whose prompt exceeds the maximum length is halved first."""
        if not texts:
            return []
        fill = partial(self.config.prompt_for, language)
        tokens = self._writer.encode([(fill, text) for text in texts])
        fitting: list[list[int]] = []
        for text, ids in zip(texts, tokens, strict=True):
            if len(ids) <= self.config.text_max_length:
                fitting.append(ids)
            elif len(text) > 1:
                fitting += self._prompts(halves(text), language)
            else:
                problem = f"the prompt leaves no room for text within {self.config.text_max_length} tokens"
                raise InputError(problem, hint="raise --text-max-length")
        return fitting

    def _write(self, prompts: Sequence[list[int]], language: str) -> list[tuple[str, bool]]:
        """The translation of each prompt, and whether the model finished it."""
        results = [("", True)] * len(prompts)
        # after a decoder's start token, a row may begin with a language token
        forced = int(self._settings[language].forced_bos_token_id is not None)
        sizes = [(len(ids) + self.config.translation_max_length) * self.config.beams for ids in prompts]
        for batch in token_batches(sizes, self.tokens_per_batch):
            padded = self._writer.pad([prompts[i] for i in batch], self.device)
            rows = self._model.generate(**padded, generation_config=self._settings[language])
            cut = self._writer.cut(rows, padded["input_ids"].shape[1])
            texts = self._writer.decode([row[forced:] for row, _ in cut])
            for position, text, (_, finished) in zip(batch, texts, cut, strict=True):
                results[position] = text, finished
        return results

    def _set_source(self, folder: Path) -> None:
        """Set the tokenizer's source language, if it marks languages."""
        config, marks = self.config, hasattr(self._tokenizer, "src_lang")
        if config.has_language_tokens and not marks:
            raise InputError(
                "its tokenizer has no language codes",
                path=folder,
                hint="put {code} into the prompt, or leave the codes out",
            )
        if marks and not config.has_language_tokens:
            raise InputError(
                "its tokenizer needs language codes",
                path=folder,
                hint="name the model's code for each language, such as --codes en=eng_Latn fi=fin_Latn",
            )
        if marks:
            self._language_token(folder, config.source)  # raises if there is none
            self._tokenizer.src_lang = config.codes[config.source]

    def _language_token(self, folder: Path, language: str) -> int:
        """The tokenizer's token for a language."""
        code, tokenizer = self.config.codes[language], self._tokenizer
        # M2M100's codes are not its tokens; in the other tokenizers they are
        to_token = getattr(tokenizer, "get_lang_id", tokenizer.convert_tokens_to_ids)
        try:
            token = to_token(code)
        except KeyError:
            token = None
        if token in (None, tokenizer.unk_token_id):
            raise InputError(f"its tokenizer has no language {code!r}", path=folder, hint="name the model's own code")
        return token

    def _generation_settings(self, folder: Path, language: str) -> GenerationConfig:
        """The settings of transformers' ``generate`` for translations into a language."""
        from transformers import GenerationConfig

        return GenerationConfig(
            do_sample=False,
            num_beams=self.config.beams,
            max_new_tokens=self.config.translation_max_length,
            forced_bos_token_id=self._language_token(folder, language) if self.config.has_language_tokens else None,
            eos_token_id=self._writer.ends,
            **self._writer.generation(self._model),
        )


def halves(text: str) -> list[str]:
    """Split a text in two at the space nearest to its middle, or in the middle if it has no space.

    >>> halves("one two three four"), halves("abcd")
    (['one two', 'three four'], ['ab', 'cd'])
    """
    text = text.strip()
    middle = len(text) // 2
    spaces = [position for position, character in enumerate(text) if character.isspace()]
    split = min(spaces, key=lambda position: abs(position - middle), default=middle)
    return [text[:split].strip(), text[split:].strip()]
