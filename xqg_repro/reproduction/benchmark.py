"""Benchmarks and their conditions, read from YAML and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xqg_repro.core.errors import InputError, in_file
from xqg_repro.core.ids import is_id
from xqg_repro.core.languages import AVERAGE, XOR_LANGUAGES
from xqg_repro.core.settings import parse, read_yaml, resource
from xqg_repro.evaluation.evaluate import parse_measures
from xqg_repro.evaluation.printing import MeasureConfig
from xqg_repro.models.late_settings import load_late
from xqg_repro.models.settings import Precision, load_generator, load_preset
from xqg_repro.representation.settings import Augmentation
from xqg_repro.retrieval.fusion import Fusion

LONGEST_NAME = 100
"""Bytes of a name that becomes part of file names."""


@dataclass(frozen=True)
class Reading:
    """How answers are taken from a run's passages.

    Attributes:
        reader: a preset's name (see ``resources/readers.yaml``).
        depth: passages read per question.
        weight: weight of the retrieval score, added to the answer's score.
    """

    reader: str
    depth: int = 1
    weight: float = 0.0

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise InputError(f"depth is {self.depth}", hint="read at least one passage per question")
        if not 0 <= self.weight < float("inf"):
            raise InputError(f"weight is {self.weight}", hint="it must be 0 or more")


@dataclass(frozen=True)
class QueryFilter:
    """Which generated queries augment a passage: the best of each language, see :mod:`xqg_repro.retrieval.filter`.

    Attributes:
        keep: the number of queries per language that are kept.
        of: the number that are generated, or read from a corpus, and compared; 0 for the benchmark's.
    """

    keep: int
    of: int = 0

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise InputError(f"filter: keep is {self.keep}", hint="keep at least one query per language")
        if self.of < 0:
            raise InputError(f"filter: of is {self.of}", hint="it is the number of queries that are compared")


@dataclass(frozen=True)
class Condition:
    """One row of a results table: a named way from collection to run.

    It embeds passages with an encoder, or their tokens for late interaction, indexes their words for BM25, fuses the
    runs of other conditions, or is chance.

    Attributes:
        name: also the run tag and part of the run's file name.
        title: the row's label in tables.
        encoder: a preset's name (see ``resources/encoders.yaml``).
        late: a preset's name (see ``resources/late_encoders.yaml``), for late interaction.
        reranks: name of the condition whose run is reranked by late interaction, instead of a search of all passages.
        sparse: BM25, see :mod:`xqg_repro.retrieval.sparse`.
        fuses: names of the conditions whose runs are fused.
        fusion: how they are fused.
        random: the number of random rankings whose scores are averaged; they have no run, and no answers are read.
        generator: a preset's name (see ``resources/generators.yaml``) whose queries augment the passages.
        corpus: existing queries instead of a generator: a folder or the id of a hub dataset.
        augmentation: how an encoder's queries are added; needs a generator or a corpus. BM25 appends all of them.
        filter: which of the queries are added; needs an augmentation. The encoder judges them.
        baseline: name of the condition to compare it with.
        expected: measure → language or ``average`` → score in printed units. Never printed as if measured.
    """

    name: str
    title: str
    encoder: str = ""
    generator: str = ""
    corpus: str = ""
    augmentation: Augmentation | None = None
    filter: QueryFilter | None = None
    late: str = ""
    reranks: str = ""
    sparse: bool = False
    fuses: tuple[str, ...] = ()
    fusion: Fusion | None = None
    random: int = 0
    baseline: str = ""
    expected: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (is_id(self.name) and _fits_into_paths(self.name)):
            hint = f"use at most {LONGEST_NAME} letters, digits and signs, without white space and /"
            raise InputError(f"the condition name {self.name!r} cannot be a run's tag and file name", hint=hint)
        if self.random < 0:
            raise InputError(f"{self.name}: random is {self.random}", hint="it is the number of random rankings")
        if bool(self.encoder) + bool(self.late) + self.sparse + bool(self.fuses) + bool(self.random) != 1:
            kinds = "an encoder, late, sparse: true, conditions that it fuses, or a number of random rankings"
            raise InputError(f"{self.name}: expected {kinds}", hint="give it one of the five")
        if self.reranks and not self.late:
            raise InputError(f"{self.name}: only late interaction reranks", hint="leave out reranks, or give it late")
        sources = bool(self.generator) + bool(self.corpus)
        if self.encoder and sources != (self.augmentation is not None):
            raise InputError(
                f"{self.name}: expected an augmentation with either a generator or a corpus, or none of the three"
            )
        if self.augmentation and not self.encoder:
            raise InputError(f"{self.name}: only embeddings are augmented", hint="leave out its augmentation")
        if self.filter and not self.augmentation:
            raise InputError(f"{self.name}: only queries that augment embeddings are filtered", hint="leave out filter")
        if sources and (self.fuses or self.random or self.late):
            what = "a fusion has" if self.fuses else "random rankings have" if self.random else "late interaction has"
            raise InputError(f"{self.name}: {what} no queries", hint="leave them out")
        if sources > 1:
            raise InputError(f"{self.name}: a generator and a corpus exclude each other", hint="leave one out")
        if bool(self.fuses) != (self.fusion is not None):
            raise InputError(f"{self.name}: expected both fuses and fusion, or neither")
        if self.fusion:
            self.fusion.resolve(len(self.fuses))

    @property
    def uses(self) -> tuple[str, ...]:
        """The conditions whose runs are fused or reranked."""
        return self.fuses or ((self.reranks,) if self.reranks else ())


@dataclass(frozen=True)
class Benchmark:
    """A collection, its topics, measures, and the conditions of its table.

    Attributes:
        name: such as ``xor-mini``.
        title: heading of its tables.
        about: what it measures and what not, for the first lines of its page; may be empty.
        collection: ir-datasets id of the passages, or a path (see :mod:`xqg_repro.collection.local`).
        topics: ir-datasets id of the topics, or a path; ``{language}`` in it stands for each of ``languages`` in turn.
        languages: question languages, in table order.
        measures: measure name → how it is printed, in table order.
        reading: how answers are taken from the runs; given if and only if a measure scores answers.
        depth: passages retrieved per question.
        queries: generated queries per passage and language.
        keep_sums: store the sums of the first 1, 2, … queries, for ablations and other conditions; each sum takes as
            much disk as the passages.
        sum_precision: number format in which the encoders embed generated queries; empty for the encoder's own.
        index: build an index for each condition; otherwise the embeddings are searched, which saves as much disk and
            finds the same passages.
        study: encoder preset of the study that runs after all conditions (see :mod:`xqg_repro.study`); empty for none.
        conditions: in table order.
    """

    name: str
    title: str
    collection: str
    topics: str
    languages: tuple[str, ...]
    measures: Mapping[str, MeasureConfig]
    conditions: tuple[Condition, ...]
    about: str = ""
    reading: Reading | None = None
    depth: int = 100
    queries: int = 5
    keep_sums: bool = True
    sum_precision: str = ""
    index: bool = True
    study: str = ""

    def __post_init__(self) -> None:
        if not (self.name.strip() and _fits_into_paths(self.name)):
            hint = f"use at most {LONGEST_NAME} letters, digits and signs, without /"
            raise InputError(f"the benchmark name {self.name!r} cannot be part of file names", hint=hint)
        for what in ("languages", "measures", "conditions"):
            if not getattr(self, what):
                raise InputError(f"{self.name} has no {what}", hint="name at least one")
        names = [condition.name for condition in self.conditions]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise InputError(f"two conditions are named {repeated[0]!r}", hint="they would share a run file")
        for what in ("depth", "queries"):
            if getattr(self, what) < 1:
                raise InputError(f"{what} is {getattr(self, what)}", hint="it must be 1 or more")
        if self.sum_precision and self.sum_precision not in list(Precision):
            problem = f"sum_precision is {self.sum_precision!r}"
            raise InputError(problem, hint=f"choose from: {', '.join(Precision)}")
        if self.sum_precision and not self.keep_sums:
            raise InputError("sum_precision needs sums that are kept", hint="leave it out, or leave out keep_sums")
        encoders = {condition.encoder for condition in self.conditions if condition.encoder}
        for condition in self.conditions:
            if condition.augmentation and condition.name in encoders:
                problem = f"the condition {condition.name!r} has the name of an encoder"
                raise InputError(problem, hint="its embeddings would replace the encoder's; rename the condition")
        if self.answer_measures and self.reading is None:
            raise InputError(
                f"{', '.join(self.answer_measures)} score answers, and the benchmark reads none",
                hint="add reading: {reader: …, depth: …, weight: …}",
            )
        if self.reading and not self.answer_measures:
            raise InputError(
                "the benchmark reads answers, but no measure scores them", hint="add EM or F1 to its measures"
            )

    @property
    def answer_measures(self) -> tuple[str, ...]:
        """The measures that score answers; all others score runs."""
        from xqg_repro.evaluation.measures.match import MATCH_MEASURES

        return tuple(name for name in self.measures if name in MATCH_MEASURES)

    @property
    def run_measures(self) -> tuple[str, ...]:
        """The measures that score runs."""
        return tuple(name for name in self.measures if name not in self.answer_measures)

    def topic_sets(self, languages: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
        """ir-datasets id of each topic set → its languages."""
        chosen = languages or self.languages
        if unknown := [name for name in chosen if name not in self.languages]:
            raise InputError(
                f"{self.name} has no questions in {', '.join(unknown)}",
                hint=f"its languages are {' '.join(self.languages)}",
            )
        if "{language}" in self.topics:
            return {self.topics.format(language=language): (language,) for language in chosen}
        return {self.topics: tuple(chosen)}

    def passages_of(self, topics: str) -> str:
        """The collection, if a topic set's id does not say that it has these passages; otherwise empty."""
        return "" if f"{topics}/".startswith(f"{self.collection}/") else self.collection

    def condition(self, name: str) -> Condition:
        """The condition of that name; :class:`InputError` naming the others if there is none."""
        for condition in self.conditions:
            if condition.name == name:
                return condition
        raise InputError(
            f"{self.name}: unknown condition {name!r}",
            hint=f"choose from: {', '.join(c.name for c in self.conditions)}",
        )

    def generated_queries(self, condition: Condition) -> int:
        """The number of queries per language that are generated, or read from a corpus, for a condition."""
        return (condition.filter and condition.filter.of) or self.queries

    def added_queries(self, condition: Condition) -> int:
        """The number of queries per language that a condition can add: all of them, or those that its filter keeps."""
        return condition.filter.keep if condition.filter else self.queries

    def parts(self, condition: Condition) -> list[Condition]:
        """The conditions whose runs are fused; for all but a fusion, the condition itself, behind what it reranks."""
        own = [] if condition.fuses else [condition]
        return [*(self.condition(name) for name in condition.uses), *own]


