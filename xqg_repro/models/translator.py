"""Translators: a sequence-to-sequence model that writes a passage in another language."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import check_languages, split_sentences
from xqg_repro.models.generator import Passage, start_token
from xqg_repro.models.loading import chosen_device, load_model, move, resolve_model, token_batches
from xqg_repro.models.settings import TranslatorConfig

if TYPE_CHECKING:
    from transformers import GenerationConfig


TOKENS_PER_BATCH = 32_768


class PassageTranslations(NamedTuple):
    """A passage's text in other languages, and the languages in which the model was stopped before it had ended."""

    docid: str
    texts: dict[str, str]
    unfinished: list[str]

    def line(self) -> str:
        """The line of a file, without its end.

        >>> PassageTranslations("7", {"fi": "Turku on kaupunki."}, []).line()
        '{"docid": "7", "translations": {"fi": "Turku on kaupunki."}}'
        """
        item: dict[str, Any] = {"docid": self.docid, "translations": self.texts}
        if self.unfinished:
            item["unfinished"] = self.unfinished
        return json.dumps(item, ensure_ascii=False)


def check_translator(config: TranslatorConfig, languages: Sequence[str]) -> None:
    """Check, without the model, that it can be told to translate into these languages.

    Raises:
        InputError: no language, an unknown or repeated one, or the passages' own; one without a code where codes are
            used; a prompt that cannot be filled in, or that is the same in two languages with nothing else to tell
            them apart.
    """
    check_languages(languages)
    if not languages or len({*languages}) < len(languages) or config.source in languages:
        raise InputError(
            f"passages in {config.source!r} cannot be translated into {' '.join(languages) or 'no language'}",
            hint="name other languages than theirs, each once",
        )
    coded = (
        (config.source, *languages) if config.has_language_tokens else languages if "{code}" in config.prompt else ()
    )
    if lacking := [code for code in coded if code not in config.codes]:
        raise InputError(
            f"{config.model} is given no code for {lacking[0]!r}",
            hint=f"add the model's own code of that language to the codes of: {' '.join(config.codes) or 'none yet'}",
        )
    try:
        prompts = {config.prompt_for(language, "") for language in languages}
    except (LookupError, ValueError, AttributeError) as error:
        raise InputError(
            f"the prompt {config.prompt!r} cannot be filled in: {error!r}",
            hint="it may hold {language}, {code} and {text}",
        ) from None
    if len(prompts) < len(languages) and not config.has_language_tokens:
        raise InputError(
            f"the prompt {config.prompt!r} is the same in two languages",
            hint="put {language} or {code} into it, or name the codes of the model's tokenizer",
        )


