"""What a causal model learns: texts, lessons and their tokens."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from model_fixtures import small_tokenizer

from train.samples import example, write_lines
from xqg_repro.core.errors import InputError
from xqg_repro.train.lessons import (
    Lesson,
    Packer,
    Target,
    Task,
    Text,
    check_apart,
    draw_lessons,
    held_out_lessons,
    question_texts,
    translation_texts,
)
from xqg_repro.train.recipe import CausalRecipe

RECIPE = CausalRecipe(name="tiny", data="d", model="m", targets=4, seed=3)
CODES = ("ar", "de", "ru")


def passage(name: str, questions: int, task: Task = Task.QUESTION) -> Text:
    targets = tuple(Target(CODES[i % 3], f"{name} ban {i}?", f"{name}{i}") for i in range(questions))
    return Text(task, "T", f"the text of {name} has words", targets)


def sentence(name: str) -> Text:
    return passage(name, 3, Task.TRANSLATION)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    words = "T the text of a b c d has words ban ker In Arabic German Russian : ? Question in 0 1 2 3 4 5 6 7 8 9 10 ."
    tokenizer = small_tokenizer([words])
    tokenizer.bos_token, tokenizer.eos_token = "<s>", "</s>"
    return tokenizer


def test_the_questions_about_a_passage_are_together() -> None:
    examples = [
        example("Wer?", "1", lang="de", qid="a.de"),
        example("Кто?", "2", lang="ru"),
        example("Was?", "1", lang="de"),
    ]
    first, second = question_texts(examples)
    assert first == Text(
        Task.QUESTION, "Title 1", "ban der 1 kon", (Target("de", "Wer?", "a.de"), Target("de", "Was?"))
    )
    assert second.targets == (Target("ru", "Кто?"),)
    with pytest.raises(InputError, match="unknown language of the question"):
        question_texts([example("Who?", "1")])


def test_sentences_with_translations_are_read_and_checked(tmp_path: Path) -> None:
    line = {"docid": "0-0", "text": "It ends.", "translations": {"de": "Es endet.", "ru": "Конец."}}
    (text,) = translation_texts(write_lines(tmp_path / "a.jsonl", line))
    assert text == Text(Task.TRANSLATION, "", "It ends.", (Target("de", "Es endet."), Target("ru", "Конец.")))
    for fault, message in (
        ({"text": " ", "translations": {"de": "a"}}, r"b\.jsonl:2: has a blank text"),
        ({"text": "a", "translations": {"xx": "a"}}, "unknown language 'xx'"),
        ({"text": "a", "translations": {}}, "or no translation"),
        ({"text": "a", "translations": {"de": 1}}, "expected str"),
        ({"translations": {"de": "a"}}, "lacks the field 'text'"),
    ):
        with pytest.raises(InputError, match=message):
            translation_texts(write_lines(tmp_path / "b.jsonl", line, fault))
    with pytest.raises(InputError, match="holds no translations"):
        translation_texts(write_lines(tmp_path / "c.jsonl"))


# leaks


def test_a_planted_question_passage_or_sentence_is_refused() -> None:
    learnt, held_out = [passage("a", 4), passage("b", 5), sentence("c")], [passage("d", 4), sentence("e")]
    check_apart(learnt, held_out)
    planted = held_out[0]._replace(targets=(Target("de", "planted?", "b3"),))
    with pytest.raises(InputError, match="the question b3 is both in the training and in the held-out data"):
        check_apart(learnt, [planted])
    with pytest.raises(InputError, match="the passage 'the text of a has words' is both"):
        check_apart(learnt, [passage("d", 4)._replace(text="the text  of a has words")])
    whole = Text(Task.QUESTION, "", "First. the text of c has words Last.", ())
    with pytest.raises(InputError, match="the passage 'First"):  # the sentence c was learnt
        check_apart(learnt, [whole])
    with pytest.raises(InputError, match="the sentence 'the text of a has"):  # of the passage a
        check_apart(learnt, [sentence("z")._replace(text="the text of a has words")])
    check_apart([sentence("c")._replace(text="It ends.")], [whole._replace(text="Really. It ends. Yes.")])


# lessons


def test_tasks_are_mixed_by_ratio_and_each_text_comes_once_per_pass() -> None:
    texts = [*(passage(name, 10) for name in "abcd"), *(sentence(name) for name in "xyz")]
    recipe = dataclasses.replace(RECIPE, translation_share=0.25)
    lessons = list(islice(draw_lessons(texts, recipe), 48))
    tasks = [texts[lesson.text].task for lesson in lessons]
    assert all(tasks[i : i + 4].count(Task.TRANSLATION) == 1 for i in range(0, 48, 4))
    questions = [lesson for lesson in lessons if lesson.text < 4]
    assert [Counter(lesson.text for lesson in questions[i : i + 4]) for i in (0, 4)] == [Counter(range(4))] * 2
    assert Counter(lesson.text for lesson in lessons if lesson.text > 3) == Counter({4: 4, 5: 4, 6: 4})
    assert [lesson.text for lesson in questions[:4]] != [lesson.text for lesson in questions[4:8]]
    assert lessons == list(islice(draw_lessons(texts, recipe), 48))
    assert lessons != list(islice(draw_lessons(texts, dataclasses.replace(recipe, seed=4)), 48))
    alone = islice(draw_lessons(texts[:4], recipe), 8)  # no translations: no share of them
    assert all(lesson.text < 4 for lesson in alone)


def test_all_targets_of_a_text_are_learnt_equally_often() -> None:
    lessons = list(islice(draw_lessons([passage("a", 10), passage("b", 3)], RECIPE), 20))
    of_a = [lesson.targets for lesson in lessons if lesson.text == 0]
    assert all(len(targets) == len(set(targets)) <= 4 for targets in of_a)
    assert sorted(i for targets in of_a[:2] for i in targets) == sorted({*of_a[0], *of_a[1]})  # no repetition yet
    counts = Counter(i for targets in of_a for i in targets)
    assert counts.keys() == set(range(10)) and max(counts.values()) - min(counts.values()) <= 1
    assert all(sorted(lesson.targets) == [0, 1, 2] for lesson in lessons if lesson.text == 1)


def test_held_out_losses_are_of_one_question_per_language() -> None:
    texts = [*(passage(name, 10) for name in "abcd"), *(sentence(name) for name in "xyz")]
    lessons = held_out_lessons(texts, dataclasses.replace(RECIPE, held_out_texts=3))
    assert [texts[lesson.text].task for lesson in lessons] == [Task.QUESTION] * 3 + [Task.TRANSLATION] * 3
    for lesson in lessons:
        assert sorted(texts[lesson.text].targets[i].language for i in lesson.targets) == sorted(CODES)


# tokens


def words(tokenizer: Any, ids: list[int]) -> str:
    return " ".join(tokenizer.convert_ids_to_tokens(ids)).replace(" ##", "")


def test_a_lesson_is_a_text_and_blocks_of_prompt_and_target(tokenizer: Any) -> None:
    packer = Packer(RECIPE, tokenizer, [passage("a", 3), sentence("b")], tokenizer.eos_token_id)
    head, blocks = packer.encode(Lesson(0, (2, 0)))
    assert words(tokenizer, head) == "<s> T the text of a has words"
    assert [words(tokenizer, block.tail) for block in blocks] == ["Question in Russian:", "Question in Arabic:"]
    assert [words(tokenizer, block.target) for block in blocks] == ["a ban 2? </s>", "a ban 0? </s>"]
    head, blocks = packer.encode(Lesson(1, (1,)))
    assert words(tokenizer, [*head, *blocks[0].tail]) == "<s> the text of b has words In German:"
    batch = packer([[Lesson(0, (2, 0)), Lesson(1, (1,))]])
    assert len(batch["lengths"]) == 2 and batch["questions"] == ["a2 'a ban 2?'", "a0 'a ban 0?'", "b1 'b ban 1?'"]


def test_passages_and_targets_are_cut_but_no_instruction(tokenizer: Any) -> None:
    whole = Packer(RECIPE, tokenizer, [passage("a", 3)], 1).encode(Lesson(0, (0, 1, 2)))
    tails = [len(block.tail) for block in whole.blocks]
    short = dataclasses.replace(RECIPE, prompt_max_length=max(tails) + 4, target_max_length=3)
    head, blocks = Packer(short, tokenizer, [passage("a", 3)], 1).encode(Lesson(0, (0, 1, 2)))
    assert head == whole.head[:4] and [len(block.tail) for block in blocks] == tails
    assert [block.target for block in blocks] == [[*block.target[:2], 1] for block in whole.blocks]
    with pytest.raises(InputError, match="leaves no room for the passage"):
        Packer(dataclasses.replace(RECIPE, prompt_max_length=2), tokenizer, [passage("a", 3)], 1).encode(
            Lesson(0, (0,))
        )


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("{language}: {text}", "cannot be filled in.*behind them {language}"),
        ("{text} {question}", "cannot be filled in"),
        ("In {language}:", "has no {text}"),
    ],
)
def test_prompts_that_do_not_share_the_text_are_refused(tokenizer: Any, prompt: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Packer(dataclasses.replace(RECIPE, prompt=prompt), tokenizer, [passage("a", 3)], 1)
