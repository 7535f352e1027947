import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xqg_repro import __version__, cli
from xqg_repro.commands import Command, passage_commands, run_path, topic_commands
from xqg_repro.config import EncoderConfig, load_benchmark, resource
from xqg_repro.errors import InputError

VERBS = ["encode", "index", "search", "evaluate", "topics", "train"]
HEAVY = ["torch", "transformers", "ir_datasets", "pandas", "numpy", "jnius", "pyserini"]


def shipped_commands() -> list[Command]:
    """Every command line that the package builds for its benchmarks and conditions."""
    found = []
    for path in sorted(resource("conditions").glob("*.yaml")):
        benchmark = load_benchmark(path.stem)
        for condition in benchmark.conditions:
            for model in ("", "some/model"):
                found += passage_commands(benchmark, condition, "out put", model)
            for topics in benchmark.topic_sets():
                found += topic_commands(benchmark, condition, topics, "out put")
    return found


@pytest.mark.parametrize("arguments", [[], *([verb] for verb in VERBS), ["train", "xdr"]], ids=" ".join)
def test_help_is_printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([*arguments, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(" ".join(["usage: xqg-repro", *arguments]))


def test_the_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"\n    {verb} " in shown for verb in VERBS)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"xqg_repro {__version__}\n"


def test_help_answers_in_half_a_second() -> None:
    program = Path(sys.executable).with_name("xqg-repro")
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([program, "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


@pytest.mark.parametrize("module", ["xqg_repro.cli", "xqg_repro.reproduce"])
def test_the_shells_import_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys, json; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert json.loads(shown) == []


def test_an_input_error_of_the_program_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "xqg_repro", "index", "--embeddings", tmp_path, "--output", tmp_path / "out"]
    ended = subprocess.run(program, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"xqg-repro: error: {tmp_path}: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("encode --collection xquad/en --output out", "--preset"),
        ("encode --collection xquad/en --output out --preset nope", "nope"),
        ("encode --collection xquad/en --output out --pooling mean", "--pooling"),
        ("encode --collection nope/nope --output out --encoder ./nope", "nope/nope"),
        ("encode --collection xquad/en --output out --preset mbert --shard-size 0", "0 passages"),
        ("encode --collection xquad/en --output out --preset mbert --query-max-length 1", "3 tokens"),
        ("index --embeddings nope --output out", "nope"),
        ("search --index nope --topics xquad/en/ar --output out", "nope"),
        ("search --index nope --topics xquad/en/ar --output out --depth 0", "depth of 0"),
        ("evaluate --run nope --topics nope/nope", "nope/nope"),
        ("topics --topics nope.tsv --output out", "nope.tsv"),
        ("topics --topics good.tsv --output folder", "folder"),
        ("topics --topics good.tsv --output good.tsv/out", "good.tsv"),
        ("train xdr --recipe nope --output out", "xdr-mini"),
    ],
)
def test_an_input_error_is_status_2_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, shown: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.tsv").write_text("q1\ta question\n")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(line.split()) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("xqg-repro: error: ") and printed.err.count("\n") == 1
    assert shown in printed.err
    assert printed.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_an_interruption_is_status_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(arguments: list[str], log: cli.Log) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", interrupt)
    assert cli.main(["index"]) == 130
    assert "goes on where it stopped" in capsys.readouterr().err


def test_a_command_that_works_is_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.tsv").write_text("q1\ta  question\n")
    assert cli.main(["topics", "--topics", f"{tmp_path}/in.tsv", "--output", f"{tmp_path}/out.tsv"]) == 0
    assert (tmp_path / "out.tsv").read_text() == "q1\ta question\n"
    assert capsys.readouterr().err.startswith("topics: 1 questions")


@pytest.mark.parametrize("arguments", [[], ["nope"], ["index"], ["encode", "--pooling", "max"]])
def test_a_command_line_that_cannot_be_parsed_is_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2


def test_options_override_a_presets_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("xqg_repro.encode.encode", lambda collection, config, *_, **__: seen.append(config))
    options = "--preset mbert --encoder m --pooling mean --normalize --no-title --query-prefix q:"
    cli.run(["encode", "--collection", "xquad/en", "--output", "out", *options.split()], print)
    config = seen[0]
    assert (config.model, config.pooling, config.normalize) == ("m", "mean", True)
    assert (config.title_separator, config.query_prefix, config.query_max_length) == (None, "q:", 32)


# --- the command lines that the package builds


@pytest.mark.parametrize("command", shipped_commands(), ids=str)
def test_a_command_that_the_package_builds_is_real(command: Command) -> None:
    cli.parser().parse_args(command.arguments)


def test_a_command_prints_as_a_shell_reads_it() -> None:
    command = Command(("encode", "--output", "two words", "--query-prefix", "it's"))
    shown = subprocess.run(
        ["sh", "-c", f"xqg-repro() {{ printf '%s\\n' \"$@\"; }}; {command}".replace("xqg-repro", "shown")],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert tuple(shown.splitlines()) == command.arguments


def test_conditions_and_topics_do_not_share_files() -> None:
    for path in resource("conditions").glob("*.yaml"):
        benchmark = load_benchmark(path.stem)
        runs = [
            run_path(benchmark, c, topics, "out") for c in benchmark.conditions for topics in benchmark.topic_sets()
        ]
        assert len(set(runs)) == len(runs)


def test_runs_are_named_after_benchmark_condition_and_topics() -> None:
    benchmark = load_benchmark("xquad")
    found = run_path(benchmark, benchmark.condition("e5-small"), "xquad/en/ar", "out")
    assert found == "out/runs/run.xquad.e5-small.en.ar.txt"


def test_stages_hand_their_outputs_on() -> None:
    benchmark = load_benchmark("xquad")
    condition = benchmark.condition("e5-small")
    encode, index = passage_commands(benchmark, condition, "out")
    search, evaluate = topic_commands(benchmark, condition, "xquad/en/ar", "out")
    assert index.option("--embeddings") == encode.option("--output")
    assert search.option("--index") == index.option("--output")
    assert evaluate.option("--run") == search.option("--output")
    assert search.option("--tag") == condition.name


def test_an_error_shows_place_problem_and_mend() -> None:
    assert str(InputError("bad", path="f", line=2, mend="mend it")) == "f:2: bad (mend it)"
    assert str(InputError("bad", path="f")) == "f: bad"
    assert str(InputError("bad")) == "bad"


def test_searching_starts_from_the_settings_of_the_index() -> None:
    made_by = EncoderConfig("model", pooling="mean", query_prefix="query: ")
    asked = cli.parser().parse_args(["search", "--index", "i", "--topics", "t", "--output", "o", "--encoder", "moved"])
    assert cli._encoder_config(asked, made_by) == dataclasses.replace(made_by, model="moved")
    asked = cli.parser().parse_args(["search", "--index", "i", "--topics", "t", "--output", "o"])
    assert cli._encoder_config(asked, made_by) == made_by
