import gzip
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import Mini, small_tokenizer

from xqg_repro import cli
from xqg_repro.cli import two_click
from xqg_repro.core import settings as config
from xqg_repro.core.errors import InputError
from xqg_repro.core.files import file_digest
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.core.stages import Manifest
from xqg_repro.evaluation.evaluate import Missing, Scores, evaluate_answers
from xqg_repro.models.settings import ReaderConfig
from xqg_repro.reproduction import run as reproduce
from xqg_repro.reproduction.benchmark import load_benchmark
from xqg_repro.reproduction.report import report_of_runs
from xqg_repro.reproduction.tasks import Step, two_click_commands
from xqg_repro.retrieval.read import read
from xqg_repro.retrieval.runfile import Hit, write_run

TOY = """\
name: toy
title: A toy
collection: toy
topics: toy/{language}
languages: [ar, fi]
measures:
  R@1: {scale: 100, digits: 1, tolerance: 0.5}
conditions:
  - {name: plain, title: The plain one, encoder: mbert, expected: {R@1: {ar: 50, fi: 60, average: 55}}}
  - {name: free, title: The free one, encoder: mbert}
"""

AUGMENTED = """\
  - {name: made, title: Generated, encoder: mbert, generator: xqg-mini, augmentation: {alpha: 0.5}}
  - {name: more, title: More of it, encoder: mbert, generator: xqg-mini, augmentation: {alpha: 0.9}}
  - {name: had, title: Published, encoder: mbert, corpus: some/corpus, augmentation: {alpha: 0.02, queries: 4}}
"""
CHAIN = ["generate", "encode", "sum", "augment", "index", "search", "evaluate", "search", "evaluate"]


