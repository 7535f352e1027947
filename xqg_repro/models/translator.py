"""Translators: a sequence-to-sequence model that writes a passage in another language."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import check_languages, split_sentences
from xqg_repro.models.architectures import check_length
from xqg_repro.models.generator import Document, decode_lines, decoder_ends
from xqg_repro.models.loading import open_model, token_batches
from xqg_repro.models.settings import TranslatorConfig, count_prompts, torch_precision

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
    """A tokenizer and a sequence-to-sequence model that translate as a :class:`TranslatorConfig` specifies.

    Args:
        config: everything that determines the translations.
        languages: the target languages.
        device: a torch device; ``None`` takes a GPU if available.
        tokens_per_batch: upper bound of a batch's size, where each sentence counts, for each beam, as its padded prompt
            plus its translation's maximum length; affects only speed and memory.

    Raises:
        InputError: as :func:`check_translator` and :func:`~xqg_repro.models.loading.open_model`; maximum length beyond
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
        folder, self._tokenizer, self._model, self.device = open_model(
            config.model, torch_precision(config), device, "AutoModelForSeq2SeqLM", "a sequence-to-sequence model"
        )
        longest = max(config.text_max_length, config.translation_max_length)
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
        prompts = [self.config.prompt_for(language, text) for text in texts]
        tokens = self._tokenizer(prompts, return_attention_mask=False, verbose=False)["input_ids"]
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
        import torch

        results, settings = [("", True)] * len(prompts), self._settings[language]
        ends = torch.tensor(settings.eos_token_id, device=self.device)
        # skip the decoder's start token, which in some models equals the end token, and the language token
        begin = 1 if settings.forced_bos_token_id is None else 2
        sizes = [(len(ids) + self.config.translation_max_length) * self.config.beams for ids in prompts]
        for batch in token_batches(sizes, self.tokens_per_batch):
            padded = self._tokenizer.pad({"input_ids": [prompts[i] for i in batch]}, return_tensors="pt")
            rows = self._model.generate(
                input_ids=padded["input_ids"].to(self.device),
                attention_mask=padded["attention_mask"].to(self.device),
                generation_config=settings,
            )[:, begin:]
            texts = decode_lines(self._tokenizer, rows)
            finished = torch.isin(rows, ends).any(1).tolist()
            for position, text, ended in zip(batch, texts, finished, strict=True):
                results[position] = text, ended
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

        start, ends = decoder_ends(self._model, folder)
        pad = self._model.config.pad_token_id
        pad = self._tokenizer.pad_token_id if pad is None else pad
        return GenerationConfig(
            do_sample=False,
            num_beams=self.config.beams,
            max_new_tokens=self.config.translation_max_length,
            forced_bos_token_id=self._language_token(folder, language) if self.config.has_language_tokens else None,
            decoder_start_token_id=start,
            eos_token_id=ends,
            pad_token_id=pad,
            suppress_tokens=None if pad in ends else [pad],  # Marian's models would otherwise write it
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
