from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Mini
from interrupts import interrupt_call

from train.samples import tevatron_item, tevatron_items, write_lines
from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.models.scorer import AskedPassage, QuestionScorer
from xqg_repro.models.scorer_settings import ScorerConfig
from xqg_repro.representation import likelihood
from xqg_repro.train.score import read_pairs, score


@pytest.fixture
def config(tiny_generator: Path) -> ScorerConfig:
    return ScorerConfig(str(tiny_generator), query_max_length=20)


@pytest.fixture
def data(mini_data: Mini, tmp_path: Path) -> Path:
    """Twelve lines with ten passages each, of which neighbours share nine; with keys of their own."""
    items = [{**item, "lang": ("fi", "ru")[i // 6], "note": i} for i, item in enumerate(tevatron_items(mini_data))]
    return write_lines(tmp_path / "mined.jsonl", *items)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def passages(item: dict[str, Any]) -> list[dict[str, Any]]:
    return [*item["positive_passages"], *item["negative_passages"]]


def test_every_pair_gets_its_score_and_nothing_else_changes(data: Path, config: ScorerConfig, tmp_path: Path) -> None:
    output = tmp_path / "scored.jsonl"
    counts = score(str(data), config, output, device="cpu").counts
    lines, scored = read(data), read(output)
    scorer = QuestionScorer(config, "cpu")
    for line, item in zip(lines, scored, strict=True):
        asked = [AskedPassage(line["lang"], p["title"], p["text"], (line["query"],)) for p in passages(line)]
        expected = [own[0] for own in scorer.score(asked).scores]
        assert [passage.pop("score") for passage in passages(item)] == pytest.approx(expected, rel=1e-5)
    assert scored == lines
    prompts = {(line["lang"], passage["docid"]) for line in lines for passage in passages(line)}
    assert counts["questions"] == counts["compared"] == 12
    assert (counts["pairs"], counts["prompts"]) == (120, len(prompts)) == (120, 30)
    assert (counts["cut_prompts"], counts["cut_questions"]) == (0, sum(len(q) > 20 for q in tokens(scorer, lines)))


def test_questions_whose_best_passage_is_a_positive_are_counted(
    data: Path, config: ScorerConfig, tmp_path: Path
) -> None:
    score(str(data), config, tmp_path / "scored.jsonl", device="cpu")
    items = read(tmp_path / "scored.jsonl")
    for number, item in enumerate(items[:6]):
        ranked = sorted(passages(item), key=lambda passage: -passage["score"])
        best = 0 if number < 4 else 1
        item["positive_passages"] = [ranked.pop(best)]
        item["negative_passages"] = ranked if number != 3 else []
    counts = score(
        str(write_lines(tmp_path / "b.jsonl", *items[:6])), config, tmp_path / "c.jsonl", device="cpu"
    ).counts
    assert (counts["questions"], counts["compared"], counts["positive_first"]) == (6, 5, 3)


def tokens(scorer: QuestionScorer, lines: list[dict[str, Any]]) -> list[list[int]]:
    """The tokens of the question of each pair, not truncated."""
    return scorer._writer.targets([line["query"] for line in lines for _ in passages(line)])


def test_the_note_names_the_scorer_and_a_matching_file_is_reused(
    data: Path, config: ScorerConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "scored.jsonl"
    score(str(data), config, output, device="cpu")
    note = json.loads((tmp_path / "scored.jsonl.json").read_text())
    assert note["parameters"]["scorer"]["model"] == config.model and note["parameters"]["scorer"]["normalise"] == "mean"
    before = output.read_bytes()
    caplog.clear()
    score(str(data), config, output, device="cpu")
    assert caplog.messages == [f"score: {output} is up to date"] and output.read_bytes() == before
    again = tmp_path / "again.jsonl"
    score(str(output), config, again, device="cpu")  # scores are replaced
    assert again.read_bytes() == before
    command = ["train", "score", "--data", str(data), "--generator", config.model, "--query-max-length", "20"]
    assert cli.main([*command, "--normalise", "sum", "--device", "cpu", "--output", str(output)]) == 0
    sums, means = ([p["score"] for item in read(path) for p in passages(item)] for path in (output, again))
    lengths = [min(20, len(ids)) for ids in tokens(QuestionScorer(config, "cpu"), read(data))]
    assert [a / n for a, n in zip(sums, lengths, strict=True)] == pytest.approx(means, abs=1e-5)


def test_an_interrupted_run_resumes_after_its_last_shard_and_ends_with_the_same_bytes(
    data: Path, config: ScorerConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood, "SHARD_SIZE", 8)
    score(str(data), config, tmp_path / "whole.jsonl", device="cpu")
    calls = interrupt_call(monkeypatch, QuestionScorer, "score", 3)
    output = tmp_path / "killed.jsonl"
    with pytest.raises(KeyboardInterrupt):
        score(str(data), config, output, device="cpu")
    assert not output.exists() and len([*(tmp_path / "killed.jsonl.partial").glob("*.json")]) == 2
    score(str(data), config, output, device="cpu")
    assert len(calls) == 3 + 2  # of four shards, two were complete
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not (tmp_path / "killed.jsonl.partial").exists()


def test_a_prompt_of_two_languages_counts_twice_and_equal_pairs_once(tmp_path: Path) -> None:
    finnish, again, russian = tevatron_item("Missä?", lang="fi"), tevatron_item("Missä?", lang="fi"), tevatron_item("?")
    russian |= {"lang": "ru", "positive_passages": finnish["positive_passages"] * 2}
    pairs = read_pairs(write_lines(tmp_path / "a.jsonl", finnish, "", again, russian))
    assert pairs.passages == [AskedPassage("fi", "", "Missä?", ("Missä?",)), AskedPassage("ru", "", "Missä?", ("?",))]
    assert (pairs.places, pairs.lines) == ([(0, 0), (0, 0), (1, 0), (1, 0)], 3)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("{", "2: is not JSON"),
        (tevatron_item("Missä?"), "2: unknown language of the question 'Missä?' (give each question a"),
        (tevatron_item("Где?", lang="xx"), "2: unknown language of the question 'Где?'"),
        (tevatron_item(" "), "2: query is blank"),
        ({"query": "Где?", "positive_passages": []}, "2: lacks the field 'negative_passages'"),
        (tevatron_item("Где?", negative_passages=[{"docid": "1", "title": ""}]), "2: lacks the field"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(config: ScorerConfig, tmp_path: Path, item: Any, message: str) -> None:
    data = write_lines(tmp_path / "given.jsonl", tevatron_item("Где?"), item)
    with pytest.raises(InputError, match=re.escape(f"given.jsonl:{message}")):
        score(str(data), config, tmp_path / "out.jsonl", device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["given.jsonl"]


def test_bad_files_are_refused(config: ScorerConfig, tmp_path: Path) -> None:
    empty = str(write_lines(tmp_path / "empty.jsonl", tevatron_item("Где?", positive_passages=[])))
    for data, output, message in (
        ("xor-mini/train", "out.jsonl", "only a training file in .jsonl can be scored"),
        (empty, "out.json", "must end in .jsonl"),
        (empty, empty, "would be replaced"),
        (empty, "out.jsonl", "has no question with a passage to score"),
        ("none.jsonl", "out.jsonl", "none.jsonl: no such training file"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            score(data, config, tmp_path / output)
