from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from xqg_repro.core.errors import InputError
from xqg_repro.retrieval.runfile import Hit, keep_known, read_run, read_run_of, write_run

GOOD = ["q1 Q0 a 1 0.9 t", "q1 Q0 b 2 0.8 t", "q2 Q0 a 1 0.7 t"]


def write_lines(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_a_run_is_read_in_order(tmp_path: Path) -> None:
    run = {"q1": [Hit("a", 0.9), Hit("b", 0.8)], "q2": [Hit("a", 0.7)]}
    assert read_run(write_lines(tmp_path / "run", GOOD)) == run
    assert read_run(write_lines(tmp_path / "run", [line.replace(" ", "\t") for line in GOOD])) == run
    equal = write_lines(tmp_path / "equal", ["q1 Q0 b 1 0.9 t", "q1 Q0 a 2 0.9 t"])
    assert [hit.docid for hit in read_run(equal)["q1"]] == ["b", "a"]


@pytest.mark.parametrize(
    ("lines", "line", "problem"),
    [
        (["q1 Q0 a 2 0.9 t", "q1 Q0 b 1 0.8 t"], 1, "rank 1, got 2"),
        ([*GOOD[:2], "q1 Q0 c 2 0.7 t"], 3, "rank 3, got 2"),
        (["q1 Q0 a 0 0.9 t"], 1, "rank 1, got 0"),
        ([*GOOD[:2], "q1 Q0 a 3 0.7 t"], 3, "passage a is listed twice"),
        (["q1 Q0 a 1 NaN t"], 1, "nan"),
        ([GOOD[0], "q1 Q0 b 2 -inf t"], 2, "-inf"),
        ([GOOD[0], "q1 Q0 b 2 0.8"], 2, "6 columns, got 5"),
        ([GOOD[0], "q1 Q0 b 2.0 0.8 t"], 2, "not a whole number"),
        ([GOOD[0], "q1 Q0 b 2 high t"], 2, "not a number"),
        ([GOOD[0], "q1 Q0 b 2 0.91 t"], 2, "0.91 is higher"),
        ([*GOOD, "q1 Q0 c 3 0.6 t"], 4, "q1 appears again"),
        ([*GOOD, "q3 Q0 c 1 0.6 t"], 4, "no question 'q3'"),
        ([GOOD[0], "q1 Q0 b 2 0_8 t"], 2, "not a number"),
        ([GOOD[0], "q1 Q0 b 2 ٠.٨ t"], 2, "not a number"),
        ([GOOD[0], "q1 Q0 b ２ 0.8 t"], 2, "not a whole number"),
        ([GOOD[0], "q1 Q0 b 2 1e400 t"], 2, "inf"),
        ([GOOD[0], "##", "q1 Q0 b 3 0.8 t"], 3, "rank 2, got 3"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, lines: list[str], line: int, problem: str) -> None:
    path = write_lines(tmp_path / "run", lines)
    with pytest.raises(InputError, match=problem) as caught:
        read_run(path, ["q1", "q2"])
    assert (caught.value.path, caught.value.line) == (path, line)
    assert caught.value.hint


def test_marks_blank_lines_and_comments_are_no_results(tmp_path: Path) -> None:
    lines = [
        "\ufeff# a title",
        GOOD[0],
        "",
        "#q1 Q0 z 2 0.85 t",
        f"{GOOD[1]}\r",
        "  ",
        "# six words in a comment",
        GOOD[2],
        "\t",
    ]
    path = write_lines(tmp_path / "run", lines)
    assert read_run(path, ["q1", "q2"]) == read_run(write_lines(tmp_path / "good", GOOD))
    path.write_bytes(path.read_bytes() + b"  ")  # a blank line cannot be a cut result
    assert len(read_run(path, ["q1", "q2"])) == 2
    assert read_run(write_lines(tmp_path / "hash", ["#q1 Q0 a 1 0.9 t"]), ["#q1"]) == {"#q1": [Hit("a", 0.9)]}


def test_questions_of_other_topics_are_left_out_unless_all_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_lines(tmp_path / "run", GOOD)
    with caplog.at_level("INFO", "xqg_repro"):
        assert list(read_run_of(path, ["q2", "q7"], "toy/q2")) == ["q2"]
    assert caplog.messages == [f"{path}: left out 1 questions that toy/q2 does not have, such as 'q1'"]
    with pytest.raises(InputError, match="no question 'q1'"):
        read_run_of(path, ["q7"], "toy/q7")
    caplog.clear()
    with caplog.at_level("INFO", "xqg_repro"):
        assert keep_known({"q1": 1, "Mala\u0301": 2}, ["q1", "Mal\u00e1"], "toy", path) == {"q1": 1}
    assert "looks the same" in caplog.text
    assert read_run_of(write_lines(tmp_path / "empty", []), ["q7"], "toy/q7") == {}


@pytest.mark.parametrize("cut", [1, 2, 8, 14], ids=["line end", "tag", "score", "docid"])
def test_a_last_line_that_was_cut_off_is_named(tmp_path: Path, cut: int) -> None:
    path = write_lines(tmp_path / "run", GOOD)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match="cut off") as caught:
        read_run(path)
    assert (caught.value.path, caught.value.line) == (path, 3)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"q1 Q0 \xff 1 0.9 t\n")
    for name in ("missing", ".", "latin"):
        with pytest.raises(InputError) as caught:
            read_run(tmp_path / name)
        assert caught.value.path == tmp_path / name


def test_a_compressed_run_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run.txt.gz"
    path.write_bytes(gzip.compress(b"1 Q0 a 1 0.5 tag\n"))
    assert read_run(path) == {"1": [Hit("a", 0.5)]}
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match="cannot be read"):
        read_run(path)


