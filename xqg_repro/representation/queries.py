"""Generated queries on disk: JSON lines ``{"docid": "1", "generated_queries": {"ar": ["…", …], …}}``.

This is the format of the published corpus ``ielab/xor-tydi-xqg-augmented``. Its lines also have ``title`` and ``text``.
Its 19 shards (70 GB) are read as published, one line at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import digest, input_digest
from xqg_repro.core.ids import check_unique
from xqg_repro.core.languages import LANGUAGE_NAMES
from xqg_repro.core.stages import MANIFEST, fingerprint, verify
from xqg_repro.core.text import open_bytes
from xqg_repro.models.generator import PassageQueries
from xqg_repro.representation.lines import parse_line


def query_files(source: str | Path) -> list[Path]:
    """The files of a source of queries, in numeric order (``shard_10`` after ``shard_9``).

    A source is a ``.jsonl`` file; a folder with such files (or else ``.jsonl.gz``), or with ``data/*.jsonl``; otherwise
    the id of a dataset on the Hugging Face hub (``owner/name``), which is downloaded unless cached. :class:`InputError`
    if it has no queries.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    if not path.is_dir():
        name = str(source)
        if name.startswith((".", "/", "~")) or name.count("/") != 1 or name.endswith(".jsonl"):
            raise InputError("no such file or folder of generated queries", path=source)
        path = _download(name)
    patterns = ("*.jsonl", "*.jsonl.gz", "data/*.jsonl")
    files = next((found for pattern in patterns if (found := sorted(path.glob(pattern), key=_numeric))), [])
    if not files:
        hint = "name a folder that xqg-repro generate wrote, or one of JSON lines"
        raise InputError("holds no generated queries (*.jsonl)", path=source, hint=hint)
    return files


def _numeric(path: Path) -> list[str | int]:
    # splitting at digits alternates text and numbers, so the same position always compares the same type
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


def _download(dataset: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(dataset, repo_type="dataset", allow_patterns="data/*.jsonl"))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{dataset!r} is not a local file or folder, and downloading it from the Hugging Face hub failed: {reason}",
            hint="name a folder of generated queries, or connect to the hub once",
        ) from error


def queries_fingerprint(source: str | Path) -> str:
    """Fingerprint of :func:`query_files` as a stage's input: of their manifest, or of the files' names and bytes."""
    files = query_files(source)
    if (Path(source) / MANIFEST).exists():
        verify(Path(source))
        return fingerprint(Path(source))
    return digest({path.name: input_digest(path) for path in files})


def read_queries(
    source: str | Path, languages: Sequence[str] | None, count: int | None, *, allow_missing: bool = False
) -> Iterator[PassageQueries]:
    """Read the first ``count`` queries in each of ``languages`` from each line; memory holds one line.

    Args:
        source: see :func:`query_files`.
        languages, count: what to read; other languages and queries are ignored. ``None`` reads all that a line has.
        allow_missing: accept lines that lack queries. A language without queries is left out.

    Raises:
        InputError: a line is malformed or truncated, or lacks queries; file and line are named.
    """
    for path in query_files(source):
        with open_bytes(path) as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    passage, missing = _parse(line, languages, count)
                except ValueError as error:
                    hint = 'expected {"docid": "1", "generated_queries": {"ar": ["…", …], …}}'
                    problem = f"is not a line of generated queries: {error}"
                    raise InputError(problem, path=path, line=number, hint=hint) from None
                if missing and not allow_missing:
                    hint = "generate them, or use --allow-missing to continue without them"
                    raise InputError(missing, path=path, line=number, hint=hint)
                yield passage


def check_passages(passages: Iterator[PassageQueries], source: str | Path) -> Iterator[PassageQueries]:
    """Pass the passages of ``source`` on; :class:`InputError` if one occurs twice, or if there are none."""

    def repeated(docid: str, count: int) -> InputError:
        return InputError(f"has two lines for the passage {docid}", path=source)

    passage, read_again = None, partial(read_queries, source, (), 0)
    for passage in check_unique(passages, attrgetter("docid"), read_again, repeated):
        yield passage
    if passage is None:
        raise InputError("holds no generated queries", path=source)


def _parse(line: bytes, languages: Sequence[str] | None, count: int | None) -> tuple[PassageQueries, str]:
    """The queries of a line, and a message about the first language that has too few; ``ValueError`` if malformed."""
    docid, generated, _ = parse_line(line, "generated_queries")
    queries: dict[str, tuple[str, ...]] = {}
    missing = ""
    for language in generated if languages is None else languages:
        texts = generated.get(language, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"the queries in {language!r} are not a list of strings")
        if count and len(texts) < count and not missing:
            name = LANGUAGE_NAMES.get(language, language)
            missing = f"expected {count} {name} queries, got {len(texts)}"
        if texts:
            queries[language] = tuple(texts[:count])
    return PassageQueries(docid, queries), missing
