"""Runs as other tools and editors leave them, and runs of more questions than are scored."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from conftest import Mini

from faults.conftest import Verb

LINES = ["q0 Q0 1 1 2.5 t", "q0 Q0 2 2 1.5 t", "q2 Q0 9 1 0.5 t"]
PLAIN = "".join(f"{line}\n" for line in LINES).encode()


@pytest.fixture
def scored(verb: Verb, mini_data: Mini, tmp_path: Path):
    """``scored(bytes)``: the outcome of evaluating a run of this content."""

    def evaluate(content: bytes, name: str = "run.txt"):
        (tmp_path / name).write_bytes(content)
        return verb("evaluate", "--run", tmp_path / name, "--topics", mini_data.topics, "--measures", "R@1", "R2kt")

    return evaluate


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + PLAIN,
        PLAIN.replace(b"\n", b"\r\n") + b"\r\n",
        PLAIN + b"\n  \n\t",
        b"# my run\n#\n" + PLAIN.replace(b" ", b"\t") + b"# the end\n",
        PLAIN.replace(b"q0 Q0 2", b"#q0 Q0 8 2 2.0 t\n\nq0 Q0 2"),
        b"\xef\xbb\xbf# six words are in this\n" + PLAIN,
    ],
    ids=["mark", "crlf", "blank", "comments", "commented-out", "mark-and-comment"],
)
def test_what_editors_and_tools_add_is_skipped(scored, content: bytes) -> None:
    plain = scored(PLAIN)
    assert plain.status == 0 and scored(content) == plain
    assert scored(gzip.compress(content), "run.txt.gz") == plain


@pytest.mark.parametrize("name", ["run_bom_one_hit.txt", "run_bom_five_hits.txt", "run_ok.txt"])
def test_the_inputs_that_failed_are_checked(verb: Verb, faults: Path, name: str) -> None:
    outcome = verb("runfile", "check", faults / name)
    assert outcome.status == 0, outcome
    assert "\ufeff" not in outcome.stdout


def test_comments_of_trec_eval_are_skipped_by_convert(verb: Verb, faults: Path, tmp_path: Path) -> None:
    source, output = faults / "run_trec_eval_comments.txt", tmp_path / "run.txt"
    assert verb("runfile", "convert", source, "--from", "trec", "--tag", "t", "--output", output).status == 0
    assert output.read_text().split("\n")[0] == "301 Q0 FB-1 1 2.780000 t"
    verb("runfile", "check", source).refused(":2: expected rank 1, got 3", "--from trec")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"q0 Q0 1 1 1_000 t\n", ":1: the score '1_000' is not a number"),
        ("q0 Q0 1 1 ２.５ t\n".encode(), ":1: the score '２.５' is not a number"),
        ("q0 Q0 1 ١ 2.5 t\n".encode(), ":1: the rank '١' is not a whole number"),
        (PLAIN + b"q3 Q0 1 1 1e400 t\n", ":4: the score is inf"),
        (b"# a\n\nq0 Q0 1 1 nan t\n", ":3: the score is nan"),
        (b"q0 Q0 1 1 0x1p3 t\n", ":1: the score '0x1p3' is not a number"),
        (PLAIN + b"q3 Q0 \xe9 1 0.5 t\n", ":4: is not UTF-8 text"),
        (PLAIN + b"\0\0\0\0\n", ":4: expected 6 columns, got 1"),
        (PLAIN.decode().encode("utf-16"), ":1: is not UTF-8 text"),
        (PLAIN[:-1], ":3: the last line has no line end"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "is a Git LFS pointer"),
        (b"z1 Q0 1 1 0.5 t\n", r"run\.txt: the topics have no question 'z1'"),
        (b"q0 Q0 nan 1 0.5 t\n", r"run\.txt: the collection has no passage 'nan'"),
    ],
)
def test_a_bad_line_is_named(scored, content: bytes, problem: str) -> None:
    scored(content).refused(problem)


# questions of other topics


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two runs of all questions of xor-mini/dev, packaged with the repository."""
    folder = Path(__file__).parents[2] / "runs"
    return tuple(folder / f"run.xor-mini.{name}.dev.txt.gz" for name in ("xdr-mini", "zs-mini"))  # type: ignore[return-value]


LEFT_OUT = r"left out 1,200 questions that xor-mini/dev/fi does not have, such as '\d+'"


def test_a_run_over_all_languages_is_scored_in_one(verb: Verb, runs: tuple[Path, Path], tmp_path: Path) -> None:
    scores = {}
    for topics in ("xor-mini/dev", "xor-mini/dev/fi"):
        output = tmp_path / "scores.json"
        line = ["evaluate", "--run", runs[0], "--measures", "map", "R@5", "--output", output, "--topics", topics]
        outcome = verb(*line)
        assert outcome.status == 0, outcome
        scores[topics] = json.loads(output.read_text())["summary"]["map"]["means"]["fi"]
    assert scores["xor-mini/dev"] == scores["xor-mini/dev/fi"]
    assert outcome.stderr.count("left out") == 1
    assert re.search(LEFT_OUT, outcome.stderr)


