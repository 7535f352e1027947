from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st

from xqg_repro import cli
from xqg_repro.collection.topics import read_topics
from xqg_repro.core.errors import InputError
from xqg_repro.evaluation.convert import Conversion, Form, check, convert
from xqg_repro.retrieval.runfile import Hit, read_run, write_run

ODD = ["<script>alert(1)</script>", "\"'\\", "\u200fعربي\u202e", "東京\U0001f600", "x" * 10_000, "\x1b[31m\x00"]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def converted(source: Path, form: str, topics: str = "") -> tuple[str, Conversion]:
    """The run's text, without the tag's column, and the counts."""
    output = source.with_name("converted.txt")
    done = convert(source, output, form, "new", topics)
    read_run(output)
    return output.read_text(encoding="utf-8").replace(" new\n", "\n"), done


def refused(source: Path, form: str, topics: str = "") -> InputError:
    """The error, after which nothing was written."""
    before = sorted(source.parent.iterdir())
    with pytest.raises(InputError) as caught:
        convert(source, source.with_name("converted.txt"), form, "new", topics)
    assert sorted(source.parent.iterdir()) == before
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.fixture
def topics(tmp_path: Path) -> str:
    return str(write(tmp_path / "topics.tsv", "q1\tone ?\nq2\ttwo ?\nq3\tthree ?\n"))


# --- lines


