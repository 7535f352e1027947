"""What the three collections share: data files with checksums, record types, and ir-datasets handlers over them."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import IO, Any, NamedTuple
from zipfile import ZipFile

import ir_datasets
import numpy as np
from filelock import FileLock
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import BaseDocs, BaseQrels, BaseQueries, TrecQrel
from ir_datasets.indices import Docstore
from ir_datasets.util import Download, GzipExtract, RequestsDownload, finialized_file

from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import read_yaml, resource
from xqg_repro.core.stages import atomic_write, digest, input_digest, write_array

DATA_VARIABLE = "XQG_REPRO_DATA"


class Passage(NamedTuple):
    """A passage with its article's title."""

    doc_id: str
    title: str
    text: str

    def default_text(self) -> str:
        return f"{self.title} {self.text}"


class Question(NamedTuple):
    """A question with its language (ISO 639-1) and the short answers that count as right."""

    query_id: str
    text: str
    lang: str
    answers: tuple[str, ...]

    def default_text(self) -> str:
        return self.text


class DataFile:
    """A file with an address and a checksum: found in a local folder, or downloaded once.

    Looked for in this order: ``$XQG_REPRO_DATA``, its sub-folder named after the collection, then ir-datasets' home,
    into which it is downloaded. What is packed at its address is unpacked on the way: ``.gz``, or the member of the
    file's name of a ``.zip``. The MD5, of the unpacked file, is checked the first time that a process uses it.
    """

    def __init__(self, collection: str, name: str, url: str, md5: str | None = None) -> None:
        self.collection, self.name, self.url, self.md5 = collection, name, url, md5

    def path(self) -> Path:
        """Path of the checked file; raises :class:`InputError` where it cannot be had or its checksum is wrong."""
        local = os.environ.get(DATA_VARIABLE)
        for folder in [Path(local), Path(local) / self.collection] if local else []:
            if (folder / self.name).exists():
                self._check(folder / self.name)
                return folder / self.name
        cached = ir_datasets.util.home_path() / "xqg_repro" / self.collection / self.name
        if not cached.exists():
            self._download(cached)
        self._check(cached)
        return cached

    def fingerprint(self) -> str:
        return input_digest(self.path(), "md5")

    def _download(self, target: Path) -> None:
        """Fetch the file, unless another process did so just now, as those of a training on several GPUs do."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{target}.lock"):
                if not target.exists():
                    with self._opened() as source, finialized_file(target, "wb") as file:
                        shutil.copyfileobj(source, file)
        except Exception as error:
            unpacked = ", unpack it" if self.url.endswith((".gz", ".zip")) else ""
            raise InputError(
                f"{self.name} is not here and could not be downloaded from {self.url} ({type(error).__name__})",
                mend=f"fetch it yourself{unpacked} and set {DATA_VARIABLE} to its folder",
            ) from error

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        """The unpacked bytes behind the address."""
        source = RequestsDownload(self.url)
        if self.url.endswith(".zip"):
            with ZipFile(Download([source]).path()) as archive:
                members = [member for member in archive.namelist() if Path(member).name == self.name]
                if len(members) != 1:
                    raise FileNotFoundError(f"{self.url} holds {len(members)} files named {self.name}")
                with archive.open(members[0]) as file:
                    yield file
        else:
            download = Download([source], stream=True)
            with (GzipExtract(download) if self.url.endswith(".gz") else download).stream() as stream:
                yield stream

    def _check(self, path: Path) -> None:
        expected = self.md5 or self._seen_before(path)
        if (found := input_digest(path, "md5")) != expected:
            raise InputError(
                f"has the MD5 checksum {found} where {expected} is due",
                path=path,
                mend="the file is damaged or another version; delete it and fetch it again",
            )

    def _seen_before(self, path: Path) -> str:
        """The checksum seen when this file was first used on this machine, recorded now if it is the first time."""
        record = ir_datasets.util.home_path() / "xqg_repro" / "checksums.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{record}.lock"):
            seen = json.loads(record.read_text()) if record.exists() else {}
            if self.url not in seen:
                seen[self.url] = input_digest(path, "md5")
                with atomic_write(record) as file:
                    json.dump(seen, file, indent=1, sort_keys=True)
        return seen[self.url]


def data_files(collection: str) -> dict[str, DataFile]:
    """The files of a collection by name, as ``resources/collections/files.yaml`` lists them."""
    listed = read_yaml(resource("collections", "files.yaml"))[collection]
    return {name: DataFile(collection, name, entry["url"], entry.get("md5")) for name, entry in listed.items()}


class PackagedFile(DataFile):
    """A file of the embedded collection: part of the package, nothing to download."""

    def __init__(self, *parts: str) -> None:
        super().__init__(parts[0], parts[-1], "")
        self._path = resource(*parts)

    def path(self) -> Path:
        return self._path


class Documentation:
    """Adds ``documentation()`` to a dataset, from ``resources/collections/documentation.yaml``."""

    def __init__(self, collection: str) -> None:
        self._collection = collection

    def documentation(self) -> dict[str, Any]:
        return read_yaml(resource("collections", "documentation.yaml"))[self._collection]


class TsvPassages(BaseDocs):
    """Passages in DPR's tab-separated form: a header line, then id, text, title; ids are 1, 2, 3, … in order."""

    def __init__(self, file: DataFile, namespace: str) -> None:
        self._file, self._namespace, self._store = file, namespace, None

    def docs_iter(self) -> Iterator[Passage]:
        path = self._file.path()
        with open(path, encoding="utf-8", newline="") as lines:
            for number, row in enumerate(csv.reader(lines, delimiter="\t"), 1):
                if number > 1:
                    yield self._passage(row, path, number)

    def _passage(self, row: list[str], path: Path, line: int) -> Passage:
        if len(row) != 3:
            raise InputError(
                f"has {len(row)} columns where id, text and title are due",
                path=path,
                line=line,
                mend="the file is cut off or damaged; fetch it again",
            )
        if row[0] != str(line - 1):
            raise InputError(
                f"has the id {row[0]!r} where {line - 1} is due",
                path=path,
                line=line,
                mend="ids must count up from 1; the file is damaged",
            )
        return Passage(doc_id=row[0], title=row[2], text=row[1])

    def docs_count(self) -> int:
        return self.docs_store().count()

    def docs_store(self, field: str = "doc_id", options: Any = None) -> TsvDocstore:
        if self._store is None:
            self._store = TsvDocstore(self)
        return self._store

    def docs_cls(self) -> type[Passage]:
        return Passage

    def docs_namespace(self) -> str:
        return self._namespace

    def docs_lang(self) -> str:
        return "en"

    def fingerprint(self) -> str:
        return self._file.fingerprint()