def test_a_run_is_written_in_trec_form(tmp_path: Path) -> None:
    write_run({"q2": [Hit("b", 0.5), Hit("a", 1.25)], "q1": [Hit("ä", -3.0)]}, tmp_path / "run", "tag")
    assert (tmp_path / "run").read_text(encoding="utf-8") == (
        "q2 Q0 a 1 1.250000 tag\nq2 Q0 b 2 0.500000 tag\nq1 Q0 ä 1 -3.000000 tag\n"
    )


names = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=5)
hits = st.lists(
    st.builds(Hit, names, st.floats(-1e4, 1e4) | st.sampled_from([0.0, 0.5, 0.50000001])),
    min_size=1,
    max_size=6,
    unique_by=lambda hit: hit.docid,
)


@settings(max_examples=20)
@given(run=st.dictionaries(names, hits, max_size=4))
def test_a_written_run_reads_back_in_rank_order(tmp_path_factory: pytest.TempPathFactory, run) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.txt"
    write_run(run, path, "tag")
    read = read_run(path, run)
    assert list(read) == list(run)
    for qid, written in run.items():
        keys = [(-hit.score, hit.docid) for hit in read[qid]]
        assert keys == sorted(keys)
        scores = dict(written)
        assert {hit.docid for hit in read[qid]} == set(scores)
        assert all(math.isclose(hit.score, scores[hit.docid], rel_tol=0, abs_tol=5.1e-7) for hit in read[qid])


@pytest.mark.parametrize(
    ("run", "tag", "problem"),
    [
        ({"q": [Hit("a", 0.9), Hit("b", math.nan)]}, "t", "question q, passage b"),
        ({"q": [Hit("a", -math.inf)]}, "t", "question q, passage a"),
        ({"q": [Hit("a", 1.0), Hit("a", 0.5)]}, "t", "twice"),
        ({"": [Hit("a", 1.0)]}, "t", "cannot be an id or tag"),
        ({"q": [Hit("a\u00a0b", 1.0)]}, "t", "cannot be an id or tag"),
        ({"q": [Hit("a", 1.0)]}, "a\tb", "cannot be an id or tag"),
    ],
)
def test_a_run_that_could_not_be_read_back_is_not_written(tmp_path: Path, run: dict, tag: str, problem: str) -> None:
    path = write_lines(tmp_path / "run", GOOD)
    before = path.read_bytes()
    with pytest.raises(InputError, match=problem) as caught:
        write_run({"q0": [Hit("a", 1.0)], **run}, path, tag)
    assert caught.value.path == path
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
