from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ir_datasets
import numpy as np
import pytest
import torch
from conftest import Mini, contents

from xqg_repro.collection.files import data_files
from xqg_repro.collection.records import Passage
from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.settings import Pooling, load_preset
from xqg_repro.train.contrastive import contrastive_loss, find_copies
from xqg_repro.train.data import Example, TevatronFile, held_out_split, load_examples, load_split
from xqg_repro.train.mini.scratch import train_tokenizer
from xqg_repro.train.recipe import EncoderArchitecture, EncoderRecipe, Family, GeneratorRecipe, load_recipe
from xqg_repro.train.xdr import ContrastiveCollator, train

TINY = EncoderRecipe(
    name="tiny",
    data="test-mini/dev",
    architecture=EncoderArchitecture(vocabulary=120, hidden_size=16, layers=1, heads=2, intermediate_size=32),
    steps=3,
    batch_size=4,
    negatives=1,
    learning_rate=1e-2,
    seed=5,
)
LINE = {
    "query": "missä?",
    "positive_passages": [{"docid": "1", "title": "Turku", "text": "On täällä."}],
    "negative_passages": [{"docid": "2", "title": "Oulu", "text": "On tuolla."}],
}

ONE_MORE = LINE["positive_passages"] + LINE["negative_passages"]


def passage(docid: str) -> Passage:
    return Passage(docid, f"Title {docid}", f"ban der {docid} kon")


def example(query: str, positive: str, *negatives: str) -> Example:
    return Example(query, passage(positive), tuple(map(passage, negatives)))


# the loss


def lookup(vectors: list[list[float]]) -> Callable[..., Any]:
    """A make-believe model: the state of a token is the vector of its id."""
    table = torch.tensor(vectors)
    return lambda input_ids, attention_mask: SimpleNamespace(last_hidden_state=table[input_ids])


def batch(queries: list[list[int]], passages: list[list[int]], docids: str) -> dict[str, Any]:
    def tokens(ids: list[list[int]]) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.ones(len(ids), len(ids[0]), dtype=torch.long)}

    return {"query": tokens(queries), "passage": tokens(passages), "docids": list(docids)}


MODEL = lookup([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [1.0, 1.0]])


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_loss_is_the_mean_negative_log_likelihood_of_the_positives(temperature: float) -> None:
    # inner products of the questions (1,0), (0,1) with the passages (2,0), (1,1), (0,1)
    scores = [[2, 1, 0], [0, 1, 1]]
    terms = [
        math.log(sum(math.exp(s / temperature) for s in row)) - row[i] / temperature for i, row in enumerate(scores)
    ]
    recipe = dataclasses.replace(TINY, temperature=temperature)
    loss = contrastive_loss(MODEL, batch([[0], [1]], [[2], [3], [1]], "abc"), recipe)
    assert loss.item() == pytest.approx(sum(terms) / 2, abs=1e-6)


def test_copy_of_the_positive_is_left_out_of_the_sum() -> None:
    # the third passage is the first question's own
    terms = [math.log(math.exp(2) + math.exp(1)) - 2, math.log(math.exp(0) + math.exp(1) + math.exp(0)) - 1]
    loss = contrastive_loss(MODEL, batch([[0], [1]], [[2], [3], [2]], "aba"), TINY)
    assert loss.item() == pytest.approx(sum(terms) / 2, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "expected"),
    # one question (token 0, then 1), one passage (token 2, then 1) and one negative (token 1 twice)
    [
        ({"pooling": Pooling.CLS}, math.log(math.exp(2) + math.exp(0)) - 2),
        ({"pooling": Pooling.MEAN}, math.log(math.exp(0.75) + math.exp(0.5)) - 0.75),
        ({"pooling": Pooling.CLS, "normalize": True}, math.log(math.exp(1) + math.exp(0)) - 1),
    ],
)
def test_loss_follows_the_recipes_pooling(change: dict[str, Any], expected: float) -> None:
    inputs = batch([[0, 1]], [[2, 1], [1, 1]], "ab")
    loss = contrastive_loss(MODEL, inputs, dataclasses.replace(TINY, **change))
    assert loss.item() == pytest.approx(expected, abs=1e-6)


