from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import ir_datasets
import pytest
from conftest import REPOSITORY, Mini
from hypothesis import given, settings
from hypothesis import strategies as st

from xqg_repro import cli
from xqg_repro.collection.handlers import ListedDocs, Questions, dataset
from xqg_repro.collection.records import Passage, Question
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.evaluation.evaluate import evaluate
from xqg_repro.evaluation.measures.recall import TOKEN_LIMITS, scorable, word_tokenize
from xqg_repro.evaluation.submission import (
    Extent,
    check,
    read_submission,
    submission_to_run,
    summarize,
    write_submission,
)
from xqg_repro.retrieval.runfile import Hit, read_run, write_run

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


def register(name: str, passages: Iterable[Passage], questions: Iterable[Question]) -> str:
    """A collection of that name in ir-datasets."""
    docs, asked = list(passages), list(questions)
    handlers = ListedDocs(lambda: (docs, "docs"), name, "en"), Questions(lambda: (asked, "asked"), name)
    if name in ir_datasets.registry._registered:
        del ir_datasets.registry._registered[name]
    ir_datasets.registry.register(name, dataset("xor-tydi", *handlers))
    return name


@pytest.fixture
def toy() -> str:
    """Six passages, two of the same text, and three questions; 1,000 tokens a passage but for the last."""
    texts = ["a " * 1000, "b " * 1000, "c " * 1000, "b " * 1000, "d " * 1000, "e"]
    passages = [Passage(f"p{i}", f"Title {i}", text.strip()) for i, text in enumerate(texts)]
    asked = [Question("q1", "one?", "ar", ("a",)), Question("q2", "two?", "fi", ("b",)), Question("q3", "?", "te", ())]
    return register("test-submission/toy", passages, asked)


def write_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def written(run: dict[str, list[Hit]], topics: str, folder: Path) -> Path:
    """The submission of a run."""
    write_run(run, folder / "run.txt", "tag")
    write_submission(folder / "run.txt", topics, folder / "submission.json")
    return folder / "submission.json"


def ranking(*docids: str) -> list[Hit]:
    return [Hit(docid, float(-position)) for position, docid in enumerate(docids)]


def items_of(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))


@cache
def tokens_of(text: str) -> tuple[str, ...]:
    return word_tokenize(text)


def plain_answer_recall(texts: list[str], answers: list[str], limit: int) -> int:
    """The definition as it stands: tokenise everything, cut, join, look."""
    tokens = [token for text in texts for token in tokens_of(text)][:limit]
    read = " ".join(tokens)
    return int(any(answer in read for answer in answers))


# --- from a run


def test_a_submission_has_every_question_in_the_topics_order(toy: str, tmp_path: Path) -> None:
    path = written({"q2": ranking("p5", "p1"), "q1": ranking("p0")}, toy, tmp_path)
    assert items_of(path) == [
        {"id": "q1", "lang": "ar", "ctxs": [("a " * 1000).strip()]},
        {"id": "q2", "lang": "fi", "ctxs": ["e", ("b " * 1000).strip()]},
        {"id": "q3", "lang": "te", "ctxs": []},
    ]


def test_a_question_has_the_passages_that_reach_5000_tokens_and_no_more(tmp_path: Path) -> None:
    sizes = [4000, 999, 1, 1, 500]
    passages = [Passage(str(i), "", "w " * size) for i, size in enumerate(sizes)]
    topics = register("test-submission/cut", passages, [Question("q", "?", "ar", ())])
    path = written({"q": ranking("0", "1", "2", "3", "4")}, topics, tmp_path)
    assert items_of(path)[0]["ctxs"] == [doc.text for doc in passages[:3]]
    path = written({"q": ranking("0", "1", "4")}, topics, tmp_path)
    assert items_of(path)[0]["ctxs"] == [passages[i].text for i in (0, 1, 4)]


def test_tokens_are_counted_not_words(tmp_path: Path) -> None:
    text = "can't, " * 100  # three tokens a word
    passages = [Passage(str(i), "", text + str(i)) for i in range(60)]
    topics = register("test-submission/words", passages, [Question("q", "?", "ar", ())])
    path = written({"q": ranking(*map(str, range(60)))}, topics, tmp_path)
    texts = items_of(path)[0]["ctxs"]
    counts = [len(word_tokenize(text)) for text in texts]
    assert sum(counts) >= 5000 > sum(counts[:-1])
    assert len(texts) == 17


