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
from hypothesis import given, strategies as st

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.stages import Manifest
from xqg_repro.evaluation.evaluate import evaluate
from xqg_repro.evaluation.scores import Scores
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
    usual = {"embeddings": embeddings, "sums": sums, "topics": mini_data.topics, "output": tmp_path / "a"}
    return lambda vary, **settings: ablate(Vary(vary), **{**usual, "measures": MEASURES, "device": "cpu", **settings})


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ablations without a plot, which takes most of their time."""
    monkeypatch.setattr(stage, "plot_lines", lambda *_, bold: None)


@pytest.fixture
def runs(plain: None, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs that ablations score, in order."""
    seen: list[Run] = []

    def record(run: Run, *rest: Any, **settings: Any) -> Scores:
        seen.extend([run] if any(run.values()) else [])
        return evaluate(run, *rest, **settings)

    monkeypatch.setattr(stage, "evaluate", record)
    return seen


@pytest.fixture
def ordinary(
    mini_data: Mini, config: EncoderConfig, embeddings: Path, sums: Path, tmp_path: Path
) -> Callable[..., Run]:
    """``ordinary(how, depth)``: the run of the stages augment, index and search, with FAISS in place of Pyserini."""
    import faiss

    def run(how: Augmentation, depth: int = 100, embeddings: Path = embeddings) -> Run:
        augment(embeddings, sums, tmp_path / "augmented", how)
        build_index(tmp_path / "augmented", tmp_path / "index")
        docids = (tmp_path / "index" / "docid").read_text().splitlines()
        index = faiss.read_index(str(tmp_path / "index" / "index"))
        texts = [question["question"] for question in mini_data.questions]
        scores, places = index.search(TextEncoder(config, "cpu").encode_queries(texts), min(depth, len(docids)))
        hits = [[Hit(docids[p], s) for p, s in zip(*row, strict=True)] for row in zip(places, scores, strict=True)]
        return {question["id"]: rank(row) for question, row in zip(mini_data.questions, hits, strict=True)}

    return run


def docids_of(run: Run) -> dict[str, list[str]]:
    return {qid: [hit.docid for hit in hits] for qid, hits in run.items()}


def assert_same(run: Run, expected: Run) -> None:
    """The same passages with the same scores, in the same order, up to the rounding of floats.

    FAISS and torch add up in another order on some processors, so passages of nearly equal scores may change places.
    """
    assert run.keys() == expected.keys()
    for qid, hits in expected.items():
        score_of = {hit.docid: hit.score for hit in hits}
        assert {hit.docid for hit in run[qid]} == score_of.keys()
        for scores in ([hit.score for hit in run[qid]], [score_of[hit.docid] for hit in run[qid]]):
            np.testing.assert_allclose(scores, [hit.score for hit in hits], atol=1e-4)


# the scores


