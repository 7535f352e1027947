from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import COUNT, LANGUAGES, Mini, contents, described_anew, made_up, summed, together, write_queries
from interrupts import interrupt_call

from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.generator import PassageQueries
from xqg_repro.models.reader import SEEN
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.representation.augment import augment
from xqg_repro.representation.queries import read_queries
from xqg_repro.representation.settings import Augmentation
from xqg_repro.representation.sums import read_sums, sum_queries
from xqg_repro.retrieval.filter import filter_queries
from xqg_repro.retrieval.round_trip import RoundTrip
from xqg_repro.retrieval.selection import NEAR, count_queries, language_table, select_best

Filter = Callable[..., Manifest]


@pytest.fixture(scope="module")
def docids(mini_data: Mini) -> list[str]:
    return [docid for docid, _, _ in mini_data.passages]


@pytest.fixture(scope="module")
def generated(docids: list[str]) -> list[PassageQueries]:
    """Queries in another order than the passages; some are empty or repeated, and one passage has few."""
    passages = made_up(reversed(docids))
    for number, passage in enumerate(passages):
        texts = passage.queries
        if number % 3 == 0:
            texts["fi"] = ("", texts["fi"][0], texts["fi"][1])
        if number % 4 == 0:
            texts["ru"] = (texts["ru"][0], texts["ru"][0], texts["ru"][1])
    passages[7].queries["te"] = passages[7].queries["te"][:1]
    return passages


@pytest.fixture
def queries(generated: list[PassageQueries], tmp_path: Path) -> Path:
    return write_queries(generated, tmp_path / "queries.jsonl")


@pytest.fixture
def best_of(queries: Path, embeddings: Path, tmp_path: Path) -> Filter:
    """``best_of(keep)``: filter the made-up queries in shards of 25."""

    def run(keep: int, output: str = "best", **options: Any) -> Manifest:
        settings = {"shard_size": 25, "device": "cpu", **options}
        return filter_queries(settings.pop("queries", queries), embeddings, tmp_path / output, keep, **settings)

    return run


def read_all(folder: Path) -> list[PassageQueries]:
    return list(read_queries(folder, None, None))


def by_hand(passages: Sequence[PassageQueries], embeddings: Path, config: EncoderConfig) -> list[PassageQueries]:
    """All queries of each passage, sorted by what the filter promises, from a ranking of all passages."""
    docids, vectors = together(embeddings)
    encoder, ordered = TextEncoder(config, "cpu"), []
    for passage in passages:
        best = {}
        for language, texts in passage.queries.items():
            keys = []
            for number, text in enumerate(texts):
                vector = encoder.encode_queries([text or "x"])[0]
                scores = (vectors @ vector).astype(np.float64)
                own = scores[docids.index(passage.docid)]
                others = np.delete(scores, docids.index(passage.docid))
                keys.append((not text, text in texts[:number], (others > own + 1e-6).sum(), others.max() - own, number))
            best[language] = tuple(texts[key[-1]] for key in sorted(keys))
        ordered.append(PassageQueries(passage.docid, best))
    return ordered


# what is kept


@pytest.mark.parametrize("keep", [1, 2, 3, 9])
def test_the_best_queries_are_kept_in_order_for_every_passage(
    best_of: Filter, generated: list[PassageQueries], embeddings: Path, config: EncoderConfig, tmp_path: Path, keep: int
) -> None:
    best_of(keep)
    kept, expected = read_all(tmp_path / "best"), by_hand(generated, embeddings, config)
    assert [passage.docid for passage in kept] == [passage.docid for passage in generated]
    for passage, ordered, before in zip(kept, expected, generated, strict=True):
        assert passage.queries == {code: texts[:keep] for code, texts in ordered.queries.items()}
        assert {code: len(texts) for code, texts in passage.queries.items()} == {
            code: min(keep, len(texts)) for code, texts in before.queries.items()
        }
    assert [passage.queries["fi"] for passage in kept] != [passage.queries["fi"][:keep] for passage in generated]


