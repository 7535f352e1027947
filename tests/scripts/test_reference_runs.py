from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path

import pytest
import reference_runs
from conftest import Mini
from reproduction.test_run import ANSWERS, MINI, RUN

from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.retrieval.metadata import Measurement, metadata_path
from xqg_repro.retrieval.runfile import Hit, write_run


def test_runs_and_answers_become_the_reference_with_their_scores(
    mini_data: Mini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = "  - {name: plain-too, title: Another, encoder: mbert, expected: {EM: {ar: 1.0}}}\n"
    condition = "  - name: plain\n    title: The plain one\n    encoder: mbert\n    expected:\n      R@1: {ar: 12.3}\n"
    path = tmp_path / "conditions" / "test-mini.yaml"
    path.parent.mkdir()
    path.write_text(MINI.partition("  - {name: plain,")[0] + condition + other)
    both = load_benchmark(str(path))
    benchmark = dataclasses.replace(both, conditions=both.conditions[:1])
    monkeypatch.setattr(reference_runs, "load_benchmark", lambda name: benchmark)
    monkeypatch.setattr("sys.argv", ["reference_runs.py"])
    monkeypatch.setattr(reference_runs, "resource", tmp_path.joinpath)
    monkeypatch.setattr(reference_runs, "read_measurement", lambda made: Measurement(commit="abc1234"))
    run, answers = Path("out", "runs", RUN), Path("out", "answers", ANSWERS)
    write_run({qid: [Hit(docid, 1.0)] for qid, docid in mini_data.qrels}, run, "plain")
    metadata_path(run).write_text("implementation: {source: {commit: abc1234}}\n")
    answers.parent.mkdir()
    answers.write_text(json.dumps({question["id"]: question["answers"][0] for question in mini_data.questions}))

    reference_runs.main()
    kept = {path.name: path.read_bytes() for path in Path("runs").iterdir()}
    assert sorted(kept) == [f"{ANSWERS}.gz", f"{RUN}.gz", f"{RUN}.yaml"]
    assert gzip.decompress(kept[f"{ANSWERS}.gz"]) == answers.read_bytes()
    full, f1 = dict.fromkeys((*both.languages, "average"), 100.0), {"bn": 50.0, "average": 92.9}  # "The" has no F1
    expected = load_benchmark(str(path)).condition("plain").expected
    assert expected == {"R@1": full, "EM": full, "F1": {**full, **f1}}
    assert path.read_text().endswith(other)  # the other condition's scores stay
    reference_runs.main()
    assert {path.name: path.read_bytes() for path in Path("runs").iterdir()} == kept

    scores = Path("out", "scores", RUN.replace("run.", "scores.", 1).replace(".txt", ".json"))
    scores.parent.mkdir()
    scores.write_text("{}\n")
    before = path.read_text()
    monkeypatch.setattr("sys.argv", ["reference_runs.py", "test-mini", "--scores"])
    reference_runs.main()
    new = {path.name: path.read_bytes() for path in Path("runs").iterdir() if path.name not in kept}
    assert {name: gzip.decompress(data) for name, data in new.items()} == {f"{scores.name}.gz": b"{}\n"}
    assert path.read_text() == before
