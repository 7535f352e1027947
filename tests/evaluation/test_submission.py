"""Submissions to the leaderboard: from a run, checked, and back to a run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xqg_repro.collection.records import Passage, Question
from xqg_repro.core.errors import InputError
from xqg_repro.evaluation.evaluate import evaluate
from xqg_repro.evaluation.measures.recall import TOKEN_LIMITS, count_tokens, scorable
from xqg_repro.evaluation.predictions import read_submission
from xqg_repro.evaluation.submission import Extent, check, submission_to_run, write_submission
from xqg_repro.retrieval.runfile import Hit, read_run, write_run

Register = Callable[..., str]
TRICKY = [
    '<script>alert("x")</script>',
    "a 'single' and a \"double\" \\ backslash",
    "tab\there",
    "two\nlines\r\nand three\u2028and four",
    "\u200fعربي\u200e and \u202eback\u202c",
    "word " * 2_000,
    "東京 \U0001f600 \x00 \x1b[31m",
    "  spaces at both ends  ",
]


@pytest.fixture(scope="module")
def toy(register: Register) -> str:
    """Six passages, two with the same text, and three questions; all passages except the last have 1,000 tokens."""
    texts = ["a " * 1000, "b " * 1000, "c " * 1000, "b " * 1000, "d " * 1000, "e"]
    passages = [Passage(f"p{i}", f"Title {i}", text.strip()) for i, text in enumerate(texts)]
    questions = [Question("q1", "?", "ar", ("a",)), Question("q2", "?", "fi", ("b",)), Question("q3", "?", "te", ())]
    return register("test-submission/toy", passages, questions)


def write_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def submit(run: dict[str, list[Hit]], topics: str, folder: Path) -> Path:
    """Write the submission of a run."""
    write_run(run, folder / "run.txt", "tag")
    write_submission(folder / "run.txt", topics, folder / "submission.json")
    return folder / "submission.json"


def ranking(*docids: str) -> list[Hit]:
    return [Hit(docid, float(-position)) for position, docid in enumerate(docids)]


def items_in(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))


def docids_in(path: Path) -> dict[str, list[str]]:
    return {qid: [hit.docid for hit in hits] for qid, hits in read_run(path).items()}


# from a run


def test_a_submission_has_every_question_in_the_topics_order(
    toy: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_run({"q2": ranking("p5", "p1"), "q1": ranking("p0", "p1", "p2", "p3", "p4", "p5")}, tmp_path / "run", "t")
    summary = write_submission(tmp_path / "run", toy, tmp_path / "s.json")
    texts = [(f"{letter} " * 1000).strip() for letter in "abcbd"]
    assert items_in(tmp_path / "s.json") == [
        {"id": "q1", "lang": "ar", "ctxs": texts},
        {"id": "q2", "lang": "fi", "ctxs": ["e", texts[1]]},
        {"id": "q3", "lang": "te", "ctxs": []},
    ]
    assert (summary.below(5000), summary.below(2000), summary.empty) == (["q2", "q3"], ["q2", "q3"], ["q3"])
    assert summary.extents == {"q1": Extent("ar", 5, 5000), "q2": Extent("fi", 2, 1001), "q3": Extent("te", 0, 0)}
    assert "3 questions, 1 missing" in caplog.messages[0] and "2 questions have fewer" in caplog.messages[1]


def test_a_question_has_the_passages_that_reach_5000_tokens_and_no_more(register: Register, tmp_path: Path) -> None:
    texts = ["w " * size for size in (4000, 999, 1, 1)] + ["can't, " * 500 + str(i) for i in range(9)] + [" \n"]
    passages = [Passage(str(i), "", text) for i, text in enumerate(texts)]
    topics = register("test-submission/cut", passages, [Question("q", "?", "ar", ())])
    for docids, kept in (
        (("0", "1", "2", "3"), ("0", "1", "2")),
        (("0", "1", "13"), ("0", "1")),  # a blank passage is left out
        (tuple("456789"), tuple("4567")),  # 1,501 tokens each: three per word, not one
    ):
        path = submit({"q": ranking(*docids)}, topics, tmp_path)
        assert items_in(path)[0]["ctxs"] == [texts[int(docid)] for docid in kept]
        read_submission(path, topics)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("q1 Q0 p9 1 1.0 t\n", "no passage 'p9'"),
        ("q9 Q0 p1 1 1.0 t\n", "no question 'q9'"),
        ("q1 Q0 p1 2 1.0 t\n", "rank 1, got 2"),
        ("", "no question of test-submission/toy"),
    ],
)
def test_a_bad_run_is_refused_and_nothing_written(toy: str, tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "run").write_text(line)
    with pytest.raises(InputError, match=problem) as caught:
        write_submission(tmp_path / "run", toy, tmp_path / "out.json")
    assert caught.value.path == tmp_path / "run" and caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_bad_topics_and_outputs_are_refused(toy: str, register: Register, tmp_path: Path) -> None:
    no_language = register("test-submission/no-language", [Passage("1", "", "tea")], [Question("q", "?", "", ())])
    with pytest.raises(InputError, match="which language"):
        submit({"q": ranking("1")}, no_language, tmp_path)
    write_run({"q1": ranking("p0")}, tmp_path / "run", "t")
    submission = write_json(tmp_path / "s.json", [{"id": "q1", "lang": "ar", "ctxs": ["e"]}])
    before = (tmp_path / "run").read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    for output in ("run", "link", "out.json.xz"):
        with pytest.raises(InputError, match=r"would (not )?be"):
            write_submission(tmp_path / "run", toy, tmp_path / output)
    for output in (submission, tmp_path / "run.zip"):
        with pytest.raises(InputError, match=r"would (not )?be"):
            submission_to_run(submission, toy, output)
    for tag in ("", "a b", "\ud800"):
        with pytest.raises(InputError, match="cannot be an id or tag"):
            submission_to_run(submission, toy, tmp_path / "back", tag)
    assert (tmp_path / "run").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"run", "run.txt", "link", "s.json"}


# scores


@pytest.fixture(scope="module")
def golden_run(
    golden: dict[str, Any], register: Register, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Path]:
    """The golden questions and predictions as topics, a run and its submission.

    Some predictions list a text several times, which a run cannot; so the collection has that many copies of each text,
    under ids that keep the order: 7.0, 7.1, ….
    """
    copies: Counter[int] = Counter()
    run = {}
    for prediction in golden["predictions"]:
        used: Counter[int] = Counter()
        docids = []
        for number in prediction["ctxs"]:
            docids.append(f"{number}.{used[number]}")
            used[number] += 1
        run[prediction["id"]] = ranking(*docids)
        copies |= used
    texts = enumerate(golden["passages"])
    passages = [Passage(f"{i}.{n}", "A title", text) for i, text in texts for n in range(max(1, copies[i]))]
    questions = [Question(q["id"], q["question"], q["lang"], tuple(q["answers"])) for q in golden["data"].values()]
    topics = register("test-submission/golden", passages, questions)
    folder = tmp_path_factory.mktemp("golden")
    return topics, folder / "run.txt", submit(run, topics, folder)


@pytest.mark.integration
def test_a_submission_has_the_official_scores_of_its_run(
    golden: dict[str, Any], golden_run: tuple[str, Path, Path], plain_recall: Callable[..., int]
) -> None:
    topics, run, submission = golden_run
    ours = evaluate(run, topics, ["R2kt", "R5kt"])
    for name, official in (("R2kt", "R@2kt"), ("R5kt", "R@5kt")):
        scores = {}
        for item in items_in(submission):
            if answers := scorable(golden["data"][item["id"]]["answers"]):
                scores[item["id"]] = plain_recall(item["ctxs"], answers, TOKEN_LIMITS[name])
        assert scores == ours.flatten(name)
        expected = golden["expected"][official]["per_query"]
        assert {qid: scores[qid] for qid in expected} == expected
        assert 0 < sum(expected.values()) < len(expected)
        assert not any(scores[qid] for qid in scores.keys() - expected.keys())


@pytest.mark.integration
def test_golden_predictions_are_cut_and_come_back(
    golden: dict[str, Any], golden_run: tuple[str, Path, Path], tmp_path: Path
) -> None:
    topics, run, submission = golden_run
    submitted = {item["id"]: item["ctxs"] for item in items_in(submission)}
    cut = 0
    for prediction in golden["predictions"]:
        texts = [golden["passages"][number] for number in prediction["ctxs"]]
        kept = submitted[prediction["id"]]
        assert kept == texts[: len(kept)]
        if len(kept) < len(texts):
            counts = list(map(count_tokens, kept))
            assert sum(counts) >= 5000 > sum(counts[:-1])
            cut += 1
    assert 10 < cut < len(golden["predictions"])

    returned = submission_to_run(submission, topics, tmp_path / "back.txt")
    before, after = docids_in(run), docids_in(tmp_path / "back.txt")
    assert after == {qid: docids[: len(after[qid])] for qid, docids in before.items()}
    assert returned["passages"] == sum(map(len, after.values()))
    assert returned["passages with a text that several share"] > 100
    scores = [evaluate(path, topics, ["R2kt", "R5kt"]).per_query for path in (run, tmp_path / "back.txt")]
    assert scores[0] == scores[1]


# texts of all kinds


def test_no_text_breaks_a_submission_or_the_run_made_from_it(register: Register, tmp_path: Path) -> None:
    passages = [Passage(f"<d>{i}\u200f", text, text) for i, text in enumerate(TRICKY)]
    questions = [Question(f"q\u200e{i}<b>'\"", text, "ar", (text,)) for i, text in enumerate(TRICKY)]
    topics = register("test-submission/tricky", passages, questions)
    docids = [passage.doc_id for passage in passages]
    rankings = {q.query_id: [*docids[i:], *docids[:i]] for i, q in enumerate(questions)}
    path = submit({qid: ranking(*order) for qid, order in rankings.items()}, topics, tmp_path)
    assert path.read_bytes().isascii()
    texts = dict(zip(docids, TRICKY, strict=True))
    for prediction in read_submission(path, topics):
        assert prediction.ctxs == tuple(texts[docid] for docid in rankings[prediction.qid])
    tag = "<script>\"'\u200f" + "x" * 10_000
    submission_to_run(path, topics, tmp_path / "back", tag)
    assert docids_in(tmp_path / "back") == rankings
    assert (tmp_path / "back").read_text(encoding="utf-8").split("\n")[0].endswith(f" {tag}")


# check


def test_a_summary_counts_by_language(tmp_path: Path) -> None:
    texts = {
        "1": ("fi", ["w " * 1999]),
        "2": ("fi", ["w " * 1999, "w"]),
        "3": ("ar", []),
        "4": ("fi", ["w " * 4999]),
        "5": ("fi", ["w " * 4999, "w", "w"]),
    }
    items = [{"id": qid, "lang": lang, "ctxs": ctxs} for qid, (lang, ctxs) in texts.items()]
    summary = check(write_json(tmp_path / "s.json", items))
    assert (summary.below(2000), summary.below(5000), summary.empty) == (["1", "3"], ["1", "2", "3", "4"], ["3"])
    assert summary.extents["5"] == Extent("fi", 3, 5000)  # tokens that no measure reads are not counted
    assert list(summary.table().header)[3:] == ["no passage", "< 2,000 tokens", "< 5,000 tokens"]
    assert summary.table().rows == [
        ["ar", "1", "0", "1", "1", "1"],
        ["fi", "4", "7", "0", "1", "3"],
        ["all", "5", "7", "1", "2", "4"],
    ]


def test_the_training_files_label_for_arabic_is_accepted(
    shared_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = (shared_data / "xor-tydi" / "xor_train_retrieve_eng_span.jsonl").read_text(encoding="utf-8")
    items = [{"id": q["id"], "lang": q["lang"], "ctxs": ["tea"]} for q in map(json.loads, text.splitlines())]
    summary = check(write_json(tmp_path / "s.json", items), "xor-tydi/train")
    assert len(summary.extents) == 15_250
    assert "2,574 questions have the language ' ar'" in caplog.messages[0]
    assert {extent.lang for extent in summary.extents.values()} == {"ar", "bn", "fi", "ja", "ko", "ru", "te"}


# back to a run


def test_a_shared_text_becomes_the_first_unused_passage(toy: str, tmp_path: Path) -> None:
    a, b = ("a " * 1000).strip(), ("b " * 1000).strip()
    items = [{"id": "q2", "lang": "fi", "ctxs": [b, a, b]}, {"id": "q1", "lang": "ar", "ctxs": [b, "e"]}]
    returned = submission_to_run(write_json(tmp_path / "s.json", items), toy, tmp_path / "run", "t")
    assert (tmp_path / "run").read_text() == (
        "q2 Q0 p1 1 3.000000 t\nq2 Q0 p0 2 2.000000 t\nq2 Q0 p3 3 1.000000 t\n"
        "q1 Q0 p1 1 2.000000 t\nq1 Q0 p5 2 1.000000 t\n"
    )
    assert list(returned.values()) == [2, 5, 3, 1]


@pytest.mark.parametrize(
    ("ctxs", "problem"),
    [
        (["e", "Title 5 e"], r"item \[1\], id 'q2': ctxs\[1\]: no passage of the collection has the text 'Title 5 e'"),
        (["e", "e"], r"item \[1\], id 'q2': ctxs\[1\]: only 1 passages have the text 'e'"),
        (["x" * 10_000], r"ctxs\[0\]: no passage of the collection has the text 'x{80}'…"),
        (["\u202e\n<b>"], r"has the text '\\u202e\\n<b>'"),
    ],
)
def test_a_text_that_the_collection_lacks_is_named(toy: str, tmp_path: Path, ctxs: list[str], problem: str) -> None:
    items = [{"id": "q1", "lang": "ar", "ctxs": ["e"]}, {"id": "q2", "lang": "fi", "ctxs": ctxs}]
    with pytest.raises(InputError, match=problem) as caught:
        submission_to_run(write_json(tmp_path / "s.json", items), toy, tmp_path / "run")
    assert caught.value.path == tmp_path / "s.json" and "\n" not in str(caught.value)
    with pytest.raises(InputError, match="contains no passages"):
        submission_to_run(write_json(tmp_path / "s.json", [{**items[0], "ctxs": []}]), toy, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# the verb

Verb = Callable[..., tuple[int, str, str]]


def test_the_verb_writes_checks_and_converts(toy: str, tmp_path: Path, verb: Verb) -> None:
    run, submission, back = tmp_path / "run", tmp_path / "s.json", tmp_path / "back"
    write_run({"q1": ranking("p4", "p5"), "q2": ranking("p0")}, run, "t")
    status, out, errors = verb("submit", "--run", run, "--topics", toy, "--output", submission)
    assert status == 0 and out.startswith("language") and errors.startswith(f"submit: wrote {submission}")
    assert verb("submit", "--check", submission)[:2] == (0, out)
    assert verb("submit", "--check", submission, "--topics", toy)[:2] == (0, out)
    status, out, errors = verb("submit", "--convert", submission, "--topics", toy, "--output", back)
    assert status == 0 and out.startswith("converted") and errors.startswith(f"submit: wrote {back}")
    assert back.read_text().splitlines()[0] == "q1 Q0 p4 1 2.000000 submission"
    assert verb("submit", "--convert", submission, "--topics", toy, "--output", back, "--tag", "x")[0] == 0
    assert back.read_text().splitlines()[0] == "q1 Q0 p4 1 2.000000 x"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("--run r --output o", "--run needs --topics"),
        ("--run r --topics t --output o --tag x", "--tag"),
        ("--convert s --output o", "--convert needs --topics"),
        ("--check nope", "nope: no such submission"),
        ("--run nope --topics xor-mini/dev --output o", "nope: no such run file"),
        ("--convert nope --topics xor-mini/dev --output o --tag=", "'' cannot be an id or tag"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: Verb, line: str, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, errors = verb("submit", *line.split())
    assert (status, out) == (2, "") and errors.startswith("xqg-repro: error: ") and errors.count("\n") == 1
    assert problem in errors and not list(tmp_path.iterdir())