class Stages:
    """Stands in for the stages: checks and notes each command line, and writes the scores that it was given."""

    def __init__(self) -> None:
        self.scores = {"ar": 0.5, "fi": 0.6}
        self.missing: tuple[str, ...] = ()
        self.unreadable = False
        self.ran: list[list[str]] = []

    def __call__(self, arguments: Sequence[str]) -> None:
        asked = cli.parser().parse_args(arguments)
        self.ran.append(list(arguments))
        language = getattr(asked, "topics", "").rpartition("/")[2]
        if arguments[0] == "search" and language in self.missing:
            raise InputError("could not be downloaded", path=f"{language}.json")
        if arguments[0] == "read" and self.unreadable:
            raise InputError("there is no reader", path="models/reader")
        if arguments[0] == "evaluate":
            right = round(1000 * self.scores[language])
            values = {f"{language}{i}": float(i < right) for i in range(1000)}
            Path(asked.output).parent.mkdir(parents=True, exist_ok=True)
            per_query = dict.fromkeys(asked.measures, values)
            Scores(asked.topics, Missing.ZERO, per_query, dict.fromkeys(values, language), ()).write(asked.output)

    @property
    def verbs(self) -> list[str]:
        return [arguments[0] for arguments in self.ran]


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stages:
    """Stages that run nothing, in an empty folder but for the benchmark ``toy.yaml``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.yaml").write_text(TOY)
    stand_in = Stages()
    monkeypatch.setattr(cli, "run", stand_in)
    return stand_in


@pytest.fixture
def augmented(stages: Stages, tmp_path: Path) -> Stages:
    """The same, with conditions that augment."""
    (tmp_path / "toy.yaml").write_text(TOY + AUGMENTED)
    return stages


def main(line: str) -> int:
    return two_click.main("toy.yaml", shlex.split(line))


def test_conditions_are_listed_and_nothing_runs(stages: Stages, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("--list-conditions") == 0
    assert capsys.readouterr().out == "plain\tThe plain one\nfree\tThe free one\n"
    assert stages.ran == []


def test_a_dry_run_prints_the_commands_and_writes_nothing(
    stages: Stages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("--condition plain --dry-run --directory 'my out'") == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert [words[1] for words in lines] == ["encode", "index", "search", "evaluate", "search", "evaluate"]
    assert stages.ran == []
    assert [path.name for path in tmp_path.iterdir()] == ["toy.yaml"]


def test_the_commands_of_a_dry_run_are_those_that_run(stages: Stages, capsys: pytest.CaptureFixture[str]) -> None:
    main("--all --dry-run --encoder some/model")
    shown = [shlex.split(line)[1:] for line in capsys.readouterr().out.splitlines()]
    main("--all --encoder some/model")
    assert [[word for word in words if word != "--quiet"] for words in stages.ran] == shown


def test_display_commands_prints_each_command(stages: Stages, capsys: pytest.CaptureFixture[str]) -> None:
    main("--condition plain --dry-run")
    shown = [f"$ {line}" for line in capsys.readouterr().out.splitlines()]
    main("--condition plain --display-commands")
    assert capsys.readouterr().err.splitlines() == shown


def test_commands_are_not_printed_unasked(stages: Stages, capsys: pytest.CaptureFixture[str]) -> None:
    main("--condition plain")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("line", "shown"),
    [("--condition nope", "plain, free"), ("--all --language de", "ar fi"), ("--all --language de --dry-run", "ar fi")],
)
def test_an_unknown_name_is_status_2_and_names_the_others(
    stages: Stages, capsys: pytest.CaptureFixture[str], line: str, shown: str
) -> None:
    assert main(line) == 2
    error = capsys.readouterr().err
    assert error.startswith("xqg-repro: error: ") and error.count("\n") == 1
    assert shown in error
    assert stages.ran == []


def test_an_unknown_benchmark_is_status_2(stages: Stages, capsys: pytest.CaptureFixture[str]) -> None:
    assert two_click.main("nope", ["--all"]) == 2
    assert "nope" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["--all --condition plain", "--all --list-conditions"])
def test_at_most_one_choice_of_conditions_is_made(stages: Stages, line: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(line)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "nothing to do"),
        ("--generate-report", "--output names none"),
        ("--generate-report --dry-run --output r.md", "--generate-report runs nothing"),
        ("--all --skip-eval --output r.md", "a report needs scores"),
        ("--all --output r.pdf", "r.pdf: a report is a page or Markdown"),
    ],
)
def test_options_that_do_not_go_together_are_status_2(
    stages: Stages, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    assert main(line) == 2
    assert message in capsys.readouterr().err
    assert not stages.ran


def test_expected_scores_that_are_met_are_status_0(stages: Stages, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("--condition plain") == 0
    shown = capsys.readouterr().out
    assert "[OK] plain R@1: 3 of 3 scores as expected" in shown
    assert "The plain one  50.0  60.0     55.0" in shown


def test_a_score_within_the_tolerance_is_status_0(stages: Stages, capsys: pytest.CaptureFixture[str]) -> None:
    stages.scores["ar"] = 0.504
    assert main("--condition plain") == 0
    assert "[OKish] ar: measured 50.4, expected 50.0" in capsys.readouterr().out


def test_a_score_that_fails_is_status_1_and_shown_with_the_expected_one(
    stages: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    stages.scores["ar"] = 0.4
    assert main("--condition plain") == 1
    shown = capsys.readouterr().out
    assert "[FAIL] plain R@1: 1 of 3 scores as expected" in shown
    assert "[FAIL] ar: measured 40.0, expected 50.0" in shown
    assert "[FAIL] average: measured 50.0, expected 55.0" in shown


def test_one_failing_condition_of_several_is_status_1(stages: Stages) -> None:
    stages.scores["ar"] = 0.4
    assert main("--all") == 1
    assert main("--condition free") == 0


def test_a_condition_without_expected_scores_says_so(stages: Stages, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("--condition free") == 0
    assert "free: no expected scores to compare with" in capsys.readouterr().out


def test_only_the_languages_asked_for_run(stages: Stages) -> None:
    main("--condition plain --language fi")
    assert [words[words.index("--topics") + 1] for words in stages.ran if words[0] == "search"] == ["toy/fi"]


def test_the_average_of_some_languages_is_not_judged(stages: Stages, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("--condition plain --language ar") == 0
    assert "1 of 1 scores as expected" in capsys.readouterr().out


def test_the_average_of_all_languages_is_judged_in_any_order(stages: Stages) -> None:
    stages.scores = {"ar": 0.505, "fi": 0.605}
    Path("toy.yaml").write_text(TOY.replace("average: 55", "average: 99"))
    assert main("--condition plain --language fi ar") == 1


def test_a_topic_set_without_data_is_reported_and_the_others_run(
    stages: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    stages.missing = ("ar",)
    assert main("--condition plain free") == 1
    shown = capsys.readouterr()
    assert "[FAIL] plain: not run on toy/ar: ar.json: could not be downloaded" in shown.out
    assert "toy/ar: not run" in shown.err
    evaluated = [words[words.index("--topics") + 1] for words in stages.ran if words[0] == "evaluate"]
    assert evaluated == ["toy/fi", "toy/fi"]


def test_a_missing_run_is_status_1_without_expected_scores_too(stages: Stages) -> None:
    stages.missing = ("ar",)
    assert main("--condition free") == 1


def test_a_score_that_was_not_measured_is_a_dash(stages: Stages, capsys: pytest.CaptureFixture[str]) -> None:
    stages.missing = ("ar",)
    main("--condition plain")
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if line.startswith("The plain one"))
    assert row.split()[3:5] == ["–", "60.0"]
    assert "[FAIL] ar: measured nothing, expected 50.0" in shown


def test_the_average_without_a_missing_language_is_not_taken_for_the_average(
    stages: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    stages.missing, stages.scores["fi"] = ("ar",), 0.55
    main("--condition plain")
    assert "[FAIL] average" in capsys.readouterr().out


def test_a_collection_that_cannot_be_had_is_status_2(
    stages: Stages, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: Sequence[str]) -> None:
        raise InputError("could not be downloaded", path="passages.tsv")

    monkeypatch.setattr(cli, "run", fail)
    assert main("--condition plain") == 2
    assert capsys.readouterr().err == "xqg-repro: error: passages.tsv: could not be downloaded\n"


def test_without_evaluation_runs_are_written_and_not_judged(stages: Stages, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("--condition plain --skip-eval") == 0
    assert stages.verbs == ["encode", "index", "search", "search"]
    assert "[FAIL]" not in capsys.readouterr().out


def test_a_missing_run_without_evaluation_is_status_1(stages: Stages) -> None:
    stages.missing = ("ar",)
    assert main("--condition free --skip-eval") == 1


def test_force_is_handed_to_every_stage_that_writes_a_stage_output(stages: Stages) -> None:
    main("--condition plain --language ar --force")
    assert [words[0] for words in stages.ran if "--force" in words] == ["encode", "index", "search"]


def test_another_model_is_handed_to_the_encoding(stages: Stages) -> None:
    main("--condition plain --encoder some/model")
    encode = stages.ran[0]
    assert encode[encode.index("--encoder") + 1] == "some/model"


def test_conditions_are_compared_with_their_baselines(
    stages: Stages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toy.yaml").write_text(TOY.replace("title: The free one,", "title: The free one, baseline: plain,"))
    main("--all")
    shown = capsys.readouterr().out
    assert re.search(r"^The plain oneᵃ +50\.0 +60\.0 +55\.0$", shown, re.MULTILINE)
    assert re.search(r"^The free one – The plain one +R@1 +\+0\.0 .* 1\.000 ", shown, re.MULTILINE)
    main("--condition free")  # without its baseline there is nothing to compare with
    assert "ᵃ" not in capsys.readouterr().out


def test_a_report_holds_scores_verdicts_and_commands(stages: Stages, capsys: pytest.CaptureFixture[str]) -> None:
    stages.scores["ar"] = 0.4
    assert main("--condition plain --output report.md") == 1
    report = Path("report.md").read_text()
    assert "| The plain one | 40.0 | 60.0 | 50.0 |" in report
    assert "[FAIL] ar: measured 40.0, expected 50.0" in report
    capsys.readouterr()
    main("--condition plain --dry-run")
    assert capsys.readouterr().out in report


def test_a_report_shows_the_commands_that_ran_with_another_model(stages: Stages) -> None:
    main("--condition plain --encoder some/model --output report.md")
    assert "--encoder some/model" in Path("report.md").read_text()


def test_plan_leaves_evaluation_out_when_asked(stages: Stages) -> None:
    benchmark = load_benchmark("toy.yaml")
    planned = reproduce.plan(benchmark, benchmark.conditions[0], "out", ("fi",), steps=[Step.INDEX, Step.SEARCH])
    assert [command.stage for command in planned] == ["encode", "index", "search"]


@pytest.mark.parametrize(("line", "status"), [("--list-conditions", 0), ("--all --dry-run", 0), ("--condition x", 2)])
def test_the_module_of_a_benchmark_exits_with_the_status(line: str, status: int) -> None:
    program = [sys.executable, "-m", "xqg_repro.2cr.xquad", *line.split()]
    assert subprocess.run(program, capture_output=True).returncode == status


def test_all_of_xquad_includes_the_study(capsys: pytest.CaptureFixture[str]) -> None:
    asked = "--dry-run --encoder e --language en ar --passages ar --reader a b --directory d"
    assert two_click.main("xquad", ["--all", *asked.split()]) == 0
    planned = capsys.readouterr().out.splitlines()
    study = "xqg-repro study --preset e5-small --encoder e --languages en ar --passages ar --reader a b"
    assert planned[-1] == f"{study} --output d/study" and planned[0].startswith("xqg-repro encode")
    assert two_click.main("xquad", ["--all", "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "xqg-repro study --preset e5-small --output out/study"
    for without in (["--all", "--skip-eval", "--dry-run"], ["--condition", "e5-small", "--dry-run"]):
        assert two_click.main("xquad", without) == 0
        assert "study" not in capsys.readouterr().out
    assert two_click.main("xquad", ["--condition", "e5-small", "--reader", "a"]) == 2
    assert "give --all" in capsys.readouterr().err


def test_the_study_runs_behind_the_conditions(stages: Stages) -> None:
    Path("toy.yaml").write_text(f"{TOY}study: mbert\n")
    assert two_click.main("toy.yaml", ["--all", "--force", "--language", "fi"]) == 0
    assert stages.verbs[-1] == "study" and stages.verbs.count("study") == 1
    assert stages.ran[-1][-3:] == ["--output", "out/study", "--force"]


# conditions that augment


def test_an_augmented_condition_runs_from_generation_to_scores(
    augmented: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("--condition made") == 0
    assert augmented.verbs == CHAIN
    assert "made: no expected scores to compare with" in capsys.readouterr().out


def test_published_queries_are_not_generated(augmented: Stages) -> None:
    assert main("--condition had --skip-eval --language fi") == 0
    assert augmented.verbs == ["encode", "sum", "augment", "index", "search"]
    total, augment = augmented.ran[1:3]
    assert total[total.index("--generated") + 1] == "some/corpus"
    assert augment[augment.index("--alpha") :][:4] == ["--alpha", "0.02", "--queries", "4"]


def test_sums_are_left_out_where_the_benchmark_does_not_keep_them(augmented: Stages, tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text(TOY.replace("measures:", "keep_sums: false\nmeasures:") + AUGMENTED)
    assert main("--condition made") == 0
    assert augmented.verbs == [stage for stage in CHAIN if stage != "sum"]


def test_the_commands_of_an_augmented_dry_run_are_those_that_run(
    augmented: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    main("--all --dry-run --encoder some/model")
    shown = [shlex.split(line)[1:] for line in capsys.readouterr().out.splitlines()]
    main("--all --encoder some/model")
    assert augmented.ran == shown
    assert {words[0] for words in shown if "--encoder" in words} == {"encode", "sum"}


def test_what_is_forced_is_made_anew_once(augmented: Stages) -> None:
    assert main("--all --force") == 0
    forced = [tuple(words) for words in augmented.ran if "--force" in words]
    assert sorted(set(forced)) == sorted(forced)
    assert [words[0] for words in forced].count("generate") == 1
    # everything but the scores, which are always made
    unforced = {tuple(words) for words in augmented.ran if "--force" not in words}
    assert all((*words, "--force") in forced or words[0] == "evaluate" for words in unforced)


@pytest.mark.parametrize("stage", ["generate", "sum", "augment"])
def test_a_stage_that_cannot_run_is_status_2(
    augmented: Stages, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    def fail(arguments: Sequence[str]) -> None:
        augmented(arguments)
        if arguments[0] == stage:
            raise InputError("has 4 Russian queries where 5 are due", path="shard_1.jsonl", line=3)

    monkeypatch.setattr(cli, "run", fail)
    assert main("--condition made") == 2
    assert augmented.verbs == CHAIN[: CHAIN.index(stage) + 1]
    assert capsys.readouterr().err == "xqg-repro: error: shard_1.jsonl:3: has 4 Russian queries where 5 are due\n"


def test_a_report_of_augmented_conditions_holds_their_commands(
    augmented: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    main("--condition plain made --output report.md")
    report = Path("report.md").read_text()
    capsys.readouterr()
    for condition in ("plain", "made"):
        main(f"--condition {condition} --dry-run")
        assert f"```bash\n{capsys.readouterr().out}```\n" in report
    assert "| The plain one | 50.0 | 60.0 | 55.0 |\n| Generated | 50.0 | 60.0 | 55.0 |" in report


# benchmarks whose answers are measured

READING = """\
reading: {reader: reader-mini, depth: 3, weight: 0.5}
measures:
  EM: {scale: 100, digits: 1, tolerance: 1}
  F1: {scale: 100, digits: 1, tolerance: 1}
