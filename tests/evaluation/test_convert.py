"""Other tools' runs as TREC runs, and checks of runs."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from hypothesis import given, settings, strategies as st

from xqg_repro.cli.files import FORMS
from xqg_repro.core.errors import InputError, quote
from xqg_repro.evaluation.convert import RunFormat, check, convert
from xqg_repro.evaluation.printing import count_table
from xqg_repro.retrieval.runfile import Hit, read_run, write_run

ODD = ["<script>alert(1)</script>", "\"'\\", "\u200fعربي\u202e", "東京\U0001f600", "x" * 10_000, "\x1b[31m\x00"]
LINES = {"tevatron": "q1 a 1.5", "msmarco": "q1 a 1", "trec": "q1 Q0 a 1 1.0 t"}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def converted(source: Path, form: str, topics: str = "") -> tuple[str, dict[str, int]]:
    """The run's text, without the tag's column, and the counts."""
    output = source.with_name("converted.txt")
    conversion = convert(source, output, form, "new", topics)
    read_run(output)
    return output.read_text(encoding="utf-8").replace(" new\n", "\n"), conversion


def refused(source: Path, form: str, topics: str = "") -> str:
    """The message, after which nothing was written."""
    before = sorted(source.parent.iterdir())
    with pytest.raises(InputError) as caught:
        convert(source, source.with_name("converted.txt"), form, "new", topics)
    assert sorted(source.parent.iterdir()) == before
    assert "\n" not in str(caught.value) and caught.value.path == source
    return str(caught.value)


@pytest.fixture
def topics(tmp_path: Path) -> str:
    return str(write(tmp_path / "topics.tsv", "q1\tone ?\nq2\ttwo ?\nq3\tthree ?\n"))


# lines


@pytest.mark.parametrize(("between", "end"), [(" ", "\n"), ("\t", "\r\n"), ("  \t ", "\n")])
def test_tevatrons_lines_may_be_unsorted(tmp_path: Path, between: str, end: str) -> None:
    lines = ["q2 b 0.5", "q1 a 88.25", "q2 a 1e1", "q1 c -3", "q2 c .75"]
    source = tmp_path / "run.tsv"
    source.write_bytes("".join(line.replace(" ", between) + end for line in lines).encode())
    text, conversion = converted(source, "tevatron")
    assert text == (
        "q2 Q0 a 1 10.000000\nq2 Q0 c 2 0.750000\nq2 Q0 b 3 0.500000\nq1 Q0 a 1 88.250000\nq1 Q0 c 2 -3.000000\n"
    )
    assert list(conversion.values()) == [2, 5, 0, 1, 0, 0]


def test_equal_scores_are_ordered_by_docid_and_counted(
    tmp_path: Path, topics: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = write(tmp_path / "run.tsv", "q1 b 0.5\nq1 a 0.5\nq2 b 0.50000001\nq2 a 0.5\n")
    text, conversion = converted(source, "tevatron", topics)
    assert [line.split()[2] for line in text.splitlines()] == list("abab")
    assert list(conversion.values()) == [2, 4, 0, 2, 1, 0, 1]
    assert "differ only beyond six decimals" in caplog.messages[-1]


def test_msmarcos_ranks_become_scores_that_count_down(tmp_path: Path) -> None:
    docids = [f"d{i}" for i in range(1000)]
    random.Random(1).shuffle(docids)
    lines = [f"q1\t{docid}\t{i}\n" for i, docid in enumerate(docids, 1)]
    source = write(tmp_path / "run.tsv", "".join(["q2\tz\t1\n", *reversed(lines)]))
    text, conversion = converted(source, "msmarco")
    assert [line.split()[2] for line in text.splitlines()] == ["z", *docids]
    assert text.splitlines()[1] == f"q1 Q0 {docids[0]} 1 1000.000000"
    assert list(conversion.values()) == [2, 1001, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("lines", "docids", "reordered"),
    [
        (["q1 0 b 0 0.5 x", "q1 0 c 1 0.5 x", "q1 0 a 2 0.5 y", "q1 0 d 9 0.25 x"], "abcd", 1),  # equal scores
        (["q1 0 b 2 0.5 x", "q1 0 a 1 0.5 x", "q1 0 c 0 0.9 y"], "cab", 0),  # unsorted lines
        (["q1 0 a 0 0.5 x", "q1 0 b 0 0.9 y"], "ba", 1),  # all ranks are equal
    ],
)
def test_other_tools_trec_runs_are_sorted(tmp_path: Path, lines: list[str], docids: str, reordered: int) -> None:
    text, conversion = converted(write(tmp_path / "run.txt", "\n".join([*lines, ""])), "trec")
    assert [line.split()[2:4] for line in text.splitlines()] == [[docid, str(i)] for i, docid in enumerate(docids, 1)]
    assert conversion["tags replaced"] == 2 and list(conversion.values())[:6] == [1, len(lines), 0, reordered, 0, 0]


def test_our_own_runs_stay_as_they_are(tmp_path: Path) -> None:
    packed = REPOSITORY / "runs" / "run.xor-mini.xdr-mini.dev.txt.gz"
    lines = gzip.decompress(packed.read_bytes()).splitlines(keepends=True)[:5_000]
    (tmp_path / "run.txt.gz").write_bytes(gzip.compress(b"".join(lines)))
    conversion = convert(tmp_path / "run.txt.gz", tmp_path / "out", "trec", "xdr-mini", "xor-mini/dev")
    assert (tmp_path / "out").read_bytes() == b"".join(lines)
    assert list(conversion.values()) == [50, 5_000, 0, 0, 0, 0, 1350, 1]


@pytest.mark.parametrize(
    ("form", "line", "problem"),
    [
        ("tevatron", "q1 b", "expected 3 columns, got 2 (qid docid score)"),
        ("tevatron", "q1 b ０.5", "the score '０.5' is not a number"),
        ("tevatron", "qid docid score", "the score 'score' is not a number"),
        ("tevatron", "q1 b 1_000", "the score '1_000' is not a number"),
        ("tevatron", "q1 b nan", "the score is nan"),
        ("tevatron", "q1 b 1e999", "the score is inf"),
        ("tevatron", "q1 a 0.25", "passage 'a' is listed twice for question 'q1', first on line 1"),
        ("tevatron", "q9 a 0.25", "the topics have no question 'q9'"),
        ("msmarco", "q1 b 0.5", "the rank '0.5' is not a whole number"),
        ("msmarco", "q1 b 1", "question 'q1': expected rank 2, got 1"),
        ("msmarco", "q1 b 3", "question 'q1': expected rank 2, got 3"),
        ("msmarco", "q2 b 0", "question 'q2': expected rank 1, got 0"),
        ("msmarco", "q1 a 2", "passage 'a' is listed twice"),
        ("trec", "q1 Q0 b 2 0.5", "expected 6 columns, got 5 (qid Q0 docid rank score tag)"),
        ("trec", "q1 Q0 b 2.0 0.5 t", "the rank '2.0' is not a whole number"),
        ("trec", "q1 Q0 b 2 high t", "the score 'high' is not a number"),
        ("trec", "q1 Q0 b 2 1.5 t", "rank 2 has the score 1.5, but rank 1 only 1.0"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, topics: str, form: str, line: str, problem: str) -> None:
    source = write(tmp_path / "run", f"{LINES[form]}\n{line}\n")
    assert refused(source, form, topics).startswith(f"{source}:2: {problem}")


def test_contradicting_ranks_are_found_behind_shared_ones(tmp_path: Path) -> None:
    source = write(tmp_path / "run", "q Q0 a 1 0.5 t\nq Q0 b 1 0.9 t\nq Q0 c 2 0.7 t\n")
    assert refused(source, "trec").startswith(f"{source}:3: rank 2 has the score 0.7, but rank 1 only 0.5")


def test_ranks_are_not_taken_for_scores(tmp_path: Path) -> None:
    source = write(tmp_path / "run", "q1 a 1\nq1 b 2\nq2 a 1\n")
    assert "convert it --from msmarco" in refused(source, "tevatron")
    assert converted(write(source, "q1 a 1\nq2 b 1\n"), "tevatron")[1]["passages"] == 2  # could be scores
    assert converted(write(source, "q1 a 1\nq1 b 2\nq2 a 5\n"), "tevatron")[0].startswith("q1 Q0 b 1 2.000000\n")


@pytest.mark.parametrize("form", LINES)
def test_an_incomplete_file_is_refused(tmp_path: Path, form: str) -> None:
    assert "cut off" in refused(write(tmp_path / "run", LINES[form]), form)
    assert "contains no passages" in refused(write(tmp_path / "run", ""), form)
    assert "contains no passages" in refused(write(tmp_path / "run", "\n# nothing\n"), form)


@pytest.mark.parametrize("form", LINES)
def test_marks_blank_lines_and_comments_are_no_results(tmp_path: Path, form: str) -> None:
    text = f"\ufeff# from a tool\r\n{LINES[form]}\r\n\n"
    plain = converted(write(tmp_path / "run", f"{LINES[form]}\n"), form)
    assert converted(write(tmp_path / "marked", text), form) == plain


def test_bad_options_are_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "run", "q1 a 0.5\n")
    for output, form, tag, problem in (
        ("out", "tevatrn", "t", "did you mean tevatron"),
        ("out", "tevatron", "a b", "cannot be an id or tag"),
        ("run", "tevatron", "t", "would be"),
        ("out.xz", "tevatron", "t", "would not be compressed"),
    ):
        with pytest.raises(InputError, match=problem):
            convert(source, tmp_path / output, form, tag)
    assert list(tmp_path.iterdir()) == [source] and source.read_text() == "q1 a 0.5\n"


names = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=4)
score = st.floats(-1e4, 1e4).map(lambda value: round(value, 6))
runs = st.dictionaries(names, st.dictionaries(names, score, min_size=1, max_size=5), min_size=1, max_size=4)


@settings(max_examples=15)
@given(run=runs, draw=st.randoms(use_true_random=False))
def test_every_form_of_a_run_gives_the_run(tmp_path_factory: pytest.TempPathFactory, run: Any, draw: Any) -> None:
    folder = tmp_path_factory.getbasetemp()
    write_run({qid: [Hit(*hit) for hit in scores.items()] for qid, scores in run.items()}, folder / "expected", "t")
    expected = read_run(folder / "expected")
    rows = [(qid, docid, i, s) for qid, hits in expected.items() for i, (docid, s) in enumerate(hits)]
    draw.shuffle(rows)
    forms = {
        "tevatron": "".join(f"{qid}\t{docid}\t{s:.6f}\n" for qid, docid, _, s in rows),
        "msmarco": "".join(f"{qid}\t{docid}\t{i + 1}\n" for qid, docid, i, _ in rows),
        "trec": "".join(f"{qid} Q0 {docid} {i} {s:.6f} x\n" for qid, docid, i, s in rows),
    }
    for form, text in forms.items():
        try:
            convert(write(folder / "source", text), folder / "found", form, "t")
        except InputError as error:
            assert "not scores" in str(error)
            continue
        found = read_run(folder / "found")
        assert {qid: [hit.docid for hit in hits] for qid, hits in found.items()} == {
            qid: [hit.docid for hit in hits] for qid, hits in expected.items()
        }
        assert form == "msmarco" or found == expected


# check


def test_check_summarises_a_run(tmp_path: Path, topics: str, caplog: pytest.LogCaptureFixture) -> None:
    source = write(tmp_path / "run", "q2 Q0 a 1 2 s\nq2 Q0 b 2 1 t\nq1 Q0 a 1 2 t\n")
    counts = check(source, topics)
    assert list(counts.values()) == [2, 3, 1, 2, 1, 1, 2]
    assert "2 tags" in caplog.messages[0] and "1 questions" in caplog.messages[1] and "q3" in caplog.messages[1]
    caplog.clear()
    assert check(write(source, "q1 Q0 a 1 2 t\n"))["passages"] == 1 and caplog.messages == []
    for text, problem in (("q9 Q0 a 1 2 t\n", "no question 'q9'"), ("", "contains no passages")):
        with pytest.raises(InputError, match=problem):
            check(write(source, text), topics)


def test_odd_ids_and_tags_are_kept(tmp_path: Path) -> None:
    source = write(tmp_path / "run", "".join(f"{name} {name} 0.5\n" for name in ODD))
    for tag in ODD:
        convert(source, tmp_path / "out", "tevatron", tag)
        assert read_run(tmp_path / "out") == {name: [Hit(name, 0.5)] for name in ODD}
        counts = check(tmp_path / "out")
        assert counts[f"lines with the tag {quote(tag)}"] == len(ODD)
        assert "\x1b" not in count_table("run", counts).text()


# the verb

Verb = Callable[..., tuple[int, str, str]]


def test_the_verb_converts_and_checks(tmp_path: Path, topics: str, verb: Verb) -> None:
    assert tuple(RunFormat) == FORMS
    source, output = write(tmp_path / "in.tsv", "q1 a 0.5\nq1 b 0.75\n"), tmp_path / "out.txt"
    line = ["runfile", "convert", source, "--from", "tevatron", "--output", output, "--tag", "mine"]
    status, out, errors = verb(*line)
    assert (status, errors) == (0, f"runfile: wrote {output} (1 questions, 2 passages)\n")
    assert out.startswith("converted") and "missing" not in out
    assert output.read_text() == "q1 Q0 b 1 0.750000 mine\nq1 Q0 a 2 0.500000 mine\n"
    assert "missing" in verb(*line, "--topics", topics)[1]
    status, out, errors = verb("runfile", "check", output, "--topics", topics)
    assert status == 0 and "'mine'" in out and "2 questions" in errors
    for problem in (("check", "nope"), ("convert", "nope", "--from", "trec", "--output", "o", "--tag", "t")):
        status, out, errors = verb("runfile", *problem)
        assert (status, out) == (2, "") and "nope: no such" in errors and errors.count("\n") == 1