# batches


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer([f"title ban der kon {i} query" for i in range(40)], 100, Family.BERT)


def tokens_of(tokenizer: Any, passages: list[Passage]) -> list[list[int]]:
    return [tokenizer(f"{p.title} {p.text}")["input_ids"] for p in passages]


def unpadded(found: dict[str, torch.Tensor]) -> list[list[int]]:
    rows = zip(found["input_ids"].tolist(), found["attention_mask"].tolist(), strict=True)
    return [[token for token, kept in zip(*row, strict=True) if kept] for row in rows]


def test_positives_come_first_then_the_negatives(tokenizer: Any) -> None:
    examples = [example("query 1", "1", "2"), example("query 3", "3", "4")]
    found = ContrastiveCollator(TINY, tokenizer)(examples)
    assert unpadded(found["passage"]) == tokens_of(tokenizer, [passage(d) for d in "1324"])
    assert unpadded(found["query"]) == [tokenizer(e.query)["input_ids"] for e in examples]
    assert found["docids"] == ["1", "3", "2", "4"]


def test_copies_of_a_positive_are_marked() -> None:
    same = find_copies(range(3), ["1", "1", "3", "9", "8", "1"]).tolist()
    copies_of_1 = [True, True, False, False, False, True]
    assert same == [[False, *copies_of_1[1:]], [True, False, *copies_of_1[2:]], [False] * 6]


def drawn(tokenizer: Any, epoch: int, seed: int = 5) -> list[list[int]]:
    collator = ContrastiveCollator(dataclasses.replace(TINY, negatives=3, seed=seed), tokenizer)
    collator.epoch = lambda: epoch
    many = [example(f"query {i}", "1", *map(str, range(2, 22))) for i in range(3)]
    return unpadded(collator(many)["passage"])


def test_negatives_are_drawn_reproducibly(tokenizer: Any) -> None:
    assert drawn(tokenizer, 1) == drawn(tokenizer, 1)


@pytest.mark.parametrize(("epoch", "seed"), [(2, 5), (1, 6)])
def test_negatives_differ_by_epoch_and_seed(tokenizer: Any, epoch: int, seed: int) -> None:
    assert drawn(tokenizer, epoch, seed) != drawn(tokenizer, 1)


def test_negatives_are_drawn_without_repetition(tokenizer: Any) -> None:
    negatives = drawn(tokenizer, 1)[3:6]
    assert len({tuple(negative) for negative in negatives}) == 3


def test_fewer_negatives_than_asked_for_are_taken_as_they_are(tokenizer: Any) -> None:
    collator = ContrastiveCollator(dataclasses.replace(TINY, negatives=7), tokenizer)
    assert len(collator([example("query 1", "1", "2"), example("query 2", "3")])["passage"]["input_ids"]) == 3


@pytest.mark.parametrize(("kind", "length"), [("query", 5), ("passage", 6)])
def test_long_texts_are_cut(tokenizer: Any, kind: str, length: int) -> None:
    recipe = dataclasses.replace(TINY, query_max_length=5, passage_max_length=6)
    found = ContrastiveCollator(recipe, tokenizer)([example("ban der kon " * 9, "1", "2")])
    assert found[kind]["input_ids"].shape[1] == length


PREFIXED = dataclasses.replace(TINY, query_prefix="ban: ", passage_prefix="kon: ", title_separator=None)


def test_prefixes_reach_the_models_input(tokenizer: Any) -> None:
    found = ContrastiveCollator(PREFIXED, tokenizer)([example("query 1", "1", "2")])
    assert unpadded(found["query"]) == [tokenizer("ban: query 1")["input_ids"]]
    assert unpadded(found["passage"]) == [tokenizer(f"kon: {passage(d).text}")["input_ids"] for d in "12"]
    assert found["questions"] == ["'query 1'"]