def test_empty_and_repeated_queries_come_last_and_ties_stay_in_order() -> None:
    first, tied, bad = RoundTrip(1, 0.5), RoundTrip(2, -1.0), RoundTrip(40, -0.1)
    of_texts = {"first": first, "tied": tied, "like it": tied, "bad": bad, "worse": RoundTrip(40, -0.2)}
    scores = dict.fromkeys(("fi", "ru"), of_texts)
    queries = ("", "worse", "bad", " ", "first", "like it", "tied", "bad", "first")
    ordered = ("first", "like it", "tied", "bad", "worse", "first", "bad", "", " ")
    for keep in range(1, 11):
        passage = select_best(PassageQueries("1", {"fi": queries, "ru": ("tied",)}), scores, keep)
        assert passage == PassageQueries("1", {"fi": ordered[:keep], "ru": ("tied",)})


@pytest.mark.parametrize("rank", [1, 5])
def test_queries_below_a_rank_are_dropped_even_if_none_is_left(
    best_of: Filter, generated: list[PassageQueries], embeddings: Path, config: EncoderConfig, tmp_path: Path, rank: int
) -> None:
    manifest = best_of(COUNT, rank=rank)
    docids, vectors = together(embeddings)
    encoder = TextEncoder(config, "cpu")

    def is_found(text: str, docid: str) -> bool:
        scores = vectors @ encoder.encode_queries([text])[0]
        return bool(text) and 1 + (scores > scores[docids.index(docid)] + 1e-6).sum() <= rank

    kept, ordered = read_all(tmp_path / "best"), by_hand(generated, embeddings, config)
    expected = [
        {code: found for code, texts in passage.queries.items() if (found := tuple(t for t in texts if is_found(t, d)))}
        for passage in ordered
        for d in [passage.docid]
    ]
    assert [passage.queries for passage in kept] == expected
    assert 0 < sum(len(texts) for queries in expected for texts in queries.values()) < manifest.counts["queries"]
    assert any("fi" not in queries for queries in expected)
    assert manifest.parameters["rank"] == rank and "rank" not in best_of(2, "all").parameters
    with pytest.raises(InputError, match="no passage has the rank 0"):
        best_of(2, rank=0)


def test_a_language_and_a_number_limit_what_is_compared(
    best_of: Filter, generated: list[PassageQueries], tmp_path: Path
) -> None:
    best_of(2, of=2, languages=["ru"])
    kept = read_all(tmp_path / "best")
    assert all({*passage.queries} == {"ru"} for passage in kept)
    for passage, before in zip(kept, generated, strict=True):
        assert sorted(passage.queries["ru"]) == sorted(before.queries["ru"][:2])


def test_the_format_is_that_of_generate_and_all_queries_have_the_same_sum(
    best_of: Filter, queries: Path, config: EncoderConfig, tmp_path: Path
) -> None:
    best_of(COUNT)
    sums = []
    for source in (queries, tmp_path / "best"):
        output = tmp_path / f"{source.name}.sums"
        how = {"languages": LANGUAGES, "count": COUNT, "per_language": True, "device": "cpu", "allow_missing": True}
        sum_queries(source, config, output, **how)
        opened = read_sums(output)
        groups, rank = opened.select()
        sums.append(opened.take(np.arange(60), groups, rank)[0])
    np.testing.assert_allclose(*sums, atol=1e-4)


def test_the_list_of_what_the_writer_was_trained_on_goes_along(best_of: Filter, queries: Path, tmp_path: Path) -> None:
    folder = tmp_path / "written"
    folder.mkdir()
    shutil.copy(queries, folder / "00000.jsonl")
    (folder / SEEN).write_text("7-0\n")
    best_of(2, queries=folder)
    assert (tmp_path / "best" / SEEN).read_text() == "7-0\n"


# counts


