from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from conftest import Mini, contents, described_anew, made_up, summed
from hypothesis import given
from hypothesis import strategies as st

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.plots import Panel, plot_lines, spread
from xqg_repro.core.stages import Manifest
from xqg_repro.evaluation.evaluate import Scores, evaluate
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.settings import EncoderConfig
from xqg_repro.representation.augment import augment
from xqg_repro.representation.encode import encode
from xqg_repro.representation.settings import Aggregate, Augmentation
from xqg_repro.reproduction import ablate as stage
from xqg_repro.reproduction.ablate import ALPHAS, Ablation, Vary, ablate, merge, read_ablation
from xqg_repro.retrieval.index import build_index
from xqg_repro.retrieval.runfile import Hit, Run, rank

MEASURES = ("nDCG@10", "R@5")


@pytest.fixture(scope="module")
def sums(mini_data: Mini, config: EncoderConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sums of the first 1, 2 and 3 queries in ru, fi and te. Never to be written to."""
    queries = made_up(docid for docid, *_ in mini_data.passages)
    return summed(queries, config, tmp_path_factory.mktemp("summed") / "sums")


@pytest.fixture
def scored(embeddings: Path, sums: Path, mini_data: Mini, tmp_path: Path) -> Callable[..., Ablation]:
    """``scored("alpha", values=…)``: an ablation in ``tmp_path / "a"``, of two measures that need no texts."""

    def run(vary: str, **settings: Any) -> Ablation:
        given = {"embeddings": embeddings, "sums": sums, "topics": mini_data.topics, "output": tmp_path / "a"}
        return ablate(Vary(vary), **{**given, "measures": MEASURES, "device": "cpu", **settings})

    return run


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ablations without a plot, which takes most of their time."""
    monkeypatch.setattr(stage, "plot_lines", lambda *_, bold: None)


@pytest.fixture
def runs(plain: None, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs that ablations score, in order."""
    seen: list[Run] = []

    def recording(run: Run, *rest: Any) -> Any:
        seen.extend([run] if any(run.values()) else [])
        return evaluate(run, *rest)

    monkeypatch.setattr(stage, "evaluate", recording)
    return seen


def ordinary(
    mini: Mini, config: EncoderConfig, sources: tuple[Path, Path], folder: Path, how: Augmentation, depth: int
) -> Run:
    """The run of the ordinary stages, with FAISS in place of Pyserini."""
    import faiss

    augment(*sources, folder / "augmented", how)
    build_index(folder / "augmented", folder / "index")
    docids = (folder / "index" / "docid").read_text().splitlines()
    index = faiss.read_index(str(folder / "index" / "index"))
    questions = TextEncoder(config, "cpu").encode_queries([question["question"] for question in mini.questions])
    scores, places = index.search(questions, min(depth, len(docids)))
    hits = [[Hit(docids[p], s) for p, s in zip(*row, strict=True)] for row in zip(places, scores, strict=True)]
    return {question["id"]: rank(found) for question, found in zip(mini.questions, hits, strict=True)}


# the scores


@pytest.mark.parametrize(
    ("vary", "values", "how", "depth"),
    [
        (Vary.ALPHA, (0.0, 0.02, 0.5), Augmentation(), 7),
        (Vary.ALPHA, (0.1, 1.0), Augmentation(aggregate=Aggregate.MEAN, languages=("te", "ru"), normalize=True), 100),
        (Vary.ALPHA, (0.3,), Augmentation(queries=1), 40),
        (Vary.QUERIES, (1, 2, 3), Augmentation(0.2, languages=("fi",)), 10),
    ],
)
def test_runs_and_scores_are_those_of_the_ordinary_stages(
    mini_data: Mini,
    config: EncoderConfig,
    embeddings: Path,
    sums: Path,
    scored: Callable[..., Ablation],
    runs: list[Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    vary: Vary,
    values: tuple[float, ...],
    how: Augmentation,
    depth: int,
) -> None:
    monkeypatch.setattr(stage, "QUESTIONS_PER_BLOCK", 4)
    ablation = scored(vary, values=values, how=how, depth=depth)
    assert len(runs) == len(values)
    for value, found in zip(values, runs, strict=True):
        own = dataclasses.replace(how, **{vary: value})
        expected = ordinary(mini_data, config, (embeddings, sums), tmp_path, own, depth)
        assert {qid: [hit.docid for hit in hits] for qid, hits in found.items()} == {
            qid: [hit.docid for hit in hits] for qid, hits in expected.items()
        }
        for qid, hits in expected.items():
            np.testing.assert_allclose([hit.score for hit in found[qid]], [hit.score for hit in hits], atol=1e-4)
        means = evaluate(expected, mini_data.topics, MEASURES)
        assert {measure: ablation.scores[measure][value] for measure in MEASURES} == {
            measure: pytest.approx(means.table(measure)) for measure in MEASURES
        }
    assert len({json.dumps(run) for run in runs}) == len(values)  # each value makes a difference


def test_float16_embeddings_are_scored_as_augment_stores_them(
    mini_data: Mini,
    config: EncoderConfig,
    embeddings: Path,
    sums: Path,
    scored: Callable[..., Ablation],
    runs: list[Run],
    tmp_path: Path,
) -> None:
    halves = shutil.copytree(embeddings, tmp_path / "halves")
    for path in halves.glob("*.npy"):
        np.save(path, np.load(path).astype(np.float16))
    described_anew(halves)
    scored("alpha", embeddings=halves, values=[0.1])
    for qid, hits in ordinary(mini_data, config, (halves, sums), tmp_path, Augmentation(0.1), 100).items():
        np.testing.assert_allclose([hit.score for hit in runs[0][qid]], [hit.score for hit in hits], atol=1e-4)


def test_no_queries_at_all_are_the_plain_passages(
    scored: Callable[..., Ablation], runs: list[Run], tmp_path: Path
) -> None:
    by_queries = scored("queries", how=Augmentation(0.2))
    by_alpha = scored("alpha", values=[0.2, 0, 0.2], output=tmp_path / "b")
    assert [*by_queries.scores["R@5"]] == [0, 1, 2, 3]
    assert [*by_alpha.scores["R@5"]] == [0, 0.2]
    assert runs[4:] == [runs[0], runs[3]]
    assert runs[0] != runs[3]


def test_sums_of_the_last_rank_are_set_against_the_plain_passages(
    mini_data: Mini, config: EncoderConfig, scored: Callable[..., Ablation], runs: list[Run], tmp_path: Path
) -> None:
    queries = made_up(docid for docid, *_ in mini_data.passages)
    last = summed(queries, config, tmp_path / "last", per_language=False, every_rank=False)
    assert [*scored("queries", sums=last, how=Augmentation(0.2)).scores["R@5"]] == [0, 3]
    scored("queries", how=Augmentation(0.2), values=[0, 3], output=tmp_path / "b")
    assert [[hit.docid for hit in run["q0"]] for run in runs[:2]] == [[h.docid for h in r["q0"]] for r in runs[2:]]


def test_alphas_and_measures_are_the_papers_unless_others_are_named(
    mini_data: Mini, embeddings: Path, sums: Path, plain: None, tmp_path: Path
) -> None:
    ablation = ablate(Vary.ALPHA, embeddings, sums, mini_data.topics, tmp_path / "a", device="cpu")
    assert {measure: [*rows] for measure, rows in ablation.scores.items()} == {"R2kt": [*ALPHAS], "R5kt": [*ALPHAS]}
    assert {0.0, Augmentation().alpha} < set(ALPHAS)


def test_language_without_a_question_that_can_be_scored_has_no_mean(
    scored: Callable[..., Ablation], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def without_telugu(*given: Any) -> Scores:
        scores = evaluate(*given)
        kept = {
            m: {q: s for q, s in rows.items() if scores.languages[q] != "te"} for m, rows in scores.per_query.items()
        }
        return dataclasses.replace(scores, per_query=kept)

    monkeypatch.setattr(stage, "evaluate", without_telugu)
    means = scored("alpha", values=[0.1]).scores["R@5"][0.1]
    assert [language for language, mean in means.items() if mean is None] == ["te", AVERAGE]
    assert "NaN" not in (tmp_path / "a" / "scores.json").read_text()


def test_passages_without_queries_are_refused_or_left_as_they_are(
    mini_data: Mini, config: EncoderConfig, scored: Callable[..., Ablation], runs: list[Run], tmp_path: Path
) -> None:
    some = summed(made_up(str(number) for number in range(1, 31)), config, tmp_path / "some")
    with pytest.raises(InputError, match=r"no queries for 30 of the passages; the first is 31"):
        scored("alpha", sums=some)
    assert not (tmp_path / "a").exists() and not (tmp_path / "a.partial").exists()
    scored("alpha", sums=some, values=[0, 0.3], allow_missing=True)
    plain, augmented = ({hit.docid: hit.score for hit in run["q0"]} for run in runs)
    assert {docid for docid in plain if plain[docid] == augmented[docid]} == {str(n) for n in range(31, 61)}


# the search

SMALL = st.integers(-2, 2).map(float)


@given(st.data(), st.integers(1, 9), st.integers(1, 4))
def test_search_gives_the_first_of_a_run_however_passages_are_split(data: st.DataObject, depth: int, size: int) -> None:
    # few different scores, so that most are equal
    passages = np.array(data.draw(st.lists(st.tuples(SMALL, SMALL), min_size=1, max_size=12)), dtype=np.float32)
    questions = np.array(data.draw(st.lists(st.tuples(SMALL, SMALL), min_size=1, max_size=3)), dtype=np.float32)
    docids = data.draw(st.permutations([str(number) for number in range(len(passages))]))
    found: list[list[Hit]] = [[] for _ in questions]
    for start in range(0, len(passages), size):
        part = slice(start, start + size)
        merge(found, docids[part], passages[part], torch.from_numpy(questions), depth)
    scores = questions @ passages.T
    assert found == [rank(map(Hit, docids, row))[:depth] for row in scores]


def test_last_place_goes_by_docid_where_scores_are_printed_as_equal() -> None:
    passages = np.array([[0.50000004], [0.5], [0.5000015]], dtype=np.float32)
    for order in ([0, 1, 2], [2, 1, 0]):
        found: list[list[Hit]] = [[]]
        merge(found, [["b", "a", "c"][i] for i in order], passages[order], torch.ones(1, 1), 2)
        assert [hit.docid for hit in found[0]] == ["c", "a"]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(wrong: float) -> None:
    passages = np.array([[1.0], [wrong]], dtype=np.float32)
    with pytest.raises(InputError, match="hold NaN or infinity"):
        merge([[]], ["1", "2"], passages, torch.ones(1, 1), 1)


# what is refused


@pytest.mark.parametrize(
    ("vary", "settings", "problem"),
    [
        ("alpha", {"values": [0.1, 1.5]}, r"α is 1\.5.*between 0 and 1"),
        ("alpha", {"how": Augmentation(languages=("ko",))}, "no sums of queries in 'ko'"),
        ("alpha", {"how": Augmentation(queries=4)}, "sums of 3 queries per language, not 4"),
        ("queries", {"values": [1, 4]}, "sums of 3 queries per language, not 4"),
        ("queries", {"values": [1.5]}, "1.5 is no number of queries"),
        ("queries", {"values": [-1]}, "first -1 queries"),
        ("alpha", {"depth": 0}, "one passage"),
        ("alpha", {"measures": []}, "one measure"),
        ("alpha", {"measures": ["R2kt", "unheard"]}, "does not know.*unheard"),
        ("alpha", {"topics": "xor-tydi"}, "xor-tydi has no questions"),
        ("alpha", {"topics": "test-mini/never"}, "no dataset 'test-mini/never'"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_anything_is_encoded(
    scored: Callable[..., Ablation],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    vary: str,
    settings: dict[str, Any],
    problem: str,
) -> None:
    monkeypatch.delattr(stage, "TextEncoder")
    with pytest.raises(InputError, match=problem):
        scored(vary, **settings)
    assert list(tmp_path.iterdir()) == []


def test_missing_matplotlib_is_reported_before_anything_is_encoded(
    scored: Callable[..., Ablation], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delattr(stage, "TextEncoder")
    with pytest.raises(InputError, match=r"pip install 'xqg_repro\[plots\]'"):
        scored("alpha")
    assert list(tmp_path.iterdir()) == []


def test_folders_of_other_stages_are_refused(
    embeddings: Path, sums: Path, scored: Callable[..., Ablation], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="is the output of sum, not of encode"):
        scored("alpha", embeddings=sums)
    with pytest.raises(InputError, match="is the output of encode, not of sum"):
        scored("alpha", sums=embeddings)
    with pytest.raises(InputError, match="is the output of encode, not an ablation"):
        read_ablation(embeddings)


def test_other_models_are_refused(
    mini_data: Mini, embeddings: Path, sums: Path, model_folder: Callable[..., Path], tmp_path: Path
) -> None:
    model = shutil.copytree(model_folder("bert", seed=2), tmp_path / "model")
    own = EncoderConfig(str(model))
    encode(mini_data.docs, own, tmp_path / "e", device="cpu")
    ours = summed(made_up(docid for docid, *_ in mini_data.passages), own, tmp_path / "s")
    for folders in ((tmp_path / "e", sums), (embeddings, ours)):
        with pytest.raises(InputError, match="made with another model"):
            ablate(Vary.ALPHA, *folders, mini_data.topics, tmp_path / "a")
    shutil.copy(model_folder("bert", seed=3) / "model.safetensors", model)
    with pytest.raises(InputError, match="was made with other weights than"):
        ablate(Vary.ALPHA, tmp_path / "e", ours, mini_data.topics, tmp_path / "a")


# the folder


def test_folder_holds_the_scores_the_tables_and_the_plot(scored: Callable[..., Ablation], tmp_path: Path) -> None:
    ablation = scored("queries", how=Augmentation(0.2, languages=("te", "ru")), values=[2, 0])
    assert set(contents(tmp_path / "a")) == {"manifest.json", "plot.svg", "scores.json", "table.md"}
    held = json.loads((tmp_path / "a" / "scores.json").read_text())
    assert (held["vary"], held["topics"]) == ("queries", "test-mini/dev")
    assert held["scores"]["R@5"] == {f"{value:g}": row for value, row in ablation.scores["R@5"].items()}
    assert [*held["scores"]["R@5"]["2"]] == ["ar", "bn", "fi", "ja", "ko", "ru", "te", AVERAGE]
    tables = (tmp_path / "a" / "table.md").read_text()
    assert tables == "\n\n".join(ablation.table(name, "**{}**").markdown() for name in MEASURES) + "\n"
    manifest = Manifest.read(tmp_path / "a")
    expected = {"alpha": 0.2, "aggregate": "sum", "languages": ["ru", "te"], "normalize": False}
    assert manifest.parameters["augmentation"] == expected
    assert manifest.parameters["values"] == [0, 2]
    assert manifest.counts == {"questions": 14, "values": 2}


def test_matching_folder_is_read_back_and_others_are_made_anew(
    scored: Callable[..., Ablation], plain: None, tmp_path: Path
) -> None:
    lines: list[str] = []
    settings: dict[str, Any] = {
        "values": [0, 0.1],
    }
    first = scored("alpha", **settings)
    # the number of queries that there are, and an α that is varied anyway
    assert scored("alpha", **settings | {"values": [0.1, 0], "how": Augmentation(0.5, queries=3)}) == first
    assert read_ablation(tmp_path / "a") == first
    assert lines[1] == f"ablate: {tmp_path / 'a'} is up to date"
    for name, change in {
        "values": {"values": [0.2]},
        "measures": {"measures": ["R@5"]},
        "depth": {"depth": 9},
        "augmentation": {"how": Augmentation(aggregate=Aggregate.MEAN)},
        "allow_missing": {"allow_missing": True},
    }.items():
        settings |= change
        scored("alpha", **settings)
        assert lines[-2].endswith(f"is rebuilt (changed: {name})")


def test_same_ablation_gives_the_same_bytes(scored: Callable[..., Ablation], tmp_path: Path) -> None:
    scored("alpha", values=[0, 0.1])
    scored("alpha", values=[0, 0.1], output=tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


MADE_UP = Ablation(
    Vary.ALPHA,
    "test-mini/dev",
    {
        "R2kt": {
            0.0: {"fi": 0.5, "ru": None, AVERAGE: 0.44101},
            0.005: {"fi": 0.25, "ru": None, AVERAGE: 0.44149},
            0.5: {"fi": 1.0, "ru": None, AVERAGE: 0.0912},
        },
        "RR": {value: {"fi": value, "ru": 1.0, AVERAGE: value} for value in (0.0, 0.005, 0.5)},
    },
)


def test_tables_are_in_percent_for_token_measures_with_the_best_averages_in_bold(tmp_path: Path) -> None:
    MADE_UP.write(tmp_path)
    assert (
        (tmp_path / "table.md").read_text()
        == """\
| R2kt by α | fi | ru | average |
| --- | ---: | ---: | ---: |
| 0 | 50.0 | – | **44.1** |
| 0.005 | 25.0 | – | **44.1** |
| 0.5 | 100.0 | – | 9.1 |

| RR by α | fi | ru | average |
| --- | ---: | ---: | ---: |
| 0 | 0.000 | 1.000 | 0.000 |
| 0.005 | 0.005 | 1.000 | 0.005 |
| 0.5 | 0.500 | 1.000 | **0.500** |
"""
    )
    assert MADE_UP.text().splitlines()[:3] == [
        "R2kt by α     fi  ru  average",
        "-----------------------------",
        "0           50.0   –     44.1",
    ]


def test_table_without_an_average_has_nothing_in_bold() -> None:
    unknown = Ablation(Vary.QUERIES, "t", {"RR": {0: {"fi": None, AVERAGE: None}, 1: {"fi": None, AVERAGE: None}}})
    assert unknown.table("RR", "**{}**").rows == [["0", "–", "–"], ["1", "–", "–"]]


# the plot


def words(path: Path) -> list[str]:
    return [element.text or "" for element in ElementTree.parse(path).iter() if element.tag.endswith("text")]


def test_plot_names_its_axes_and_lines(tmp_path: Path) -> None:
    MADE_UP.write(tmp_path)
    shown = words(tmp_path / "plot.svg")
    assert {"0", "0.005", "0.5", "α", "R2kt (%)", "RR"} <= set(shown)
    assert [shown.count(name) for name in ("fi", "ru", AVERAGE)] == [2, 1, 2]  # nothing to draw for ru in R2kt
    looks = {e.text: e.get("style", "") for e in ElementTree.parse(tmp_path / "plot.svg").iter() if e.text}
    assert "font-weight: 700" in looks[AVERAGE] and "font-weight" not in looks["fi"]


def test_plot_draws_the_average_alone_thick_and_black(tmp_path: Path) -> None:
    plot_lines(tmp_path / "p.svg", "x", ["a", "b"], [Panel("y", {"fi": [1, 2], "average": [2, 3]})], bold="average")
    styles = [e.get("style", "") for e in ElementTree.parse(tmp_path / "p.svg").iter() if e.tag.endswith("path")]
    assert [("#000000" in style or "stroke: #" not in style) for style in styles if "stroke-width: 2.4" in style] == [
        True
    ]


def test_plot_says_neither_when_nor_by_what_it_was_drawn(tmp_path: Path) -> None:
    MADE_UP.write(tmp_path)
    text = (tmp_path / "plot.svg").read_text()
    assert "dc:date" not in text and "Matplotlib v" not in text


def test_labels_without_a_place_take_no_room() -> None:
    np.testing.assert_array_equal(spread([np.nan, 1, 2, np.nan, 1.5], gap=1), [np.nan, 0.5, 2.5, np.nan, 1.5])


@given(st.lists(st.floats(-9, 9), max_size=8), st.floats(0.1, 3))
def test_labels_are_spread_as_little_as_possible(values: list[float], gap: float) -> None:
    moved = np.array(spread(values, gap))
    order = np.argsort(values, kind="stable")
    assert (np.diff(moved[order]) >= gap - 1e-6).all()
    np.testing.assert_allclose(moved.sum(), sum(values), atol=1e-6)  # least squares leave the mean where it is
    if (np.diff(np.array(values)[order]) >= gap).all():
        np.testing.assert_allclose(moved, values, atol=1e-9)
