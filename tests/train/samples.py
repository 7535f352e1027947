"""Small recipes and training files that the tests of training share."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from xqg_repro.collection.records import Passage
from xqg_repro.train.architecture import EncoderArchitecture, Seq2SeqArchitecture
from xqg_repro.train.data import Example
from xqg_repro.train.encoder_recipe import Alignment
from xqg_repro.train.recipe import EncoderRecipe, GeneratorRecipe, Recipe

if TYPE_CHECKING:
    from conftest import Mini

ENCODER = EncoderRecipe(
    name="tiny",
    data="test-mini/dev",
    architecture=EncoderArchitecture(vocabulary=120, hidden_size=16, layers=1, heads=2, intermediate_size=32),
    steps=3,
    batch_size=4,
    negatives=1,
    learning_rate=1e-2,
    seed=5,
)
GENERATOR = GeneratorRecipe(
    name="tiny",
    data="test-mini/dev",
    architecture=Seq2SeqArchitecture(
        vocabulary=420, hidden_size=16, layers=1, decoder_layers=1, heads=2, intermediate_size=32, dropout=0.0
    ),
    steps=3,
    batch_size=4,
    learning_rate=1e-2,
    seed=5,
)

ALIGNMENT = Alignment(queries="generated.jsonl", share=1.0, weight=0.5, temperature=2.0, unseen=())
ALIGNED = dataclasses.replace(ENCODER, alignment=ALIGNMENT, distillation=None)


def passage(docid: str) -> Passage:
    return Passage(docid, f"Title {docid}", f"ban der {docid} kon")


def example(query: str, positive: str, *negatives: str, **fields: Any) -> Example:
    return Example(query, passage(positive), tuple(map(passage, negatives)), **fields)


def write_lines(path: Path, *items: Any) -> Path:
    """Write JSON lines; strings are written as they are."""
    lines = [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in items]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def write_pairs(folder: Path, **languages: list[tuple[str, str]]) -> Path:
    """Write pairs of a question and its English translation, by language."""
    for language, pairs in languages.items():
        (folder / f"{language}-en").mkdir(parents=True)
        for name, side in zip((language, "en"), zip(*pairs, strict=True), strict=True):
            (folder / f"{language}-en" / f"{name}.txt").write_text("".join(f"{line}\n" for line in side), "utf-8")
    return folder


def write_recipe(recipe: Recipe, path: Path) -> Path:
    settings = json.loads(json.dumps(dataclasses.asdict(recipe)))
    path.write_text(yaml.safe_dump({key: value for key, value in settings.items() if value is not None}))
    return path


def tevatron_item(query: str, **keys: Any) -> dict[str, Any]:
    """A line of Tevatron's format without negatives."""
    positive = {"docid": "1", "title": "", "text": query}
    return {"query": query, "positive_passages": [positive], "negative_passages": []} | keys


def tevatron_items(mini: Mini, count: int = 12) -> list[dict[str, Any]]:
    """Lines as in the files of Tevatron's data sets."""

    def passages(numbers: Sequence[int]) -> list[dict[str, str]]:
        rows = (mini.passages[number % len(mini.passages)] for number in numbers)
        return [{"docid": docid, "title": title, "text": text} for docid, title, text in rows]

    return [
        {
            "query_id": str(number),
            "query": " ".join(mini.passages[number][2].split()[:5]),
            "answers": ["ban"],
            "positive_passages": passages([number]),
            "negative_passages": passages(range(number + 1, number + 10)),
        }
        for number in range(count)
    ]


def squad(articles: dict[str, list[tuple[str, list[dict[str, Any]]]]]) -> dict[str, Any]:
    """A file in SQuAD's format: title → (paragraph, questions)."""
    return {
        "data": [
            {"title": title, "paragraphs": [{"context": text, "qas": questions} for text, questions in paragraphs]}
            for title, paragraphs in articles.items()
        ]
    }


def cosine(a: dict[str, np.ndarray], b: dict[str, np.ndarray], start: dict[str, np.ndarray]) -> float:
    """Cosine of the ways that two trainings moved the weights."""
    moved = [np.concatenate([(after[key] - start[key]).ravel() for key in sorted(start)]) for after in (a, b)]
    return float(moved[0] @ moved[1] / np.linalg.norm(moved[0]) / np.linalg.norm(moved[1]))


def without_dropout(model: str | Path, folder: Path) -> Path:
    """A copy of a model folder without dropout."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    changed = {key: 0.0 if "dropout" in key and value else value for key, value in config.items()}
    (folder / "config.json").write_text(json.dumps(changed))
    return folder


def weights(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


SENTENCES = {
    "ar": "ما هي عاصمة جمهورية فنلندا، ومتى أُسِّست؟",
    "bn": "ফিনল্যান্ডের রাজধানী কোথায়?",
    "fi": "Mikä on Suomen pääkaupunki, ja mistä lähtien?",
    "ja": "フィンランドの首都は、どこですか。",
    "ko": "핀란드의 수도는 어디입니까?",
    "ru": "Как называется столица Финляндии — и её река?",
    "te": "ఫిన్లాండ్ రాజధాని ఏది?",
}


def name(english: str, language: str, text: str, kind: str = "city") -> Example:
    return Example(text, Passage(f"{kind} {english}", english, ""), lang=language)


NAMES = [
    name("Turku", "ru", "Турку"),
    name("Turku", "ja", "トゥルク"),
    name("Vaasa", "ru", "Вааса"),
    name("Guinea", "ru", "Гвинея", "territory"),
    name("Guinea", "fi", "Guinea", "territory"),
    name("New Guinea", "ru", "Новая Гвинея", "territory"),
    name("Papua New Guinea", "fi", "Papua-Uusi-Guinea", "territory"),
    name("Dinar", "ru", "динар", "currency"),
    name("Dinar", "ja", "ディナール", "currency"),
]


def about(*titles: str) -> list[Passage]:
    return [Passage(str(number), title, f"{title} is a place.") for number, title in enumerate(titles)]
