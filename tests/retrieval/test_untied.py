"""Untied encoders, and a suffix that names the language, from passages to runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import COUNT, LANGUAGES, Mini, made_up, together, write_queries

from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.loading import model_fingerprint
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.representation.augment import augment, augment_streaming
from xqg_repro.representation.encode import encode
from xqg_repro.representation.queries import read_queries
from xqg_repro.representation.settings import Augmentation
from xqg_repro.representation.sums import read_sums, sum_queries
from xqg_repro.retrieval.exact import search_embeddings
from xqg_repro.retrieval.filter import filter_queries
from xqg_repro.retrieval.index import build_index
from xqg_repro.retrieval.runfile import read_run
from xqg_repro.retrieval.search import search
from xqg_repro.retrieval.stage import resolve_query_encoder

CPU: dict[str, Any] = {"device": "cpu"}


@pytest.fixture(scope="module")
def pair(tiny_untied: Path) -> EncoderConfig:
    return EncoderConfig(str(tiny_untied))


@pytest.fixture(scope="module")
def encoded(mini_data: Mini, pair: EncoderConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small collection, embedded given the folder of both. Never to be written to."""
    folder = tmp_path_factory.mktemp("untied") / "embeddings"
    encode(mini_data.docs, pair, folder, shard_size=16, **CPU)
    return folder


@pytest.fixture
def queries(mini_data: Mini, tmp_path: Path) -> Path:
    return write_queries(made_up(docid for docid, _, _ in mini_data.passages), tmp_path / "queries.jsonl")


def part(pair: EncoderConfig, side: str, **changes: Any) -> EncoderConfig:
    return dataclasses.replace(pair, model=f"{pair.model}/{side}", **changes)


def texts_of(mini: Mini) -> list[str]:
    return [question["question"] for question in mini.questions]


def best(mini: Mini, encoder: TextEncoder, embeddings: Path, texts: list[str]) -> dict[str, str]:
    """Question → docid of the passage with the highest inner product."""
    docids, vectors = together(embeddings)
    rows = (encoder.encode_queries(texts) @ vectors.T).argmax(1)
    return {question["id"]: docids[row] for question, row in zip(mini.questions, rows, strict=True)}


# encode


