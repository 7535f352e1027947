"""Generated queries on disk: JSON lines ``{"docid": "1", "generated_queries": {"ar": ["…", …], …}}``.

This is the form of the published corpus ``ielab/xor-tydi-xqg-augmented``, whose lines hold ``title`` and ``text`` too
and whose 19 shards (70 GB) are read as they are, one line at a time. What models write of passages is kept in shards of
such lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, digest, input_digest
from xqg_repro.core.languages import LANGUAGE_NAMES
from xqg_repro.core.stages import MANIFEST, fingerprint, verify
from xqg_repro.models.generator import PassageQueries


class Line(Protocol):
    """What a line of JSON is written of."""

    def line(self) -> str:
        """The line, without its end."""


L = TypeVar("L", bound=Line)


def query_files(source: str | Path) -> list[Path]:
    """The files of a source of queries, in numeric order (``shard_10`` after ``shard_9``).

    Args:
        source: a ``.jsonl`` file; a folder with such files, or with ``data/*.jsonl``; else a hub dataset's id
            (``owner/name``), whose files are downloaded unless cached.

    Raises:
        InputError: there is no such file or folder, it holds no queries, or the hub does not give it.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    if not path.is_dir():
        name = str(source)
        if name.startswith((".", "/", "~")) or name.count("/") != 1 or name.endswith(".jsonl"):
            raise InputError("there is no such file or folder of generated queries", path=source)
        path = _download(name)
    files = sorted(path.glob("*.jsonl"), key=_numeric) or sorted(path.glob("data/*.jsonl"), key=_numeric)
    if not files:
        hint = "name a folder that xqg-repro generate wrote, or one of JSON lines"
        raise InputError("holds no generated queries (*.jsonl)", path=source, hint=hint)
    return files


def _numeric(path: Path) -> list[str | int]:
    # split at digits gives text and numbers by turns, so that equal places compare
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


def _download(dataset: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(dataset, repo_type="dataset", allow_patterns="data/*.jsonl"))
    except Exception as error:
        raise InputError(
            f"{dataset!r} is no file or folder here, and no such dataset could be had from the Hugging Face hub "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__})",
            hint="name a folder of generated queries, or connect to the hub once",
        ) from error


def queries_fingerprint(source: str | Path) -> str:
    """Fingerprint of a source of queries as somebody's input: of a stage folder, or of the files' names and bytes.

    Raises:
        InputError: as :func:`query_files`, or a stage folder lacks one of its files.
    """
    files = query_files(source)
    folder = Path(source)
    if (folder / MANIFEST).exists():
        verify(folder)
        return fingerprint(folder)
    return digest({path.name: input_digest(path) for path in files})


def read_queries(
    source: str | Path, languages: Sequence[str], count: int, *, allow_missing: bool = False
) -> Iterator[PassageQueries]:
    """Read each line's first ``count`` queries in each of ``languages``; memory holds one line.

    Args:
        source: see :func:`query_files`.
        languages: the languages to read; others in the files are passed over.
        count: queries a language.
        allow_missing: take what there is where a language or some of its queries are missing. A language without
            queries is left out.

    Raises:
        InputError: naming file and line, for a line that is not JSON or was cut off, a docid that is none, queries in
            another form, a missing language, or fewer queries than ``count``.
    """
    for path in query_files(source):
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    passage, missing = _parse(line, languages, count)
                except ValueError as error:
                    hint = 'a line is {"docid": "1", "generated_queries": {"ar": ["…", …], …}}'
                    problem = f"is not a line of generated queries: {error}"
                    raise InputError(problem, path=path, line=number, hint=hint) from None
                if missing and not allow_missing:
                    hint = "generate them, or go on without them by --allow-missing"
                    raise InputError(missing, path=path, line=number, hint=hint)
                yield passage


def _parse(line: bytes, languages: Sequence[str], count: int) -> tuple[PassageQueries, str]:
    """A line's queries and what is missing of them; ``ValueError`` where it has another form."""
    docid, queries, _ = parse_line(line, "generated_queries")
    chosen, missing = {}, ""
    for language in languages:
        found = queries.get(language, [])
        if not isinstance(found, list) or not all(isinstance(query, str) for query in found):
            raise ValueError(f"its queries of {language!r} are no list of texts")
        if len(found) < count and not missing:
            missing = f"has {len(found) or 'no'} {LANGUAGE_NAMES.get(language, language)} queries where {count} are due"
        if found:
            chosen[language] = tuple(found[:count])
    return PassageQueries(docid, chosen), missing


def parse_line(line: bytes, key: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The docid, the mapping of languages under a key, and all that a JSON line holds.

    Raises:
        ValueError: the line was cut off or has another form.
    """
    try:
        item: Any = json.loads(line)
    except ValueError as error:
        raise ValueError(str(error) if line.endswith(b"\n") else "it was cut off") from None
    if re.search(rb"\\u[dD][89a-fA-F]", line):
        try:
            json.dumps(item, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("it holds half a character (an unpaired surrogate)") from None
    docid, found = (item.get("docid"), item.get(key)) if isinstance(item, dict) else (None, None)
    docid = str(docid) if type(docid) is int else docid
    if not isinstance(docid, str) or docid.split() != [docid]:
        raise ValueError("it has no docid" if docid is None else f"the docid is {docid!r}")
    if not isinstance(found, dict):
        raise ValueError(f"its {key} are no mapping of languages")
    return docid, found, item


def line_shards(
    dataset: Any,
    folder: Path,
    size: int,
    make: Callable[[list[Any]], list[L]],
    read: Callable[[Path], Iterable[L]],
) -> Iterator[tuple[list[L], bool]]:
    """Write shards ``NNNNN.jsonl`` of what is made of a collection's passages, in their order, and leave those there.

    Args:
        dataset: with documents.
        folder: of the shards; a killed run goes on behind the last whole one.
        size: passages a shard.
        make: a shard's passages → what to write of each.
        read: a shard that is there → what was written.

    Yields:
        what each shard holds, and whether it was there.

    Raises:
        InputError: the collection has no passages.
    """
    docs, number = iter(dataset.docs_iter()), 0
    while shard := list(islice(docs, size)):
        path = folder / f"{number:05d}.jsonl"
        number += 1
        if path.exists():
            yield list(read(path)), True
            continue
        found = make(shard)
        with atomic_write(path) as file:
            file.writelines(f"{item.line()}\n" for item in found)
        yield found, False
    if not number:
        raise InputError(f"{dataset.dataset_id()} has no passages")
