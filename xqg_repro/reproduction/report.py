"""What a reproduction prints and writes: scores, verdicts, significance, claims and the commands behind them."""

from __future__ import annotations

import datetime
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from xqg_repro import __version__
from xqg_repro.core.files import atomic_write
from xqg_repro.core.languages import AVERAGE
from xqg_repro.core.tables import Table
from xqg_repro.evaluation.compare import Comparison, System
from xqg_repro.evaluation.printing import format_score
from xqg_repro.reproduction.benchmark import Benchmark
from xqg_repro.reproduction.claims import Evidence, claims_table, claims_text, has_claims
from xqg_repro.reproduction.paths import run_path
from xqg_repro.reproduction.run import Outcome, load_outcome
from xqg_repro.reproduction.tasks import plan
from xqg_repro.reproduction.verdict import Check, Verdict
from xqg_repro.retrieval.metadata import Measurement, commit, environment, read_measurement

BY_LANGUAGE = 2
"""Of how many measures, the benchmark's first, the summary shows every language."""


@dataclass(frozen=True)
class Report:
    """What came of a benchmark's conditions, all run in the same languages; at least one condition."""

    benchmark: Benchmark
    outcomes: Sequence[Outcome]

    @property
    def languages(self) -> tuple[str, ...]:
        """The question languages that were run."""
        return self.outcomes[0].languages

    @property
    def failed(self) -> bool:
        """Whether a run is missing or an expected score was not met."""
        return any(check.verdict is Verdict.FAIL for check in self.checks())

    @cached_property
    def evidence(self) -> Evidence:
        """The conditions' scores, for comparisons, the paper's claims and a page."""
        systems = {}
        for outcome in self.outcomes:
            condition = outcome.condition
            systems[condition.name] = System(condition.name, condition.title, outcome.per_query, condition.baseline)
        return Evidence(self.benchmark, systems, self.languages)

    @property
    def comparison(self) -> Comparison:
        """The conditions compared with their baselines."""
        return self.evidence.comparison

    @property
    def has_claims(self) -> bool:
        """Whether the paper's claims can be checked: they name the benchmark, and all languages were run."""
        return has_claims(self.benchmark) and set(self.languages) == set(self.benchmark.languages)

    def measurements(self, folder: str | Path) -> dict[str, Measurement]:
        """Condition → when and on what its run in a folder was made."""
        topics = next(iter(self.benchmark.topic_sets(self.languages)))
        runs = {o.condition.name: Path(run_path(self.benchmark, o.condition, topics, "")) for o in self.outcomes}
        return {name: read_measurement(Path(folder) / run.name) for name, run in runs.items()}

    def checks(self) -> list[Check]:
        """One check per condition and measure, with a detail per expected score that was not met; and missing runs."""
        checks = []
        for outcome in self.outcomes:
            checks += self._score_checks(outcome)
            name = outcome.condition.name
            for topics, problem in outcome.problems.items():
                checks.append(Check(Verdict.FAIL, f"{name}: not run on {topics}: {problem}"))
        return checks

    def _score_checks(self, outcome: Outcome) -> list[Check]:
        checks, verdicts, name = [], outcome.verdicts(self.benchmark), outcome.condition.name
        if not verdicts and outcome.per_query:
            return [Check(None, f"{name}: no expected scores to compare with")]
        for measure in dict.fromkeys(measure for measure, *_ in verdicts):
            config = self.benchmark.measures[measure]
            own = [entry[1:] for entry in verdicts if entry[0] == measure]
            counts = Counter(verdict for _, verdict, _ in own)
            worst = next(verdict for verdict in (Verdict.FAIL, Verdict.OKISH, Verdict.OK) if counts[verdict])
            details = []
            for language, verdict, expected in own:
                if verdict is not Verdict.OK:
                    score = outcome.scores.get(measure, {}).get(language)
                    measured = "nothing" if score is None else format_score(score, config)
                    details.append(f"{verdict} {language}: measured {measured}, expected {expected:.{config.digits}f}")
            text = f"{name} {measure}: {counts[Verdict.OK]} of {len(own)} scores as expected"
            checks.append(Check(worst, text, tuple(details)))
        return checks

    def text(self) -> str:
        """A summary for a terminal: scores by language, averages with what is significant, verdicts, claims."""
        bold = sys.stdout.isatty()
        parts = [self.benchmark.title]
        for measure in [*self.benchmark.measures][:BY_LANGUAGE]:
            table = self.comparison.table(measure)
            by_language = Table(table.header[:-1], [row[:-1] for row in table.rows])  # averages have their own table
            parts.append(by_language.text(bold=bold))
        legend = textwrap.fill(self.comparison.legend(bold=bold), 100)
        parts += [self.averages().text(bold=bold), legend, self._verdict_lines()]
        if self.has_claims:
            parts.append(claims_text(self.evidence))
        return "\n\n".join(filter(None, parts))

    def averages(self) -> Table:
        """Systems × measures: averages over languages, with what is significant."""
        tables = {measure: self.comparison.table(measure) for measure in self.benchmark.measures}
        rows = []
        for i in range(len(self.comparison.systems)):
            title = next(iter(tables.values())).rows[i][0]
            rows.append([title, *(table.rows[i][-1] for table in tables.values())])
        return Table([AVERAGE, *tables], rows)

    def _verdict_lines(self) -> str:
        """One line if all scores are as expected; else the checks that are not."""
        checks = self.checks()
        counts = Counter(check.verdict for check in checks)
        if set(counts) == {Verdict.OK}:
            measured = sum(len(outcome.verdicts(self.benchmark)) for outcome in self.outcomes)
            return f"{Verdict.OK} all {measured:,} scores as expected"
        lines = [str(check) for check in checks if check.verdict is not Verdict.OK]
        if counts[Verdict.OK]:
            lines.insert(0, f"{Verdict.OK} {counts[Verdict.OK]} of {len(checks)} conditions × measures as expected")
        return "\n".join(lines)

    def write_markdown(self, path: str | Path, directory: str, model: str = "") -> None:
        """Everything as a Markdown page, with the commands, the versions, and when and from what it was measured.

        Args:
            path: the page.
            directory: where the commands wrote.
            model: the encoder that was used instead of the conditions' own, if any.
        """
        version = f" (commit {revision})" if (revision := commit()) else ""
        measured = (
            f"Measured {datetime.date.today():%Y-%m-%d} with xqg_repro {__version__}{version} on {environment()}."
        )
        parts = [f"# {self.benchmark.title}", measured, self.comparison.markdown(), "## Against the expected scores"]
        parts.append("\n".join(["```", *map(str, self.checks()), "```"]))
        if self.has_claims:
            parts += ["## The paper's claims", claims_table(self.evidence).markdown()]
        for outcome in self.outcomes:
            tasks = plan(self.benchmark, outcome.condition, directory, outcome.languages, model)
            parts += [f"## {outcome.condition.title}", "\n".join(["```bash", *map(str, tasks), "```"])]
        with atomic_write(path) as page:
            page.write("\n\n".join(parts) + "\n")


def report_of_runs(
    benchmark: Benchmark, folder: str | Path, conditions: Sequence[str] = (), languages: tuple[str, ...] = ()
) -> Report:
    """The report of the runs in a folder, without running anything; all conditions and languages unless named."""
    chosen = [benchmark.condition(name) for name in conditions] or benchmark.conditions
    return Report(benchmark, [load_outcome(benchmark, condition, folder, languages) for condition in chosen])
