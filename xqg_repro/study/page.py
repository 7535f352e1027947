"""The section of the study's page about machine-made texts, all of it from the stored study and the packed texts."""

from __future__ import annotations

from pathlib import Path

from xqg_repro.study.packed import MACHINE, find_packed
from xqg_repro.study.samples import sample_queries, sample_translations
from xqg_repro.study.settings import Kind
from xqg_repro.study.summary import FILE, StudySummary, read_summary
from xqg_repro.study.tables import part, part_names

NOT_STORED = f"*There is no study with machine-made texts in `{MACHINE.as_posix()}`; the commands below write it.*"

TABLES = {
    "answers": "The question, asked in four ways",
    "scores": "Scores by question language",
    "over_pairs": "Every comparison, over all question languages",
    "groups": "Groups of languages",
    "trends": "Gains against resources",
    "encoders": "With encoders trained on XQuAD, each measured on articles that it has not seen",
    "gold": "What the readers find in the right paragraph",
    "budget": "What it costs: tokens by the encoder's tokenizer",
    "written": "What it cost the writers",
    "chosen": "What the folds chose",
    "sources": "Where the groups are from",
}
"""Kinds of tables in the order of the page, with their headings."""


def machine_section(_: str = "") -> str:
    """The answer, the figures, the tables and some texts; the working directory must be the root of a checkout."""
    if not (MACHINE / FILE).exists():
        return NOT_STORED
    summary = read_summary(MACHINE)
    blocks = [part(summary, "answer"), *_figures("answers", summary)]
    names = part_names(summary)
    for kind, heading in TABLES.items():
        tables = [part(summary, name) for name in names if name.partition("-")[0] == kind]
        if tables:
            blocks += [f"### {heading}", *tables, *(_figures(kind, summary) if kind == "trends" else [])]
    return "\n\n".join([*blocks, *_samples(summary)])


def _figures(kind: str, summary: StudySummary) -> list[str]:
    """Links to the figures of a kind, from the folder ``docs``."""
    paths = [MACHINE / f"{kind}.{measure.replace('@', '')}.svg" for measure in summary.means]
    return [f"![{path.stem}]({path.relative_to(Path('docs')).as_posix()})" for path in paths if path.exists()]


def _samples(summary: StudySummary) -> list[str]:
    """Some of the packed texts."""
    packed = find_packed()
    blocks = []
    if generated := packed.get(Kind.GENERATED.value):
        blocks += ["### Queries drawn at random", sample_queries(generated, summary.languages).markdown()]
    if translated := packed.get(Kind.TRANSLATED.value):
        blocks += ["### Translations drawn at random", sample_translations(translated).markdown()]
    return blocks
