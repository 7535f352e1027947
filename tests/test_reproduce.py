import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from xqg_repro import cli, reproduce
from xqg_repro.cli import two_click
from xqg_repro.commands import Step
from xqg_repro.config import load_benchmark
from xqg_repro.errors import InputError
from xqg_repro.evaluate import Missing, Scores

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
        self.ran: list[list[str]] = []

    def __call__(self, arguments: Sequence[str], log: cli.Log) -> None:
        asked = cli.parser().parse_args(arguments)
        self.ran.append(list(arguments))
        language = getattr(asked, "topics", "").rpartition("/")[2]
        if arguments[0] == "search" and language in self.missing:
            raise InputError("could not be downloaded", path=f"{language}.json")
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
    def fail(arguments: Sequence[str], log: cli.Log) -> None:
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
    def fail(arguments: Sequence[str], log: cli.Log) -> None:
        augmented(arguments, log)
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
