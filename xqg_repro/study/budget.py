"""What machine-made texts cost in tokens, and translations at the cost of queries.

The cost of writing is counted in tokens of the stored texts, with the study's encoder's tokenizer: the same for queries
and translations, and known without the model that wrote them. A generator's own tokens and seconds are reported beside
these where its folders have counted them.

A translation costs several times as much as a few queries, and only a few queries are stored. So the comparison at
equal cost gives translations the budget of queries, not the other way round: each translation ends after as many tokens
as its paragraph's generated queries in the same language have together, as if the translator had stopped there. If a
translation is shorter, it stays whole; then it costs less.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import MANIFEST, Manifest
from xqg_repro.models.reader import cut
from xqg_repro.study.made import MadeTexts
from xqg_repro.study.summary import TextCost

COUNTED = ("tokens", "seconds")
"""What a generator's or translator's folder may have counted."""


def count_tokens(texts: Sequence[str], tokenizer: Any) -> list[int]:
    """The number of tokens of each text, without special tokens."""
    return [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]] if texts else []


def cut_translations(made: MadeTexts, tokenizer: Any) -> MadeTexts:
    """Add translations cut to the tokens of the generated queries, in the languages that have both.

    The translation of a paragraph without queries in a language becomes empty.

    Raises:
        InputError: the tokenizer is not a fast one, which knows the characters of each token.
    """
    if not tokenizer.is_fast:
        raise InputError("equal cost needs a fast tokenizer", hint="add tokenizer.json to the encoder's folder")
    cut_texts = {}
    for code, translations in made.translations.items():
        if code in made.generated:
            budgets = [sum(count_tokens(queries, tokenizer)) for queries in made.generated[code]]
            pairs = zip(translations, budgets, strict=True)
            cut_texts[code] = [cut(tokenizer, text, budget) if budget else "" for text, budget in pairs]
    return dataclasses.replace(made, cut=cut_texts)


def text_costs(made: MadeTexts, tokenizer: Any) -> list[TextCost]:
    """The mean cost of a paragraph's queries and of its translation, for each language that has either."""
    costs = []
    for code in dict.fromkeys([*made.generated, *made.translations]):
        generated = made.generated.get(code, ())
        queries = [query for by_paragraph in generated for query in by_paragraph]
        paragraphs = len(generated) or len(made.translations[code])
        tokens = [
            sum(count_tokens(texts, tokenizer)) / paragraphs
            for texts in (queries, made.translations.get(code, ()), made.cut.get(code, ()))
        ]
        costs.append(TextCost(code, len(queries) / paragraphs, *tokens))
    return costs


def sum_counted(folders: Sequence[str | Path]) -> dict[str, int]:
    """The tokens and seconds that all of these folders have counted, summed; empty if one has not."""
    sums: Mapping[str, list[int]] = {name: [] for name in COUNTED}
    for folder in folders:
        counts = Manifest.read(folder).counts if (Path(folder) / MANIFEST).exists() else {}
        for name in COUNTED:
            if name in counts:
                sums[name].append(counts[name])
    return {name: sum(values) for name, values in sums.items() if values and len(values) == len(folders)}