def test_runs_and_scores_are_those_of_the_ordinary_stages(
    mini_data: Mini,
    ordinary: Callable[..., Run],
    scored: Callable[..., Ablation],
    runs: list[Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stage, "QUESTIONS_PER_BLOCK", 4)
    some = Augmentation(aggregate=Aggregate.MEAN, languages=("te", "ru"), normalize=True)
    for vary, values, how, depth in (
        (Vary.ALPHA, (0.0, 0.02, 0.5), Augmentation(), 7),
        (Vary.ALPHA, (0.1, 1.0), some, 100),
        (Vary.QUERIES, (1, 2, 3), Augmentation(0.2, languages=("fi",)), 10),
    ):
        runs.clear()
        ablation = scored(vary, values=values, how=how, depth=depth)
        for value, run in zip(values, runs, strict=True):
            expected = ordinary(dataclasses.replace(how, **{vary: value}), depth)
            assert_same(run, expected)
            means = evaluate(expected, mini_data.topics, MEASURES)
            for measure in MEASURES:
                assert ablation.scores[measure][value] == pytest.approx(means.table(measure))
        assert len({json.dumps(run) for run in runs}) == len(values)  # each value makes a difference


def test_float16_embeddings_are_scored_as_augment_stores_them(
    embeddings: Path, ordinary: Callable[..., Run], scored: Callable[..., Ablation], runs: list[Run], tmp_path: Path
) -> None:
    halves = shutil.copytree(embeddings, tmp_path / "halves")
    for path in halves.glob("*.npy"):
        np.save(path, np.load(path).astype(np.float16))
    described_anew(halves)
    scored("alpha", embeddings=halves, values=[0.1])
    assert_same(runs[0], ordinary(Augmentation(0.1), embeddings=halves))


def test_no_queries_and_no_alpha_are_the_plain_passages(
    mini_data: Mini, config: EncoderConfig, scored: Callable[..., Ablation], runs: list[Run], tmp_path: Path
) -> None:
    by_queries = scored("queries", how=Augmentation(0.2))
    by_alpha = scored("alpha", values=[0.2, 0, 0.2], output=tmp_path / "b")
    assert ([*by_queries.scores["R@5"]], [*by_alpha.scores["R@5"]]) == ([0, 1, 2, 3], [0, 0.2])
    assert runs[4:] == [runs[0], runs[3]]
    assert runs[0] != runs[3]
    queries = made_up(docid for docid, *_ in mini_data.passages)
    last = summed(queries, config, tmp_path / "last", per_language=False, every_rank=False)
    by_last = scored("queries", sums=last, how=Augmentation(0.2), output=tmp_path / "c")
    assert [*by_last.scores["R@5"]] == [0, 3]
    assert list(map(docids_of, runs[6:])) == [docids_of(runs[0]), docids_of(runs[3])]


def test_language_without_a_question_that_can_be_scored_has_no_mean(
    scored: Callable[..., Ablation], plain: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Scores, "table", lambda scores, measure: {"fi": 0.5, "te": np.nan, AVERAGE: np.nan})
    assert scored("alpha", values=[0.1]).scores["R@5"] == {0.1: {"fi": 0.5, "te": None, AVERAGE: None}}
    assert "NaN" not in (tmp_path / "a" / "scores.json").read_text()


def test_passages_without_queries_are_refused_or_left_as_they_are(
    config: EncoderConfig, scored: Callable[..., Ablation], runs: list[Run], tmp_path: Path
) -> None:
    some = summed(made_up(str(number) for number in range(1, 31)), config, tmp_path / "some")
    with pytest.raises(InputError, match=r"30 of the passages.* 31"):
        scored("alpha", sums=some)
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
def test_scores_that_are_not_finite_are_refused(wrong: float) -> None:
    with pytest.raises(InputError, match="NaN"):
        merge([[]], ["1", "2"], np.array([[1.0], [wrong]], dtype=np.float32), torch.ones(1, 1), 1)


# what is refused


@pytest.mark.parametrize(
    ("vary", "settings", "problem"),
    [
        ("alpha", {"values": [0.1, 1.5]}, "1\\.5"),
        ("alpha", {"how": Augmentation(queries=4)}, "3 queries.*4"),
        ("queries", {"values": [1.5]}, "1\\.5"),
        ("queries", {"values": [-1]}, "-1"),
        ("alpha", {"depth": 0}, "depth"),
        ("alpha", {"measures": ["R2kt", "unheard"]}, "unheard"),
        ("alpha", {"topics": "xor-tydi"}, "xor-tydi"),
        ("alpha", {}, "plots"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_anything_is_encoded(
    scored: Callable[..., Ablation], monkeypatch: pytest.MonkeyPatch, vary: str, settings: Any, problem: str
) -> None:
    if not settings:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delattr(stage, "TextEncoder")
    with pytest.raises(InputError, match=problem):
        scored(vary, **settings)


def test_folders_of_other_stages_and_models_are_refused(
    mini_data: Mini,
    embeddings: Path,
    sums: Path,
    model_folder: Callable[..., Path],
    scored: Callable[..., Ablation],
    tmp_path: Path,
) -> None:
    for settings, problem in (({"embeddings": sums}, "output of sum"), ({"sums": embeddings}, "output of encode")):
        with pytest.raises(InputError, match=problem):
            scored("alpha", **settings)
    with pytest.raises(InputError, match="output of encode"):
        read_ablation(embeddings)
    model = shutil.copytree(model_folder("bert", seed=2), tmp_path / "model")
    own = EncoderConfig(str(model))
    encode(mini_data.docs, own, tmp_path / "e", device="cpu")
    ours = summed(made_up(docid for docid, *_ in mini_data.passages), own, tmp_path / "s")
    for settings in ({"embeddings": tmp_path / "e"}, {"sums": ours}):
        with pytest.raises(InputError, match="another model"):
            scored("alpha", **settings)
    shutil.copy(model_folder("bert", seed=3) / "model.safetensors", model)
    with pytest.raises(InputError, match="other weights"):
        scored("alpha", embeddings=tmp_path / "e", sums=ours)


# the folder


def test_folder_has_the_scores_the_tables_and_the_plot(scored: Callable[..., Ablation], tmp_path: Path) -> None:
    settings = {"how": Augmentation(0.2, languages=("te", "ru")), "values": [2, 0]}
    ablation = scored("queries", **settings)
    assert set(contents(tmp_path / "a")) == {"manifest.json", "plot.svg", "scores.json", "table.md"}
    scores = json.loads((tmp_path / "a" / "scores.json").read_text())
    assert (scores["vary"], scores["topics"]) == ("queries", "test-mini/dev")
    assert scores["scores"]["R@5"] == {f"{value:g}": row for value, row in ablation.scores["R@5"].items()}
    assert [*scores["scores"]["R@5"]["2"]] == ["ar", "bn", "fi", "ja", "ko", "ru", "te", AVERAGE]
    manifest = Manifest.read(tmp_path / "a")
    how = {"alpha": 0.2, "aggregate": "sum", "languages": ["ru", "te"], "normalize": False}
    assert (manifest.parameters["augmentation"], manifest.parameters["values"]) == (how, [0, 2])
    assert manifest.counts == {"questions": 14, "values": 2}
    scored("queries", **settings, output=tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_matching_folder_is_reused_and_others_are_rebuilt(
    scored: Callable[..., Ablation], plain: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert {0.0, Augmentation().alpha} < {*scored("alpha").scores["R@5"]} == {*ALPHAS}
    settings: dict[str, Any] = {"values": [0, 0.1]}
    first = scored("alpha", **settings)
    # 3 queries are all, and α varies whatever its own value
    assert scored("alpha", **settings | {"values": [0.1, 0], "how": Augmentation(0.5, queries=3)}) == first
    assert read_ablation(tmp_path / "a") == first
    assert caplog.messages[-1] == f"ablate: {tmp_path / 'a'} is up to date"
    for name, change in {
        "values": {"values": [0.2]},
        "measures": {"measures": ["R@5"]},
        "depth": {"depth": 9},
        "augmentation": {"how": Augmentation(aggregate=Aggregate.MEAN)},
        "allow_missing": {"allow_missing": True},
    }.items():
        settings |= change
        scored("alpha", **settings)
        assert caplog.messages[-2].endswith(f"is rebuilt (changed: {name})")


def test_tables_are_in_percent_for_token_measures_with_the_best_averages_in_bold(tmp_path: Path) -> None:
    rows = {
        0.0: {"fi": 0.5, "ru": None, AVERAGE: 0.44101},
        0.005: {"fi": 0.25, "ru": None, AVERAGE: 0.44149},
        0.5: {"fi": 1.0, "ru": None, AVERAGE: 0.0912},
    }
    ablation = Ablation(Vary.ALPHA, "t", {"R2kt": rows, "RR": {x: {"fi": x, "ru": 1.0, AVERAGE: x} for x in rows}})
    ablation.write(tmp_path)
    table = (tmp_path / "table.md").read_text().splitlines()
    assert [row.replace(" ", "") for row in table if "|0" in row.replace(" ", "")] == [
        "|0|50.0|–|**44.1**|",
        "|0.005|25.0|–|**44.1**|",
        "|0.5|100.0|–|9.1|",
        "|0|0.000|1.000|0.000|",
        "|0.005|0.005|1.000|0.005|",
        "|0.5|0.500|1.000|**0.500**|",
    ]
    assert ablation.text().splitlines()[0].split() == ["R2kt", "by", "α", "fi", "ru", "average"]
    unknown = Ablation(Vary.QUERIES, "t", {"RR": {0: {"fi": None, AVERAGE: None}}})
    assert unknown.table("RR", "**{}**").rows == [["0", "–", "–"]]
    plot = (tmp_path / "plot.svg").read_text()
    assert "dc:date" not in plot and "Matplotlib v" not in plot
    looks = [(e.text, e.get("style", "")) for e in ElementTree.fromstring(plot).iter() if e.tag.endswith("text")]
    labels = [text for text, _ in looks]
    assert {"0", "0.005", "0.5", "α", "R2kt (%)", "RR"} <= set(labels)
    assert [labels.count(name) for name in ("fi", "ru", AVERAGE)] == [2, 1, 2]  # ru has no R2kt to draw
    assert {text for text, style in looks if "font-weight: 700" in style} == {AVERAGE}
