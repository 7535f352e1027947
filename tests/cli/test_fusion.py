"""A new user's path: fuse two runs of the repository, choose weights, score and compare."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from conftest import REPOSITORY

from xqg_repro import cli
from xqg_repro.collection.topics import read_topics
from xqg_repro.evaluation.evaluate import evaluate
from xqg_repro.retrieval.fusion import Fusion, Method, fuse_runs
from xqg_repro.retrieval.runfile import read_run

RUNS = [f"run.xor-mini.{name}.dev.txt.gz" for name in ("xdr-mini", "xlmr-mini")]
FINNISH = ("--topics", "xor-mini/dev/fi", "--measures", "RR@10")


@pytest.fixture(scope="module")
def finnish(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the Finnish questions of two reference runs."""
    folder = tmp_path_factory.mktemp("finnish")
    qids = set(read_topics("xor-mini/dev/fi")[0])
    for name in RUNS:
        with gzip.open(REPOSITORY / "runs" / name, "rt") as whole, gzip.open(folder / name, "wt") as part:
            part.writelines(line for line in whole if line.split()[0] in qids)
    return folder


@pytest.fixture(autouse=True)
def folder(finnish: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in RUNS:
        Path(name).symlink_to(finnish / name)
    for name, hits in (("a.txt", "x 1 2.0|y 2 1.0|z 3 0.5"), ("b.txt", "z 1 9.0|y 2 8.5|w 3 1.0")):
        lines = (line.split() for line in hits.split("|"))
        Path(name).write_text("".join(f"q Q0 {docid} {rank} {score} t\n" for docid, rank, score in lines))


def reciprocal_rank(run: str | Path) -> float:
    return evaluate(run, "xor-mini/dev/fi", ["RR@10"]).mean("RR@10", "fi")


@pytest.mark.parametrize(
    ("method", "how", "depth"),
    [
        ("rrf", Fusion(Method.RRF), 100),
        ("rrf --k 20 --depth 2", Fusion(Method.RRF, k=20), 2),
        ("interpolation --weights 0.3 0.7", Fusion(Method.INTERPOLATION, (0.3, 0.7)), 100),
        ("interpolation --normalise none --hits 2", Fusion(Method.INTERPOLATION, normalise="none"), 2),  # type: ignore[arg-type]
        ("average --tag mine --force", Fusion(Method.AVERAGE), 100),
    ],
)
def test_options_are_those_of_the_function(method: str, how: Fusion, depth: int) -> None:
    assert cli.main(["fuse", "a.txt", "b.txt", "--output", "run.txt", "--method", *method.split()]) == 0
    assert read_run("run.txt") == fuse_runs([read_run("a.txt"), read_run("b.txt")], how, depth)
    assert Path("run.txt").read_text().splitlines()[0].endswith("mine" if "mine" in method else "fusion")


def test_a_fused_run_is_scored_and_compared_like_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    output = "run.xor-mini.fused.dev.txt"
    assert cli.main(["fuse", *RUNS, "--method", "rrf", "--tag", "fused", "--output", output]) == 0
    assert cli.main(["runfile", "check", output, "--topics", "xor-mini/dev/fi"]) == 0
    assert cli.main(["evaluate", "--run", output, *FINNISH]) == 0
    assert reciprocal_rank(output) > max(map(reciprocal_rank, RUNS))  # the encoders err on different questions
    capsys.readouterr()
    assert cli.main(["compare", RUNS[0], output, *FINNISH]) == 0
    assert "fused" in capsys.readouterr().out


def test_runs_of_other_questions_are_refused_unless_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fuse", "a.txt", "c.txt", "--method", "rrf", "--output", "run.txt"]
    Path("c.txt").write_text("q Q0 1 1 0.5 t\nq2 Q0 1 1 0.5 t\n")
    assert cli.main(words) == 2
    assert "error: a.txt: lacks 1 of 2 questions, such as 'q2', which c.txt has" in capsys.readouterr().err
    assert not Path("run.txt").exists()
    assert cli.main([*words, "--allow-missing"]) == 0


def test_weights_are_chosen_by_scores(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ablate", "fusion", *RUNS, *FINNISH, "--output", "out"]
    assert cli.main(words) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["RR@10", "by", "weight", "of", "the", "first", "run", "fi", "average"]
    assert [row.split()[0] for row in shown[2:]] == [f"{tenth / 10:g}" for tenth in range(11)]
    assert {path.name for path in Path("out").iterdir()} == {"manifest.json", "plot.svg", "scores.json", "table.md"}
    scores = json.loads(Path("out/scores.json").read_text())["scores"]["RR@10"]
    for weight, path in (("1.0", RUNS[0]), ("0.0", RUNS[1])):  # those of one run alone
        assert scores[weight]["fi"] == pytest.approx(reciprocal_rank(path))
    fused = ["fuse", *RUNS, "--method", "interpolation", "--weights", "0.3", "0.7", "--output", "fused.txt"]
    assert cli.main(fused) == 0
    assert scores["0.3"]["fi"] == pytest.approx(reciprocal_rank("fused.txt"))
    assert cli.main(words) == 0
    assert "out is up to date" in capsys.readouterr().err
    assert cli.main([*words, "--weights", "0.5", "0", "0.5"]) == 0
    assert list(json.loads(Path("out/scores.json").read_text())["scores"]["RR@10"]) == ["0.0", "0.5"]
    assert cli.main([*words, "--weights", "1.2"]) == 2
    assert "a weight cannot be 1.2" in capsys.readouterr().err