def test_positives_take_turns_from_one_that_the_seed_decides(tokenizer: Any) -> None:
    asked = example("query", "1")._replace(other_positives=(passage("2"), passage("3")))
    firsts = set()
    for seed in range(20):
        collator = ContrastiveCollator(dataclasses.replace(TINY, seed=seed), tokenizer)
        taken = []
        for epoch in range(6):
            collator.epoch = lambda epoch=epoch: epoch
            found = collator([example("other", "4"), asked])
            assert found["docids"][0] == "4"
            taken.append(found["docids"][1])
        assert taken[:3] == taken[3:] and sorted(taken[:3]) == ["1", "2", "3"]
        firsts.add(taken[0])
    assert firsts == {"1", "2", "3"}


def test_prefixes_count_among_the_tokens_that_are_kept(tokenizer: Any) -> None:
    recipe = dataclasses.replace(PREFIXED, query_max_length=5)
    found = ContrastiveCollator(recipe, tokenizer)([example("query 1", "1", "2")])
    kept = tokenizer("ban: query 1", truncation=True, max_length=5)["input_ids"]
    assert unpadded(found["query"]) == [kept] and len(tokenizer("ban: query 1")["input_ids"]) > 5


# training files


@pytest.fixture
def tevatron(tmp_path: Path) -> Callable[..., Path]:
    def write(*lines: Any) -> Path:
        path = tmp_path / "train.jsonl"
        shown = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
        path.write_text("".join(f"{line}\n" for line in shown), encoding="utf-8")
        return path

    return write


def test_tevatron_lines_are_examples(tevatron: Callable[..., Path]) -> None:
    examples, _ = load_examples(str(tevatron(LINE, {**LINE, "query": "miksi?"})))
    turku, oulu = Passage("1", "Turku", "On täällä."), Passage("2", "Oulu", "On tuolla.")
    assert list(examples) == [Example("missä?", turku, (oulu,)), Example("miksi?", turku, (oulu,))]
    assert examples[-1] == examples[1:][0] == examples[1]
    (example,) = TevatronFile(tevatron({**LINE, "positive_passages": ONE_MORE, "negative_passages": []}))
    assert (example.positive, example.other_positives) == (turku, (oulu,))


@pytest.mark.parametrize("before", [[LINE], [LINE, "", "", LINE]])
@pytest.mark.parametrize(
    "bad",
    [
        '{"query": ',
        {k: v for k, v in LINE.items() if k != "query"},
        {k: v for k, v in LINE.items() if k != "negative_passages"},
        {**LINE, "positive_passages": []},
        {**LINE, "positive_passages": [{"docid": "1", "text": "no title"}]},
        "[]",
    ],
)
def test_bad_tevatron_line_names_file_and_line(tevatron: Callable[..., Path], before: list, bad: Any) -> None:
    path = tevatron(*before, bad)
    with pytest.raises(InputError, match="not a training example") as caught:
        list(TevatronFile(path))
    assert (caught.value.path, caught.value.line) == (path, len(before) + 1)


def test_missing_training_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.jsonl: no such training file"):
        load_examples(str(tmp_path / "none.jsonl"))


def test_compressed_training_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.jsonl\.gz: is compressed.*decompress it first"):
        load_examples(str(tmp_path / "train.jsonl.gz"))


