"""Writes the generated parts of the documentation: ``python -m xqg_repro.docgen`` in a checkout, or ``make docs``.

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; everything else is left alone.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from xqg_repro import collection
from xqg_repro.artifacts import atomic_write, file_digest, read_text
from xqg_repro.claims import claims_table, evidence_of_runs
from xqg_repro.config import AVERAGE, Benchmark, load_benchmark, read_yaml, resource
from xqg_repro.errors import InputError
from xqg_repro.search import read_topics, write_topics
from xqg_repro.tables import Table

_BLOCK = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(text: str) -> str:
    """Replace every generated part of a page by its current content."""

    def replace(match: re.Match[str]) -> str:
        kind, _, argument = match[2].partition(":")
        if kind not in _PARTS:
            raise InputError(f"nothing generates {match[2]!r}", mend=f"known: {', '.join(_PARTS)}")
        return f"{match[1]}{_PARTS[kind](argument)}\n{match[3]}"

    return _BLOCK.sub(replace, text)


def expected_scores(benchmark_name: str) -> str:
    """The expected scores of a benchmark's conditions as Markdown tables, one a measure."""
    benchmark = load_benchmark(benchmark_name)
    return "\n\n".join(_expected_table(benchmark, measure).markdown() for measure in benchmark.measures)


def _expected_table(benchmark: Benchmark, measure: str) -> Table:
    columns, digits = [*benchmark.languages, AVERAGE], benchmark.measures[measure].digits
    rows = []
    for condition in benchmark.conditions:
        scores = condition.expected.get(measure, {})
        rows.append([condition.title, *(f"{scores[c]:.{digits}f}" if c in scores else "–" for c in columns)])
    return Table([measure, *columns], rows)


def data_files(collection_name: str) -> str:
    """Address and checksum of each file of a collection that is downloaded, as a Markdown table."""
    listed = read_yaml(resource("collections", "files.yaml"))[collection_name]
    rows = [
        [f"[{name}]({entry['url']})", entry.get("md5") or "recorded at first use"] for name, entry in listed.items()
    ]
    return Table(["file", "md5"], rows).markdown()


def topic_files(folder: str) -> str:
    """Number of questions and checksum of each topic file of the embedded collection, as a Markdown table."""
    rows = [
        [path.name, str(sum(1 for _ in path.open(encoding="utf-8"))), file_digest(path, "md5")]
        for path in sorted(Path(folder).glob("topics.*.tsv"))
    ]
    return Table(["file", "questions", "md5"], rows).markdown()


def ablation(folder: str) -> str:
    """The tables of an ablation in docs/ablations."""
    return read_text(Path("docs", "ablations", folder, "table.md")).strip()


def claims(benchmark_name: str) -> str:
    """The paper's claims, checked on the reference runs of a benchmark."""
    return claims_table(evidence_of_runs(load_benchmark(benchmark_name), "runs")).markdown()


_PARTS = {
    "claims": claims,
    "expected": expected_scores,
    "files": data_files,
    "topics": topic_files,
    "ablation": ablation,
}


def main(root: str = ".") -> None:
    """Write the topic files and every generated part below a checkout's root."""
    top = Path(root)
    collection.register()
    benchmark = load_benchmark("xor-mini")
    for language in benchmark.languages:
        topics = f"{benchmark.topics}/{language}"
        write_topics(read_topics(topics)[0], top / "topics" / f"topics.{topics.replace('/', '.')}.tsv")
    for page in [top / "README.md", *sorted((top / "docs").rglob("*.md")), *sorted((top / "topics").glob("*.md"))]:
        before = page.read_text(encoding="utf-8")
        if (after := fill(before)) != before:
            with atomic_write(page) as file:
                file.write(after)
            print(f"wrote {page}")


if __name__ == "__main__":
    main(*sys.argv[1:])
