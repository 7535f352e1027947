"""Scored lists by a dual encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Mini

from train.samples import tevatron_item, tevatron_items, write_lines
from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.train.score_dense import read_lists, score_by_encoder


@pytest.fixture
def items(mini_data: Mini) -> list[dict[str, Any]]:
    return [{**item, "lang": "fi", "note": i} for i, item in enumerate(tevatron_items(mini_data))]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def passages(item: dict[str, Any]) -> list[dict[str, Any]]:
    return [*item["positive_passages"], *item["negative_passages"]]


def inner_products(config: EncoderConfig, question: str, item: dict[str, Any]) -> list[float]:
    encoder, own = TextEncoder(config, "cpu"), passages(item)
    vectors = encoder.encode_passages([p["title"] for p in own], [p["text"] for p in own])
    return (vectors @ encoder.encode_queries([question])[0]).tolist()


def test_every_pair_gets_its_inner_product_and_nothing_else_changes(
    items: list[dict[str, Any]], config: EncoderConfig, tmp_path: Path
) -> None:
    data = write_lines(tmp_path / "mined.jsonl", *items)
    counts = score_by_encoder(str(data), config, tmp_path / "scored.jsonl", device="cpu").counts
    scored = read(tmp_path / "scored.jsonl")
    for item, line in zip(items, scored, strict=True):
        own = [passage.pop("score") for passage in passages(line)]
        assert own == pytest.approx(inner_products(config, item["query"], item), rel=1e-4, abs=1e-5)
    assert scored == items
    distinct = {(p["title"], p["text"]) for item in items for p in passages(item)}
    assert (counts["questions"], counts["pairs"], counts["passages"]) == (12, 120, len(distinct))


def test_the_teacher_reads_the_twin_of_a_question(
    items: list[dict[str, Any]], config: EncoderConfig, embeddings: Path, tmp_path: Path
) -> None:
    data = write_lines(tmp_path / "mined.jsonl", *items)
    english = [{**item, "query": f"Where is {i}?", "lang": "en"} for i, item in enumerate(items)]
    twins = write_lines(tmp_path / "twins.jsonl", *english)
    command = ["train", "score", "--data", str(data), "--embeddings", str(embeddings), "--device", "cpu"]
    output = tmp_path / "scored.jsonl"
    assert cli.main([*command, "--twins", str(twins), "--output", str(output)]) == 0
    for item, twin, line in zip(items, english, read(output), strict=True):
        assert line["query"] == item["query"] != twin["query"]
        own = [passage["score"] for passage in passages(line)]
        assert own == pytest.approx(inner_products(config, twin["query"], item), rel=1e-4, abs=1e-5)
    note = json.loads(Path(f"{output}.json").read_text())
    assert note["parameters"]["scorer"]["model"] == config.model and "twins" in note["inputs"]


def test_two_encoders_score_with_the_suffix_of_each_language(
    items: list[dict[str, Any]], tiny_untied: Path, tmp_path: Path
) -> None:
    items = [{**item, "query": items[i // 2]["query"], "lang": ("fi", "ru")[i % 2]} for i, item in enumerate(items)]
    data = write_lines(tmp_path / "mined.jsonl", *items)
    pair = EncoderConfig(str(tiny_untied), query_suffix=" {lang}")
    manifest = score_by_encoder(str(data), pair, tmp_path / "scored.jsonl", device="cpu")
    sides = {side: TextEncoder(EncoderConfig(f"{tiny_untied}/{side}"), "cpu") for side in ("query", "passage")}
    for item, line in zip(items, read(tmp_path / "scored.jsonl"), strict=True):
        own = passages(line)
        vectors = sides["passage"].encode_passages([p["title"] for p in own], [p["text"] for p in own])
        question = sides["query"].encode_queries([f"{item['query']} {item['lang']}"])[0]
        assert [p["score"] for p in own] == pytest.approx((vectors @ question).tolist(), rel=1e-4, abs=1e-5)
    assert {"model", "query_model"} <= {*manifest.inputs} and manifest.counts["questions"] == 12
    part = EncoderConfig(f"{tiny_untied}/query", query_suffix=" {lang}")
    again = score_by_encoder(str(data), part, tmp_path / "again.jsonl", device="cpu")
    assert again.inputs == manifest.inputs and read(tmp_path / "again.jsonl") == read(tmp_path / "scored.jsonl")
    unknown = write_lines(tmp_path / "unknown.jsonl", *items[:2], {**items[2], "lang": ""})
    with pytest.raises(InputError, match="is unknown, but query_suffix names it"):
        score_by_encoder(str(unknown), pair, tmp_path / "other.jsonl", device="cpu")


def test_the_scores_of_one_encoder_are_recorded_as_before_there_were_two(
    items: list[dict[str, Any]], config: EncoderConfig, tmp_path: Path
) -> None:
    data = write_lines(tmp_path / "mined.jsonl", *items)
    manifest = score_by_encoder(str(data), config, tmp_path / "scored.jsonl", device="cpu")
    assert "query_suffix" not in manifest.parameters["scorer"] and {*manifest.inputs} == {"data", "model"}


def test_twins_of_other_passages_are_refused(items: list[dict[str, Any]], tmp_path: Path) -> None:
    data = write_lines(tmp_path / "mined.jsonl", *items)
    other = [*items[:3], {**items[3], "negative_passages": items[4]["negative_passages"]}, *items[4:]]
    with pytest.raises(InputError, match=r"twins.jsonl:4: has other passages than line 4 of .*mined.jsonl"):
        read_lists(data, write_lines(tmp_path / "twins.jsonl", *other))
    with pytest.raises(InputError, match=r"has 11 lines, but .*mined.jsonl has 12"):
        read_lists(data, write_lines(tmp_path / "fewer.jsonl", *items[:11]))
    with pytest.raises(InputError, match="no question with a passage"):
        bare = {**tevatron_item("Missä?"), "positive_passages": [], "negative_passages": []}
        read_lists(write_lines(tmp_path / "bare.jsonl", bare))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--twins", "{data}"], "--twins needs --embeddings"),
        (["--embeddings", "{folder}", "--generator", "xqg"], "a generator's options have no effect with --embeddings"),
        (["--embeddings", "{folder}", "--tokens-per-batch", "9"], "--tokens-per-batch has no effect"),
        (["--embeddings", "{empty}"], "has no manifest, so its encoder is unknown"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: list[str],
    message: str,
    items: list[dict[str, Any]],
    embeddings: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"data": write_lines(tmp_path / "a.jsonl", *items), "folder": embeddings, "empty": tmp_path / "empty"}
    command = ["train", "score", "--data", str(places["data"]), "--output", str(tmp_path / "b.jsonl")]
    assert cli.main([*command, *(option.format(**places) for option in options)]) != 0
    assert message in capsys.readouterr().err