@pytest.mark.integration
def test_compare_and_submit_leave_them_out_too(verb: Verb, runs: tuple[Path, Path], tmp_path: Path) -> None:
    outcome = verb("compare", *runs, "--topics", "xor-mini/dev/fi", "--measures", "R@5")
    assert outcome.status == 0 and outcome.stderr.count("left out 1,200 questions") == 2
    output = tmp_path / "submission.json"
    outcome = verb("submit", "--run", runs[0], "--topics", "xor-mini/dev/fi", "--output", output)
    assert outcome.status == 0 and outcome.stderr.count("left out 1,200 questions") == 1
    assert {item["lang"] for item in json.loads(output.read_text())} == {"fi"}


def test_a_run_of_other_topics_is_refused(verb: Verb, mini_data: Mini, runs: tuple[Path, Path], tmp_path: Path) -> None:
    problem = "the topics have no question .* another topic set"
    verb("evaluate", "--run", runs[0], "--topics", mini_data.topics).refused(problem)
    verb("compare", *runs, "--topics", mini_data.topics).refused(problem)
    line = ["submit", "--run", runs[0], "--topics", mini_data.topics, "--output", tmp_path / "s.json"]
    verb(*line).refused(problem)
    verb("runfile", "check", runs[0], "--topics", "xor-mini/dev/fi").refused(":1: the topics have no question")


@pytest.mark.parametrize("form", ["tevatron", "trec", "dpr"])
def test_ids_that_look_the_same_are_told_apart(verb: Verb, tmp_path: Path, form: str) -> None:
    (tmp_path / "topics.tsv").write_text("Mal\u00e1\twho?\n", encoding="utf-8")
    name = "Mala\u0301"
    item = {"id": name, "ctxs": [{"id": "1", "score": 1}]}
    lines = {"tevatron": f"{name} 1 1.0\n", "trec": f"{name} Q0 1 1 1.0 t\n", "dpr": json.dumps([item])}
    (tmp_path / "in").write_text(lines[form], encoding="utf-8")
    line = ["runfile", "convert", tmp_path / "in", "--from", form, "--tag", "t", "--output", tmp_path / "out"]
    verb(*line, "--topics", tmp_path / "topics.tsv").refused(r"U\+0061 U\+0301 \(NFD\) .*looks the same.*U\+00E1")
    if form == "trec":
        verb("runfile", "check", tmp_path / "in", "--topics", tmp_path / "topics.tsv").refused("looks the same")


# answers and other tools' JSON


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"q0": None}, "'q0' is not text: None"),
        ({"q0": ["Finland"]}, "'q0' is not text"),
        ({"q0": {"answer": 7}}, "'q0' is not text: 7"),
        ({"q0": "\ud800"}, "half a character"),
        (["Finland"], "not a mapping"),
        ({"z": "Finland"}, "the topics have no question 'z'"),
    ],
)
def test_answers_that_are_not_text_are_refused(
    verb: Verb, mini_data: Mini, tmp_path: Path, content: object, problem: str
) -> None:
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(content))
    verb("evaluate", "--answers", path, "--topics", mini_data.topics).refused(r"answers\.json: ", problem)


def test_answers_to_other_questions_are_left_out(verb: Verb, mini_data: Mini, tmp_path: Path) -> None:
    (tmp_path / "answers.json").write_text(json.dumps({"q0": "x", "z1": "y", "z2": "z"}), encoding="utf-8-sig")
    outcome = verb("evaluate", "--answers", tmp_path / "answers.json", "--topics", mini_data.topics)
    assert (
        outcome.status == 0 and "left out 2 questions that test-mini/dev does not have, such as 'z1'" in outcome.stderr
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([{"id": "q0", "ctxs": "Finland"}], "has no list 'ctxs'"),
        ([{"id": "q0", "ctxs": [None]}], r"ctxs\[0\]: is not an object"),
        ([{"id": "q0", "ctxs": [{"id": "1", "score": "1_0"}]}], "the score '1_0' is not a number"),
        ([{"id": "q0", "ctxs": [{"id": ["1"], "score": 1}]}], "the id is not text"),
        ([{"question": None, "ctxs": []}], "neither an id nor a question"),
        ({"q0": None}, "has no list 'contexts'"),
        (None, "contains no questions"),
    ],
)
def test_odd_json_of_other_tools_is_refused(
    verb: Verb, mini_data: Mini, tmp_path: Path, content: object, problem: str
) -> None:
    (tmp_path / "dpr.json").write_text(json.dumps(content), encoding="utf-8-sig")
    line = ["runfile", "convert", tmp_path / "dpr.json", "--from", "dpr", "--tag", "t", "--output", tmp_path / "run"]
    verb(*line, "--topics", mini_data.topics).refused(r"dpr\.json: ", problem)
