from __future__ import annotations

import gzip
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import REPOSITORY
from hypothesis import given, settings, strategies as st

from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.retrieval.fusion import Fusion, Method, Normalise, fuse, fuse_runs
from xqg_repro.retrieval.metadata import read_measurement
from xqg_repro.retrieval.runfile import Hit, Run, read_run, write_run

RRF, INTERPOLATION, AVERAGE = Method
NONE = Normalise.NONE

# b and c are equal in the first run, a and e in the second; each lacks a passage of the other
FIRST = {"q": [Hit("a", 9.0), Hit("b", 7.0), Hit("c", 7.0), Hit("d", 1.0)]}
SECOND = {"q": [Hit("c", 0.8), Hit("a", 0.4), Hit("e", 0.4)]}


def random_runs(count: int, seed: int, questions: int = 20) -> list[Run]:
    """Runs that share most passages, with scores in different ranges, some of them negative."""
    draw, runs = random.Random(seed), []
    for number in range(count):
        run: Run = {}
        for question in range(questions):
            docids = draw.sample([f"d{i}" for i in range(60)], draw.randint(2, 40))
            scores = sorted((round(draw.uniform(-1, 10**number), 5) for _ in docids), reverse=True)
            run[f"q{question}"] = list(map(Hit, docids, scores))
        runs.append(run)
    return runs