def _fits_into_paths(name: str) -> bool:
    return name.isprintable() and "/" not in name and len(name.encode()) <= LONGEST_NAME


def load_benchmark(name_or_path: str) -> Benchmark:
    """Read a benchmark that ships with the package, by name, or your own YAML file.

    Raises:
        InputError: an unknown benchmark, preset, baseline, measure or language, or a misspelt key.
    """
    path = resource("conditions", f"{name_or_path}.yaml")
    if not path.exists() and not (path := Path(name_or_path)).exists():
        known = sorted(p.stem for p in resource("conditions").glob("*.yaml"))
        raise InputError(f"unknown benchmark {name_or_path!r}", hint=f"choose from: {', '.join(known)}")
    benchmark = parse(Benchmark, read_yaml(path), path)
    with in_file(path):
        parse_measures(benchmark.run_measures)
    for condition in benchmark.conditions:
        try:
            _check_names(condition, benchmark)
        except InputError as error:
            raise InputError(f"{condition.name}: {error.problem}", path=path, hint=error.hint) from None
    return benchmark


def _check_names(condition: Condition, benchmark: Benchmark) -> None:
    """Raise :class:`InputError` if a condition names something that does not exist."""
    if condition.encoder:
        load_preset(condition.encoder)
    if condition.late:
        load_late(condition.late)
    verb = "fuses" if condition.fuses else "reranks"
    for part in map(benchmark.condition, condition.uses):
        if part.fuses or part.reranks or part.random:
            hint = f"name a condition that searches, such as {benchmark.conditions[0].name}"
            raise InputError(f"{verb} {part.name!r}, which does not search", hint=hint)
    written = load_generator(condition.generator).languages if condition.generator else XOR_LANGUAGES
    if benchmark.keep_sums and (lacking := [code for code in XOR_LANGUAGES if code not in written]):
        problem = f"{condition.generator} writes no queries in {' '.join(lacking)}"
        raise InputError(problem, hint="the sums of queries need them; choose keep_sums: false")
    if how := condition.augmentation:
        generated, added = benchmark.generated_queries(condition), benchmark.added_queries(condition)
        if added > generated:
            raise InputError(f"keeps {added} queries per language of {generated}", hint="raise of in its filter")
        if how.queries > added:
            hint = "raise keep in its filter" if condition.filter else "raise the benchmark's queries"
            raise InputError(f"adds {how.queries} queries per language of {added}", hint=hint)
        if unknown := [code for code in how.languages if code not in written]:
            raise InputError(f"adds queries in {unknown[0]!r}", hint=f"choose from: {' '.join(written)}")
    names = [other.name for other in benchmark.conditions]
    if condition.baseline and condition.baseline not in names:
        raise InputError(f"unknown baseline {condition.baseline!r}", hint=f"choose from: {', '.join(names)}")
    columns = (*benchmark.languages, AVERAGE)
    for measure, scores in condition.expected.items():
        if measure not in benchmark.measures:
            hint = f"the benchmark measures {', '.join(benchmark.measures)}"
            raise InputError(f"expected score of an unknown measure {measure!r}", hint=hint)
        if unknown := [column for column in scores if column not in columns]:
            hint = f"the benchmark has {' '.join(columns)}"
            raise InputError(f"expected {measure} of an unknown language {unknown[0]!r}", hint=hint)