def test_counts_by_language_are_those_of_the_queries(
    best_of: Filter, generated: list[PassageQueries], embeddings: Path, config: EncoderConfig
) -> None:
    counts = best_of(1).counts
    ordered = by_hand(generated, embeddings, config)
    docids, vectors = together(embeddings)
    encoder = TextEncoder(config, "cpu")
    for language in LANGUAGES:
        expected = dict.fromkeys(("first", f"first_{NEAR}", "kept_first", f"kept_first_{NEAR}"), 0)
        for passage in ordered:
            for number, text in enumerate(passage.queries[language]):
                scores = vectors @ encoder.encode_queries([text])[0] if text else np.zeros(60)
                rank = 1 + (scores > scores[docids.index(passage.docid)] + 1e-6).sum()
                for name, most in (("first", 1), (f"first_{NEAR}", NEAR)):
                    expected[name] += bool(text) and rank <= most
                    expected[f"kept_{name}"] += bool(text) and rank <= most and number == 0
        assert {name: counts[f"{name}.{language}"] for name in expected} == expected
        assert counts[f"kept.{language}"] == 60
    assert counts["passages"] == 60 and counts["kept"] == 180
    assert counts["queries"] == sum(counts[f"queries.{code}"] for code in LANGUAGES) == 60 * 9 - 2
    assert (counts["empty"], counts["duplicate"]) == (20, 15)


def test_a_table_shows_the_counts_by_language() -> None:
    passage = PassageQueries("1", {"te": ("a", "b", "b", ""), "fi": ("c",)})
    scores = {"te": {"a": RoundTrip(11, -1.0), "b": RoundTrip(10, -1.0)}, "fi": {"c": RoundTrip(1, 1.0)}}
    counts = count_queries(passage, select_best(passage, scores, 2), scores)
    header, _, *rows = language_table(Manifest("filter", counts=dict(counts))).text().splitlines()
    assert header.split()[:4] == ["own", "passage", "found", "queries"]
    assert [row.split() for row in rows] == [
        ["fi", "1", "1", "100.0", "100.0", "100.0", "100.0"],
        ["te", "4", "2", "0.0", "50.0", "0.0", "50.0"],
        ["all", "5", "3", "20.0", "60.0", "33.3", "66.7"],
    ]
    assert (counts["empty"], counts["duplicate"]) == (1, 1)


# the stage