def as_scores(run: Run) -> dict[str, dict[str, float]]:
    return {qid: {hit.docid: hit.score for hit in hits} for qid, hits in run.items()}


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two run files of the same questions."""
    paths = [tmp_path / "first.txt", tmp_path / "second.txt"]
    for path, run in zip(paths, random_runs(2, seed=1), strict=True):
        write_run(run, path, "t")
    return paths


# the scores


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (Fusion(RRF), "a 0.032522, c 0.032266, b 0.016129, e 0.015873, d 0.015625"),
        (Fusion(RRF, k=0), "a 1.5, c 1.333333, b 0.5, e 0.333333, d 0.25"),
        (Fusion(INTERPOLATION, (0.3, 0.7)), "c 0.925, a 0.3, b 0.225, d 0.0, e 0.0"),
        (Fusion(INTERPOLATION), "c 0.875, a 0.5, b 0.375, d 0.0, e 0.0"),
        (Fusion(INTERPOLATION, (0.25, 0.75), normalise=NONE), "a 2.55, c 2.35, b 1.75, e 0.3, d 0.25"),
        (Fusion(INTERPOLATION, (1, 0)), "a 1.0, b 0.75, c 0.75, d 0.0"),
        (Fusion(INTERPOLATION, (0, 1), normalise=NONE), "c 0.8, a 0.4, e 0.4"),
        (Fusion(AVERAGE), "a 4.7, c 3.9, b 3.5, d 0.5, e 0.2"),
    ],
)
def test_scores_are_those_computed_by_hand(how: Fusion, expected: str) -> None:
    fused = fuse_runs([FIRST, SECOND], how)
    assert ", ".join(f"{hit.docid} {hit.score}" for hit in fused["q"]) == expected


def test_depth_cuts_the_runs_before_they_are_normalised_and_the_result() -> None:
    how = Fusion(INTERPOLATION, (0.3, 0.7))
    assert fuse_runs([FIRST, SECOND], how, 2)["q"] == [Hit("c", 0.7), Hit("a", 0.3)]  # b, now the last, scores 0
    assert fuse_runs([FIRST, SECOND], how, 1)["q"] == [Hit("c", 0.7)]


def test_equal_scores_become_one_and_questions_keep_their_order() -> None:
    first, second = {"z": [Hit("a", 3.0), Hit("b", 3.0)], "a": [Hit("x", 1.0)]}, {"a": [Hit("y", 1.0)]}
    fused = fuse_runs([first, second], Fusion(INTERPOLATION))
    assert fused == {"z": [Hit("a", 0.5), Hit("b", 0.5)], "a": [Hit("x", 0.5), Hit("y", 0.5)]}
    assert list(fused) == ["z", "a"]


@pytest.mark.parametrize("seed", range(3))
def test_scores_and_order_are_pyserinis(tmp_path: Path, seed: int) -> None:
    from pyserini.fusion import average, interpolation, normalize, reciprocal_rank_fusion
    from pyserini.trectools import TrecRun

    runs, trec_runs = random_runs(3, seed), []
    for number, run in enumerate(runs):
        write_run(run, tmp_path / str(number), "t")
        trec_runs.append(TrecRun(str(tmp_path / str(number))))
    third = (1 / 3,) * 3
    for how, count, expected in (
        (Fusion(RRF, k=7), 3, reciprocal_rank_fusion(trec_runs, rrf_k=7)),
        (Fusion(AVERAGE), 3, average(trec_runs)),
        (Fusion(INTERPOLATION, (0.3, 0.7), normalise=NONE), 2, interpolation(trec_runs[:2], alpha=0.3)),
        (Fusion(INTERPOLATION, third), 3, normalize(trec_runs)),
    ):
        frame = expected.run_data
        scale = 3 if how.weights == third else 1  # Pyserini's normalize sums, without weights
        fused = fuse_runs(runs[:count], how, 1000)
        for qid, hits in fused.items():
            rows = frame[frame["topic"] == qid]
            theirs = dict(zip(rows["docid"], rows["score"] / scale, strict=True))
            assert {hit.docid: hit.score for hit in hits} == pytest.approx(theirs, abs=6e-7)
            assert [hit.docid for hit in hits] == sorted(theirs, key=lambda docid: (-round(theirs[docid], 6), docid))


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_ranx(seed: int) -> None:
    ranx = pytest.importorskip("ranx", reason="ranx is not installed (pip install ranx)")
    runs = random_runs(3, seed)
    theirs = [ranx.Run(as_scores(run)) for run in runs]
    weights = [0.2, 0.3, 0.5]
    for how, options in (
        (Fusion(RRF, k=7), {"norm": None, "method": "rrf", "params": {"k": 7}}),
        (Fusion(AVERAGE), {"norm": None, "method": "wsum", "params": {"weights": [1 / 3] * 3}}),
        (Fusion(INTERPOLATION, (*weights,)), {"norm": "min-max", "method": "wsum", "params": {"weights": weights}}),
    ):
        expected = ranx.fuse(theirs, **options).to_dict()
        fused = as_scores(fuse_runs(runs, how, 1000))
        assert fused.keys() == expected.keys()
        for qid, scores in fused.items():
            assert scores == pytest.approx(expected[qid], abs=6e-7)


@settings(max_examples=25)
@given(st.data(), st.integers(2, 4))
def test_order_of_runs_with_equal_weights_does_not_matter(data: st.DataObject, count: int) -> None:
    scores = st.integers(-3, 9).map(lambda number: number / 10**6)  # sums fall between six decimals
    runs: list[Run] = []
    for _ in range(count):
        hits = data.draw(st.dictionaries(st.sampled_from("abcd"), scores, min_size=1))
        runs.append({"q": [Hit(docid, hits[docid]) for docid in sorted(hits, key=lambda d: (-hits[d], d))]})
    for how in (Fusion(RRF), Fusion(INTERPOLATION), Fusion(AVERAGE)):
        assert fuse_runs(runs, how) == fuse_runs(runs[::-1], how) == fuse_runs(runs[1:] + runs[:1], how)


# what is refused


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        (Fusion(INTERPOLATION, (0.5, 0.25, 0.25)), "2 weights.* got 3"),
        (Fusion(INTERPOLATION, (0.5, 0.6)), r"sum to 1\.1"),
        (Fusion(INTERPOLATION, (-0.5, 1.5)), "weight cannot be -0.5"),
        (Fusion(INTERPOLATION, (math.nan, 1)), "weight cannot be nan"),
        (Fusion(INTERPOLATION, k=60), "--k has no effect"),
        (Fusion(RRF, (0.5, 0.5)), "--weights has no effect"),
        (Fusion(RRF, k=-1), "k cannot be -1"),
        (Fusion(RRF, k=1001), "k cannot be 1001"),
        (Fusion(AVERAGE, normalise=NONE), "--normalise has no effect"),
    ],
)
def test_settings_out_of_range_are_refused(files: list[Path], tmp_path: Path, how: Fusion, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        fuse(files, how, tmp_path / "fused.txt")
    assert not (tmp_path / "fused.txt").exists()


def test_one_run_a_missing_run_and_an_empty_run_are_refused(files: list[Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    for runs, problem in (
        (files[:1], "one run"),
        ([files[0], tmp_path / "none"], "none: no such run"),
        ([*files, empty], "empty.txt: the run is empty"),
    ):
        with pytest.raises(InputError, match=problem):
            fuse(runs, Fusion(RRF), tmp_path / "fused.txt")
    for output, problem in ((files[1], "replaced by its own output"), (f"{files[1]}.yaml", "belongs to the input")):
        with pytest.raises(InputError, match=problem):
            fuse(files, Fusion(RRF), output)
    with pytest.raises(InputError, match="depth of 0"):
        fuse(files, Fusion(RRF), tmp_path / "fused.txt", depth=0)


def test_run_that_lacks_a_question_is_named_or_its_questions_are_counted(
    files: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = map(read_run, files)
    write_run({qid: hits for qid, hits in second.items() if qid not in ("q3", "q5")}, files[1], "t")
    for runs in (files, files[::-1]):
        with pytest.raises(InputError, match=r"second\.txt: lacks 2 of 20 questions, such as 'q3', which .*first\.txt"):
            fuse(runs, Fusion(RRF), tmp_path / "fused.txt")
    fused = read_run(fuse(files, Fusion(RRF), tmp_path / "fused.txt", allow_missing=True))
    assert [hit.docid for hit in fused["q3"]] == [hit.docid for hit in first["q3"]]
    assert Manifest.read_as(tmp_path / "fused.txt.json").counts == {"questions": 20, "questions missing from a run": 2}
    assert any("second.txt: lacks 2 of 20" in message for message in caplog.messages)


# the files


def test_fused_run_has_manifest_and_metadata_and_is_reused(
    files: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "fused.txt"
    options: dict[str, Any] = {"tag": "mine", "depth": 7}
    how = Fusion(INTERPOLATION, (0.3, 0.7))
    assert fuse(files, how, output, **options) == output
    first = output.read_bytes()
    assert all(line.endswith(" mine") for line in first.decode().splitlines())
    assert max(map(len, read_run(output).values())) == 7
    parameters = {"method": "interpolation", "weights": [0.3, 0.7], "normalise": "min-max", "depth": 7, "tag": "mine"}
    assert Manifest.read_as(tmp_path / "fused.txt.json").parameters == {**parameters, "allow_missing": False}
    described = yaml.safe_load((tmp_path / "fused.txt.yaml").read_text())
    assert described["tag"] == "mine"
    del parameters["tag"]
    named = {"name": "fusion", **parameters, "interpolates": ["first.txt", "second.txt"]}
    assert described["method"]["retrieval"] == [named]
    assert read_measurement(output).date

    packed = tmp_path / "first.txt.gz"  # other bytes of the same run
    packed.write_bytes(gzip.compress(files[0].read_bytes(), mtime=0))
    for runs, fusion, is_reused in (
        (files, how, True),
        (files, Fusion(INTERPOLATION, (0.3, 0.7), normalise=Normalise.MIN_MAX), True),
        ([packed, files[1]], how, False),
        (files[::-1], how, False),
        (files, Fusion(RRF), False),
        (files, Fusion(RRF, k=60), True),
        (files, Fusion(RRF, k=61), False),
    ):
        caplog.clear()
        fuse(runs, fusion, output, **options)
        assert caplog.messages[-1].endswith("is up to date") == is_reused
        assert (output.read_bytes() == first) == (fusion.method is INTERPOLATION and runs[1] == files[1])


def test_ids_that_look_like_other_values_stay_as_they_are(tmp_path: Path) -> None:
    run = {"007": [Hit("NA", 2.0), Hit("1e3", 1.0)], "7": [Hit("null", 1.0)], "1.0": [Hit("#a", 1.0)]}
    for name in "ab":
        write_run(run, tmp_path / name, "t")
    assert read_run(fuse([tmp_path / "a", tmp_path / "b"], Fusion(AVERAGE), tmp_path / "c")) == run


def test_pyserinis_fusion_starts_no_jvm() -> None:
    code = (
        "import sys; from xqg_repro.retrieval.fusion import *; fuse_runs([{'q': [Hit('a', 1.0)]}] * 2, Fusion('rrf'));"
    )
    code += "print({'jnius', 'torch', 'transformers'} & {*sys.modules})"
    shown = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert shown.stdout == "set()\n"