def test_published_training_file_is_taken_by_its_name_where_there_is_none_of_that_path(
    tevatron: Callable[..., Path], own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fetched = own_home / "xqg_repro" / "training" / "nq-train.jsonl"
    fetched.parent.mkdir(parents=True)
    tevatron(LINE, LINE).rename(fetched)
    recipe = load_recipe("zs-mbert")
    assert len(load_examples(recipe.data)[0]) == 2
    tevatron(LINE).rename(recipe.data)
    assert len(load_examples(recipe.data)[0]) == 1


@pytest.mark.parametrize("name", ["xdr-mbert", "xdr-xlmr", "zs-mbert", "xqg-mt5-base", "xqg-mt5-large"])
def test_recipes_of_the_papers_models_name_published_files(name: str) -> None:
    recipe = load_recipe(name, GeneratorRecipe if name.startswith("xqg") else EncoderRecipe)
    assert recipe.data in data_files("training")


def test_training_version_follows_the_file(tevatron: Callable[..., Path]) -> None:
    versions = [load_examples(str(tevatron(*lines)))[1] for lines in ([LINE], [LINE], [LINE, LINE])]
    assert versions[0] == versions[1] != versions[2]


# training sets


def test_negatives_are_the_other_passages_of_the_positives_title(mini_data: Mini) -> None:
    examples, _ = load_examples(mini_data.topics)
    titles = {docid: title for docid, title, _ in mini_data.passages}
    for found, (_, docid) in zip(examples, mini_data.qrels, strict=True):
        assert found.positive.doc_id == docid
        others = {other for other, title in titles.items() if title == titles[docid] and other != docid}
        assert {negative.doc_id for negative in found.negatives} == others


def test_question_without_a_judgement_is_an_input_error(mini_data: Mini) -> None:
    from xqg_repro.collection.handlers import Judgements, dataset

    mini = ir_datasets.load(mini_data.topics)
    asked = mini.queries_handler()
    unjudged = dataset("xor-tydi", mini.docs_handler(), asked, Judgements(lambda: mini_data.qrels[1:], asked))
    if "test-unjudged" not in ir_datasets.registry._registered:
        ir_datasets.registry.register("test-unjudged", unjudged)
    with pytest.raises(InputError, match="q0"):
        load_examples("test-unjudged")


@pytest.mark.parametrize("name", ["xor-tydi", "xor-tydi/test"])
def test_training_set_without_judgements_is_refused(mini_data: Mini, name: str) -> None:
    with pytest.raises(InputError, match=r"has no (questions|relevance judgements)"):
        load_examples(name)


def test_all_questions_of_a_passage_fall_on_one_side() -> None:
    examples = [example(f"query {i}", str(i % 200)) for i in range(600)]
    kept, held_out = held_out_split(examples, 0.2)
    sides = [{found.positive.doc_id for found in side} for side in (kept, held_out)]
    assert len(kept) + len(held_out) == 600
    assert not sides[0] & sides[1]
    assert 20 <= len(sides[1]) <= 60


def test_held_out_data_takes_the_place_of_a_share() -> None:
    recipe = load_recipe("xdr-mini")
    split = load_split(recipe)
    assert (split.kept, split.held_out) == (load_examples(recipe.data)[0], load_examples("xor-mini/held-out")[0])
    assert split.version != load_split(dataclasses.replace(recipe, held_out_data="")).version


def test_nothing_is_held_out_of_a_share_of_zero() -> None:
    examples = [example("query", "1")]
    assert held_out_split(examples, 0.0) == (examples, [])


# vocabularies

WORDS = [f"{a}{b}{c} {c}{a}" for a in "bdkst" for b in "aeo" for c in ("n", "lo", "mi")]
SCRIPTS = ["كتاب كبير", "বাংলা ভাষা", "Äiti sanoi: ei!", "東京都は大きい", "서울의 강", "Москва — столица", "తెలుగు భాష"]


@pytest.mark.parametrize("family", Family)
def test_tokenizer_of_the_same_texts_is_the_same(family: Family) -> None:
    # in one process: what is random in a trainer is so anew for each one that is made
    assert len({train_tokenizer(WORDS * 3 + SCRIPTS, 150, family)._tokenizer.to_str() for _ in range(5)}) == 1


@pytest.fixture(scope="module")
def word_pieces() -> Any:
    return train_tokenizer(SCRIPTS * 5 + WORDS, 220, Family.BERT)


def test_berts_family_has_word_pieces_and_berts_special_tokens(word_pieces: Any) -> None:
    parts = json.loads(word_pieces._tokenizer.to_str())
    assert parts["model"]["type"] == parts["decoder"]["type"] == "WordPiece"
    assert parts["model"]["continuing_subword_prefix"] == "##"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert word_pieces.convert_ids_to_tokens(range(5)) == special
    assert [added["content"] for added in parts["added_tokens"]] == special  # pieces of words are not among them
    assert (word_pieces.pad_token_id, word_pieces.unk_token_id, word_pieces.mask_token_id) == (0, 1, 4)
    vocabulary = word_pieces.get_vocab()
    assert sorted(vocabulary.values()) == list(range(len(vocabulary))) and len(vocabulary) <= 220
    pieces = word_pieces.tokenize("bandaka")
    assert len(pieces) > 1 and not pieces[0].startswith("##") and all(piece.startswith("##") for piece in pieces[1:])
    assert word_pieces.decode(word_pieces("bandaka")["input_ids"], skip_special_tokens=True) == "bandaka"


@pytest.mark.parametrize("text", [*SCRIPTS, *WORDS[:3]])
def test_the_longest_piece_is_taken_and_no_training_text_is_unknown(word_pieces: Any, text: str) -> None:
    ids = word_pieces(text)["input_ids"]
    assert word_pieces.unk_token_id not in ids
    assert [word_pieces.convert_ids_to_tokens(i) for i in (ids[0], ids[-1])] == ["[CLS]", "[SEP]"]
    backend, vocabulary = word_pieces._tokenizer, word_pieces.get_vocab()
    expected: list[str] = []
    for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text)):
        at = 0
        while at < len(word):
            mark = "##" if at else ""
            end = next(end for end in range(len(word), at, -1) if mark + word[at:end] in vocabulary)
            expected.append(mark + word[at:end])
            at = end
    assert word_pieces.convert_ids_to_tokens(ids)[1:-1] == expected


