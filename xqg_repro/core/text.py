"""Reading text files with errors that name the file and the line: plain lines, JSON, and JSON lines.

Every file that users give is read here; ``-`` is standard input. A byte order mark is dropped, a name in ``.gz`` is
decompressed, lines may end in ``\\r\\n``, and what is not UTF-8, half a character (an unpaired surrogate) or a Git LFS
pointer is refused.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import IO, Any

from xqg_repro.core.errors import InputError, quote

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
STDIN = "-"
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_REQUIRED = object()


def decode(data: bytes, path: str | Path, line: int = 1) -> str:
    """Decode UTF-8 bytes that begin at ``line`` of a file; :class:`InputError` names the line that is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        byte = data[error.start]
        raise InputError(
            f"is not UTF-8 text: {error.reason} (byte 0x{byte:02x})",
            path=path,
            line=line,
            hint="save the file as UTF-8",
        ) from None


@contextmanager
def open_bytes(path: Path, what: str = "file") -> Iterator[IO[bytes]]:
    """Open a file to read its bytes, decompressed if its name ends in ``.gz``, without a byte order mark.

    :class:`InputError` if the file, which messages call ``what``, is missing, truncated, unreadable or a Git LFS
    pointer.
    """
    try:
        with _open(path) as file:
            buffered = io.BufferedReader(file)  # type: ignore[type-var,arg-type]
            start = buffered.peek(len(_LFS_POINTER))
            if start.startswith(_LFS_POINTER):
                hint = "run git lfs pull, or copy the file itself"
                raise InputError("is a Git LFS pointer, not the file itself", path=path, hint=hint)
            if start.startswith(b"\xef\xbb\xbf"):
                buffered.read(3)
            yield buffered
    except FileNotFoundError:
        raise InputError(f"no such {what}", path=path) from None
    except (OSError, EOFError) as error:
        raise InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}", path=path) from None


def _open(path: Path) -> IO[bytes]:
    if str(path) == STDIN:
        return io.BytesIO(sys.stdin.buffer.read() if sys.stdin else b"")
    return gzip.open(path) if path.suffix == ".gz" else open(path, "rb")  # type: ignore[return-value]


def read_lines(path: Path, what: str = "file") -> Iterator[tuple[int, str]]:
    """Yield each line's number, from 1, and its text without the line end; memory holds one line.

    :class:`InputError` as for :func:`open_bytes`, or if a line is not UTF-8.
    """
    with open_bytes(path, what) as file:
        for number, line in enumerate(file, 1):
            yield number, decode(line, path, number).removesuffix("\n").removesuffix("\r")


def read_text(path: Path, what: str = "file") -> str:
    """The text of a UTF-8 file, with ``\\n`` line ends; :class:`InputError` as for :func:`read_lines`."""
    with open_bytes(path, what) as file:
        data = file.read()
    return decode(data, path).replace("\r\n", "\n")


