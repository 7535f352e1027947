"""Closed pipes, full disks, narrow terminals, closed streams and signals: a line or nothing, never a traceback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, Mini

from xqg_repro.retrieval.runfile import Hit, write_run

PROGRAM = f"{sys.executable} -m xqg_repro"
TWO_CLICK = f"{sys.executable} -m xqg_repro.2cr.xor_mini"
SCRIPT = f"{sys.executable} {REPOSITORY}/scripts/bench/scoring.py"
CHECK = f"{PROGRAM} runfile check run.txt"
TRACES = ("Traceback", "Exception ignored", "Error:", "Logging error")

Shell = Callable[..., tuple[int, str]]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """``shell(line, …)``: the exit status of a bash line, and what it wrote to standard error."""
    monkeypatch.chdir(tmp_path)
    write_run({f"q{number}": [Hit("1", 2.0)] for number in range(3)}, "run.txt", "α–β")

    def run(line: str, **environment: str) -> tuple[int, str]:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        line = f"( {line} ) 2> errors.txt"
        status = subprocess.run(["bash", "-c", line], env={**kept, **environment}, timeout=120).returncode
        errors = Path("errors.txt").read_text(errors="replace")
        assert not any(trace in errors for trace in TRACES), errors
        return status, errors

    return run


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", [CHECK, f"{PROGRAM} topics --topics xor-mini/dev --output -"])
def test_a_closed_pipe_ends_quietly(shell: Shell, command: str, unbuffered: str) -> None:
    line = f"{command} | true; exit ${{PIPESTATUS[0]}}"
    status, errors = shell(f"sleep 0; {line}", PYTHONUNBUFFERED=unbuffered)
    assert (status, [text for text in errors.splitlines() if "topics: wrote" not in text]) == (141, [])


@pytest.mark.parametrize("command", [f"{PROGRAM} --help", f"{TWO_CLICK} --list-conditions", f"{SCRIPT} --help"])
def test_a_closed_pipe_ends_every_program_quietly(shell: Shell, command: str) -> None:
    assert shell(f"{command} | true; exit ${{PIPESTATUS[0]}}") == (141, "")


def test_the_first_lines_can_be_taken(shell: Shell) -> None:
    line = f"{PROGRAM} topics --topics xor-mini/dev --output - | head -1 | wc -l | grep -qx 1; exit ${{PIPESTATUS[0]}}"
    assert shell(line) == (141, "")
    assert shell(f"{CHECK} 2>&1 | true; exit ${{PIPESTATUS[0]}}")[0] == 141


@pytest.mark.integration
def test_the_shared_run_ends_quietly(shell: Shell, faults: Path) -> None:
    scored = f"{PROGRAM} evaluate --run {faults}/run_ok.txt --topics xor-mini/dev"
    status, errors = shell(f"{scored} | true; exit ${{PIPESTATUS[0]}}")
    assert (status, errors.count("\n")) == (141, 1)  # the line says how many questions are missing
    status, errors = shell(f"{PROGRAM} runfile check {faults}/run_ok.txt > /dev/full")
    assert status == 2 and errors.count("\n") == 1 and "No space left on device" in errors


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", [CHECK, f"{PROGRAM} topics --topics xor-mini/dev --output -"])
def test_a_full_disk_is_one_line(shell: Shell, command: str, unbuffered: str) -> None:
    status, errors = shell(f"{command} > /dev/full", PYTHONUNBUFFERED=unbuffered)
    assert status == 2 and errors.count("\n") == 1 and "No space left on device" in errors
    assert shell(f"{command} 2> /dev/full > out.txt")[0] == 0


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1252"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_narrow_terminals_show_escapes(shell: Shell, environment: dict[str, str]) -> None:
    assert shell(f"{CHECK} | grep -q u03b1", **environment) == (0, "")
    assert shell(f"{PROGRAM} augment --help > help.txt", **environment) == (0, "")
    status, errors = shell(f"{PROGRAM} runfile check пробег.txt", **environment)
    assert status == 2 and errors.count("\n") == 1
    # data is UTF-8 whatever the terminal is
    assert shell(f"{PROGRAM} topics --topics xor-mini/dev/ru --output - > q.tsv", **environment)[0] == 0
    assert "к" in Path("q.tsv").read_text(encoding="utf-8")


def test_closed_streams(shell: Shell) -> None:
    assert shell(f"{CHECK} <&-") == (0, "")
    assert shell(f"{CHECK} 2>&- > table.txt") == (0, "")
    assert shell(f"{PROGRAM} runfile check nowhere 2>&-") == (2, "")
    for command in (CHECK, f"{PROGRAM} topics --topics xor-mini/dev --output -"):
        status, errors = shell(f"{command} >&-")
        assert status == 2 and errors.count("\n") == 1 and re.search("standard output|/dev/stdout", errors)
    assert shell(f"{PROGRAM} topics --topics xor-mini/dev --output all.tsv <&- >&- 2>&-") == (0, "")
    assert Path("all.tsv").read_text(encoding="utf-8").count("\n") == 1400


# signals


def kill(words: list[str], number: signal.Signals, ready: Callable[[int], bool]) -> tuple[int, str]:
    """Exit status and standard error of a program that gets a signal once it is ready."""

    def heed() -> None:  # what starts the tests, such as nohup, may ignore signals, and children inherit that
        signal.signal(number, signal.SIG_DFL)

    command = [sys.executable, "-m", "xqg_repro", *words]
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, preexec_fn=heed) as process:
        try:
            deadline = time.monotonic() + 90
            while not ready(process.pid):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(number)
            errors = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    return process.returncode, errors


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGTERM, -15, "terminated"), (signal.SIGHUP, -1, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
@pytest.mark.integration
def test_a_signal_ends_an_encoding_that_can_be_resumed(
    tmp_path: Path, mini_data: Mini, tiny_model: Path, number: signal.Signals, status: int, word: str
) -> None:
    output, partial = tmp_path / "e", tmp_path / "e.partial"
    words = ["encode", "--collection", mini_data.docs, "--encoder", str(tiny_model), "--pooling", "cls"]
    words += ["--shard-size", "1", "--output", str(output)]
    ended = kill(words, number, lambda _: (partial / "00000.npy").exists())
    assert ended[0] == status and ended[1].endswith(f"xqg-repro: {word}; rerun the same command to resume\n")
    assert partial.exists() and not list(tmp_path.rglob("*.tmp")) and "Traceback" not in ended[1]
    if number is not signal.SIGTERM:
        return
    assert subprocess.run([sys.executable, "-m", "xqg_repro", *words], capture_output=True).returncode == 0
    assert output.exists() and not partial.exists()


@pytest.mark.integration
def test_a_signal_ends_a_search_after_java_has_started(tmp_path: Path, mini_data: Mini, config: object) -> None:
    from xqg_repro.representation import encode
    from xqg_repro.retrieval import build_index

    encode(mini_data.docs, config, tmp_path / "e")  # type: ignore[arg-type]
    build_index(tmp_path / "e", tmp_path / "i")
    questions = "".join(f"q{i}\t{mini_data.questions[i % 14]['question']}\n" for i in range(200_000))
    (tmp_path / "q.tsv").write_text(questions, encoding="utf-8")
    words = ["search", "--index", str(tmp_path / "i"), "--topics", str(tmp_path / "q.tsv")]

    def has_java(pid: int) -> bool:
        started = "libjvm" in Path(f"/proc/{pid}/maps").read_text()
        time.sleep(3 if started else 0)  # until the search itself runs
        return started

    status, errors = kill([*words, "--output", str(tmp_path / "run.txt")], signal.SIGTERM, has_java)
    shown = [line for line in errors.splitlines() if line.startswith("xqg-repro: ")]
    assert len(shown) == 1 and "rerun the same command" in shown[0] and "Traceback" not in errors
    assert status == -15
    assert not [path for path in tmp_path.iterdir() if "run.txt" in path.name]