class Translator:
    """A tokenizer and a sequence-to-sequence model that translate, by the settings of a :class:`TranslatorConfig`.

    Args:
        config: what decides the translations.
        languages: to translate into.
        device: a torch device; ``None`` takes a GPU if there is one.
        tokens_per_batch: upper bound of a batch's size, where each sentence counts, for each beam, as its padded prompt
            and its translation's maximum length; changes speed and memory only.

    Raises:
        InputError: see :func:`check_translator`; a folder without weights or of another kind of model, a device that
            cannot be used, a maximum length beyond the model's, or a tokenizer that does not know a language's code.
    """

    def __init__(
        self,
        config: TranslatorConfig,
        languages: Sequence[str],
        device: str | None = None,
        tokens_per_batch: int = TOKENS_PER_BATCH,
    ) -> None:
        import torch
        from transformers import GenerationConfig

        check_translator(config, languages)
        folder = resolve_model(config.model)
        self.config, self.languages, self.device = config, tuple(languages), chosen_device(device)
        self.tokens_per_batch = tokens_per_batch
        self._tokenizer, self._model = load_model(
            folder, getattr(torch, config.precision.value), "AutoModelForSeq2SeqLM", "a sequence-to-sequence model"
        )
        move(self._model, self.device)
        longest = max(config.text_max_length, config.translation_max_length)
        limit = getattr(self._model.config, "max_position_embeddings", longest)
        if longest > limit:
            raise InputError(
                f"reads and writes at most {limit} tokens, but a maximum length is {longest}",
                path=folder,
                hint="lower --text-max-length or --translation-max-length",
            )
        self._model.generation_config = GenerationConfig()  # a folder's own may ask for beams, or for other things
        self._set_source(folder)
        self._settings = {language: self._generation(folder, language) for language in languages}

    def translate(
        self, passages: Sequence[Passage], report: Callable[[int], object] = lambda translations: None
    ) -> list[PassageTranslations]:
        """Translate each passage's text into each of the languages.

        Args:
            passages: at least with ``doc_id`` and ``text``.
            report: receives the number of translations that each language adds.

        Raises:
            InputError: the prompt alone is longer than the maximum length.
        """
        found = [PassageTranslations(passage.doc_id, {}, []) for passage in passages]
        for language in self.languages:
            owners, prompts = [], []
            for owner, passage in enumerate(passages):
                parts = self._prompts(split_sentences(passage.text, self.config.source), language)
                owners += [owner] * len(parts)
                prompts += parts
            written: list[list[str]] = [[] for _ in passages]
            for owner, (text, ended) in zip(owners, self._write(prompts, language), strict=True):
                written[owner].append(text)
                if not ended and language not in found[owner].unfinished:
                    found[owner].unfinished.append(language)
            for passage, texts in zip(found, written, strict=True):
                passage.texts[language] = " ".join(filter(None, texts))
            report(len(passages))
        return found

    def _prompts(self, texts: Sequence[str], language: str) -> list[list[int]]:
        """The tokens of each text's prompt; of the prompts of its halves where that is longer than the maximum."""
        prompts = [self.config.prompt_for(language, text) for text in texts]
        tokens = self._tokenizer(prompts, return_attention_mask=False, verbose=False)["input_ids"] if prompts else []
        found: list[list[int]] = []
        for text, ids in zip(texts, tokens, strict=True):
            if len(ids) <= self.config.text_max_length:
                found.append(ids)
            elif len(text) > 1:
                found += self._prompts(halves(text), language)
            else:
                raise InputError(
                    f"a text of {self.config.text_max_length} tokens leaves no room beside the prompt",
                    hint="raise --text-max-length",
                )
        return found

    def _write(self, prompts: Sequence[list[int]], language: str) -> list[tuple[str, bool]]:
        """The translation of each prompt, and whether the model ended it by itself."""
        import torch

        found, settings = [("", True)] * len(prompts), self._settings[language]
        ends = torch.tensor(settings.eos_token_id, device=self.device)
        # what starts the decoder, which with some models is what ends a text, too, and the language are no text
        begin = 1 if settings.forced_bos_token_id is None else 2
        sizes = [(len(ids) + self.config.translation_max_length) * self.config.beams for ids in prompts]
        for batch in token_batches(sizes, self.tokens_per_batch):
            padded = self._tokenizer.pad({"input_ids": [prompts[i] for i in batch]}, return_tensors="pt")
            rows = self._model.generate(
                input_ids=padded["input_ids"].to(self.device),
                attention_mask=padded["attention_mask"].to(self.device),
                generation_config=settings,
            )[:, begin:]
            texts = self._tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            for position, text, ended in zip(batch, texts, torch.isin(rows, ends).any(1).tolist(), strict=True):
                found[position] = " ".join(text.split()), ended
        return found

    def _set_source(self, folder: Path) -> None:
        """Tell the tokenizer the language of what is read, if it marks languages."""
        config, marks = self.config, hasattr(self._tokenizer, "src_lang")
        if config.has_language_tokens and not marks:
            raise InputError(
                "its tokenizer has no languages, which the codes would be",
                path=folder,
                hint="put {code} into the prompt, or leave the codes out",
            )
        if marks and not config.has_language_tokens:
            raise InputError(
                "its tokenizer must be told the languages by the model's own codes",
                path=folder,
                hint="name one for each language, such as --codes en=eng_Latn fi=fin_Latn",
            )
        if marks:
            self._language_token(folder, config.source)  # there is one
            self._tokenizer.src_lang = config.codes[config.source]

    def _language_token(self, folder: Path, language: str) -> int:
        """The token of one of the tokenizer's languages."""
        code, tokenizer = self.config.codes[language], self._tokenizer
        # M2M100's codes are not its tokens; those of the other tokenizers are
        ask = getattr(tokenizer, "get_lang_id", tokenizer.convert_tokens_to_ids)
        try:
            found = ask(code)
        except KeyError:
            found = None
        if found in (None, tokenizer.unk_token_id):
            raise InputError(f"its tokenizer has no language {code!r}", path=folder, hint="name the model's own code")
        return found

    def _generation(self, folder: Path, language: str) -> GenerationConfig:
        """How translations into a language are written."""
        from transformers import GenerationConfig

        model = self._model.config
        return GenerationConfig(
            do_sample=False,
            num_beams=self.config.beams,
            max_new_tokens=self.config.translation_max_length,
            forced_bos_token_id=self._language_token(folder, language) if self.config.has_language_tokens else None,
            decoder_start_token_id=start_token(model),
            eos_token_id=model.eos_token_id,
            pad_token_id=model.pad_token_id,
            suppress_tokens=[model.pad_token_id],  # Marian's models write it unless they are kept from it
        )


def halves(text: str) -> list[str]:
    """A text in two, at the space that is nearest to its middle; in the middle where there is none.

    >>> halves("one two three four"), halves("abcd")
    (['one two', 'three four'], ['ab', 'cd'])
    """
    text, middle = text.strip(), len(text.strip()) // 2
    spaces = [position for position, character in enumerate(text) if character.isspace()]
    cut = min(spaces, key=lambda position: abs(position - middle), default=middle)
    return [text[:cut].strip(), text[cut:].strip()]