"""


@pytest.fixture
def reading(stages: Stages, tmp_path: Path) -> Stages:
    """The toy's stages, with answers read and measured."""
    text = TOY.replace("measures:\n", READING).replace("R@1: {ar: 50,", "EM: {ar: 50, fi: 60}, R@1: {ar: 50,")
    (tmp_path / "toy.yaml").write_text(text)
    return stages


def test_answers_are_read_and_scored_behind_the_run(reading: Stages, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("--condition plain --language ar") == 0
    assert reading.verbs == ["encode", "index", "search", "evaluate", "read", "evaluate"]
    run, answers = "out/runs/run.toy.plain.ar.txt", "out/answers/answers.toy.plain.ar.json"
    how = "--preset reader-mini --depth 3 --weight 0.5"
    assert [" ".join(words) for words in reading.ran[3:]] == [
        f"evaluate --run {run} --topics toy/ar --measures R@1 --output out/scores/scores.toy.plain.ar.json",
        f"read --run {run} --topics toy/ar {how} --output {answers}",
        f"evaluate --answers {answers} --topics toy/ar --measures EM F1 "
        "--output out/scores/scores.toy.plain.ar.answers.json",
    ]
    shown = capsys.readouterr().out
    assert "[OK] plain EM: 1 of 1 scores as expected" in shown
    assert re.search(r"^F1 .*\n.*\nThe plain one +50\.0", shown, re.MULTILINE)


def test_the_commands_of_a_dry_run_with_answers_are_those_that_run(
    reading: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    main("--all --dry-run")
    shown = [shlex.split(line)[1:] for line in capsys.readouterr().out.splitlines()]
    main("--all")
    assert reading.ran == shown
    assert [words[0] for words in shown].count("read") == 4


def test_a_run_is_not_scored_where_only_answers_are_measured(reading: Stages) -> None:
    Path("toy.yaml").write_text(Path("toy.yaml").read_text().replace("R@1", "EM_mlqa"))
    main("--condition free --language ar")
    assert reading.verbs == ["encode", "index", "search", "read", "evaluate"]
    assert reading.ran[-1][-5:-2] == ["EM", "F1", "EM_mlqa"]


def test_without_evaluation_no_answers_are_read(reading: Stages) -> None:
    assert main("--condition plain --skip-eval") == 0
    assert reading.verbs == ["encode", "index", "search", "search"]


def test_force_is_handed_to_the_reading(reading: Stages) -> None:
    main("--condition plain --language ar --force")
    assert [words[0] for words in reading.ran if "--force" in words] == ["encode", "index", "search", "read"]


def test_a_run_that_cannot_be_read_has_its_own_scores_and_fails(
    reading: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    reading.unreadable = True
    assert main("--condition plain") == 1
    shown = capsys.readouterr().out
    assert "[OK] plain R@1: 3 of 3 scores as expected" in shown
    assert "[FAIL] plain EM: 0 of 2 scores as expected" in shown
    assert "[FAIL] ar: measured nothing, expected 50.0" in shown
    assert "[FAIL] plain: not run on toy/ar: models/reader: there is no reader" in shown


def test_answers_that_are_not_the_expected_ones_are_status_1(reading: Stages) -> None:
    Path("toy.yaml").write_text(Path("toy.yaml").read_text().replace("EM: {ar: 50,", "EM: {ar: 52,"))
    assert main("--condition plain") == 1


def test_what_is_copied_reads_and_scores_the_run_that_it_makes(reading: Stages) -> None:
    benchmark = load_benchmark("toy.yaml")
    run, more = two_click_commands(benchmark, benchmark.conditions[0])
    assert str(run).endswith("--condition plain --skip-eval --directory out")
    assert [command.stage for command in more] == ["evaluate", "read", "evaluate"] * 2


def test_plan_keeps_the_steps_that_are_asked_for(reading: Stages) -> None:
    benchmark = load_benchmark("toy.yaml")
    for step, wanted in ((Step.READ, ["read"] * 2), (Step.EVALUATE, ["evaluate"] * 4)):
        planned = reproduce.plan(benchmark, benchmark.conditions[0], "out", steps=[step])
        assert [command.stage for command in planned] == wanted


# the small collection, scored from what lies in a folder

MINI = """\
name: test-mini
title: The small collection
collection: xor-tydi
topics: test-mini/dev
languages: [ar, bn, fi, ja, ko, ru, te]
depth: 5
reading: {reader: tiny, depth: 2, weight: 0.25}
measures:
  R@1: {scale: 100, digits: 1}
  EM: {scale: 100, digits: 1, tolerance: 1}
  F1: {scale: 100, digits: 1, tolerance: 1}
conditions:
  - {name: plain, title: The plain one, encoder: mbert, expected: {EM: {ar: 50, average: 50}}}
"""
RUN, ANSWERS = "run.test-mini.plain.dev.txt", "answers.test-mini.plain.dev.json"
HALF_RIGHT = {"EM": 0.5, "F1": pytest.approx(3 / 7)}  # one right answer is "The", of which no token is left for F1


@pytest.fixture
def mini(mini_data: Mini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Right answers to half of the questions of each language, and wrong ones to the others.

    The working directory holds the benchmark ``mini.yaml`` and a run in ``out/runs`` whose first passages are right.
    """
    monkeypatch.chdir(tmp_path)
    Path("mini.yaml").write_text(MINI)
    write_run({qid: [Hit(docid, 1.0)] for qid, docid in mini_data.qrels}, Path("out", "runs", RUN), "plain")
    return {q["id"]: q["answers"][0] if i < 7 else "no idea" for i, q in enumerate(mini_data.questions)}


def write_answers(folder: str, answers: dict[str, str]) -> Path:
    """Write answers of the condition, compressed in a folder of reference runs."""
    path, text = Path(folder, ANSWERS), json.dumps(answers).encode()
    if folder == "runs":
        path, text = path.with_name(f"{path.name}.gz"), gzip.compress(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    return path


def averages(folder: str) -> dict[str, float]:
    """Measure → the condition's average by what a folder holds."""
    benchmark = load_benchmark("mini.yaml")
    scores = reproduce.load_outcome(benchmark, benchmark.conditions[0], folder).scores
    return {measure: by_language["average"] for measure, by_language in scores.items()}


@pytest.mark.parametrize(
    ("folder", "runs"), [("out/answers", "out/runs"), ("out/runs", "out/runs"), ("runs", "runs")], ids=str
)
def test_answers_are_found_beside_the_runs_and_in_the_folder_beside(
    mini: dict[str, str], folder: str, runs: str
) -> None:
    write_answers(folder, mini)
    assert averages(runs) == (HALF_RIGHT if runs == "runs" else {"R@1": 1.0, **HALF_RIGHT})


def test_answers_are_found_from_within_the_folder_of_runs(
    mini: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_answers("out/answers", mini)
    monkeypatch.chdir("out/runs")
    benchmark = load_benchmark("../../mini.yaml")
    assert set(reproduce.load_outcome(benchmark, benchmark.conditions[0], ".").per_query) == {"R@1", "EM", "F1"}


def test_where_there_are_no_answers_their_scores_are_missing_and_fail(mini: dict[str, str]) -> None:
    assert averages("out/runs") == {"R@1": 1.0}
    report = report_of_runs(load_benchmark("mini.yaml"), "out/runs")
    assert report.failed
    (check,) = report.checks()
    assert str(check) == (
        "[FAIL] plain EM: 0 of 2 scores as expected\n    [FAIL] ar: measured nothing, expected 50.0"
        "\n    [FAIL] average: measured nothing, expected 50.0"
    )
    assert "| The plain one | – | – |" in report.comparison.markdown()


def test_a_question_without_an_answer_scores_zero(mini: dict[str, str]) -> None:
    write_answers("out/answers", {qid: mini[qid] for qid in list(mini)[1:]})  # the first one's is right
    assert averages("out/runs")["EM"] == pytest.approx(3 / 7)


def test_scores_stand_for_answers_that_are_not_kept(mini: dict[str, str], mini_data: Mini) -> None:
    kept = Path("runs", "scores.test-mini.plain.dev.answers.json")
    evaluate_answers(mini, mini_data.topics).write(kept)
    packed = kept.with_name(f"{kept.name}.gz")
    packed.write_bytes(gzip.compress(kept.read_bytes()))
    kept.unlink()
    assert averages("runs") == HALF_RIGHT


def test_answers_that_were_read_from_another_run_are_refused(mini: dict[str, str]) -> None:
    answers = write_answers("out/answers", mini)
    note = answers.with_name(f"{answers.name}.json")
    Manifest("read", inputs={"run": file_digest(Path("out", "runs", RUN))}).write_as(note)
    assert averages("out/runs")["EM"] == 0.5
    write_run({"q0": [Hit("1", 0.5)]}, Path("out", "runs", RUN), "plain")
    with pytest.raises(InputError, match=r"were not read from out/runs/run.* as it is now .read") as caught:
        averages("out/runs")
    assert caught.value.path == answers.resolve()


def test_answers_to_other_questions_are_refused(mini: dict[str, str]) -> None:
    write_answers("out/answers", {**mini, "q99": "Turku"})
    with pytest.raises(InputError, match="has no question 'q99', which is answered"):
        averages("out/runs")


def test_answers_lie_unread_where_none_are_measured(mini: dict[str, str]) -> None:
    write_answers("out/answers", {"q99": "Turku"})
    Path("mini.yaml").write_text(re.sub(r"(?m)^(reading|  EM|  F1):.*\n", "", MINI).replace("EM:", "R@1:"))
    assert averages("out/runs") == {"R@1": 1.0}


def test_a_report_of_runs_has_the_scores_of_their_answers(
    mini: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_answers("out/answers", mini)
    for name in ("report.md", "report.html"):
        assert two_click.main("mini.yaml", ["--generate-report", "--output", name]) == 0
    page = Path("report.md").read_text(encoding="utf-8")
    assert re.search(r"\| EM \|.*\n.*\n\| The plain one \|( 50\.0 \|){8}", page)
    assert "[OK] plain EM: 2 of 2 scores as expected" in page
    assert "xqg-repro read --run out/runs/" in page and "xqg-repro evaluate --answers out/answers/" in page


@pytest.fixture
def tiny_reader(mini_data: Mini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_threads: None) -> ReaderConfig:
    """A random question-answering model, named by every reader preset."""
    import torch
    import transformers

    tokenizer = small_tokenizer(f"{title} {text}" for _, title, text in mini_data.passages)
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    settings = {"max_position_embeddings": 160, "pad_token_id": tokenizer.pad_token_id, "initializer_range": 0.2}
    model = transformers.BertConfig(vocab_size=len(tokenizer), **sizes, **settings)
    transformers.BertForQuestionAnswering(model).save_pretrained(tmp_path / "reader")
    tokenizer.save_pretrained(tmp_path / "reader")
    lengths = {"max_length": 64, "stride": 8, "question_max_length": 20, "answer_max_length": 6}
    reader = ReaderConfig(str(tmp_path / "reader"), **lengths)
    monkeypatch.setattr(config, "load_reader", lambda name: reader)
    return reader


def test_a_reproduction_reads_its_runs_and_scores_the_answers(
    mini_data: Mini,
    tiny_model: Path,
    tiny_reader: ReaderConfig,
    mini: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def reproduced(*more: str) -> int:
        return two_click.main("mini.yaml", ["--all", "--encoder", str(tiny_model), "--directory", "new", *more])

    assert reproduced("--skip-eval") == 0
    assert not Path("new", "answers").exists()
    assert reproduced("--output", "report.html") == 1  # a random reader has not the scores that are expected
    run, answers = Path("new", "runs", RUN), Path("new", "answers", ANSWERS)
    alone = read(run, mini_data.topics, tiny_reader, "alone.json", depth=2, weight=0.25)
    assert answers.read_text() == alone.read_text()
    expected = evaluate_answers(alone, mini_data.topics).table("F1")
    shown = capsys.readouterr()
    assert f"read: wrote {answers}" in shown.err
    row = re.search(r"^F1 .*\n(?:-.*\n)?The plain one +(.*)$", shown.out, re.MULTILINE)
    assert row and row[1].split() == [f"{100 * expected[code]:.1f}" for code in (*XOR_LANGUAGES, "average")]
    assert averages("new/runs")["F1"] == pytest.approx(expected["average"])
    assert reproduced() == 1
    assert f"read: {answers} is up to date" in capsys.readouterr().err