class TsvDocstore(Docstore):
    """Random access to :class:`TsvPassages` by byte offsets, 8 bytes a passage; nothing is pickled or copied.

    The offsets of a large file are kept beside ir-datasets' other files, under the data file's checksum.
    """

    def __init__(self, passages: TsvPassages) -> None:
        super().__init__(Passage)
        self._passages = passages
        self._path = passages._file.path()

    @cached_property
    def _offsets(self) -> np.ndarray:
        kept = ir_datasets.util.home_path() / "xqg_repro" / "offsets" / f"{self._passages.fingerprint()}.npy"
        if kept.exists():
            return np.load(kept, mmap_mode="r", allow_pickle=False)
        offsets, at = [], 0
        with open(self._path, "rb") as lines:
            for line in lines:
                offsets.append(at)
                at += len(line)
        array = np.array(offsets[1:], dtype=np.int64)
        if at > 100_000_000:
            write_array(kept, array)
        return array

    def get_many_iter(self, doc_ids: Any) -> Iterator[Passage]:
        with open(self._path, "rb") as file:
            for doc_id in doc_ids:
                number = int(doc_id) if doc_id.isascii() and doc_id.isdigit() else 0
                if str(number) != doc_id or not 0 < number <= len(self._offsets):
                    continue
                file.seek(int(self._offsets[number - 1]))
                row = next(csv.reader([file.readline().decode("utf-8")], delimiter="\t"))
                yield self._passages._passage(row, self._path, int(doc_id) + 1)

    def count(self) -> int:
        return len(self._offsets)

    def built(self) -> bool:
        return True


