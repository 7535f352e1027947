"""What a reproduction prints and writes: score tables, verdicts, claims, and the commands behind them."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from xqg_repro import __version__
from xqg_repro.core.files import atomic_write
from xqg_repro.evaluation.compare import Comparison, System, compare
from xqg_repro.evaluation.printing import printed
from xqg_repro.reproduction.benchmark import Benchmark
from xqg_repro.reproduction.claims import Evidence, claims_table, claims_text, has_claims
from xqg_repro.reproduction.run import Outcome, load_outcome, plan
from xqg_repro.reproduction.tasks import run_path
from xqg_repro.reproduction.verdict import Check, Verdict
from xqg_repro.retrieval.metadata import Measurement, commit, environment, read_measurement


@dataclass(frozen=True)
class Report:
    """What came of a benchmark's conditions, all run in the same languages; one condition at least."""

    benchmark: Benchmark
    outcomes: Sequence[Outcome]

    @property
    def languages(self) -> tuple[str, ...]:
        """The question languages that were asked for."""
        return self.outcomes[0].languages

    @property
    def failed(self) -> bool:
        """Whether a run is missing or an expected score was not met."""
        return any(check.verdict is Verdict.FAIL for check in self.checks())

    @cached_property
    def comparison(self) -> Comparison:
        """The conditions' scores, each condition compared with its baseline if that was run too."""
        run = {outcome.condition.name for outcome in self.outcomes}
        systems = [
            System(c.name, c.title, outcome.per_query, c.baseline if c.baseline in run else "")
            for outcome in self.outcomes
            for c in [outcome.condition]
        ]
        return compare(systems, self.languages, self.benchmark.measures)

    @property
    def claimed(self) -> bool:
        """Whether the paper's claims can be checked: they are about the benchmark, and all languages were asked for."""
        return has_claims(self.benchmark) and set(self.languages) == set(self.benchmark.languages)

    @property
    def evidence(self) -> Evidence:
        """The conditions' scores, for the paper's claims and for a page."""
        conditions = [(outcome.condition, outcome.per_query) for outcome in self.outcomes]
        systems = [System(c.name, c.title, scores, c.baseline) for c, scores in conditions]
        return Evidence(self.benchmark, {system.name: system for system in systems})

    def measurements(self, folder: str | Path) -> dict[str, Measurement]:
        """Condition → when and on what its run in a folder was made."""
        topics = next(iter(self.benchmark.topic_sets(self.languages)))
        runs = {o.condition.name: Path(run_path(self.benchmark, o.condition, topics, "")) for o in self.outcomes}
        return {name: read_measurement(Path(folder) / run.name) for name, run in runs.items()}

    def checks(self) -> list[Check]:
        """One a condition and measure, with a detail for each expected score that was not met; and what was not run."""
        found = []
        for outcome in self.outcomes:
            found += self._checks(outcome)
            problems, name = outcome.problems.items(), outcome.condition.name
            found += [Check(Verdict.FAIL, f"{name}: not run on {topics}: {why}") for topics, why in problems]
        return found

    def _checks(self, outcome: Outcome) -> list[Check]:
        found, judged, name = [], outcome.verdicts(self.benchmark), outcome.condition.name
        for measure in dict.fromkeys(measure for measure, *_ in judged):
            how = self.benchmark.measures[measure]
            mine = [entry for entry in judged if entry[0] == measure]
            worst = next(v for v in (Verdict.FAIL, Verdict.OKISH, Verdict.OK) if any(entry[2] is v for entry in mine))
            equal = sum(entry[2] is Verdict.OK for entry in mine)
            details = []
            for _, language, verdict, expected in mine:
                if verdict is not Verdict.OK:
                    score = outcome.scores.get(measure, {}).get(language)
                    shown = "nothing" if score is None else printed(score, how)
                    details.append(f"{verdict} {language}: measured {shown}, expected {expected:.{how.digits}f}")
            text = f"{name} {measure}: {equal} of {len(mine)} scores as expected"
            found.append(Check(worst, text, tuple(details)))
        if not judged and outcome.per_query:
            found.append(Check(None, f"{name}: no expected scores to compare with"))
        return found

    def text(self) -> str:
        """Everything for a terminal."""
        compared = self.comparison.text(bold=sys.stdout.isatty())
        claimed = [claims_text(self.evidence)] if self.claimed else []
        return "\n\n".join(["", self.benchmark.title, "\n".join(map(str, self.checks())), compared, *claimed])

    def write_markdown(self, path: str | Path, directory: str, model: str = "") -> None:
        """The same as a Markdown page, with the commands, the versions, and when and from what it was measured.

        Args:
            path: the page.
            directory: where the commands wrote.
            model: the encoder that took the place of the conditions' own, if one did.
        """
        version = f" (commit {found})" if (found := commit()) else ""
        measured = (
            f"Measured {datetime.date.today():%Y-%m-%d} with xqg_repro {__version__}{version} on {environment()}."
        )
        parts = [f"# {self.benchmark.title}", measured, self.comparison.markdown(), "## Against the expected scores"]
        parts.append("\n".join(["```", *map(str, self.checks()), "```"]))
        if self.claimed:
            parts += ["## The paper's claims", claims_table(self.evidence).markdown()]
        for outcome in self.outcomes:
            planned = plan(self.benchmark, outcome.condition, directory, outcome.languages, model)
            parts += [f"## {outcome.condition.title}", "\n".join(["```bash", *map(str, planned), "```"])]
        with atomic_write(path) as page:
            page.write("\n\n".join(parts) + "\n")


def report_of_runs(
    benchmark: Benchmark, folder: str | Path, conditions: Sequence[str] = (), languages: tuple[str, ...] = ()
) -> Report:
    """The report of the runs in a folder; nothing is run. All conditions and languages unless some are named."""
    chosen = [benchmark.condition(name) for name in conditions] or benchmark.conditions
    return Report(benchmark, [load_outcome(benchmark, condition, folder, languages) for condition in chosen])