@pytest.mark.parametrize("between", [" ", "\t", "  \t "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tevatrons_lines_may_be_unsorted(tmp_path: Path, between: str, end: str) -> None:
    lines = ["q2 b 0.5", "q1 a 88.25", "q2 a 1e1", "q1 c -3", "q2 c .75"]
    source = tmp_path / "run.tsv"
    source.write_bytes("".join(line.replace(" ", between) + end for line in lines).encode())
    text, done = converted(source, "tevatron")
    assert text == (
        "q2 Q0 a 1 10.000000\nq2 Q0 c 2 0.750000\nq2 Q0 b 3 0.500000\nq1 Q0 a 1 88.250000\nq1 Q0 c 2 -3.000000\n"
    )
    assert done == Conversion(2, 5, 0, 1, 0, 0, (), None)


def test_ties_are_ordered_by_docid_and_counted(tmp_path: Path) -> None:
    source = write(tmp_path / "run.tsv", "q1 b 0.5\nq1 a 0.5\nq2 b 0.50000001\nq2 a 0.5\nq3 a 0.5\nq3 b 0.5\n")
    log: list[str] = []
    done = convert(source, tmp_path / "out", Form.TEVATRON, "t")
    assert [hit.docid for hits in read_run(tmp_path / "out").values() for hit in hits] == list("ababab")
    assert (done.reordered, done.merged) == (2, 1)
    assert log[1:] == ["runfile: warning: 1 questions have scores that differ after six decimals only"]


def test_msmarcos_ranks_become_scores_that_count_down(tmp_path: Path) -> None:
    source = write(tmp_path / "run.tsv", "q1\tb\t2\nq2\tz\t1\nq1\tc\t1\nq1\ta\t3\n")
    text, done = converted(source, "msmarco")
    assert text == "q1 Q0 c 1 3.000000\nq1 Q0 b 2 2.000000\nq1 Q0 a 3 1.000000\nq2 Q0 z 1 1.000000\n"
    assert done == Conversion(2, 4, 0, 0, 0, 0, (), None)


def test_a_thousand_ranks_keep_their_order(tmp_path: Path) -> None:
    docids = [f"d{i}" for i in range(5000)]
    random.Random(1).shuffle(docids)
    source = write(tmp_path / "run.tsv", "".join(f"q {docid} {i}\n" for i, docid in enumerate(docids, 1)))
    convert(source, tmp_path / "out", "msmarco", "t")
    assert [hit.docid for hit in read_run(tmp_path / "out")["q"]] == docids


def test_other_tools_trec_runs_are_ranked_anew(tmp_path: Path) -> None:
    lines = ["q1 0 b 0 0.5 x", "q2 Q0 a 0 7 x", "q1 0 c 1 0.5 x", "q1 0 a 2 0.5 y", "q1 0 d 9 0.25 x"]
    source = write(tmp_path / "run.txt", "".join(f"{line}\n" for line in lines))
    text, done = converted(source, "trec")
    assert text == (
        "q1 Q0 a 1 0.500000\nq1 Q0 b 2 0.500000\nq1 Q0 c 3 0.500000\nq1 Q0 d 4 0.250000\nq2 Q0 a 1 7.000000\n"
    )
    assert done == Conversion(2, 5, 0, 1, 0, 0, ("x", "y"), None)


def test_a_run_of_unsorted_lines_is_in_the_order_of_its_ranks(tmp_path: Path) -> None:
    source = write(tmp_path / "run.txt", "q 0 b 2 0.5 x\nq 0 a 1 0.5 x\nq 0 c 0 0.9 x\n")
    text, done = converted(source, "trec")
    assert text == "q Q0 c 1 0.900000\nq Q0 a 2 0.500000\nq Q0 b 3 0.500000\n"
    assert done.reordered == 0


def test_trec_ranks_that_say_nothing_are_passed_over(tmp_path: Path) -> None:
    source = write(tmp_path / "run.txt", "q 0 a 0 0.5 x\nq 0 b 0 0.9 x\n")
    assert converted(source, "trec")[0] == "q Q0 b 1 0.900000\nq Q0 a 2 0.500000\n"


def test_our_own_runs_stay_as_they_are(tmp_path: Path) -> None:
    packed = REPOSITORY / "runs" / "run.xor-mini.xdr-mini.dev.txt.gz"
    done = convert(packed, tmp_path / "out", "trec", "xdr-mini", "xor-mini/dev")
    assert (tmp_path / "out").read_bytes() == gzip.decompress(packed.read_bytes())
    assert done == Conversion(1400, 140_000, 0, 0, 0, 0, ("xdr-mini",), 0)


@pytest.mark.parametrize(
    ("form", "line", "problem"),
    [
        ("tevatron", "q1 b", "has 2 columns where 3 are due (qid docid score)"),
        ("tevatron", "q1 b 0.5 x", "has 4 columns where 3 are due"),
        ("tevatron", "", "has 0 columns where 3 are due"),
        ("tevatron", "qid docid score", "the score 'score' is not a number (choose another --from than tevatron?)"),
        ("tevatron", "q1 b 1_000", "the score '1_000' is not a number"),
        ("tevatron", "q1 b 0,5", "the score '0,5' is not a number"),
        ("tevatron", "q1 b nan", "the score is nan (scores must be finite numbers)"),
        ("tevatron", "q1 b -inf", "the score is -inf"),
        ("tevatron", "q1 b 1e999", "the score is inf"),
        ("tevatron", "q1 a 0.25", "passage 'a' is listed twice for question 'q1', first on line 1"),
        ("tevatron", "q9 a 0.25", "the topics have no question 'q9'"),
        ("msmarco", "q1 b", "has 2 columns where 3 are due (qid docid rank)"),
        ("msmarco", "q1 b 0.5", "the rank '0.5' is not a whole number (choose another --from than msmarco?)"),
        ("msmarco", "q1 b 1", "question 'q1' has rank 1 where 2 is due"),
        ("msmarco", "q1 b 3", "question 'q1' has rank 3 where 2 is due"),
        ("msmarco", "q2 b 0", "question 'q2' has rank 0 where 1 is due"),
        ("msmarco", "q1 a 2", "passage 'a' is listed twice"),
        ("trec", "q1 Q0 b 2 0.5", "has 5 columns where 6 are due (qid Q0 docid rank score tag)"),
        ("trec", "q1 Q0 b 2 0.5 my tag", "has 7 columns where 6 are due"),
        ("trec", "q1 Q0 b 2.0 0.5 t", "the rank '2.0' is not a whole number"),
        ("trec", "q1 Q0 b 2 high t", "the score 'high' is not a number"),
        ("trec", "q1 Q0 b 2 inf t", "the score is inf"),
        ("trec", "q1 Q0 b 2 1.5 t", "rank 2 has the score 1.5, and rank 1 only 1.0 (ranks and scores contradict"),
        ("trec", "q1 Q0 a 2 0.5 t", "passage 'a' is listed twice"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, topics: str, form: str, line: str, problem: str) -> None:
    first = {"tevatron": "q1 a 1.5", "msmarco": "q1 a 1", "trec": "q1 Q0 a 1 1.0 t"}[form]
    source = write(tmp_path / "run", f"{first}\n{line}\n")
    error = refused(source, form, topics)
    assert str(error).startswith(f"{source}:2: {problem}")


def test_a_contradiction_is_found_behind_ranks_that_are_shared(tmp_path: Path) -> None:
    source = write(tmp_path / "run", "q Q0 a 1 0.5 t\nq Q0 b 1 0.9 t\nq Q0 c 2 0.7 t\n")
    assert str(refused(source, "trec")).startswith(f"{source}:3: rank 2 has the score 0.7, and rank 1 only 0.5")


def test_ranks_are_not_taken_for_scores(tmp_path: Path) -> None:
    source = write(tmp_path / "run", "q1 a 1\nq1 b 2\nq2 a 1\n")
    assert "ranks, not scores (convert it --from msmarco)" in str(refused(source, "tevatron"))
    assert converted(write(source, "q1 a 1\nq2 b 1\n"), "tevatron")[1].hits == 2  # could be scores, and all the same
    assert converted(write(source, "q1 a 1\nq1 b 2\nq2 a 5\n"), "tevatron")[0].startswith("q1 Q0 b 1 2.000000\n")


@pytest.mark.parametrize("form", [*Form])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, form: Form) -> None:
    texts = {"tevatron": "q1 a 1.5", "msmarco": "q1 a 1", "trec": "q1 Q0 a 1 1.0 t", "dpr": '[{"id": "q", "ctxs": ['}
    source = write(tmp_path / "run", texts[form])
    error = refused(source, form)
    assert error.line == 1 and error.path == source
    assert ("cut off" in str(error)) == (form is not Form.DPR)


@pytest.mark.parametrize("form", ["tevatron", "msmarco", "trec"])
def test_an_empty_file_and_a_byte_order_mark_are_refused(tmp_path: Path, form: str) -> None:
    assert "holds no passage" in str(refused(write(tmp_path / "run", ""), form))
    line = {"tevatron": "q1 a 1.5", "msmarco": "q1 a 1", "trec": "q1 Q0 a 1 1.0 t"}[form]
    assert "byte order mark" in str(refused(write(tmp_path / "run", f"\ufeff{line}\n"), form))


def test_a_form_that_there_is_not_is_refused(tmp_path: Path) -> None:
    assert "did you mean tevatron" in str(refused(write(tmp_path / "run", "q1 a 1\n"), "tevatrn"))


def test_questions_of_the_topics_that_are_missing_are_counted(tmp_path: Path, topics: str) -> None:
    source = write(tmp_path / "run", "q3 a 1.5\n")
    assert converted(source, "tevatron", topics)[1].missing == 2


@pytest.mark.parametrize("tag", ["", "a b", "a\tb", "a\nb", "\udc00"])
def test_a_tag_that_is_none_is_refused(tmp_path: Path, tag: str) -> None:
    source = write(tmp_path / "run", "q1 a 0.5\n")
    with pytest.raises(InputError, match="cannot be an id or tag"):
        convert(source, tmp_path / "out", "tevatron", tag)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("output", ["run", "out.gz"])
def test_the_source_is_not_replaced(tmp_path: Path, output: str) -> None:
    source = write(tmp_path / "run", "q1 a 0.5\n")
    with pytest.raises(InputError, match="would be"):
        convert(source, tmp_path / output, "tevatron", "t")
    assert source.read_text() == "q1 a 0.5\n" and not (tmp_path / "out.gz").exists()


def test_odd_ids_and_tags_are_kept(tmp_path: Path) -> None:
    source = write(tmp_path / "run", "".join(f"{name} {name} 0.5\n" for name in ODD))
    for tag in ODD:
        convert(source, tmp_path / "out", "tevatron", tag)
        assert read_run(tmp_path / "out") == {name: [Hit(name, 0.5)] for name in ODD}
        assert list(check(tmp_path / "out").tags) == [tag]
        assert "\x1b" not in check(tmp_path / "out").table().text()


names = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=4)
score = st.floats(-1e4, 1e4).map(lambda value: round(value, 6))
runs = st.dictionaries(names, st.dictionaries(names, score, min_size=1, max_size=5), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(run=runs, draw=st.randoms(use_true_random=False))
def test_every_form_of_a_run_gives_the_run(tmp_path_factory: pytest.TempPathFactory, run: Any, draw: Any) -> None:
    folder = tmp_path_factory.getbasetemp()
    hits = {qid: [Hit(docid, score) for docid, score in scores.items()] for qid, scores in run.items()}
    write_run(hits, folder / "wanted", "t")
    wanted = read_run(folder / "wanted")
    rows = [(qid, docid, i, s) for qid, listed in wanted.items() for i, (docid, s) in enumerate(listed)]
    draw.shuffle(rows)
    lines = {
        "tevatron": [f"{qid}\t{docid}\t{s:.6f}" for qid, docid, _, s in rows],
        "msmarco": [f"{qid}\t{docid}\t{i + 1}" for qid, docid, i, _ in rows],
        "trec": [f"{qid} Q0 {docid} {i} {s:.6f} x" for qid, docid, i, s in rows],
    }
    for form, written in lines.items():
        source = write(folder / "source", "".join(f"{line}\n" for line in written))
        try:
            convert(source, folder / "found", form, "t")
        except InputError as error:
            assert "ranks, not scores" in str(error)
            continue
        found = read_run(folder / "found")
        if form == "msmarco":
            assert {qid: [h.docid for h in listed] for qid, listed in found.items()} == {
                qid: [h.docid for h in listed] for qid, listed in wanted.items()
            }
        else:
            assert found == wanted


# --- DPR's and Pyserini's JSON


def ctx(docid: Any, score: Any) -> dict[str, Any]:
    return {"id": docid, "title": "<script>\"'\t\n\u200f", "text": "text " * 2000, "score": score}


@pytest.mark.parametrize("key", ["id", "qid", "question_id"])
def test_dprs_items_are_known_by_their_ids(tmp_path: Path, key: str) -> None:
    items = [
        {key: "q2", "question": "?", "answers": [], "ctxs": [ctx("b", "0.5"), ctx(7, 1)]},
        {key: 1, "question": "?", "answers": [], "ctxs": [ctx("wiki:1", 81.5)]},
        {key: "q3", "question": "?", "answers": [], "ctxs": []},
    ]
    text, done = converted(write(tmp_path / "dpr.json", json.dumps(items)), "dpr")
    assert text == "q2 Q0 7 1 1.000000\nq2 Q0 b 2 0.500000\n1 Q0 wiki:1 1 81.500000\n"
    assert done == Conversion(2, 3, 1, 1, 0, 0, (), None)


def test_dprs_items_without_ids_are_known_by_their_texts(tmp_path: Path, topics: str) -> None:
    items = [{"question": " two  ?\n", "ctxs": [ctx("b", 0.5)]}, {"question": "one ?", "ctxs": [ctx("a", 0.5)]}]
    source = write(tmp_path / "dpr.json", json.dumps(items))
    text, done = converted(source, "dpr", topics)
    assert text == "q2 Q0 b 1 0.500000\nq1 Q0 a 1 0.500000\n"
    assert (done.missing, done.same_text) == (1, 0)
    assert str(refused(source, "dpr")).startswith(f"{source}: item [0] has no id (name the topics (--topics)")


def test_questions_of_one_text_are_matched_in_order_if_all_are_there(tmp_path: Path) -> None:
    topics = str(write(tmp_path / "topics.tsv", "q1\tsame\nq2\tother\nq3\tsame\n"))
    items = [{"question": text, "ctxs": [ctx(docid, 1)]} for text, docid in (("same", "a"), ("same", "b"))]
    source = write(tmp_path / "dpr.json", json.dumps(items))
    text, done = converted(source, "dpr", topics)
    assert text == "q1 Q0 a 1 1.000000\nq3 Q0 b 1 1.000000\n"
    assert done.same_text == 2
    for count in (1, 3):
        write(source, json.dumps((items * 2)[:count]))
        assert f"{count} items ask 'same', which 2 questions" in str(refused(source, "dpr", topics))


def test_real_questions_are_known_by_their_texts(shared_data: Path, tmp_path: Path) -> None:
    asked, _ = read_topics("xor-tydi/dev")
    items = [{"question": text, "answers": [], "ctxs": [ctx(qid, "1.5")]} for qid, text in asked.items()]
    for item in items:
        item["ctxs"][0]["text"] = ""
    source = write(tmp_path / "dpr.json", json.dumps(items))
    done = convert(source, tmp_path / "out", "dpr", "t", "xor-tydi/dev")
    assert read_run(tmp_path / "out") == {qid: [Hit(qid, 1.5)] for qid in asked}
    assert done == Conversion(2110, 2110, 0, 0, 0, 8, (), 0)


def test_pyserinis_mapping_is_read(tmp_path: Path, topics: str) -> None:
    found = {
        "q2": {"question": "?", "answers": ["a"], "contexts": [{"docid": "b", "score": "0.5", "has_answer": False}]},
        "q1": {"question": "?", "answers": ["a"], "contexts": [{"docid": d, "score": "2"} for d in "ba"]},
        "q3": {"question": "?", "answers": ["a"], "contexts": []},
    }
    text, done = converted(write(tmp_path / "dpr.json", json.dumps(found)), "dpr", topics)
    assert text == "q2 Q0 b 1 0.500000\nq1 Q0 a 1 2.000000\nq1 Q0 b 2 2.000000\n"
    assert done == Conversion(2, 3, 1, 1, 0, 0, (), 1)


PASSAGE = {"id": "a", "score": 1}


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ("text", "holds no questions"),
        ([], "holds no passage"),
        ({}, "holds no passage"),
        ([{"id": "q1", "ctxs": []}], "holds no passage"),
        ([["q1"]], "item [0] is no object but ['q1']"),
        ([{"id": "q1", "contexts": [PASSAGE]}], "item [0], question 'q1': has no list 'ctxs'"),
        ({"q1": {"ctxs": [PASSAGE]}}, "question 'q1': has no list 'contexts'"),
        ({"q1": [PASSAGE]}, "question 'q1': has no list 'contexts'"),
        ([{"id": "q1", "ctxs": ["a"]}], "item [0], question 'q1', ctxs[0]: is no object but 'a'"),
        ([{"id": "q1", "ctxs": [{"docid": "a", "score": 1}]}], "item [0], question 'q1', ctxs[0]: has no 'id'"),
        ({"q1": {"contexts": [PASSAGE]}}, "question 'q1', contexts[0]: has no 'docid'"),
        ([{"id": "q1", "ctxs": [PASSAGE, {"id": "b"}]}], "item [0], question 'q1', ctxs[1]: has no 'score'"),
        ([{"id": "q1", "ctxs": [{"id": None, "score": 1}]}], "item [0], question 'q1', ctxs[0]: the id is no text"),
        ([{"id": True, "ctxs": [PASSAGE]}], "item [0]: the id is no text but True"),
        ([{"id": "q1", "ctxs": [{"id": "a b", "score": 1}]}], "item [0], question 'q1', ctxs[0]: 'a b' cannot be"),
        ([{"id": "\ud800", "ctxs": [PASSAGE]}], r"the topics have no question '\ud800'"),
        *(
            ([{"id": "q1", "ctxs": [PASSAGE, {"id": "b", "score": bad}]}], f"question 'q1', ctxs[1]: the score {shown}")
            for bad, shown in (
                (True, "True is not a number"),
                (None, "None is not a number"),
                ("high", "'high' is not a number"),
                ("", "'' is not a number"),
                ([1], "[1] is not a number"),
                (10**400, "1000"),
                (float("nan"), "is nan"),
                (float("inf"), "is inf"),
                ("-inf", "is -inf"),
            )
        ),
        (
            [{"id": "q1", "ctxs": [PASSAGE, PASSAGE]}],
            "ctxs[1]: passage 'a' is listed twice for question 'q1', first at item [0], question 'q1', ctxs[0]",
        ),
        ([{"id": "q1", "ctxs": [PASSAGE]}] * 2, "item [1], question 'q1': is item [0] again"),
        ([{"id": "q1", "ctxs": [PASSAGE]}, {"question": "one ?", "ctxs": []}], "item [1], question 'q1': is item [0]"),
        ([{"id": "q1", "qid": "q2", "ctxs": [PASSAGE]}], "item [0] has several ids: q1, q2"),
        ([{"id": "q9", "ctxs": [PASSAGE]}], "the topics have no question 'q9'"),
        ([{"question": "nine ?", "ctxs": [PASSAGE]}], "item [0]: the topics have no question 'nine ?'"),
        ([{"question": "one ?", "ctxs": [PASSAGE]}] * 2, "item [1]: the topics have no question 'one ?' (left)"),
        ([{"question": None, "ctxs": [PASSAGE]}], "item [0] has neither an id nor a question"),
    ],
)
def test_an_item_that_does_not_fit_is_named(tmp_path: Path, topics: str, found: Any, problem: str) -> None:
    source = write(tmp_path / "dpr.json", json.dumps(found))
    error = refused(source, "dpr", topics)
    assert problem in str(error) and error.path == source


def test_a_question_that_json_repeats_is_refused(tmp_path: Path) -> None:
    one = '"q1": {"contexts": [{"docid": "a", "score": "1"}]}'
    assert "repeats the key 'q1'" in str(refused(write(tmp_path / "dpr.json", f"{{{one}, {one}}}"), "dpr"))


# --- check


def test_check_says_what_a_run_holds(tmp_path: Path, topics: str) -> None:
    source = write(tmp_path / "run", "q2 Q0 a 1 2 s\nq2 Q0 b 2 1 t\nq1 Q0 a 1 2 t\n")
    log: list[str] = []
    summary = check(source, topics)
    assert (summary.depths, summary.tags, summary.missing) == ({"q2": 2, "q1": 1}, {"s": 1, "t": 2}, ("q3",))
    assert log == [
        "runfile: warning: the run has 2 tags where one is usual",
        f"runfile: warning: 1 questions of {topics} are missing, such as q3",
    ]
    assert [row[1] for row in summary.table().rows] == ["2", "3", "1", "2", "1", "1", "2"]
    log.clear()
    assert check(write(source, "q1 Q0 a 1 2 t\n")).missing is None and log == []


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ("q1 Q0 a 0 2 t\n", "rank 0 where 1 is due", 1),
        ("q1 Q0 a 1 2 t\nq9 Q0 a 1 2 t\n", "no question 'q9'", 2),
        ("", "holds no passage", None),
    ],
)
def test_check_refuses_what_is_no_run(tmp_path: Path, topics: str, text: str, problem: str, line: int | None) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        check(write(tmp_path / "run", text), topics)
    assert caught.value.line == line


