from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from reproduction.toy import AUGMENTED, TOY, TOY_WITH_ANSWERS, Stages, register

from xqg_repro.cli import two_click


class Program:
    """``python -m xqg_repro.2cr`` for the toy benchmark."""

    def __init__(self) -> None:
        self.stages = Stages()

    def __call__(self, line: str, text: str = TOY) -> int:
        Path("toy.yaml").write_text(text)
        self.stages.tasks.clear()
        return two_click.main("toy.yaml", shlex.split(line), execute=self.stages)

    @property
    def lines(self) -> list[str]:
        """The command lines of what ran."""
        return [str(task) for task in self.stages.tasks]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    register()
    return Program()


def test_conditions_are_listed(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert program("--list-conditions") == 0
    assert capsys.readouterr().out == "plain\tThe plain one\nfree\tThe free one\n"
    assert not program.lines


@pytest.mark.parametrize(
    "line", ["--all --encoder some/model --force", "--condition made plain --language fi --skip-eval"]
)
def test_commands_of_a_dry_run_are_those_that_run(
    program: Program, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    text = TOY_WITH_ANSWERS + AUGMENTED + "study: mbert\n"
    assert program(f"{line} --dry-run --directory 'my out'", text) == 0
    shown = capsys.readouterr().out
    assert not program.lines and [path.name for path in Path().iterdir()] == ["toy.yaml"]
    assert program(f"{line} --display-commands --directory 'my out'", text) == 0
    assert [line.replace(" --force", "") for line in program.lines] == shown.replace(" --force", "").splitlines()
    assert capsys.readouterr().err == "".join(f"$ {line}\n" for line in program.lines)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("", "nothing to do"),
        ("--condition nope", "plain, free"),
        ("--all --language de --dry-run", "ar fi"),
        ("--generate-report", "--output"),
        ("--generate-report --output r.md", "out/runs: "),
        ("--generate-report --dry-run --output r.md", "--generate-report"),
        ("--all --skip-eval --output r.md", "--skip-eval"),
        ("--all --output r.pdf", "r.pdf: "),
        ("--all --reader a", "study"),
    ],
)
def test_wrong_names_and_options_are_status_2(
    program: Program, capsys: pytest.CaptureFixture[str], line: str, shown: str
) -> None:
    assert program(line) == 2
    error = capsys.readouterr().err
    assert error.startswith("xqg-repro: error: ") and error.count("\n") == 1 and shown in error
    assert not program.lines


def test_conditions_are_chosen_in_one_way(program: Program) -> None:
    with pytest.raises(SystemExit) as caught:
        program("--all --condition plain")
    assert caught.value.code == 2


def test_failed_score_or_missing_run_is_status_1(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert program("--condition plain") == 0
    printed = capsys.readouterr()
    assert printed.err == "" and "[OK] all 3 scores as expected" in printed.out  # no commands unless asked
    program.stages.scores["ar"] = 0.4
    assert program("--all") == 1
    assert "[FAIL] ar: measured 40.0, expected 50.0" in capsys.readouterr().out
    assert program("--condition free") == 0
    program.stages.problems["search", "ar"] = "could not be downloaded"
    assert program("--condition plain") == program("--condition free --skip-eval") == 1
    printed = capsys.readouterr()
    assert "[FAIL] plain: not run on toy/ar: ar.json: could not be downloaded" in printed.out
    assert "toy/ar: not run: ar.json: could not be downloaded" in printed.err
    program.stages.problems["encode", ""] = "disk full"
    assert program("--condition free") == 2


def test_study_runs_after_all_conditions(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"{TOY}study: mbert\n"
    assert program("--all --force --language ar --passages ar --reader a b --encoder m", text) == 0
    study = "xqg-repro study --preset mbert --encoder m --languages ar --passages ar --reader a b --output out/study"
    assert program.lines[-1] == f"{study} --force"
    for name in ("generated.1", "generated.0", "translated.0"):
        Path("docs/study/generated", name).mkdir(parents=True)
    assert program("--all --spans s.npy", text) == 0
    packed = "docs/study/generated/"
    texts = f"--generated {packed}generated.0 {packed}generated.1 --translated {packed}translated.0"
    assert program.lines[-1] == f"xqg-repro study --preset mbert {texts} --spans s.npy --output out/study"
    assert program("--all --passages ar", text) == 0  # the texts are about English paragraphs
    assert program.lines[-1] == "xqg-repro study --preset mbert --passages ar --output out/study"
    assert program("--all --reader a --spans s.npy", text) == 2
    assert program("--all --passages ar --fold-encoders a b --folds f", text) == 0
    assert program.lines[-1].endswith("--passages ar --fold-encoders a b --folds f --output out/study")
    assert program("--condition plain --fold-encoders a --folds f", text) == 2
    assert "only the study has --fold-encoders and --folds" in capsys.readouterr().err
    program.stages.verbs.clear()
    assert program("--all --skip-eval", text) == program("--condition plain", text) == 0
    assert "study" not in program.stages.verbs


def test_reports_are_written(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert program("--condition plain --encoder some/model --output report.md") == 0
    report = Path("report.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out.endswith("report: report.md\n")
    assert "\n".join(["```bash", *program.lines, "```"]) in report
    Path("out", "runs").mkdir(parents=True)
    assert program("--generate-report --output report.html") == 0
    assert re.search(r"The plain one.*expected 50\.0", Path("report.html").read_text(encoding="utf-8"), re.DOTALL)
    assert not program.lines