class ListedDocs(BaseDocs):
    """A few documents that a function reads whole, such as XQuAD's paragraphs."""

    def __init__(self, read: Callable[[], tuple[list[Passage], str]], namespace: str, language: str) -> None:
        self._read, self._namespace, self._language = read, namespace, language

    @cached_property
    def _docs(self) -> dict[str, Passage]:
        return {doc.doc_id: doc for doc in self._read()[0]}

    def docs_iter(self) -> Iterator[Passage]:
        return iter(self._docs.values())

    def docs_count(self) -> int:
        return len(self._docs)

    def docs_store(self, field: str = "doc_id", options: Any = None) -> Docstore:
        return _ListedStore(self._docs)

    def docs_cls(self) -> type[Passage]:
        return Passage

    def docs_namespace(self) -> str:
        return self._namespace

    def docs_lang(self) -> str:
        return self._language

    def fingerprint(self) -> str:
        return self._read()[1]


class _ListedStore(Docstore):
    def __init__(self, docs: dict[str, Passage]) -> None:
        super().__init__(Passage)
        self._docs = docs

    def get_many_iter(self, doc_ids: Any) -> Iterator[Passage]:
        return (self._docs[doc_id] for doc_id in doc_ids if doc_id in self._docs)


class Questions(BaseQueries):
    """Questions that a function reads, all or those of one language."""

    def __init__(
        self, read: Callable[[], tuple[list[Question], str]], namespace: str, language: str | None = None
    ) -> None:
        self._read, self._namespace, self._language = read, namespace, language

    def queries_iter(self) -> Iterator[Question]:
        return (q for q in self._read()[0] if self._language is None or q.lang == self._language)

    def queries_count(self) -> int:
        return sum(1 for _ in self.queries_iter())

    def queries_cls(self) -> type[Question]:
        return Question

    def queries_namespace(self) -> str:
        return self._namespace

    def queries_lang(self) -> str | None:
        return self._language

    def fingerprint(self) -> str:
        return digest([self._read()[1], self._language])


class Judgements(BaseQrels):
    """Binary relevance judgements that a function reads; a question's own passages have relevance 1."""

    def __init__(self, read: Callable[[], list[tuple[str, str]]], of: Questions) -> None:
        self._read, self._of = read, of

    def qrels_iter(self) -> Iterator[TrecQrel]:
        wanted = {question.query_id for question in self._of.queries_iter()}
        return (TrecQrel(qid, docid, 1, "0") for qid, docid in self._read() if qid in wanted)

    def qrels_count(self) -> int:
        return sum(1 for _ in self.qrels_iter())

    def qrels_cls(self) -> type[TrecQrel]:
        return TrecQrel

    def qrels_defs(self) -> dict[int, str]:
        return {1: "the passage answers the question"}


def read_questions(file: DataFile) -> tuple[list[Question], str]:
    """Questions in XOR-TyDi's JSON lines (``id``, ``question``, ``lang``, ``answers``) and the file's fingerprint.

    Language labels are stripped: every Arabic question of XOR-TyDi's training file is labelled ``" ar"``. Questions
    of the test file have no answers.

    Raises:
        InputError: a line is not JSON, lacks a field, or repeats an id; file and line are named.
    """
    return _read_questions(file.path(), file.fingerprint()), file.fingerprint()


@cache
def _read_questions(path: Path, version: str) -> list[Question]:
    questions, seen = [], set()
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                item = json.loads(line)
                question = Question(
                    str(item["id"]), item["question"], item["lang"].strip(), tuple(item.get("answers", ()))
                )
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(
                    f"is not a question: {type(error).__name__} {error}",
                    path=path,
                    line=number,
                    mend='each line is {"id": …, "question": …, "lang": …, "answers": […]}',
                ) from None
            if question.query_id in seen:
                raise InputError(f"repeats the id {question.query_id}", path=path, line=number)
            seen.add(question.query_id)
            questions.append(question)
    return questions


def dataset(collection: str, *parts: Any) -> Dataset:
    """An ir-datasets dataset of these handlers, with the collection's documentation."""
    return Dataset(*parts, Documentation(collection))
