"""Where a reproduction writes what, and what the name of a run tells."""

from __future__ import annotations

import re
from pathlib import PurePath, PurePosixPath

from xqg_repro.core.settings import resource
from xqg_repro.reproduction.benchmark import Benchmark, Condition, load_benchmark


def run_path(benchmark: Benchmark, condition: Condition, topics: str, directory: str) -> str:
    """``runs/run.<benchmark>.<condition>.<topics>.txt`` below a directory."""
    return str(PurePosixPath(directory, "runs", f"run.{_label(benchmark, condition, topics)}.txt"))


def scores_path(benchmark: Benchmark, condition: Condition, topics: str, directory: str) -> str:
    """``scores/scores.<benchmark>.<condition>.<topics>.json`` below a directory."""
    return str(PurePosixPath(directory, "scores", f"scores.{_label(benchmark, condition, topics)}.json"))


def answers_path(benchmark: Benchmark, condition: Condition, topics: str, directory: str) -> str:
    """``answers/answers.<benchmark>.<condition>.<topics>.json`` below a directory."""
    return str(PurePosixPath(directory, "answers", f"answers.{_label(benchmark, condition, topics)}.json"))


def answer_scores_path(benchmark: Benchmark, condition: Condition, topics: str, directory: str) -> str:
    """``scores/scores.<benchmark>.<condition>.<topics>.answers.json`` below a directory."""
    return str(PurePosixPath(directory, "scores", f"scores.{_label(benchmark, condition, topics)}.answers.json"))


def _label(benchmark: Benchmark, condition: Condition, topics: str) -> str:
    return f"{benchmark.name}.{condition.name}.{_topics_label(benchmark.name, topics)}"


def stage_path(benchmark: Benchmark, directory: str, kind: str, name: str) -> str:
    """``<kind>/<collection>.<name>`` below a directory."""
    return str(PurePosixPath(directory, kind, f"{_file_label(benchmark.collection)}.{name}"))


def _file_label(dataset_id: str) -> str:
    """A dataset's id as part of a file's name: of a path, without what only says where the data is, and the suffix.

    >>> _file_label("xor-mini/dev"), _file_label("$XQG_REPRO_DATA/wiki-vital/corpus.jsonl.gz")
    ('xor-mini.dev', 'wiki-vital.corpus')
    """
    path = re.sub(r"^(\$\w+|\$\{\w+\}|~\w*|\.*)/+", "", dataset_id)
    return re.sub(r"\.(jsonl?|tsv|txt)(\.gz)?(?=/|$)", "", path).replace("/", ".")


def parse_run_name(run: str | PurePath) -> tuple[str, str]:
    """Condition and topics from the name of a run or answers file; two empty strings for any other name.

    >>> parse_run_name("runs/run.xor-mini.xdr-mini.dev.txt.gz"), parse_run_name("answers.xor-mini.xdr-mini.dev.json")
    (('xdr-mini', 'xor-mini/dev'), ('xdr-mini', 'xor-mini/dev'))
    """
    match = re.fullmatch(r"(run\..*\.txt|answers\..*\.json)(\.gz)?", PurePath(run).name)
    parts = match[1].split(".")[1:-1] if match else []
    if len(parts) < 3 or not all(parts):
        return "", ""
    name, condition, *label = parts
    if resource("conditions", f"{name}.yaml").exists():
        for topics in load_benchmark(name).topic_sets():
            if _topics_label(name, topics) == ".".join(label):
                return condition, topics
    return condition, "/".join([name, *label])


def _topics_label(benchmark: str, topics: str) -> str:
    return _file_label(topics.removeprefix(f"{benchmark}/"))
