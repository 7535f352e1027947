import gzip
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xqg_repro.core.errors import InputError
from xqg_repro.retrieval.runfile import Hit, read_run, write_run

GOOD = ["q1 Q0 a 1 0.9 t", "q1 Q0 b 2 0.8 t", "q2 Q0 a 1 0.7 t"]


def write_lines(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_a_run_is_read_in_order(tmp_path: Path) -> None:
    run = read_run(write_lines(tmp_path / "run", GOOD))
    assert run == {"q1": [Hit("a", 0.9), Hit("b", 0.8)], "q2": [Hit("a", 0.7)]}


def test_columns_may_be_separated_by_tabs(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "run", ["q1\tQ0\ta\t1\t0.9\tt"])
    assert read_run(path) == {"q1": [Hit("a", 0.9)]}


def test_equal_scores_may_stand_in_any_order(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "run", ["q1 Q0 b 1 0.9 t", "q1 Q0 a 2 0.9 t"])
    assert [hit.docid for hit in read_run(path)["q1"]] == ["b", "a"]


@pytest.mark.parametrize(
    ("lines", "line", "problem"),
    [
        (["q1 Q0 a 2 0.9 t", "q1 Q0 b 1 0.8 t"], 1, "rank 2 where 1 is due"),
        ([*GOOD[:2], "q1 Q0 c 2 0.7 t"], 3, "rank 2 where 3 is due"),
        ([*GOOD[:2], "q1 Q0 c 4 0.7 t"], 3, "rank 4 where 3 is due"),
        (["q1 Q0 a 0 0.9 t"], 1, "rank 0 where 1 is due"),
        ([*GOOD[:2], "q1 Q0 a 3 0.7 t"], 3, "passage a is listed twice"),
        (["q1 Q0 a 1 NaN t"], 1, "the score is nan"),
        ([GOOD[0], "q1 Q0 b 2 -inf t"], 2, "the score is -inf"),
        ([GOOD[0], "q1 Q0 b 2 0.8"], 2, "5 columns where six are due"),
        ([GOOD[0], "q1 Q0 b c 2 0.8 t"], 2, "7 columns where six are due"),
        ([GOOD[0], "", GOOD[1]], 2, "0 columns where six are due"),
        ([GOOD[0], "q1 Q0 b two 0.8 t"], 2, "not a number"),
        ([GOOD[0], "q1 Q0 b 2.0 0.8 t"], 2, "not a number"),
        ([GOOD[0], "q1 Q0 b 2 high t"], 2, "not a number"),
        ([GOOD[0], "q1 Q0 b 2 0.91 t"], 2, "0.91 is higher than the one before"),
        ([*GOOD, "q1 Q0 c 3 0.6 t"], 4, "question q1 appears again"),
        ([*GOOD, "q3 Q0 c 1 0.6 t"], 4, "no question 'q3'"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, lines: list[str], line: int, problem: str) -> None:
    path = write_lines(tmp_path / "run", lines)
    with pytest.raises(InputError, match=problem) as caught:
        read_run(path, ["q1", "q2"])
    assert (caught.value.path, caught.value.line) == (path, line)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert caught.value.hint


@pytest.mark.parametrize("cut", [1, 2, 8, 14], ids=["line end", "tag", "score", "docid"])
def test_a_last_line_that_was_cut_off_is_named(tmp_path: Path, cut: int) -> None:
    path = write_lines(tmp_path / "run", GOOD)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match="cut off") as caught:
        read_run(path)
    assert (caught.value.path, caught.value.line) == (path, 3)


def test_without_qids_any_question_is_allowed(tmp_path: Path) -> None:
    assert list(read_run(write_lines(tmp_path / "run", ["other Q0 a 1 0.9 t"]))) == ["other"]


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run") as caught:
        read_run(tmp_path / "run")
    assert caught.value.path == tmp_path / "run"


def test_a_folder_in_the_place_of_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_run(tmp_path)
    assert caught.value.path == tmp_path


def test_a_run_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(b"q1 Q0 \xff 1 0.9 t\n")
    with pytest.raises(InputError, match="not UTF-8") as caught:
        read_run(tmp_path / "run")
    assert caught.value.path == tmp_path / "run"


def test_a_run_is_written_in_trec_form(tmp_path: Path) -> None:
    write_run({"q2": [Hit("b", 0.5), Hit("a", 1.25)], "q1": [Hit("ä", -3.0)]}, tmp_path / "run", "tag")
    assert (tmp_path / "run").read_text(encoding="utf-8") == (
        "q2 Q0 a 1 1.250000 tag\nq2 Q0 b 2 0.500000 tag\nq1 Q0 ä 1 -3.000000 tag\n"
    )


def test_scores_equal_as_printed_are_ordered_by_docid(tmp_path: Path) -> None:
    write_run({"q": [Hit("b", 0.1234564), Hit("c", 0.1234561), Hit("a", 0.1234562)]}, tmp_path / "run", "t")
    assert read_run(tmp_path / "run") == {"q": [Hit(docid, 0.123456) for docid in "abc"]}


names = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=5)
hits = st.lists(
    st.builds(Hit, names, st.floats(-1e4, 1e4) | st.sampled_from([0.0, 0.5])),
    min_size=1,
    max_size=6,
    unique_by=lambda hit: hit.docid,
)


@settings(max_examples=60, deadline=None)
@given(run=st.dictionaries(names, hits, max_size=4))
def test_a_written_run_reads_back_in_rank_order(tmp_path_factory: pytest.TempPathFactory, run) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.txt"
    write_run(run, path, "tag")
    found = read_run(path, run)
    assert list(found) == list(run)
    for qid, given_hits in run.items():
        keys = [(-hit.score, hit.docid) for hit in found[qid]]
        assert keys == sorted(keys)
        wanted = dict(given_hits)
        assert {hit.docid for hit in found[qid]} == set(wanted)
        assert all(math.isclose(hit.score, wanted[hit.docid], rel_tol=0, abs_tol=5.1e-7) for hit in found[qid])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_not_written(tmp_path: Path, bad: float) -> None:
    run = {"q1": [Hit("a", 0.9)], "q2": [Hit("a", 0.9), Hit("b", bad)]}
    with pytest.raises(InputError, match="question q2, passage b") as caught:
        write_run(run, tmp_path / "run", "t")
    assert caught.value.path == tmp_path / "run"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bad", ["", " ", "a b", "a\tb", " a", "a\n", "a\u00a0b"])
@pytest.mark.parametrize("place", ["qid", "docid", "tag"])
def test_a_blank_or_spaced_id_is_not_written(tmp_path: Path, bad: str, place: str) -> None:
    named = {"qid": "q", "docid": "d", "tag": "t", place: bad}
    with pytest.raises(InputError, match="cannot be an id or tag"):
        write_run({"q0": [Hit("a", 1.0)], named["qid"]: [Hit(named["docid"], 1.0)]}, tmp_path / "run", named["tag"])
    assert not list(tmp_path.iterdir())


def test_a_passage_listed_twice_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="twice"):
        write_run({"q": [Hit("a", 1.0), Hit("a", 0.5)]}, tmp_path / "run", "t")
    assert not list(tmp_path.iterdir())


def test_a_refused_run_leaves_the_old_one(tmp_path: Path) -> None:
    write_run({"q": [Hit("a", 1.0)]}, tmp_path / "run", "t")
    before = (tmp_path / "run").read_bytes()
    with pytest.raises(InputError):
        write_run({"q": [Hit("a", math.nan)]}, tmp_path / "run", "t")
    assert (tmp_path / "run").read_bytes() == before


def test_a_compressed_run_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run.txt.gz"
    path.write_bytes(gzip.compress(b"1 Q0 a 1 0.5 tag\n"))
    assert read_run(path) == {"1": [Hit("a", 0.5)]}
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match="cannot be read"):
        read_run(path)