def test_passages_are_encoded_by_theirs_and_the_manifest_names_both(
    mini_data: Mini, pair: EncoderConfig, encoded: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encode(mini_data.docs, part(pair, "passage"), encoded, shard_size=16, **CPU)
    assert caplog.messages == [f"encode: {encoded} is up to date"]
    manifest = Manifest.read(encoded)
    versions = {
        name: model_fingerprint(part(pair, side).model) for name, side in (("model", "passage"), ("q", "query"))
    }
    assert (manifest.inputs["model"], manifest.inputs["query_model"]) == (versions["model"], versions["q"])
    assert manifest.parameters["encoder"]["model"] == pair.model
    titles, texts = ([row[column] for row in mini_data.passages] for column in (1, 2))
    expected = TextEncoder(part(pair, "passage"), "cpu").encode_passages(titles, texts)
    np.testing.assert_allclose(together(encoded)[1], expected, atol=1e-5)
    with pytest.raises(InputError, match="query: is the encoder of questions, but passages are to be encoded"):
        encode(mini_data.docs, part(pair, "query"), tmp_path / "wrong", **CPU)


# search


def test_questions_are_encoded_by_theirs_however_the_encoder_is_named(
    mini_data: Mini, pair: EncoderConfig, encoded: Path, tmp_path: Path
) -> None:
    expected = best(mini_data, TextEncoder(part(pair, "query"), "cpu"), encoded, texts_of(mini_data))
    runs = []
    for number, encoder in enumerate((None, pair, part(pair, "query"))):
        output = search_embeddings(
            encoded, mini_data.topics, tmp_path / f"run.{number}", depth=5, encoder=encoder, **CPU
        )
        runs.append(output.read_bytes())
        assert {qid: hits[0].docid for qid, hits in read_run(output).items()} == expected
        inputs = Manifest.read_as(output.with_name(f"{output.name}.json")).inputs
        assert inputs["model"] == model_fingerprint(part(pair, "query").model)
    assert len(set(runs)) == 1


def test_another_encoder_of_questions_is_refused(
    mini_data: Mini, pair: EncoderConfig, encoded: Path, embeddings: Path, tiny_xlmr: Path, tmp_path: Path
) -> None:
    for source, model in ((encoded, f"{pair.model}/passage"), (encoded, str(tiny_xlmr)), (embeddings, pair.model)):
        encoder = EncoderConfig(model)
        with pytest.raises(
            InputError, match=r"was made with another model than .* \(search with the model that encoded"
        ):
            search_embeddings(source, mini_data.topics, tmp_path / "run", encoder=encoder, **CPU)
    assert not (tmp_path / "run").exists()


def test_an_index_names_both_and_chooses_the_encoder_of_questions(
    mini_data: Mini, pair: EncoderConfig, encoded: Path, tmp_path: Path
) -> None:
    inputs = build_index(encoded, tmp_path / "index").inputs
    assert {"model", "query_model"} <= {*inputs} and inputs["model"] != inputs["query_model"]
    for encoder in (None, pair, part(pair, "query")):
        assert resolve_query_encoder(tmp_path / "index", encoder)[0] == part(pair, "query")
    with pytest.raises(InputError, match="was made with another model than"):
        search(tmp_path / "index", mini_data.topics, tmp_path / "run", encoder=part(pair, "passage"), **CPU)


@pytest.mark.integration
def test_the_command_line_encodes_indexes_and_searches(
    mini_data: Mini, pair: EncoderConfig, encoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    encoder = f"--encoder {pair.model} --pooling cls --device cpu"
    for command in (
        f"encode --collection {mini_data.docs} --output embeddings {encoder}",
        "index --embeddings embeddings --output index",
        f"search --index index --topics {mini_data.topics} --output run --depth 5 --device cpu",
        f"search --index index --topics {mini_data.topics} --output again --depth 5 --encoder {pair.model}/query",
    ):
        assert cli.main(command.split()) == 0
    expected = best(mini_data, TextEncoder(part(pair, "query"), "cpu"), encoded, texts_of(mini_data))
    assert {qid: hits[0].docid for qid, hits in read_run("run").items()} == expected
    assert Path("run").read_bytes() == Path("again").read_bytes()
    wrong = f"search --index index --topics {mini_data.topics} --output wrong --encoder {pair.model}/passage"
    assert cli.main(wrong.split()) == 2 and not Path("wrong").exists()


# augmentation and filter


def test_generated_queries_are_encoded_as_questions(
    pair: EncoderConfig, encoded: Path, queries: Path, tmp_path: Path
) -> None:
    how = {"languages": LANGUAGES, "count": COUNT, "shard_size": 25, **CPU}
    sum_queries(queries, pair, tmp_path / "sums", **how)
    opened = read_sums(tmp_path / "sums")
    taken, _ = opened.take(np.arange(60), *opened.select())
    encoder = TextEncoder(part(pair, "query"), "cpu")
    passages = [*read_queries(queries, None, None)]
    for row in (0, 37, 59):
        texts = [text for code in LANGUAGES for text in passages[row].queries[code]]
        np.testing.assert_allclose(taken[row], encoder.encode_queries(texts).sum(0), atol=1e-4)
    augmentation = Augmentation(0.2, languages=LANGUAGES, queries=COUNT)
    augment(encoded, tmp_path / "sums", tmp_path / "augmented", augmentation)
    augment_streaming(encoded, queries, tmp_path / "streamed", augmentation, **CPU)
    vectors = [together(tmp_path / name)[1] for name in ("augmented", "streamed")]
    np.testing.assert_allclose(*vectors, atol=1e-4)
    np.testing.assert_allclose(vectors[0], 0.8 * together(encoded)[1] + 0.2 * taken, atol=1e-4)
    assert Manifest.read(tmp_path / "augmented").inputs["query_model"] == model_fingerprint(encoder.config.model)


def test_sums_of_another_encoder_are_refused(
    pair: EncoderConfig, encoded: Path, embeddings: Path, queries: Path, tiny_model: Path, tmp_path: Path
) -> None:
    how = {"languages": LANGUAGES, "count": COUNT, **CPU}
    with pytest.raises(InputError, match="passage: is the encoder of passages, but questions are to be encoded"):
        sum_queries(queries, part(pair, "passage"), tmp_path / "wrong", **how)
    sum_queries(queries, EncoderConfig(str(tiny_model)), tmp_path / "tied", **how)  # as are the passages
    sum_queries(queries, part(pair, "query"), tmp_path / "untied", **how)
    for source, sums in ((encoded, "tied"), (embeddings, "untied")):
        with pytest.raises(InputError, match="was made with another model"):
            augment(source, tmp_path / sums, tmp_path / "augmented", Augmentation(0.2))


def test_the_filter_takes_the_encoder_of_questions(
    pair: EncoderConfig, encoded: Path, queries: Path, tmp_path: Path
) -> None:
    filter_queries(queries, encoded, tmp_path / "best", 1, **CPU)
    docids, vectors = together(encoded)
    encoder = TextEncoder(part(pair, "query"), "cpu")
    for before, kept in zip(
        read_queries(queries, None, None), read_queries(tmp_path / "best", None, None), strict=True
    ):
        for code in LANGUAGES:
            scores = encoder.encode_queries(before.queries[code]).astype(np.float64) @ vectors.T
            own = scores[:, docids.index(before.docid)]
            keys = [(int((row > mine + 1e-6).sum()), n) for n, (row, mine) in enumerate(zip(scores, own, strict=True))]
            ranks = [rank for rank, _ in keys]
            assert ranks[before.queries[code].index(kept.queries[code][0])] == min(ranks)


# the suffix


@pytest.fixture
def suffixed(mini_data: Mini, pair: EncoderConfig, tmp_path: Path) -> tuple[EncoderConfig, Path]:
    config = dataclasses.replace(pair, query_suffix=" {lang}")
    encode(mini_data.docs, config, tmp_path / "suffixed", shard_size=16, **CPU)
    return config, tmp_path / "suffixed"


def test_a_question_is_searched_with_its_language(
    mini_data: Mini, pair: EncoderConfig, suffixed: tuple[EncoderConfig, Path], tmp_path: Path
) -> None:
    _, embeddings = suffixed
    run = search_embeddings(embeddings, mini_data.topics, tmp_path / "run", depth=3, **CPU)
    encoder = TextEncoder(part(pair, "query"), "cpu")
    texts = [f"{question['question']} {question['lang']}" for question in mini_data.questions]
    assert {qid: hits[0].docid for qid, hits in read_run(run).items()} == best(mini_data, encoder, embeddings, texts)
    lines = [{"qid": q["id"], "text": q["question"], "lang": q["lang"]} for q in mini_data.questions]
    topics = tmp_path / "topics.jsonl"
    topics.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    again = search_embeddings(embeddings, str(topics), tmp_path / "again", depth=3, **CPU)
    assert again.read_bytes() == run.read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "who"),
    [
        ("topics.tsv", "1\tban der\n", "its questions"),
        ("topics.jsonl", '{"qid": "1", "text": "ban", "lang": "fi"}\n{"qid": "2", "text": "der"}\n', "question 2"),
    ],
)
def test_topics_without_a_language_are_refused_before_the_work(
    suffixed: tuple[EncoderConfig, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: str,
    who: str,
) -> None:
    config, embeddings = suffixed
    (tmp_path / name).write_text(content)
    monkeypatch.setattr(TextEncoder, "__init__", lambda *_: pytest.fail("a model is loaded"))
    problem = rf"{name}: does not say the language of {who}, .* \(use JSON lines with a \"lang\" for each question"
    with pytest.raises(InputError, match=problem):
        search_embeddings(embeddings, str(tmp_path / name), tmp_path / "run", **CPU)
    monkeypatch.undo()
    only = dataclasses.replace(config, query_suffix=" fi")
    assert search_embeddings(embeddings, str(tmp_path / name), tmp_path / "run", encoder=only, **CPU).exists()


def test_generated_queries_have_the_suffix_of_their_language(
    pair: EncoderConfig, suffixed: tuple[EncoderConfig, Path], tmp_path: Path, mini_data: Mini
) -> None:
    config, embeddings = suffixed
    lines = [{"docid": docid, "generated_queries": {"fi": ["ban"], "ru": ["ban"]}} for docid, *_ in mini_data.passages]
    (tmp_path / "same.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    how: dict[str, Any] = {"languages": ("fi", "ru"), "count": 1, "per_language": True, **CPU}
    sum_queries(tmp_path / "same.jsonl", config, tmp_path / "sums", **how)
    opened = read_sums(tmp_path / "sums")
    encoder = TextEncoder(part(pair, "query"), "cpu")
    for code in ("fi", "ru"):
        taken, _ = opened.take(np.arange(2), *opened.select([code]))
        expected = encoder.encode_queries([f"ban {code}"])[0]
        np.testing.assert_allclose(taken, np.stack([expected, expected]), atol=1e-5)
    manifest = filter_queries(tmp_path / "same.jsonl", embeddings, tmp_path / "best", 1, **CPU)
    docids, vectors = together(embeddings)
    for code in ("fi", "ru"):
        best_row = int((vectors @ encoder.encode_queries([f"ban {code}"])[0]).argmax())
        assert docids[best_row] and manifest.counts[f"first.{code}"] == 1


def test_a_suffix_is_part_of_the_identity_and_its_absence_is_not(
    mini_data: Mini, tiny_model: Path, model_folder: Callable[..., Path], tmp_path: Path
) -> None:
    plain = encode(mini_data.docs, EncoderConfig(str(tiny_model)), tmp_path / "plain", **CPU)
    assert "query_suffix" not in plain.parameters["encoder"] and "query_model" not in plain.inputs
    config = EncoderConfig(str(tiny_model), query_suffix=" [{lang}]")
    suffixed = encode(mini_data.docs, config, tmp_path / "suffixed", **CPU)
    assert plain.differences(suffixed) == ["encoder"]
