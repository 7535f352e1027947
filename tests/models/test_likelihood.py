"""The likelihood of questions under prompts, held against transformers' own loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Mini

from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import question_language
from xqg_repro.models.likelihood import IGNORED, sequence_log_likelihoods, token_log_likelihoods
from xqg_repro.models.scorer import AskedPassage, QuestionScorer
from xqg_repro.models.scorer_settings import Normalise, ScorerConfig, load_scorer

from .conftest import KINDS

PROMPT = "{title}\n{text}\nQuestion in {language}:"


@pytest.fixture(scope="module")
def asked(mini_data: Mini) -> list[AskedPassage]:
    """Passages of different lengths with none to four questions of different lengths, some under several passages."""
    rows = mini_data.passages
    questions = [" ".join(row[2].split()[: 2 + number % 7]) for number, row in enumerate(rows)]
    return [
        AskedPassage(("fi", "ru")[i % 2], rows[i][1], rows[i][2], tuple(questions[i : i + i % 5])) for i in range(14)
    ]


def settings(folder: Path, **changes: Any) -> ScorerConfig:
    return dataclasses.replace(ScorerConfig(str(folder), PROMPT, 250, 40), **changes)


def flat(scores: list[list[float]]) -> list[float]:
    return [score for own in scores for score in own]


# the equation


def test_the_golden_value() -> None:
    logits = torch.tensor([[[2.0, 0, -1], [0, 1, 0], [1, 1, 3]]])
    labels = torch.tensor([[0, 1, 2]])
    for normalise, expected in ((Normalise.SUM, -0.960835), (Normalise.MEAN, -0.320278)):
        assert sequence_log_likelihoods(logits, labels, normalise).item() == pytest.approx(expected, abs=1e-6)
    padded = torch.cat([logits, torch.full((1, 2, 3), 9.0)], dim=1)
    labels = torch.tensor([[0, 1, 2, IGNORED, IGNORED]])
    assert sequence_log_likelihoods(padded, labels, Normalise.MEAN).item() == pytest.approx(-0.320278, abs=1e-6)
    assert token_log_likelihoods(padded, labels)[0, 3:].tolist() == [0, 0]


@pytest.mark.parametrize("kind", ["t5", "mt5"])
@pytest.mark.parametrize("normalise", [*Normalise])
def test_a_score_is_the_loss_of_the_whole_model_times_minus_one(
    generator_folder: Callable[..., Path], asked: list[AskedPassage], kind: str, normalise: Normalise
) -> None:
    import transformers

    folder = generator_folder(kind, untied=kind == "mt5")
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    config = settings(folder, normalise=normalise)
    scores = QuestionScorer(config, "cpu").score(asked).scores
    for passage, own in zip(asked, scores, strict=True):
        prompt = tokenizer(config.prompt_for(*passage[:3]), return_tensors="pt")["input_ids"]
        for question, score in zip(passage.questions, own, strict=True):
            ids = tokenizer(question)["input_ids"]
            assert ids[-1] == tokenizer.sep_token_id  # the end counts
            labels = torch.tensor([[*ids, *[IGNORED] * 3]])
            with torch.no_grad():
                loss = model(input_ids=prompt, labels=labels).loss.item()
            expected = -loss * (len(ids) if normalise is Normalise.SUM else 1)
            assert score == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chat", [False, True])
def test_a_causal_models_score_is_its_loss_on_the_whole_sequence(
    causal_folder: Callable[..., Path], asked: list[AskedPassage], kind: str, chat: bool
) -> None:
    import transformers

    folder = causal_folder(kind, chat=chat)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    scorer = QuestionScorer(settings(folder, chat=chat), "cpu")
    end = tokenizer.convert_tokens_to_ids("<end>") if chat else tokenizer.eos_token_id
    scores = scorer.score(asked).scores
    assert len({round(score, 4) for score in flat(scores)}) > 20
    for passage, own in zip(asked, scores, strict=True):
        prompt = scorer._prompts([passage])[0][0]
        for question, score in zip(passage.questions, own, strict=True):
            target = [*tokenizer(question, add_special_tokens=False)["input_ids"], end]
            ids = torch.tensor([[*prompt, *target]])
            labels = torch.tensor([[IGNORED] * len(prompt) + target])
            with torch.no_grad():
                loss = model(input_ids=ids, labels=labels).loss.item()
            assert score == pytest.approx(-loss, rel=1e-5, abs=1e-5)


# batches


@pytest.mark.parametrize("kind", ["t5", *KINDS])
def test_scores_depend_neither_on_batch_nor_on_order_nor_on_what_else_is_scored(
    causal_folder: Callable[..., Path], tiny_generator: Path, asked: list[AskedPassage], kind: str
) -> None:
    config = settings(tiny_generator if kind == "t5" else causal_folder(kind))
    scores = flat(QuestionScorer(config, "cpu").score(asked).scores)
    for tokens_per_batch in (1, 300):
        backwards = QuestionScorer(config, "cpu", tokens_per_batch).score(asked[::-1]).scores[::-1]
        assert flat(backwards) == pytest.approx(scores, abs=1e-5)
    scorer = QuestionScorer(config, "cpu")
    alone = [
        scorer.score([passage._replace(questions=(question,))]).scores[0][0]
        for passage in asked
        for question in passage.questions
    ]
    assert alone == pytest.approx(scores, abs=1e-5)
    assert scorer.score([]).scores == [] and scorer.score([asked[0]]).scores == [[]]


def test_the_encoder_reads_each_prompt_once(tiny_generator: Path, asked: list[AskedPassage]) -> None:
    scorer = QuestionScorer(settings(tiny_generator), "cpu", tokens_per_batch=200)
    read: list[int] = []
    encoder = scorer._model.get_encoder()
    encoder.register_forward_hook(lambda module, inputs, output: read.append(len(output.last_hidden_state)))
    reported: list[int] = []
    scorer.score(asked, reported.append)
    assert sum(read) == sum(reported) == len(asked) and len(read) > 1


def test_a_causal_model_reads_each_prompt_once(causal_folder: Callable[..., Path], asked: list[AskedPassage]) -> None:
    scorer = QuestionScorer(settings(causal_folder("llama")), "cpu", tokens_per_batch=200)
    read: list[Any] = []
    call = scorer._scorer._call  # type: ignore[attr-defined]
    scorer._scorer._call = lambda *args, **more: (read.append((len(args[0]), bool(more))), call(*args, **more))[1]  # type: ignore[attr-defined,func-returns-value]
    scorer.score(asked)
    assert sum(rows for rows, is_prompt in read if is_prompt) == len(asked)
    assert sum(rows for rows, is_prompt in read if not is_prompt) == sum(len(passage.questions) for passage in asked)


# limits and settings


def test_what_is_too_long_is_cut_and_counted(tiny_generator: Path, asked: list[AskedPassage]) -> None:
    whole = QuestionScorer(settings(tiny_generator), "cpu")
    lengths = [len(ids) for ids in whole._prompts(asked)[0]]
    limit = sorted(lengths)[7]
    scorer = QuestionScorer(settings(tiny_generator, prompt_max_length=limit, query_max_length=5), "cpu")
    scored = scorer.score(asked)
    assert scored.cut_prompts == sum(length > limit for length in lengths) > 0
    rows = whole._questions([question for passage in asked for question in passage.questions])[0]
    assert scored.cut_questions == sum(len(row) > 5 for row in rows) > 0
    cut, _ = scorer._questions([asked[4].questions[2]])
    full, _ = whole._questions([asked[4].questions[2]])
    assert cut == [[*full[0][:4], full[0][-1]]] and len(full[0]) > 5
    assert whole.score(asked)[1:] == (0, 0)


def test_a_preset_scores_in_float32_whatever_it_writes_in() -> None:
    config = load_scorer("xqg-mini")
    assert (config.model, config.prompt_max_length, config.precision) == ("package:xqg-mini", 128, "float32")
    assert load_scorer("gemma-3-1b-it").chat


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"prompt": "{tongue} {text}"}, r"cannot be filled in: KeyError\('tongue'\)"),
        ({"precision": "int8"}, "no precision int8"),
        ({"query_max_length": 0}, "at least one token"),
        ({"normalise": "max"}, "normalise is 'max'"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        ScorerConfig("some/model", **changes)


def test_what_a_model_lacks_is_refused(causal_folder: Callable[..., Path], tiny_model: Path) -> None:
    for config, problem in (
        (settings(tiny_model), "cannot be loaded as a sequence-to-sequence model"),
        (settings(causal_folder("qwen3"), query_max_length=60), "at most 300 tokens, but the maximum length is 310"),
        (settings(causal_folder("qwen3"), chat=True), "no chat template"),
    ):
        with pytest.raises(InputError, match=problem):
            QuestionScorer(config, "cpu")


def test_a_score_that_is_no_number_is_refused(generator_folder: Callable[..., Path], asked: list[AskedPassage]) -> None:
    scorer = QuestionScorer(settings(generator_folder()), "cpu")
    with torch.no_grad():
        scorer._model.shared.weight[7:] = float("nan")
    with pytest.raises(InputError, match=r"scores are not numbers .*float32"):
        scorer.score(asked)


def test_the_language_of_a_question_is_named_or_that_of_its_script() -> None:
    assert question_language("Wo?", "de") == "de" and question_language("어디?") == "ko"
    with pytest.raises(InputError, match=r"unknown language of the question 'Missä\?'"):
        question_language("Missä?")