def parse_json(text: str, path: Path, line: int | None = None, hint: str = "") -> Any:
    """Parse JSON text of a file; ``hint`` tells users what the file should contain.

    :class:`InputError` if it is not JSON, an object repeats a key, or a string contains half a character.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            (key, _), *_ = Counter(key for key, _ in pairs).most_common(1)
            raise InputError(f"an object repeats the key {key!r}", path=path, line=line, hint=hint)
        return fields

    try:
        value = json.loads(text, object_pairs_hook=unique)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        problem = "contains half a character (an unpaired surrogate)"
        raise InputError(problem, path=path, line=line, hint=hint) from None
    except (ValueError, RecursionError) as error:
        problem, place = getattr(error, "msg", str(error)), line or getattr(error, "lineno", None)
        raise InputError(f"is not JSON: {problem}", path=path, line=place, hint=hint) from None
    return value


def read_json(path: Path, what: str = "file", hint: str = "") -> Any:
    """The content of a JSON file; :class:`InputError` as for :func:`read_text` and :func:`parse_json`."""
    return parse_json(read_text(path, what), path, hint=hint)


def read_records(path: Path, what: str = "file", hint: str = "") -> Iterator[Record]:
    """Yield the objects of a JSON lines file; blank lines are skipped. :class:`InputError` names a line without one."""
    for number, line in read_lines(path, what):
        if line.strip():
            yield Record(parse_json(line, path, number, hint), path, number, hint)


class Record:
    """A JSON object of a file, whose fields are checked as they are read.

    Args:
        value: the parsed JSON.
        path, line: where it stands.
        hint: what the object should look like, for messages.
        name: the object's own place in the file, such as ``data[0]``, for files that are one JSON value.
    """

    def __init__(self, value: Any, path: Path, line: int | None = None, hint: str = "", name: str = "") -> None:
        self.path, self.line, self.hint, self.name = path, line, hint, name
        if not isinstance(value, dict):
            raise self.error(f"{name or ('the line' if line else 'the file')} is {quote(value)}, not an object")
        self.value: dict[str, Any] = value

    def error(self, problem: str) -> InputError:
        """An error at this object."""
        return InputError(problem, path=self.path, line=self.line, hint=self.hint)

    def get(self, key: str, default: Any = _REQUIRED) -> Any:
        """A field of any type; without a default it must be present."""
        value = self.value.get(key, default)
        if value is _REQUIRED:
            raise self.error(f"lacks the field {self.place(key)!r}")
        return value

    def one_of(self, *keys: str) -> str:
        """The name of the only one of these fields that the object has; they are names of the same thing."""
        present = [key for key in keys if key in self.value]
        if not present:
            raise self.error(f"lacks the field {' or '.join(repr(self.place(key)) for key in keys)}")
        if len(present) > 1:
            raise self.error(f"has both {self.place(present[0])!r} and {self.place(present[1])!r}")
        return present[0]

    def text(self, key: str, default: Any = _REQUIRED) -> str:
        """A text field; :class:`InputError` for null, a number, a list or another type."""
        value = self.get(key, default)
        if not isinstance(value, str):
            raise self._unexpected(key, value, "text")
        return value

    def texts(self, key: str, default: Any = _REQUIRED) -> tuple[str, ...]:
        """A list of texts; a single text is refused, as its letters would pass for a list."""
        value = self.get(key, default)
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise self._unexpected(key, value, "a list of texts")
        return tuple(value)

    def id(self, key: str, default: Any = _REQUIRED) -> str:
        """An id: text or a whole number, as text."""
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self._unexpected(key, value, "text or a whole number")
        return str(value)

    def number(self, key: str) -> int:
        """A whole number."""
        if type(value := self.get(key)) is not int:
            raise self._unexpected(key, value, "a whole number")
        return value

    def finite(self, key: str) -> float:
        """A number that is neither infinite nor NaN."""
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise self._unexpected(key, value, "a finite number")
        return float(value)

    def mapping(self, key: str, kind: type) -> dict[str, Any]:
        """An object whose values are all of one type."""
        values = self.get(key)
        if not isinstance(values, dict):
            raise self._unexpected(key, values, "an object")
        for name, value in values.items():
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                raise self.error(f"{self.place(key)}.{name} is {quote(value)}, expected {kind.__name__}")
        return values

    def records(self, key: str, default: Any = _REQUIRED) -> list[Record]:
        """A list of objects."""
        values = self.get(key, default)
        if not isinstance(values, list | tuple):
            raise self._unexpected(key, values, "a list")
        place = self.place(key)
        return [Record(v, self.path, self.line, self.hint, f"{place}[{i}]") for i, v in enumerate(values)]

    def place(self, key: str) -> str:
        """A field as messages name it."""
        return f"{self.name}.{key}" if self.name else key

    def _unexpected(self, key: str, value: Any, expected: str) -> InputError:
        return self.error(f"{self.place(key)} is {quote(value)}, expected {expected}")
