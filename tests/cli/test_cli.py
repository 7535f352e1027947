import dataclasses
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xqg_repro import __version__, cli
from xqg_repro.cli import options
from xqg_repro.core.errors import InputError
from xqg_repro.core.languages import XOR_LANGUAGES
from xqg_repro.core.settings import resource
from xqg_repro.evaluation.printing import MeasureConfig
from xqg_repro.models.settings import EncoderConfig, GeneratorConfig, Precision, load_preset
from xqg_repro.representation.settings import Aggregate, Augmentation
from xqg_repro.reproduction.benchmark import Benchmark, Condition, load_benchmark
from xqg_repro.reproduction.tasks import Command, augmentation_options, indexing_tasks, query_tasks, run_path
from xqg_repro.train.recipe import EncoderRecipe, GeneratorRecipe, load_recipe

VERBS = ["generate", "encode", "sum", "augment", "index", "search", "evaluate", "compare", "claims", "ablate"]
VERBS += ["topics", "submit", "runfile", "regress", "doctor", "study", "train", "translate", "read"]
SUBVERBS = [["train", "xdr"], ["train", "xqg"], ["train", "mine"], ["ablate", "alpha"], ["ablate", "queries"]]
SUBVERBS += [["runfile", "check"], ["runfile", "convert"], ["train", "folds"], ["train", "reader"]]
HEAVY = ["torch", "transformers", "ir_datasets", "pandas", "numpy", "scipy", "statsmodels", "jnius", "pyserini"]
HEAVY.append("matplotlib")


def shipped_commands() -> list[Command]:
    """Every command line that the package builds for its benchmarks and conditions."""
    found = []
    for path in sorted(resource("conditions").glob("*.yaml")):
        benchmark = load_benchmark(path.stem)
        for condition in benchmark.conditions:
            for model in ("", "some/model"):
                found += indexing_tasks(benchmark, condition, "out put", model)
            for topics in benchmark.topic_sets():
                found += query_tasks(benchmark, condition, topics, "out put")
    return found