def test_what_is_short_and_what_is_absent_is_told(toy: str, tmp_path: Path) -> None:
    write_run({"q1": ranking("p0", "p1", "p2", "p3", "p4"), "q2": ranking("p0")}, tmp_path / "run", "t")
    log: list[str] = []
    summary = write_submission(tmp_path / "run", toy, tmp_path / "out.json")
    assert (summary.below(5000), summary.below(2000), summary.empty) == (["q2", "q3"], ["q2", "q3"], ["q3"])
    assert summary.extents == {"q1": Extent("ar", 5, 5000), "q2": Extent("fi", 1, 1000), "q3": Extent("te", 0, 0)}
    assert log == [
        f"submit: wrote {tmp_path / 'out.json'} (3 questions, 1 not in the run)",
        "submit: warning: 2 questions have fewer than 5,000 tokens to read, 1 of them no passage",
    ]


def test_a_passage_is_tokenised_once(toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr("xqg_repro.evaluation.submission.word_tokenize", lambda text: seen.append(text) or text.split())
    written({qid: ranking("p5", "p0", "p1") for qid in ("q1", "q2", "q3")}, toy, tmp_path)
    assert len(seen) == 3


def test_a_passage_without_text_is_left_out(tmp_path: Path) -> None:
    passages = [Passage("1", "", " \n"), Passage("2", "", "tea")]
    topics = register("test-submission/blank", passages, [Question("q", "?", "ar", ())])
    path = written({"q": ranking("1", "2")}, topics, tmp_path)
    assert items_of(path)[0]["ctxs"] == ["tea"]
    read_submission(path, topics)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("q1 Q0 p9 1 1.0 t\n", "no passage 'p9'"),
        ("q9 Q0 p1 1 1.0 t\n", "no question 'q9'"),
        ("q1 Q0 p1 2 1.0 t\n", "rank 2 where 1 is due"),
        ("", "holds no question of test-submission/toy"),
    ],
)
def test_a_run_that_does_not_fit_is_refused_and_nothing_written(
    toy: str, tmp_path: Path, line: str, problem: str
) -> None:
    (tmp_path / "run").write_text(line)
    with pytest.raises(InputError, match=problem) as caught:
        write_submission(tmp_path / "run", toy, tmp_path / "out.json")
    assert caught.value.path == tmp_path / "run" and caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_topics_without_languages_are_refused(tmp_path: Path) -> None:
    asked = [Question("q", "?", "", ())]
    topics = register("test-submission/nowhere", [Passage("1", "", "tea")], asked)
    with pytest.raises(InputError, match="which language"):
        written({"q": ranking("1")}, topics, tmp_path)


def test_a_run_is_not_replaced_by_its_submission(toy: str, tmp_path: Path) -> None:
    write_run({"q1": ranking("p0")}, tmp_path / "run", "t")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    before = (tmp_path / "run").read_bytes()
    for output in ("run", "link", "out.json.gz"):
        with pytest.raises(InputError, match=r"would be (replaced|written without compression)"):
            write_submission(tmp_path / "run", toy, tmp_path / output)
    assert (tmp_path / "run").read_bytes() == before and not (tmp_path / "out.json.gz").exists()


# --- scores


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Any]:
    folder = shared / "golden" / "xor_retrieve"
    found = {n: json.loads((folder / f"{n}.json").read_text("utf-8")) for n in ("passages", "predictions", "expected")}
    lines = (folder / "data.jsonl").read_text(encoding="utf-8").splitlines()
    return {**found, "data": {item["id"]: item for item in map(json.loads, lines)}}