def test_vowel_signs_and_accents_are_kept_and_ideographs_stand_apart(word_pieces: Any) -> None:
    def words(text: str) -> list[str]:
        backend = word_pieces._tokenizer
        return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))]

    assert words("বাংলা ভাষা") == ["বাংলা", "ভাষা"]  # their signs are combining marks, as accents are
    assert words("తెలుగు") == ["తెలుగు"]
    assert words("Äiti") == ["äiti"]
    assert words("東京都は大きい") == ["東", "京", "都", "は", "大", "きい"]
    assert words("서울의") == ["서울의"]
    assert words("ei!") == ["ei", "!"]
    assert words("ＡＢ１２") == ["ab12"]  # NFKC


def test_a_character_that_no_training_text_has_is_unknown(word_pieces: Any) -> None:
    assert word_pieces.tokenize("ban Ж") == [*word_pieces.tokenize("ban"), "[UNK]"]


# training


@pytest.fixture(scope="module")
def trained(mini_data: Mini, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "model"
    train(TINY, folder)
    return folder


def test_trained_folder_is_an_encoder(trained: Path) -> None:
    encoder = TextEncoder(TINY.encoder(str(trained)), "cpu")
    vectors = encoder.encode_queries(["ban", "der kon"])
    assert vectors.shape == (2, 16) and np.isfinite(vectors).all()


def test_training_moves_the_weights(trained: Path, mini_data: Mini, tmp_path: Path) -> None:
    slower = dataclasses.replace(TINY, learning_rate=1e-9)
    train(slower, tmp_path / "slow")
    vectors = [TextEncoder(TINY.encoder(str(f)), "cpu").encode_queries(["ban"]) for f in (trained, tmp_path / "slow")]
    assert np.abs(vectors[0] - vectors[1]).max() > 0.01


def test_same_recipe_gives_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    train(TINY, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(trained)


def test_trained_folder_is_reused(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(TINY, trained)
    assert caplog.messages == [f"train-xdr: {trained} is up to date"]


def test_trained_folder_holds_no_pickle_and_no_leftover(trained: Path) -> None:
    expected = {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"}
    expected |= {"README.md", "manifest.json", "loss.csv", "loss.svg"}
    assert {path.name for path in trained.iterdir()} == expected
    assert Manifest.read(trained).counts["steps"] == 3


def test_held_out_questions_are_measured_and_half_weights_saved(
    mini_data: Mini, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from safetensors.numpy import load_file

    recipe = dataclasses.replace(TINY, held_out=0.4, half_precision_weights=True, steps=1)
    counts = train(recipe, tmp_path / "model").counts
    assert counts["questions"] + counts["held_out"] == 14 and counts["held_out"] > 0
    assert caplog.messages[-2].startswith("train: held-out questions: rank their own passage first: ")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {np.dtype(np.float16)}


def test_frozen_word_embeddings_stay_as_they_are(mini_data: Mini, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    changed = {}
    for frozen in (True, False):
        found = []
        for steps in (1, 3):
            # in the first step of a warm-up the learning rate is 0
            recipe = dataclasses.replace(TINY, frozen_embeddings=frozen, steps=steps, warmup_steps=1)
            train(recipe, tmp_path / f"{frozen}{steps}")
            found.append(load_file(tmp_path / f"{frozen}{steps}" / "model.safetensors"))
        changed[frozen] = {name for name, weights in found[0].items() if not np.array_equal(weights, found[1][name])}
    assert changed[False] - changed[True] == {"embeddings.word_embeddings.weight"}
    assert "encoder.layer.0.output.dense.weight" in changed[True]


def test_the_card_says_how_the_model_must_be_used(trained: Path, mini_data: Mini, tmp_path: Path) -> None:
    train(dataclasses.replace(PREFIXED, steps=1), tmp_path / "model")
    plain, prefixed = (
        " ".join((folder / "README.md").read_text().partition("Recipe:")[0].split())
        for folder in (trained, tmp_path / "model")
    )
    lengths = "cut after 128 tokens; a question is cut after 32 tokens."
    assert f"A passage is its title, `' '` and its text, {lengths} Made from" in plain
    prefixes = "Questions start with `'ban: '` and passages with `'kon: '`, which count as tokens."
    assert f"A passage is its text without its title, {lengths} {prefixes} Made from" in prefixed


# recipes


@pytest.mark.parametrize("name", ["xdr-mini", "xdr-mbert", "xdr-e5-xquad"])
def test_packaged_recipe_is_read(name: str) -> None:
    assert load_recipe(name).name == name


def test_steps_and_seed_override_the_recipe() -> None:
    recipe = load_recipe("xdr-mini", steps=7, seed=1)
    assert (recipe.steps, recipe.seed) == (7, 1)


def test_model_and_data_override_the_recipe(tmp_path: Path) -> None:
    own = {"model": "some/folder", "data": "a.json", "held_out_data": "b.json"}
    recipe = load_recipe("xdr-e5-xquad", **own, steps=None)
    assert dataclasses.replace(load_recipe("xdr-e5-xquad"), **own) == recipe
    (tmp_path / "recipe.yaml").write_text("name: a\ndata: b\n")  # names no model
    assert load_recipe(str(tmp_path / "recipe.yaml"), model="some/folder").model == "some/folder"


def test_the_recipe_for_e5_uses_it_as_the_preset_does() -> None:
    recipe, preset = load_recipe("xdr-e5-xquad"), load_preset("e5-small")
    assert recipe.encoder(recipe.model) == dataclasses.replace(preset, query_max_length=64)
    assert recipe.frozen_embeddings and not recipe.keep_best and recipe.evaluation_steps > 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: a\ndata: b\n", "needs a model to start from or an architecture"),
        ("name: a\ndata: b\nmodle: c\n", "has no key 'modle'"),
        ("data: b\nmodel: c\n", "name"),
        ("name: a\ndata: b\nmodel: c\nsteps: many\n", "steps is 'many'"),
    ],
)
def test_bad_recipe_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(InputError, match=problem) as caught:
        load_recipe(str(tmp_path / "recipe.yaml"))
    assert caught.value.path == tmp_path / "recipe.yaml"


def test_unknown_recipe_names_the_known() -> None:
    with pytest.raises(InputError, match=r"unknown recipe 'nothing' .*xdr-mini"):
        load_recipe("nothing")


def test_training_without_accelerate_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, mini_data: Mini, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package accelerate .pip install 'xqg_repro\[train\]'"):
        train(TINY, tmp_path / "model")


def test_training_starts_from_a_given_model(mini_data: Mini, tiny_model: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(TINY, model=str(tiny_model), architecture=None, steps=1, learning_rate=1e-3)
    train(recipe, tmp_path / "model")
    before, after = (
        TextEncoder(recipe.encoder(str(m))).encode_queries(["tea"]) for m in (tiny_model, tmp_path / "model")
    )
    assert before.shape == after.shape
    assert 0 < np.abs(before - after).max() < 0.5
