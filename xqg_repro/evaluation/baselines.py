"""Published results on XOR-Retrieve, and what is tested against them: unpaired, as only percentages are known.

A published percentage on dev is k/n for a known n, so the number k of questions with an answer can be had back. Ours
and theirs are then two proportions: Boschloo's exact test (or Fisher's) for each language, and the test of Cochran,
Mantel and Haenszel over the languages as strata. It is conservative: behind both stand the same questions, hard ones
and easy ones, but which of them the other system answered is not known, and an unpaired test takes that variance for
chance. With the other system's run, compare the runs instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from xqg_repro.core.errors import InputError, nearest
from xqg_repro.core.settings import parse, read_yaml, resource

PUBLISHED_ON = "xor-tydi/dev"
"""The topics that the published percentages are of."""

Counts = Mapping[str, tuple[int, int]]
"""Language → (questions with an answer found, questions)."""


@dataclass(frozen=True)
class Published:
    """A published result.

    Attributes:
        split: ``dev`` or ``test``; ``inferred`` where the source does not say.
        average, per_language: in percent, as printed.
        source: where it was read; ``provenance`` is ``primary`` for the authors' own figures, else ``secondary``.
    """

    system: str
    split: str
    measure: str
    average: float
    source: str
    provenance: str
    paper: str = ""
    inferred: bool = False
    per_language: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def digits(self) -> int:
        """Decimals that the row is printed with: the most that one of its cells shows."""
        return max(len(str(percent).partition(".")[2]) for percent in (self.average, *self.per_language.values()))


@dataclass(frozen=True)
class Baselines:
    """All published results of a benchmark, and the number of questions on dev, by language."""

    questions: Mapping[str, int]
    rows: tuple[Published, ...]

    def find(self, system: str, measure: str) -> Published:
        """A system's row on dev with figures by language; of several, the authors' own.

        Raises:
            InputError: there is no such system (naming the nearest), or it has no such row.
        """
        named = [row for row in self.rows if row.system == system]
        if not named:
            known = dict.fromkeys(row.system for row in self.rows)
            raise InputError(f"no published system is called {system!r}", hint=nearest(system, known))
        found = [row for row in named if (row.split, row.measure) == ("dev", measure) and row.per_language]
        if not found:
            had = ", ".join(
                f"{row.measure} on {row.split}{'' if row.per_language else ', average only'}" for row in named
            )
            raise InputError(f"{system} has no {measure} on dev by language", hint=f"there is: {had}")
        return min(found, key=lambda row: row.provenance != "primary")

    def counts(self, row: Published) -> dict[str, tuple[int, int]]:
        """Language → (k, n) of a row on dev; where the percentage is no k/n, the nearest (see :meth:`check`)."""
        return {
            language: (nearest_hits(percent, self.questions[language]), self.questions[language])
            for language, percent in row.per_language.items()
        }

    def check(self) -> list[str]:
        """A line for each cell on dev that is no k/n, and for each average that is not that of its cells."""
        odd = []
        for row in (row for row in self.rows if row.split == "dev" and row.per_language):
            name = f"{row.system}, {row.measure}"
            for language, (k, n) in self.counts(row).items():
                if hits(row.per_language[language], n, row.digits) is None:
                    near = f"{100 * k / n:.{row.digits}f} = {k}/{n}"
                    odd.append(f"{name}, {language}: {row.per_language[language]} is no k/{n}; the nearest is {near}")
            mean = sum(row.per_language.values()) / len(row.per_language)
            # half a unit in the average's last digit, and as much in each cell's
            if abs(mean - row.average) > 10**-row.digits + 1e-9:
                odd.append(f"{name}, average: {row.average}, but the mean of the cells is {mean:.2f}")
        return odd


@cache
def load_baselines(name: str = "xor_tydi") -> Baselines:
    """The published results that ship with the package: ``resources/baselines``."""
    path = resource("baselines", f"{name}.yaml")
    return parse(Baselines, read_yaml(path), path)


def nearest_hits(percent: float, questions: int) -> int:
    """The k whose k/n is nearest to a percentage."""
    return round(percent * questions / 100)


def hits(percent: float, questions: int, digits: int) -> int | None:
    """The k of which a printed percentage is k/n, or ``None``.

    >>> hits(44.0, 25, 1), hits(44.1, 25, 1)
    (11, None)
    """
    k = nearest_hits(percent, questions)
    return k if abs(100 * k / questions - percent) <= 0.5 * 10**-digits + 1e-9 else None


@dataclass(frozen=True)
class Unpaired:
    """Ours against theirs: p-values by language, and over all languages (Cochran, Mantel and Haenszel)."""

    ours: Counts
    theirs: Counts
    p: Mapping[str, float]
    p_overall: float


def unpaired(ours: Counts, theirs: Counts, exact: Literal["boschloo", "fisher"] = "boschloo") -> Unpaired:
    """Two-sided tests of two systems' proportions, in the languages that both have.

    Raises:
        InputError: they have no language in common.
    """
    shared = [language for language in ours if language in theirs]
    if not shared:
        raise InputError("the run and the published system have no language in common")
    tables = {language: (ours[language], theirs[language]) for language in shared}
    return Unpaired(
        {language: ours[language] for language in shared},
        {language: theirs[language] for language in shared},
        {language: proportions(*table, exact) for language, table in tables.items()},
        mantel_haenszel(list(tables.values())),
    )


def proportions(
    one: tuple[int, int], other: tuple[int, int], exact: Literal["boschloo", "fisher"] = "boschloo"
) -> float:
    """Boschloo's or Fisher's exact p-value for (hits, questions) of two systems; 1 for equal shares.

    Boschloo's test is never less powerful than Fisher's.
    """
    from scipy import stats

    (k, n), (j, m) = one, other
    if k * m == j * n:
        return 1.0
    table = [[k, j], [n - k, m - j]]
    test = stats.boschloo_exact if exact == "boschloo" else stats.fisher_exact
    return min(1.0, float(test(table).pvalue))


def mantel_haenszel(tables: list[tuple[tuple[int, int], tuple[int, int]]]) -> float:
    """Cochran, Mantel and Haenszel's p-value, uncorrected for continuity; strata of all hits or none tell nothing."""
    from statsmodels.stats.contingency_tables import StratifiedTable

    telling = [[[k, n - k], [j, m - j]] for (k, n), (j, m) in tables if 0 < k + j < n + m and n and m]
    if not telling:
        return 1.0
    return float(StratifiedTable(telling).test_null_odds(correction=False).pvalue)