def test_an_interrupted_run_resumes_with_the_same_bytes(
    best_of: Filter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("xqg_repro.retrieval.filter")
    best_of(2, "whole")
    calls = interrupt_call(monkeypatch, module, "score_queries", 2)
    with pytest.raises(KeyboardInterrupt):
        best_of(2)
    assert {path.name for path in (tmp_path / "best.partial").glob("0*")} == {"00000.jsonl", "00000.counts.json"}
    best_of(2)
    assert len(calls) == 4  # of three shards, one was complete
    assert contents(tmp_path / "best") == contents(tmp_path / "whole")


def test_a_matching_folder_is_reused_until_something_changes(
    best_of: Filter, generated: list[PassageQueries], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("INFO")
    half = write_queries(generated[:30], tmp_path / "half.jsonl")
    best_of(2)
    assert "kept 359," in caplog.messages[-1] and "kept.fi" not in caplog.messages[-1]
    for options, message in (
        ({}, "is up to date"),
        ({"force": True}, "rebuilt (--force)"),
        ({"keep": 1}, "rebuilt (changed: keep)"),
        ({"keep": 1, "languages": ["fi"]}, "rebuilt (changed: languages)"),
        ({"keep": 1, "queries": half}, "rebuilt (changed: languages, queries)"),
    ):
        caplog.clear()
        best_of(**{"keep": 2, **options})
        assert message in caplog.messages[0]


# wrong inputs


def test_only_plain_passages_are_searched(
    best_of: Filter, queries: Path, embeddings: Path, config: EncoderConfig, docids: list[str], tmp_path: Path
) -> None:
    sums = summed(made_up(docids), config, tmp_path / "sums")
    augment(embeddings, sums, tmp_path / "augmented", Augmentation(0.1))
    for name, stage in (("augmented", "augment"), ("sums", "sum")):
        with pytest.raises(InputError, match=f"output of {stage}, not of encode") as caught:
            filter_queries(queries, tmp_path / name, tmp_path / "best", 2)
        assert caught.value.hint
    with pytest.raises(InputError, match=r"has no manifest.json"):
        filter_queries(queries, tmp_path, tmp_path / "best", 2)
    assert not (tmp_path / "best").exists()


def test_the_encoder_must_be_that_of_the_passages(
    best_of: Filter, config: EncoderConfig, tiny_xlmr: Path, tmp_path: Path
) -> None:
    for encoder, problem in (
        (EncoderConfig(str(tiny_xlmr)), "was made with another model"),
        (dataclasses.replace(config, pooling="mean"), "was made with cls pooling"),  # type: ignore[arg-type]
        (dataclasses.replace(config, normalize=True), "but the questions use cls pooling, normalised"),
    ):
        with pytest.raises(InputError, match=problem) as caught:
            best_of(2, encoder=encoder)
        assert caught.value.hint
    assert not (tmp_path / "best").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"keep": 0}, "cannot keep 0 queries"),
        ({"keep": 3, "of": 2}, "cannot keep 3 of 2"),
        ({"keep": 1, "of": 0}, "cannot keep 1 of 0"),
        ({"keep": 1, "languages": ["xx"]}, "'xx'"),
        ({"keep": 1, "shard_size": 0}, "cannot hold 0 passages"),
        ({"keep": 1, "of": 3}, "expected 3 Telugu queries, got 1"),
        ({"keep": 1, "of": 1, "languages": ["ja"]}, "expected 1 Japanese queries, got 0"),
    ],
)
def test_bad_numbers_and_missing_queries_are_refused(
    best_of: Filter, tmp_path: Path, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        best_of(**options)
    assert not (tmp_path / "best").exists()


def test_missing_queries_can_be_allowed(best_of: Filter, tmp_path: Path) -> None:
    best_of(2, of=3, languages=["te", "ja"], allow_missing=True)
    assert [len(passage.queries["te"]) for passage in read_all(tmp_path / "best")] == [2] * 7 + [1] + [2] * 52


@pytest.mark.parametrize(
    ("passages", "problem"),
    [("1 2 nowhere", "holds no passage nowhere"), ("1 2 1", "two lines for the passage 1"), ("", "holds no generated")],
)
def test_passages_are_in_the_embeddings_once(best_of: Filter, tmp_path: Path, passages: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        best_of(2, queries=write_queries(made_up(passages.split()), tmp_path / "other.jsonl"))
    assert not (tmp_path / "best").exists()


def test_damaged_embeddings_are_named(embeddings: Path, queries: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(embeddings, tmp_path / "damaged")
    np.save(damaged / "00001.npy", np.full((16, 32), np.nan, np.float32))
    with pytest.raises(InputError, match=r"00001.npy: holds vectors that are infinite or not numbers"):
        filter_queries(queries, described_anew(damaged), tmp_path / "best", 2, device="cpu")


# the command line


def test_a_user_filters_and_sums(
    queries: Path, embeddings: Path, config: EncoderConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best, words = tmp_path / "best", f"filter --queries {queries} --embeddings {embeddings} --keep 2".split()
    assert cli.main([*words, "--output", str(best)]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1].split()[:3] == ["all", "538", "359"]
    assert printed.err.startswith(f"filter: wrote {best} (passages 60, queries 538, ")
    how = ["--encoder", config.model, "--pooling", "cls", "--languages", "ru", "fi", "--queries", "2"]
    assert cli.main(["sum", "--generated", str(best), *how, "--output", str(tmp_path / "sums")]) == 0
    assert json.loads((tmp_path / "sums" / "manifest.json").read_text())["counts"]["queries"] == 240
    assert cli.main([*words, "--output", str(embeddings)]) == 2
    assert "own output" in capsys.readouterr().err