@pytest.mark.parametrize("arguments", [[], *([verb] for verb in VERBS), *SUBVERBS], ids=" ".join)
def test_help_is_printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([*arguments, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(" ".join(["usage: xqg-repro", *arguments]))


def test_the_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert all(re.search(rf"\n    {verb}\s", shown) for verb in VERBS)


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


@pytest.mark.parametrize("module", ["xqg_repro.cli", "xqg_repro.reproduction.run"])
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
        ("encode --collection nope/nope --output out --encoder ./nope --pooling cls", "nope/nope"),
        ("encode --collection xor-mini --output out --encoder ./e", "./e makes one vector of a text is not said"),
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
        ("train xdr --recipe xqg-mini --output out", "is a recipe of train xqg"),
        ("train xqg --recipe nope --output out", "xqg-mini"),
        ("train xqg --recipe xdr-mini --output out", "is a recipe of train xdr"),
        ("generate --collection xor-mini --output out --preset nope", "xqg-mt5-base"),
        ("generate --collection xor-mini --output out --languages xx", "'xx'"),
        ("generate --collection xor-mini --output out --top-p 2", "top_p"),
        ("generate --collection nope/nope --output out --preset xqg-mini", "nope/nope"),
        ("generate --collection xor-mini --output out --generator ./nope", "nope"),
        ("sum --generated good.tsv --output out", "--preset"),
        ("sum --generated good.tsv --output out --pooling mean", "--pooling"),
        ("sum --generated good.tsv --output out --encoder ./nope --pooling cls", "no such model folder"),
        ("sum --generated good.tsv --output out --encoder ./nope --pooling cls --languages xx", "'xx'"),
        ("sum --generated nope.jsonl --output out --preset xdr-mini", "nope.jsonl"),
        ("sum --generated good.tsv --output out --preset xdr-mini", "good.tsv:1: "),
        ("augment --embeddings nope --sums nope --output out", "nope: is not the output of a stage"),
        ("augment --embeddings nope --generated good.tsv --output out", "nope: is not the output of a stage"),
        ("augment --embeddings nope --sums nope --output out --alpha 1.5", "α is 1.5"),
        ("augment --embeddings nope --sums nope --output out --queries -1", "-1 queries"),
        ("ablate alpha --embeddings nope --sums nope --topics xquad/en/ar --output out", "nope"),
        ("ablate alpha --embeddings nope --sums nope --topics xor-mini/dev --output out", "nope"),
        ("ablate queries --embeddings nope --sums nope --topics nope/nope --output out", "nope/nope"),
        ("ablate queries --embeddings nope --sums nope --topics xor-mini/dev --output out --depth 0", "depth"),
        ("ablate queries --embeddings nope --sums nope --topics xor-mini/dev --output out --alpha 2", "α is 2"),
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
    def interrupt(arguments: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", interrupt)
    assert cli.main(["index"]) == 130
    assert "rerun the same command" in capsys.readouterr().err


def test_a_command_that_works_is_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.tsv").write_text("q1\ta  question\n")
    assert cli.main(["topics", "--topics", f"{tmp_path}/in.tsv", "--output", f"{tmp_path}/out.tsv"]) == 0
    assert (tmp_path / "out.tsv").read_text() == "q1\ta question\n"
    assert capsys.readouterr().err.startswith("topics: 1 questions")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("", "VERB"),
        ("nope", "nope"),
        ("index", "--embeddings"),
        ("encode --collection c --output o --pooling max", "max"),
        ("encode --collection c --output o --dtype int8", "int8"),
        ("generate --output o", "--collection"),
        ("generate --collection c --output o --precision int8", "int8"),
        ("generate --collection c --output o --queries many", "many"),
        ("sum --output o", "--generated"),
        ("sum --generated g --output o --dtype int4", "int4"),
        ("augment --embeddings e --output o", "--sums --generated"),
        ("augment --embeddings e --sums s --generated g --output o", "not allowed with"),
        ("augment --embeddings e --sums s --output o --aggregate max", "max"),
        ("ablate", "WHAT"),
        ("ablate alpha --embeddings e --sums s --output o", "--topics"),
        ("ablate alpha --embeddings e --sums s --topics t --output o --queries 1 2", "2"),
        ("ablate queries --embeddings e --sums s --topics t --output o --alpha 0.1 0.2", "0.2"),
        ("ablate queries --embeddings e --sums s --topics t --output o --queries 1.5", "1.5"),
        ("train", "MODEL"),
        ("train reader", "reader"),
        ("train xqg", "--output"),
    ],
)
def test_a_command_line_that_cannot_be_parsed_is_status_2(
    capsys: pytest.CaptureFixture[str], line: str, shown: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(line.split())
    assert caught.value.code == 2
    assert shown in capsys.readouterr().err.splitlines()[-1]


def test_options_override_a_presets_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        "xqg_repro.representation.encode.encode", lambda collection, config, *_, **__: seen.append(config)
    )
    options = "--preset mbert --encoder m --pooling mean --normalize --no-title --query-prefix q:"
    cli.main(["encode", "--collection", "xquad/en", "--output", "out", *options.split()])
    config = seen[0]
    assert (config.model, config.pooling, config.normalize) == ("m", "mean", True)
    assert (config.title_separator, config.query_prefix, config.query_max_length) == (None, "q:", 32)


# --- what the verbs hand on


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], tuple[tuple[Any, ...], dict[str, Any]]]:
    """``handed("encode.encode", line)``: what a command line calls that function with, which does not run."""

    def run(function: str, line: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def record(*arguments: Any, **settings: Any) -> Any:
            calls.append((arguments, settings))
            return SimpleNamespace(text=lambda: "the table")

        monkeypatch.setattr(f"xqg_repro.{function}", record)
        cli.main(shlex.split(line))
        (call,) = calls
        assert call[1].pop("log") is print
        return call

    return run


Handed = Callable[[str, str], tuple[tuple[Any, ...], dict[str, Any]]]


def test_generate_hands_its_options_on(handed: Handed) -> None:
    arguments, settings = handed("generate.generate", "generate --collection c --output o")
    assert arguments == ("c", GeneratorConfig(), "o")
    assert settings == {"shard_size": 1000, "device": None, "force": False}
    line = "generate --collection c --output o --shard-size 7 --device cpu --force --preset xqg-mini --generator m"
    line += " --languages fi ru --queries 3 --prompt 'Ask {language}' --prompt-max-length 9 --query-max-length 8"
    line += " --top-k 7 --top-p 0.6 --temperature 0.5 --precision bfloat16 --seed 4"
    arguments, settings = handed("generate.generate", line)
    config = GeneratorConfig(
        "m", ("fi", "ru"), 3, "Ask {language}", 9, 8, 7, 0.6, 0.5, precision=Precision.BFLOAT16, seed=4
    )
    assert arguments == ("c", config, "o")
    assert settings == {"shard_size": 7, "device": "cpu", "force": True}


def test_options_of_generate_override_the_preset(handed: Handed) -> None:
    arguments, _ = handed("generate.generate", "generate --collection c --output o --preset xqg-mini --queries 1")
    config = arguments[1]
    assert (config.model, config.queries, config.prompt_max_length) == ("package:xqg-mini", 1, 128)


def test_encode_hands_its_options_on(handed: Handed) -> None:
    arguments, settings = handed("encode.encode", "encode --collection c --output o --preset mbert")
    assert arguments == ("c", load_preset("mbert"), "o")
    assert settings == {"shard_size": 50_000, "dtype": "float32", "device": None, "force": False}
    line = (
        "encode --collection c --output o --encoder m --pooling cls --shard-size 7 --dtype float16 --device cpu --force"
    )
    arguments, settings = handed("encode.encode", line)
    assert arguments == ("c", EncoderConfig("m"), "o")
    assert settings == {"shard_size": 7, "dtype": "float16", "device": "cpu", "force": True}


def test_sum_hands_its_options_on(handed: Handed) -> None:
    arguments, settings = handed("sums.sum_queries", "sum --generated g --output o --preset mbert")
    assert arguments == ("g", load_preset("mbert"), "o")
    expected = {
        "languages": [*XOR_LANGUAGES],
        "count": 5,
        "per_language": False,
        "every_rank": True,
        "dtype": "float32",
        "allow_missing": False,
        "shard_size": 10_000,
        "device": None,
        "force": False,
    }
    assert settings == expected
    line = "sum --generated g --output o --encoder m --pooling mean --languages te ru --queries 3 --per-language"
    line += " --last-rank --dtype float16 --allow-missing --shard-size 7 --device cpu --force"
    arguments, settings = handed("sums.sum_queries", line)
    assert arguments == ("g", EncoderConfig("m", pooling="mean"), "o")  # type: ignore[arg-type]
    expected |= {"languages": ["te", "ru"], "count": 3, "per_language": True, "every_rank": False, "dtype": "float16"}
    assert settings == expected | {"allow_missing": True, "shard_size": 7, "device": "cpu", "force": True}


HOW = "--alpha 0.2 --aggregate mean --languages te ru --queries 3 --no-normalize"


def test_augment_hands_its_options_on(handed: Handed) -> None:
    arguments, settings = handed("augment.augment", "augment --embeddings e --sums s --output o")
    assert arguments == ("e", "s", "o", Augmentation())
    assert settings == {"allow_missing": False, "force": False}
    line = f"augment --embeddings e --sums s --output o {HOW} --allow-missing --force"
    arguments, settings = handed("augment.augment", line)
    assert arguments == ("e", "s", "o", Augmentation(0.2, Aggregate.MEAN, ("te", "ru"), 3, False))
    assert settings == {"allow_missing": True, "force": True}
    arguments, _ = handed("augment.augment", "augment --embeddings e --sums s --output o --alpha 0 --normalize")
    assert arguments[3] == Augmentation(0.0, normalize=True)


def test_augment_takes_generated_queries_in_place_of_sums(handed: Handed) -> None:
    line = f"augment --embeddings e --generated a/b --output o {HOW} --device cpu"
    arguments, settings = handed("augment.augment_in_one_stream", line)
    assert arguments == ("e", "a/b", "o", Augmentation(0.2, Aggregate.MEAN, ("te", "ru"), 3, False))
    assert settings == {"allow_missing": False, "device": "cpu", "force": False}


FIXED = "--embeddings e --sums s --topics t --output o"


@pytest.mark.parametrize("vary", ["alpha", "queries"])
def test_ablate_hands_its_options_on(handed: Handed, capsys: pytest.CaptureFixture[str], vary: str) -> None:
    arguments, settings = handed("ablate.ablate", f"ablate {vary} {FIXED}")
    assert arguments == (vary, "e", "s", "t", "o")
    expected = {
        "values": [],
        "how": Augmentation(),
        "measures": ["R2kt", "R5kt"],
        "depth": 100,
        "allow_missing": False,
        "device": None,
        "force": False,
    }
    assert settings == expected
    values = "--alpha 0.1 0 --queries 3" if vary == "alpha" else "--alpha 0.1 --queries 3 0"
    line = f"ablate {vary} {FIXED} {values} --aggregate mean --languages te ru --normalize --measures R@5 nDCG@10"
    arguments, settings = handed("ablate.ablate", f"{line} --hits 7 --allow-missing --device cpu --force")
    how = Augmentation(aggregate=Aggregate.MEAN, languages=("te", "ru"), normalize=True)
    if vary == "alpha":
        expected |= {"values": [0.1, 0.0], "how": dataclasses.replace(how, queries=3)}
    else:
        expected |= {"values": [3, 0], "how": dataclasses.replace(how, alpha=0.1)}
    expected |= {"measures": ["R@5", "nDCG@10"], "depth": 7, "allow_missing": True, "device": "cpu", "force": True}
    assert settings == expected
    assert capsys.readouterr().out == "the table\n" * 2


@pytest.mark.parametrize("kind", ["xdr", "xqg"])
def test_train_hands_its_options_on(handed: Handed, kind: str) -> None:
    read = load_recipe(f"{kind}-mini", EncoderRecipe if kind == "xdr" else GeneratorRecipe)
    arguments, settings = handed(f"train.{kind}.train", f"train {kind} --output o")
    assert (arguments, settings) == ((read, "o"), {"force": False})
    arguments, settings = handed(f"train.{kind}.train", f"train {kind} --output o --steps 7 --seed 1 --force")
    assert (arguments, settings) == ((dataclasses.replace(read, steps=7, seed=1), "o"), {"force": True})
    named = "--model m --data a.json --held-out-data b.json"
    (recipe, _), _ = handed(f"train.{kind}.train", f"train {kind} --output o {named}")
    assert recipe == dataclasses.replace(read, model="m", data="a.json", held_out_data="b.json")


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
    encode, index = indexing_tasks(benchmark, condition, "out")
    search, evaluate = query_tasks(benchmark, condition, "xquad/en/ar", "out")
    assert index.option("--embeddings") == encode.option("--output")
    assert search.option("--index") == index.option("--output")
    assert evaluate.option("--run") == search.option("--output")
    assert search.option("--tag") == condition.name


# --- augmented conditions


def benchmark_of(*conditions: Condition, **settings: Any) -> Benchmark:
    measures = {"R2kt": MeasureConfig()}
    return Benchmark("toy", "A toy", "toy/docs", "toy/dev", ("ar", "fi"), measures, conditions, **settings)


def planned(condition: Condition, model: str = "", **settings: Any) -> list[Command]:
    return indexing_tasks(benchmark_of(condition, **settings), condition, "out", model)


def generated(name: str = "augmented", how: Augmentation | None = None, **settings: Any) -> Condition:
    return Condition(name, "Title", "mbert", generator="xqg-mini", augmentation=how or Augmentation(), **settings)


def published(source: str = "a/b") -> Condition:
    return Condition("augmented", "Title", "mbert", corpus=source, augmentation=Augmentation())


def test_queries_are_generated_summed_and_added() -> None:
    generate, encode, total, augment, index = planned(generated())
    stages = ["generate", "encode", "sum", "augment", "index"]
    assert [command.stage for command in (generate, encode, total, augment, index)] == stages
    assert (generate.option("--collection"), generate.option("--preset")) == ("toy/docs", "xqg-mini")
    assert total.option("--generated") == generate.option("--output")
    assert (total.option("--preset"), encode.option("--preset")) == ("mbert", "mbert")
    assert augment.option("--embeddings") == encode.option("--output")
    assert augment.option("--sums") == total.option("--output")
    assert augment.option("--alpha") == "0.01"
    assert index.option("--embeddings") == augment.option("--output")
    outputs = [command.option("--output") for command in (generate, encode, total, augment, index)]
    assert outputs == [
        "out/queries/toy.docs.xqg-mini",
        "out/embeddings/toy.docs.mbert",
        "out/sums/toy.docs.mbert.xqg-mini",
        "out/embeddings/toy.docs.augmented",
        "out/indexes/toy.docs.augmented",
    ]


def test_published_queries_are_taken_as_they_are() -> None:
    encode, total, augment, _ = planned(published("owner/corpus"))
    assert total.option("--generated") == "owner/corpus"
    assert total.option("--output") == "out/sums/toy.docs.mbert.owner.corpus" == augment.option("--sums")
    encode, augment, _ = planned(published("owner/corpus"), keep_sums=False)
    assert augment.option("--generated") == "owner/corpus"
    assert "--sums" not in augment.arguments
    assert augment.option("--embeddings") == encode.option("--output")


def test_sums_that_are_not_kept_are_not_made() -> None:
    generate, _, augment, _ = planned(generated(), keep_sums=False)
    assert augment.option("--generated") == generate.option("--output")


@pytest.mark.parametrize("keep_sums", [True, False])
def test_another_model_encodes_the_queries_too(keep_sums: bool) -> None:
    commands = planned(generated(), "some/model", keep_sums=keep_sums)
    encoding = [command.stage for command in commands if "--encoder" in command.arguments]
    assert encoding == (["encode", "sum"] if keep_sums else ["encode"])  # augment takes the embeddings' encoder
    assert {c.option("--encoder") for c in commands if c.stage in encoding} == {"some/model"}


@pytest.mark.parametrize("keep_sums", [True, False])
@pytest.mark.parametrize("count", [3, 7])
def test_a_benchmark_says_how_many_queries_are_written_and_added(keep_sums: bool, count: int) -> None:
    commands = planned(generated(), queries=count, keep_sums=keep_sums)
    told = {command.stage: command.option("--queries") for command in commands if "--queries" in command.arguments}
    assert told == {"generate": str(count), ("sum" if keep_sums else "augment"): str(count)}


def test_an_augmentation_with_some_of_the_queries_adds_these() -> None:
    *_, total, augment, _ = planned(generated(how=Augmentation(queries=2)), queries=4)
    assert (total.option("--queries"), augment.option("--queries")) == ("4", "2")


def test_sums_are_kept_apart_where_an_augmentation_takes_some_languages() -> None:
    plain, some = generated(), generated("some", Augmentation(languages=("fi",)))
    for conditions in ((plain, some), (some, plain)):
        benchmark = benchmark_of(*conditions)
        sums = [c for condition in conditions for c in indexing_tasks(benchmark, condition, "out") if c.stage == "sum"]
        # one folder, made once
        assert sums[0] == sums[1] and "--per-language" in sums[0].arguments


def test_conditions_share_what_they_have_in_common_and_no_more() -> None:
    conditions = (
        Condition("plain", "Plain", "mbert"),
        generated("one"),
        generated("two", Augmentation(0.2)),
        dataclasses.replace(generated("three"), encoder="xdr-mini"),
        dataclasses.replace(generated("four"), generator="xqg-mt5-base"),
    )
    benchmark = benchmark_of(*conditions)
    made: dict[str, set[Command]] = {}
    for condition in conditions:
        for command in indexing_tasks(benchmark, condition, "out"):
            made.setdefault(command.option("--output"), set()).add(command)
    assert all(len(commands) == 1 for commands in made.values())
    stages = [next(iter(commands)).stage for commands in made.values()]
    expected = {"generate": 2, "encode": 2, "sum": 3, "augment": 4, "index": 5}
    assert {stage: stages.count(stage) for stage in expected} == expected


@pytest.mark.parametrize(
    ("how", "options"),
    [
        (Augmentation(), "--alpha 0.01"),
        (Augmentation(0), "--alpha 0"),
        (Augmentation(0.5, Aggregate.MEAN), "--alpha 0.5 --aggregate mean"),
        (Augmentation(0.5, languages=("te", "ru")), "--alpha 0.5 --languages te ru"),
        (Augmentation(0.5, queries=2), "--alpha 0.5 --queries 2"),
        (Augmentation(0.5, normalize=True), "--alpha 0.5 --normalize"),
        (Augmentation(1e-05, normalize=False), "--alpha 1e-05 --no-normalize"),
        (
            Augmentation(1.0, Aggregate.MEAN, ("fi",), 4, False),
            "--alpha 1.0 --aggregate mean --languages fi --queries 4 --no-normalize",
        ),
    ],
)
def test_options_of_an_augmentation_mean_the_same(handed: Handed, how: Augmentation, options: str) -> None:
    assert augmentation_options(how) == tuple(options.split())
    arguments, _ = handed("augment.augment", f"augment --embeddings e --sums s {options} --output o")
    assert arguments[3] == how


def test_an_error_shows_place_problem_and_mend() -> None:
    assert str(InputError("bad", path="f", line=2, hint="mend it")) == "f:2: bad (mend it)"
    assert str(InputError("bad", path="f")) == "f: bad"
    assert str(InputError("bad")) == "bad"


def test_searching_starts_from_the_settings_of_the_index() -> None:
    made_by = EncoderConfig("model", pooling="mean", query_prefix="query: ")
    asked = cli.parser().parse_args(["search", "--index", "i", "--topics", "t", "--output", "o", "--encoder", "moved"])
    assert options.encoder_config(asked, made_by) == dataclasses.replace(made_by, model="moved")
    asked = cli.parser().parse_args(["search", "--index", "i", "--topics", "t", "--output", "o"])
    assert options.encoder_config(asked, made_by) == made_by
