from __future__ import annotations

import argparse
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from xqg_repro import __version__, cli, collection

VERBS = (
    "generate translate encode sum augment index search fuse read evaluate compare claims ablate topics submit runfile"
)
VERBS += " rerank chance filter regress study train doctor"
HEAVY = (
    "torch transformers ir_datasets pandas numpy scipy statsmodels faiss pyserini jnius matplotlib pydantic yaml jinja2"
)


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its verbs."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from parsers(verb)


def test_every_verb_and_option_has_a_help_text(capsys: pytest.CaptureFixture[str]) -> None:
    every = list(parsers(cli.parser()))
    assert {parser.prog.split()[1] for parser in every[1:]} == {*VERBS.split()}
    for parser in every:
        assert parser.format_help().startswith(f"usage: {parser.prog} ") and parser.description
        assert all(action.help for action in parser._actions if action.option_strings), parser.prog
    for option, shown in (("--version", f"xqg_repro {__version__}\n"), ("--help", every[0].format_help())):
        with pytest.raises(SystemExit):
            cli.main([option])
        assert capsys.readouterr().out == shown


def test_nothing_heavy_is_imported_before_a_verb_is_chosen() -> None:
    code = "import sys; from xqg_repro import cli; from xqg_repro.cli import two_click; cli.parser().format_help(); "
    code += f"two_click.parser('x'); print(*{{*'{HEAVY}'.split()}} & {{*sys.modules}})"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown == "\n"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("encode --collection xquad/en --output out", "--preset"),
        ("encode --collection nope/nope --output out --encoder ./nope --pooling cls", "nope/nope"),
        ("encode --collection xquad/en --output out --preset mbert --shard-size 0", "0 passages"),
        ("encode --collection xquad/en --output out --preset mbert --query-max-length 1", "3 tokens"),
        ("index --embeddings nope --output out", "nope"),
        ("search --index nope --topics xquad/en/ar --output out --depth 0", "depth"),
        ("topics --topics good.tsv --output folder", "folder"),
        ("topics --topics good.tsv --output good.tsv/out", "good.tsv"),
        ("train xqg --recipe xdr-mini --output out", "train xdr"),
        ("train rounds --recipe xdr-mini --output out", "not of train rounds"),
        ("train rounds --recipe sentri-mini --judge generator --output out", "needs an answerer"),
        ("train trim --model ./nope --texts good.tsv --output out", "nope"),
        ("train score --data good.tsv --preset xqg-mini --output out.jsonl", "good.tsv: "),
        ("train score --data good.jsonl --output out.jsonl", "--preset or --generator"),
        ("train score --data nope.jsonl --generator ./nope --output out.jsonl", "nope.jsonl: no such training file"),
        ("rerank likelihood --run nope --topics xor-mini/held-out --preset xqg-mini --output out.txt", "nope: "),
        ("generate --collection xor-mini --output out --languages xx", "'xx'"),
        ("translate --collection xquad/en --languages ar --output out --preset nope --codes ar", "'ar'"),
        ("sum --generated good.tsv --output out --encoder ./nope --pooling cls --languages xx", "'xx'"),
        ("augment --embeddings nope --sums nope --output out", "nope: "),
        ("augment --embeddings nope --generated good.tsv --output out --alpha 1.5", "1.5"),
        ("filter --queries good.tsv --embeddings nope --keep 2 --output out", "nope: "),
        ("filter --queries good.tsv --embeddings nope --keep 0 --output out --preset mbert", "cannot keep 0 queries"),
        ("filter --queries good.tsv --embeddings nope --keep 3 --of 2 --output out --preset mbert", "keep 3 of 2"),
        ("claims --benchmark xquad", "xor-mini, xor-tydi"),
        ("claims --benchmark xor-mini --runs nowhere", "nowhere: "),
        ("regress --all", "--index --search --verify"),
    ],
)
def test_input_error_is_status_2_and_one_line_and_writes_nothing(
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


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("", "VERB"),
        ("encode --collection c --output o --pooling max", "max"),
        ("augment --embeddings e --output o", "--sums --generated"),
        ("augment --embeddings e --sums s --generated g --output o", "not allowed with"),
        ("ablate alpha --embeddings e --sums s --topics t --output o --queries 1 2", "2"),
        ("ablate queries --embeddings e --sums s --topics t --output o --queries 1.5", "1.5"),
    ],
)
def test_command_line_that_cannot_be_parsed_is_status_2(
    capsys: pytest.CaptureFixture[str], line: str, shown: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(line.split())
    assert caught.value.code == 2
    assert shown in capsys.readouterr().err.splitlines()[-1]


def test_messages_go_to_stderr_and_success_is_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.tsv").write_text("q1\ta  question\n")
    assert cli.main(["topics", "--topics", f"{tmp_path}/in.tsv", "--output", f"{tmp_path}/out.tsv"]) == 0
    assert (tmp_path / "out.tsv").read_text() == "q1\ta question\n"
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"topics: wrote {tmp_path}/out.tsv (questions 1)\n")


def test_interrupt_is_status_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(collection, "load", interrupt)
    assert cli.main(["topics", "--topics", "xor-mini/dev", "--output", "out.tsv"]) == 130
    assert capsys.readouterr().err.startswith("xqg-repro: interrupted")


@pytest.mark.parametrize(
    ("module", "words", "status"),
    [
        ("xqg_repro", "claims --benchmark xquad", 2),
        *((f"xqg_repro.2cr.{name}", "--list-conditions", 0) for name in ("xor_mini", "xor_tydi", "xquad")),
        ("xqg_repro.2cr", "xquad --condition nope", 2),
    ],
)
def test_modules_exit_with_the_status(monkeypatch: pytest.MonkeyPatch, module: str, words: str, status: int) -> None:
    monkeypatch.setattr(sys, "argv", ["program", *words.split()])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    assert ended.value.code == status
