"""What a reproduction prints and writes: score tables, verdicts, and the commands behind them."""

from __future__ import annotations

import datetime
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from xqg_repro import __version__
from xqg_repro.artifacts import atomic_write
from xqg_repro.claims import Evidence, claims_table, claims_text
from xqg_repro.compare import Comparison, System, compare
from xqg_repro.config import Benchmark
from xqg_repro.reproduce import Outcome, judged_languages, plan
from xqg_repro.verdict import Verdict, printed

_VERSIONS = ("torch", "transformers", "faiss-cpu", "pyserini", "ir-datasets", "ir-measures")


def comparison(benchmark: Benchmark, outcomes: Sequence[Outcome], languages: tuple[str, ...]) -> Comparison:
    """The conditions' scores, each condition compared with its baseline if that was run too."""
    run = {outcome.condition.name for outcome in outcomes}
    systems = [
        System(c.name, c.title, outcome.per_query, c.baseline if c.baseline in run else "")
        for outcome in outcomes
        for c in [outcome.condition]
    ]
    return compare(systems, languages or benchmark.languages, benchmark.measures)


def verdict_lines(benchmark: Benchmark, outcomes: Sequence[Outcome], languages: tuple[str, ...]) -> list[str]:
    """One line a condition and measure, and one for each expected score that was not met, with its value."""
    lines = []
    for outcome in outcomes:
        judged = outcome.verdicts(benchmark.measures, judged_languages(benchmark, languages))
        for measure in dict.fromkeys(measure for measure, *_ in judged):
            digits = benchmark.measures[measure].digits
            mine = [entry for entry in judged if entry[0] == measure]
            worst = next(v for v in (Verdict.FAIL, Verdict.OKISH, Verdict.OK) if any(entry[2] is v for entry in mine))
            equal = sum(entry[2] is Verdict.OK for entry in mine)
            lines.append(f"{worst} {outcome.condition.name} {measure}: {equal} of {len(mine)} scores as expected")
            for _, language, verdict, expected in mine:
                if verdict is not Verdict.OK:
                    score = outcome.scores.get(measure, {}).get(language)
                    shown = "nothing" if score is None else printed(score, benchmark.measures[measure])
                    lines.append(f"    {verdict} {language}: measured {shown}, expected {expected:.{digits}f}")
        if not judged and outcome.scores:
            lines.append(f"{outcome.condition.name}: no expected scores to compare with")
        lines += [f"[FAIL] {outcome.condition.name}: not run on {t}: {why}" for t, why in outcome.problems.items()]
    return lines


def results_text(benchmark: Benchmark, outcomes: Sequence[Outcome], languages: tuple[str, ...] = ()) -> str:
    """Everything for a terminal."""
    compared = comparison(benchmark, outcomes, languages).text(bold=sys.stdout.isatty())
    parts = ["", benchmark.title, "\n".join(verdict_lines(benchmark, outcomes, languages)), compared]
    return "\n\n".join(parts if languages else [*parts, claims_text(_evidence(benchmark, outcomes))])


def _evidence(benchmark: Benchmark, outcomes: Sequence[Outcome]) -> Evidence:
    systems = [System(o.condition.name, o.condition.title, o.per_query, o.condition.baseline) for o in outcomes]
    return Evidence(benchmark, {system.name: system for system in systems})


def write_report(
    benchmark: Benchmark,
    outcomes: Sequence[Outcome],
    languages: tuple[str, ...],
    directory: str,
    path: str | Path,
    model: str = "",
) -> None:
    """The same as a Markdown page, with the commands, the versions, and when and from what it was measured."""
    with atomic_write(path) as page:
        page.write(
            f"# {benchmark.title}\n\nMeasured {datetime.datetime.now():%Y-%m-%d} with xqg_repro {__version__}"
            f"{_commit()} on {platform.machine()}, Python {platform.python_version()}, "
            f"{', '.join(f'{name} {metadata.version(name)}' for name in _VERSIONS)}.\n"
        )
        page.write(f"\n{comparison(benchmark, outcomes, languages).markdown()}\n")
        page.write("\n## Against the expected scores\n\n```\n")
        page.write("\n".join(verdict_lines(benchmark, outcomes, languages)))
        page.write("\n```\n")
        if not languages:
            page.write(f"\n## The paper's claims\n\n{claims_table(_evidence(benchmark, outcomes)).markdown()}\n")
        for outcome in outcomes:
            page.write(f"\n## {outcome.condition.title}\n\n```bash\n")
            planned = plan(benchmark, outcome.condition, directory, languages, model)
            page.writelines(f"{command}\n" for command in planned)
            page.write("```\n")


def _commit() -> str:
    """`` (commit …)`` when the package runs from a git checkout, else nothing."""
    folder = Path(__file__).parent.parent
    if not (folder / ".git").exists():
        return ""
    shown = subprocess.run(["git", "-C", str(folder), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return f" (commit {shown.stdout.strip()})" if shown.returncode == 0 else ""
