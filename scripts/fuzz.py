"""Damages every kind of input file at random and runs the verbs on it: ``python scripts/fuzz.py --seconds 200``.

A verb may succeed, or refuse its input: exit status 2 and one error line that names a file that exists. Anything else
is a finding: another exception, a traceback on standard error, an error without a file, a hang, or a dead process.
The first cases leave their file as it is and must succeed. Case ``n`` of a seed is the same every time; ``--case n``
runs it alone and keeps its files.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fuzzing.damage import damage
from fuzzing.inputs import FOLDER_FILES, Target, lay_over, prepare, targets

SECONDS_PER_CASE = 180
ERROR = re.compile(r"xqg-repro: error: (.*)")


class Hang(BaseException):
    """A verb ran for too long."""


def run_verb(arguments: Sequence[str]) -> tuple[int | str, str]:
    """Run a command in this process; return its exit status, or the traceback of what it raised, and standard error."""
    from xqg_repro.cli import main, two_click

    def stop(*_: Any) -> None:
        raise Hang

    errors = io.StringIO()
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS_PER_CASE)
    status: int | str
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            if arguments[0] == "2cr":
                status = two_click.main(arguments[1], arguments[2:])
            else:
                status = main(arguments)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 2
    except (Hang, Exception):
        status = traceback.format_exc()
    finally:
        signal.alarm(0)
    return status, errors.getvalue()


def problem(status: int | str, errors: str, file: str, damaged: str) -> str:
    """What is wrong with an outcome, if the file's text is ``damaged``; empty if nothing is."""
    if isinstance(status, str):
        return status
    if status not in (0, 1, 2):
        return f"exit status {status}: {errors[-500:]}"
    if "Traceback" in errors:
        return f"a traceback on standard error: {errors[-1500:]}"
    if status != 2:
        return ""
    lines = ERROR.findall(errors)
    if len(lines) != 1:
        return f"{len(lines)} error lines: {errors[-500:]}"
    named = re.match(r"(.+?)(?::\d+)?: ", lines[0])
    quoted = [text for text in re.findall(r"'([^']+)'", lines[0]) if text in damaged]
    if not (named and os.path.exists(named[1])) and Path(file).name not in lines[0] and not quoted:
        return f"names neither a file that exists nor a value of the damaged file: {lines[0]}"
    return ""


def run_case(seed: int, number: int, folder: Path) -> tuple[Target, str, int | str]:
    """Damage a file of the workspace and run its command; return what is wrong with the outcome, and the status."""
    rng = random.Random(f"{seed}:{number}")
    everything = targets()
    target = everything[number % len(everything)]
    for name in ("output", "output.json", "output.jsonl", "output.partial", "home"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if target.file.removeprefix("xdr-mini/") in FOLDER_FILES:
        lay_over(folder / "xdr-mini")
    path = folder / target.file
    if not (is_good := number < len(everything)):
        path.write_bytes(damage(rng, path.read_bytes(), path.suffix))
    status, errors = run_verb(target.command)
    if is_good and status != 0:
        return target, f"a good input fails with {status}: {errors[-500:]}", status
    return target, problem(status, errors, target.file, path.read_text(errors="replace")), status


def restore(target: Target, folder: Path, originals: Path) -> None:
    """Undo the damage of a case."""
    for name in FOLDER_FILES:
        (folder / "xdr-mini" / name).unlink(missing_ok=True)
    if (originals / target.file).exists():
        shutil.copy(originals / target.file, folder / target.file)


def worker(args: argparse.Namespace) -> None:
    """Run cases from a number on until the time is over, and report each as a JSON line."""
    folder = Path(args.folder)
    os.chdir(folder)
    with open(args.report, "a") as report:
        for number in range(args.start, sys.maxsize):
            if time.time() > args.until:
                return
            _report(report, case=number)
            target, finding, status = run_case(args.seed, number, folder)
            refused = status == 2
            _report(report, case=number, file=target.file, command=target.command[0], refused=refused, finding=finding)
            if args.only:
                return
            restore(target, folder, Path(args.originals))


def _report(report: Any, **line: Any) -> None:
    report.write(json.dumps(line) + "\n")
    report.flush()


def main() -> int:
    """Run cases for a while; exit status 1 if there are findings."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=200, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all cases (default: %(default)s)")
    parser.add_argument("--case", type=int, help="run one case and keep its workspace")
    for name in ("folder", "originals", "report"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    parser.add_argument("--start", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--only", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.folder:
        worker(args)
        return 0
    begin, root = time.time(), Path(tempfile.mkdtemp(prefix="xqg-fuzz-"))
    folder = root / "workspace"
    folder.mkdir()
    os.environ |= {
        "IR_DATASETS_HOME": str(folder / "home"),
        "XQG_REPRO_DATA": str(folder / "data"),
        "HF_HUB_OFFLINE": "1",
    }
    os.chdir(folder)
    prepare(folder, run_verb)
    shutil.copytree(folder, root / "originals")
    until = begin + args.seconds if args.case is None else time.time() + SECONDS_PER_CASE
    outcomes = fuzz(args, root, until)
    return summarise(outcomes, args, root)


def fuzz(args: argparse.Namespace, root: Path, until: float) -> list[dict[str, Any]]:
    """Run workers, a new one after each that dies; return the outcomes."""
    start, outcomes, report = args.case or 0, [], root / "report.jsonl"
    while time.time() < until:
        report.unlink(missing_ok=True)
        places = ["--folder", root / "workspace", "--originals", root / "originals", "--report", report]
        limits = [
            "--seed",
            args.seed,
            "--start",
            start,
            "--until",
            until,
            *(["--only"] if args.case is not None else []),
        ]
        command = [sys.executable, __file__, *map(str, [*places, *limits])]
        status = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        lines = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
        outcomes += [line for line in lines if "finding" in line]
        if status.returncode == 0:
            break
        if not lines:
            raise SystemExit(status.stderr)
        target = targets()[lines[-1]["case"] % len(targets())]
        finding = f"the process died with status {status.returncode}: {status.stderr[-1500:]}"
        outcomes.append(
            {**lines[-1], "file": target.file, "command": target.command[0], "finding": finding, "refused": False}
        )
        restore(target, root / "workspace", root / "originals")
        start = lines[-1]["case"] + 1
    return outcomes


def summarise(outcomes: list[dict[str, Any]], args: argparse.Namespace, root: Path) -> int:
    """Print the counts and each different finding; keep the workspace of a single case."""
    refused = sum(outcome["refused"] for outcome in outcomes)
    findings = [outcome for outcome in outcomes if outcome["finding"]]
    seen: Counter[str] = Counter()
    for outcome in findings:
        last = outcome["finding"].strip().splitlines()[-1]
        seen[last] += 1
        if seen[last] == 1 or args.case is not None:
            print(f"--- case {outcome['case']} ({outcome['command']}, {outcome['file']}):\n{outcome['finding']}\n")
    print(f"seed {args.seed}: {len(outcomes)} cases, {refused} refused, {len(findings)} findings")
    if args.case is None:
        shutil.rmtree(root)
    else:
        print(f"workspace: {root / 'workspace'}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