# --- the verb


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """``told("runfile", …)``: exit status, stdout and stderr."""

    def run(*arguments: Any) -> tuple[int, str, str]:
        status = cli.main([*map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def test_runfile_converts_and_checks(tmp_path: Path, topics: str, told: Callable[..., tuple[int, str, str]]) -> None:
    source, output = write(tmp_path / "in.tsv", "q1 a 0.5\nq1 b 0.75\n"), tmp_path / "out.txt"
    line = ["runfile", "convert", source, "--from", "tevatron", "--output", output, "--tag", "mine"]
    status, out, err = told(*line)
    assert (status, err) == (0, f"runfile: wrote {output} (1 questions, 2 passages)\n")
    assert out.startswith("converted") and "missing" not in out
    assert output.read_text() == "q1 Q0 b 1 0.750000 mine\nq1 Q0 a 2 0.500000 mine\n"
    assert "missing" in told(*line, "--topics", topics)[1]
    status, out, err = told("runfile", "check", output, "--topics", topics)
    assert status == 0 and "lines tagged 'mine'" in out and "2 questions of" in err
    assert told("runfile", "check", output)[2] == ""


def test_the_verb_knows_every_form() -> None:
    from xqg_repro.cli.files import FORMS

    assert tuple(Form) == FORMS


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("check nope", "nope: no such run file"),
        ("convert nope --from trec --output o --tag t", "nope: no such file of results"),
        ("convert nope --from dpr --output o --tag t", "nope: no such file of results"),
        ("convert nope --from dpr --output o --tag=", "'' cannot be an id or tag"),
        ("convert nope --from dpr --output o --tag t --topics nope/nope", "nope/nope"),
    ],
)
def test_what_cannot_be_converted_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Callable[..., tuple[int, str, str]], line: str, shown: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = told("runfile", *line.split())
    assert (status, out) == (2, "") and err.startswith("xqg-repro: error: ") and err.count("\n") == 1
    assert shown in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "line", ["", "check", "convert in", "convert in --from bm25 --output o --tag t", "convert in --from trec --tag t"]
)
def test_a_command_line_that_lacks_something_is_refused(line: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["runfile", *line.split()])
    assert caught.value.code == 2