@pytest.fixture
def golden_run(golden: dict[str, Any], tmp_path: Path) -> tuple[str, Path]:
    """The golden questions and predictions as topics and a run.

    Some predictions list a text several times, which a run cannot; so the collection has each text as often as that,
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
    asked = [Question(q["id"], q["question"], q["lang"], tuple(q["answers"])) for q in golden["data"].values()]
    write_run(run, tmp_path / "golden.txt", "golden")
    return register("test-submission/golden", passages, asked), tmp_path / "golden.txt"


@pytest.mark.integration
def test_a_submission_has_the_official_scores_of_its_run(
    golden: dict[str, Any], golden_run: tuple[str, Path], tmp_path: Path
) -> None:
    topics, run = golden_run
    write_submission(run, topics, tmp_path / "s.json")
    ours = evaluate(run, topics, ["R2kt", "R5kt"])
    for name, official in (("R2kt", "R@2kt"), ("R5kt", "R@5kt")):
        found = {}
        for item in items_of(tmp_path / "s.json"):
            if answers := scorable(golden["data"][item["id"]]["answers"]):
                found[item["id"]] = plain_answer_recall(item["ctxs"], answers, TOKEN_LIMITS[name])
        assert found == ours.per_query[name]
        expected = golden["expected"][official]["per_query"]
        assert {qid: found[qid] for qid in expected} == expected
        assert 0 < sum(expected.values()) < len(expected)
        assert not any(found[qid] for qid in found.keys() - expected.keys())


@pytest.mark.integration
def test_golden_predictions_are_the_run_cut_at_5000_tokens(
    golden: dict[str, Any], golden_run: tuple[str, Path], tmp_path: Path
) -> None:
    topics, run = golden_run
    write_submission(run, topics, tmp_path / "s.json")
    submitted = {item["id"]: item["ctxs"] for item in items_of(tmp_path / "s.json")}
    cut = 0
    for prediction in golden["predictions"]:
        texts = [golden["passages"][number] for number in prediction["ctxs"]]
        kept = submitted[prediction["id"]]
        assert kept == texts[: len(kept)]
        if len(kept) < len(texts):
            counts = [len(tokens_of(text)) for text in kept]
            assert sum(counts) >= 5000 > sum(counts[:-1])
            cut += 1
    assert 10 < cut < len(golden["predictions"])


@pytest.mark.integration
def test_golden_run_comes_back_from_its_submission(golden_run: tuple[str, Path], tmp_path: Path) -> None:
    topics, run = golden_run
    write_submission(run, topics, tmp_path / "s.json")
    returned = submission_to_run(tmp_path / "s.json", topics, tmp_path / "back.txt")
    before, after = read_run(run), read_run(tmp_path / "back.txt")
    assert set(before) == set(after)
    for qid, hits in after.items():
        assert [hit.docid for hit in hits] == [hit.docid for hit in before[qid][: len(hits)]]
    assert returned.hits == sum(map(len, after.values())) and returned.ambiguous > 100
    scores = [evaluate(path, topics, ["R2kt", "R5kt"]).per_query for path in (run, tmp_path / "back.txt")]
    assert scores[0] == scores[1]


def test_the_embedded_collections_run_comes_back_with_its_scores(tmp_path: Path) -> None:
    packed = REPOSITORY / "runs" / "run.xor-mini.xdr-mini.dev.txt.gz"
    lines = gzip.decompress(packed.read_bytes()).decode().splitlines(keepends=True)
    qids = {line.split()[0] for line in lines[::7000]}
    run = tmp_path / "run.txt"
    run.write_text("".join(line for line in lines if line.split()[0] in qids))
    log: list[str] = []
    write_submission(run, "xor-mini/dev", tmp_path / "s.json")
    assert len(qids) == 20 and "1,400 questions, 1,380 not in the run" in log[0]
    submission_to_run(tmp_path / "s.json", "xor-mini/dev", tmp_path / "back.txt", "back")
    before, after = read_run(run), read_run(tmp_path / "back.txt")
    assert {qid: [hit.docid for hit in hits] for qid, hits in after.items()} == {
        qid: [hit.docid for hit in hits[: len(after[qid])]] for qid, hits in before.items()
    }
    assert all(50 < len(hits) < 100 for hits in after.values())
    scores = [evaluate(path, "xor-mini/dev", ["R2kt", "R5kt"]).per_query for path in (run, tmp_path / "back.txt")]
    assert scores[0] == scores[1]


# --- texts of all kinds


def test_no_text_breaks_a_submission_or_the_run_made_from_it(tmp_path: Path) -> None:
    passages = [Passage(f"<d>{i}\u200f", text, text) for i, text in enumerate(TRICKY)]
    asked = [Question(f"q\u200e{i}<b>'\"", text, "ar", (text,)) for i, text in enumerate(TRICKY)]
    topics = register("test-submission/tricky", passages, asked)
    docids = [passage.doc_id for passage in passages]
    run = {q.query_id: ranking(*docids[i:], *docids[:i]) for i, q in enumerate(asked)}
    path = written(run, topics, tmp_path)
    assert path.read_bytes().isascii()
    found = read_submission(path, topics)
    assert [item.ctxs for item in found] == [
        tuple(passages[docids.index(hit.docid)].text for hit in hits) for hits in run.values()
    ]
    tag = "<script>\"'\u200f" + "x" * 10_000
    submission_to_run(path, topics, tmp_path / "back", tag)
    assert {qid: [hit.docid for hit in hits] for qid, hits in read_run(tmp_path / "back").items()} == {
        qid: [hit.docid for hit in hits] for qid, hits in run.items()
    }
    assert (tmp_path / "back").read_text(encoding="utf-8").split("\n")[0].endswith(f" {tag}")


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(min_size=1, max_size=40).filter(str.strip), min_size=1, max_size=6))
def test_any_texts_come_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    passages = [Passage(f"{i:03}", "", text) for i, text in enumerate(texts)]
    topics = register("test-submission/any", passages, [Question("q", "?", "ar", ())])
    folder = tmp_path_factory.getbasetemp()
    path = written({"q": ranking(*(doc.doc_id for doc in passages))}, topics, folder)
    assert [list(item.ctxs) for item in read_submission(path, topics)] == [texts]
    submission_to_run(path, topics, folder / "back")
    assert [hit.docid for hit in read_run(folder / "back")["q"]] == [doc.doc_id for doc in passages]


@pytest.mark.parametrize("tag", ["", " ", "a b", "a\tb", "a\n", "\ud800"])
def test_a_tag_that_is_none_is_refused(toy: str, tmp_path: Path, tag: str) -> None:
    path = write_json(tmp_path / "s.json", [{"id": "q1", "lang": "ar", "ctxs": ["e"]}])
    with pytest.raises(InputError, match="cannot be an id or tag"):
        submission_to_run(path, toy, tmp_path / "run", tag)
    assert not (tmp_path / "run").exists()


# --- reading


GOOD = {"id": "q1", "lang": "ar", "ctxs": ["e", "e"]}


def test_a_submission_is_read(tmp_path: Path) -> None:
    path = write_json(tmp_path / "s.json", [GOOD, {"id": "q2", "lang": "fi", "ctxs": [], "question": "two?"}])
    found = read_submission(path)
    assert [(item.qid, item.lang, item.ctxs) for item in found] == [("q1", "ar", ("e", "e")), ("q2", "fi", ())]
    path.with_suffix(".json.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert read_submission(path.with_suffix(".json.gz")) == found


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"q1": GOOD}, "no JSON list"),
        ([], "no JSON list"),
        ("text", "no JSON list"),
        ([GOOD, ["q2"]], r"item \[1\]: is no object but \['q2'\]"),
        ([GOOD, {"lang": "ar", "ctxs": []}], r"item \[1\]: has no 'id'"),
        ([GOOD, {"id": "q2", "ctxs": []}], r"item \[1\], id 'q2': has no 'lang'"),
        ([GOOD, {"id": "q2", "lang": "ar", "ctx": []}], r"item \[1\], id 'q2': has no 'ctxs'"),
        ([GOOD, GOOD | {"id": 2}], r"item \[1\], id 2: id is no text but 2"),
        ([GOOD, GOOD | {"id": ""}], r"item \[1\], id '': the id is empty"),
        ([GOOD, GOOD | {"id": "q 2"}], r"item \[1\], id 'q 2': the id is empty, or holds white space"),
        ([GOOD, GOOD | {"id": "\ud800"}], r"item \[1\], id '\\ud800': the id is .* half a character"),
        ([GOOD, GOOD | {"id": "q2", "lang": None}], r"item \[1\], id 'q2': lang is no text but None"),
        ([GOOD, GOOD | {"id": "q2", "lang": "en"}], r"item \[1\], id 'q2': the language is 'en'"),
        ([GOOD, GOOD | {"id": "q2", "lang": "Arabic"}], r"item \[1\], id 'q2': the language is 'Arabic'"),
        ([GOOD, GOOD | {"id": "q2", "lang": " ar"}], r"item \[1\], id 'q2': the language is ' ar', which was 'ar'"),
        ([GOOD, GOOD | {"id": "q2", "ctxs": "text"}], r"item \[1\], id 'q2': ctxs is no list but 'text'"),
        ([GOOD, GOOD | {"id": "q2", "ctxs": None}], r"item \[1\], id 'q2': ctxs is no list but None"),
        ([GOOD, GOOD | {"id": "q2", "ctxs": ["e", 5]}], r"item \[1\], id 'q2': ctxs\[1\] is no text but 5"),
        ([GOOD, GOOD | {"id": "q2", "ctxs": [{"text": "e"}]}], r"item \[1\], id 'q2': ctxs\[0\] is no text but {'te"),
        ([GOOD, GOOD | {"id": "q2", "ctxs": ["e", " \n"]}], r"item \[1\], id 'q2': ctxs\[1\] is blank"),
        ([GOOD, GOOD | {"id": "q2"}, GOOD], r"item \[2\], id 'q1': the id is that of item \[0\] too"),
    ],
)
def test_a_bad_item_is_named(tmp_path: Path, value: Any, problem: str) -> None:
    path = write_json(tmp_path / "s.json", value)
    with pytest.raises(InputError, match=problem) as caught:
        read_submission(path)
    assert caught.value.path == path and caught.value.hint
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ('[{"id": "q1",\n"lang": "ar"\n"ctxs": []}]', "is not JSON", 3),
        ('{"id": "q1", "lang": "ar", "ctxs": []}\n{"id": "q2", "lang": "ar", "ctxs": []}\n', "is not JSON", 2),
        ('[{"id": "q1", "lang": "ar", "ctxs": [', "is not JSON", 1),
        ('[{"id": "q1", "id": "q2", "lang": "ar", "ctxs": []}]', "repeats the key 'id'", None),
        ("[" * 100_000, "is not JSON", None),
        ("", "is not JSON", 1),
    ],
)
def test_what_is_no_json_is_refused(tmp_path: Path, text: str, problem: str, line: int | None) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(InputError, match=problem) as caught:
        read_submission(tmp_path / "s.json")
    assert caught.value.line == line


def test_a_missing_submission_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such submission"):
        read_submission(tmp_path / "s.json")


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"id": "q9"}, r"item \[0\], id 'q9': test-submission/toy has no such question"),
        ({"lang": "fi"}, r"item \[0\], id 'q1': the language is 'fi' \(write 'ar'\)"),
        ({}, "lacks 1 of the 3 questions of test-submission/toy, such as 'q3'"),
    ],
)
def test_a_submission_is_compared_with_its_topics(
    toy: str, tmp_path: Path, changed: dict[str, str], problem: str
) -> None:
    value = [GOOD | changed, {"id": "q2", "lang": "fi", "ctxs": []}]
    path = write_json(tmp_path / "s.json", value)
    with pytest.raises(InputError, match=problem):
        read_submission(path, toy)
    if not changed:
        assert len(read_submission(path, toy, complete=False)) == 2


def test_real_questions_are_known_and_the_training_files_arabic_is_told(shared_data: Path, tmp_path: Path) -> None:
    def lines(name: str) -> list[dict[str, Any]]:
        text = (shared_data / "xor-tydi" / name).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def submitted(questions: list[dict[str, Any]], **changed: str) -> Path:
        items = [{"id": q["id"], "lang": q["lang"], "ctxs": ["tea"]} | changed for q in questions]
        return write_json(tmp_path / "s.json", items)

    dev = lines("xor_dev_retrieve_eng_span_v1_1.jsonl")
    log: list[str] = []
    summary = check(submitted(dev), "xor-tydi/dev")
    shown = {row[0]: row[1] for row in summary.table().rows}
    assert shown == {
        **dict(zip(XOR_LANGUAGES, ("350", "312", "360", "296", "299", "255", "238"), strict=True)),
        "all": "2,110",
    }
    assert log == ["submit: warning: 2,110 questions have fewer than 5,000 tokens to read, 0 of them no passage"]
    with pytest.raises(InputError, match="lacks 1 of the 2,110"):
        read_submission(submitted(dev[1:]), "xor-tydi/dev")
    with pytest.raises(InputError, match="the language is"):
        read_submission(submitted(dev, lang="ar"), "xor-tydi/dev")
    with pytest.raises(InputError, match="no such question"):
        read_submission(submitted(dev), "xor-tydi/train")

    log.clear()
    train = lines("xor_train_retrieve_eng_span.jsonl")
    assert len(check(submitted(train), "xor-tydi/train").extents) == 15_250
    assert "2,574 questions have the language ' ar'" in log[0]
    assert read_submission(submitted(train))[0].lang == train[0]["lang"].strip()


# --- what it holds


def test_a_summary_counts_per_language(tmp_path: Path) -> None:
    value = [
        {"id": "1", "lang": "fi", "ctxs": ["w " * 1999]},
        {"id": "2", "lang": "fi", "ctxs": ["w " * 1999, "w"]},
        {"id": "3", "lang": "ar", "ctxs": []},
        {"id": "4", "lang": "fi", "ctxs": ["w " * 4999]},
        {"id": "5", "lang": "fi", "ctxs": ["w " * 4999, "w", "w"]},
    ]
    summary = summarize(read_submission(write_json(tmp_path / "s.json", value)))
    assert (summary.below(2000), summary.below(5000), summary.empty) == (["1", "3"], ["1", "2", "3", "4"], ["3"])
    assert summary.extents["5"] == Extent("fi", 3, 5000)  # what nobody reads is not counted
    assert summary.table().header == [
        *("language", "questions", "passages", "no passage", "< 2,000 tokens", "< 5,000 tokens")
    ]
    assert summary.table().rows == [
        ["ar", "1", "0", "1", "1", "1"],
        ["fi", "4", "7", "0", "1", "3"],
        ["all", "5", "7", "1", "2", "4"],
    ]


# --- back to a run


def test_a_shared_text_takes_the_first_passage_that_is_not_used(toy: str, tmp_path: Path) -> None:
    a, b = ("a " * 1000).strip(), ("b " * 1000).strip()
    value = [{"id": "q2", "lang": "fi", "ctxs": [b, a, b]}, {"id": "q1", "lang": "ar", "ctxs": [b, "e"]}]
    returned = submission_to_run(write_json(tmp_path / "s.json", value), toy, tmp_path / "run", "t")
    assert (tmp_path / "run").read_text() == (
        "q2 Q0 p1 1 3.000000 t\nq2 Q0 p0 2 2.000000 t\nq2 Q0 p3 3 1.000000 t\n"
        "q1 Q0 p1 1 2.000000 t\nq1 Q0 p5 2 1.000000 t\n"
    )
    assert returned == (2, 5, 3, 1)


@pytest.mark.parametrize(
    ("ctxs", "problem"),
    [
        (["e", "Title 5 e"], r"item \[1\], id 'q2': ctxs\[1\]: no passage of the collection has the text 'Title 5 e'"),
        (["e", "e "], r"item \[1\], id 'q2': ctxs\[1\]: no passage of the collection has the text 'e '"),
        (["e", "e"], r"item \[1\], id 'q2': ctxs\[1\]: the collection has 1 of the text 'e'"),
        (["x" * 10_000], r"ctxs\[0\]: no passage of the collection has the text 'x{80}'…"),
        (["\u202e\n<b>"], r"has the text '\\u202e\\n<b>'"),
    ],
)
def test_a_text_that_the_collection_lacks_is_named(toy: str, tmp_path: Path, ctxs: list[str], problem: str) -> None:
    value = [{"id": "q1", "lang": "ar", "ctxs": ["e"]}, {"id": "q2", "lang": "fi", "ctxs": ctxs}]
    with pytest.raises(InputError, match=problem) as caught:
        submission_to_run(write_json(tmp_path / "s.json", value), toy, tmp_path / "run")
    assert caught.value.path == tmp_path / "s.json" and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_submission_is_not_replaced_by_its_run(toy: str, tmp_path: Path) -> None:
    path = write_json(tmp_path / "s.json", [{"id": "q1", "lang": "ar", "ctxs": ["e"]}])
    before = path.read_bytes()
    for output in (path, tmp_path / "run.gz"):
        with pytest.raises(InputError, match="would be"):
            submission_to_run(path, toy, output)
    assert path.read_bytes() == before and [other.name for other in tmp_path.iterdir()] == ["s.json"]


def test_a_submission_without_passages_is_no_run(toy: str, tmp_path: Path) -> None:
    path = write_json(tmp_path / "s.json", [{"id": "q1", "lang": "ar", "ctxs": []}])
    with pytest.raises(InputError, match="no passage for any question"):
        submission_to_run(path, toy, tmp_path / "run")


def test_the_collection_is_read_once(mini_data: Mini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xqg_repro.collection.handlers import TsvPassages

    path = written({qid: ranking(docid, "3", "2") for qid, docid in mini_data.qrels}, mini_data.topics, tmp_path)
    passes: list[int] = []
    real = TsvPassages.docs_iter
    monkeypatch.setattr(TsvPassages, "docs_iter", lambda self: passes.append(1) or real(self))
    submission_to_run(path, mini_data.topics, tmp_path / "back")
    assert passes == [1]
    assert {qid: [hit.docid for hit in hits] for qid, hits in read_run(tmp_path / "back").items()} == {
        qid: [docid, "3", "2"] for qid, docid in mini_data.qrels
    }


# --- the verb


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """``told("submit", …)``: exit status, stdout and stderr."""

    def run(*arguments: Any) -> tuple[int, str, str]:
        status = cli.main([*map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def test_submit_writes_checks_and_converts(toy: str, tmp_path: Path, told: Callable[..., tuple[int, str, str]]) -> None:
    run, submission, back = tmp_path / "run", tmp_path / "s.json", tmp_path / "back"
    write_run({"q1": ranking("p4", "p5"), "q2": ranking("p0")}, run, "t")
    status, out, err = told("submit", "--run", run, "--topics", toy, "--output", submission)
    assert status == 0 and out.startswith("language") and err.startswith(f"submit: wrote {submission}")
    assert "warning: 3 questions have fewer than 5,000" in err
    assert told("submit", "--check", submission)[:2] == (0, out)
    assert told("submit", "--check", submission, "--topics", toy)[:2] == (0, out)
    status, out, err = told("submit", "--convert", submission, "--topics", toy, "--output", back)
    assert status == 0 and out.startswith("converted") and err.startswith(f"submit: wrote {back}")
    assert back.read_text().splitlines()[0] == "q1 Q0 p4 1 2.000000 submission"
    assert told("submit", "--convert", submission, "--topics", toy, "--output", back, "--tag", "x")[0] == 0
    assert back.read_text().splitlines()[0] == "q1 Q0 p4 1 2.000000 x"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("--run r --output o", "--run needs --topics"),
        ("--run r --topics t", "--run needs --output"),
        ("--run r --topics t --output o --tag x", "--tag means nothing with --run"),
        ("--check s --output o", "--output means nothing with --check"),
        ("--check s --tag x", "--tag means nothing with --check"),
        ("--convert s --output o", "--convert needs --topics"),
        ("--convert s --topics t", "--convert needs --output"),
        ("--check nope", "nope: no such submission"),
        ("--run nope --topics xor-mini/dev --output o", "nope: no such run file"),
        ("--run nope --topics xor-mini --output o", "xor-mini has no questions"),
        ("--convert nope --topics xor-mini/dev --output o", "nope: no such submission"),
        ("--convert nope --topics xor-mini/dev --output o --tag=", "'' cannot be an id or tag"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Callable[..., tuple[int, str, str]], line: str, shown: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = told("submit", *line.split())
    assert (status, out) == (2, "") and err.startswith("xqg-repro: error: ") and err.count("\n") == 1
    assert shown in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("line", ["", "--topics t", "--run r --check s", "--check s --convert s"])
def test_one_thing_is_done_at_a_time(line: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["submit", *line.split()])
    assert caught.value.code == 2
