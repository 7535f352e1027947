"""Stage folders: written under a temporary name, described by a manifest, reused only when the manifest matches.

A stage's output is a folder with ``manifest.json``. Its *identity* is what the bytes depend on: the stage, the
parameters, and the fingerprints of the inputs (upstream manifests, files, model weights). The same identity found
again means that the folder can be reused; another one means that it is stale and is rebuilt.

While a stage runs it works in ``<folder>.partial``, which it locks. Whole files there carry their final names, so that
a killed run resumes behind the last of them; at the end the manifest is written and the folder renamed. Manifests hold
no times and no host names: the same inputs give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, digest, explain_write_errors, file_digest

if TYPE_CHECKING:
    pass

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
FORMAT = 1
_IDENTITY, _LOCK = ".identity", ".lock"
_FORCED = " --force"


def check_output(output: str | Path, source: str | Path) -> None:
    """Raise :class:`InputError` for an output that would replace what it is made from or the note beside that, or whose
    name says gzip.
    """
    output, source = Path(output), Path(source)
    if output.suffix == ".gz":
        raise InputError("would be written without compression", path=output, hint="choose a name without .gz")
    if output.exists() and source.exists() and output.samefile(source):
        raise InputError("would be replaced by what is made from it", path=output, hint="choose another --output")
    if output.absolute() == manifest_path(source.absolute()):
        raise InputError(f"is where the note beside {source.name} lies", path=output, hint="choose another --output")


@dataclass(frozen=True)
class Manifest:
    """What a stage folder holds and what it was made from.

    Attributes:
        stage: the verb that made it, such as ``encode``.
        parameters: everything set by the user or a preset that changes the output.
        inputs: name → fingerprint of each input.
        counts: what was counted on the way (passages, dimensions, …); not part of the identity.
        files: name → size in bytes and SHA-256 of each file in the folder.
        docids: SHA-256 of the docids of all shards in order, one per line; empty for stages without shards.
    """

    stage: str
    parameters: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    format: int = FORMAT
    docids: str = ""

    @property
    def identity(self) -> str:
        """Fingerprint of what the output depends on, not of the output.

        Where a model lies is no part of it: its files' fingerprint is among the inputs.
        """
        return digest([self.format, self.stage, self._decisive(), self.inputs])

    def _decisive(self) -> dict[str, Any]:
        known = "model" in self.inputs or "models" in self.inputs
        return {key: _unnamed(value) for key, value in self.parameters.items()} if known else self.parameters

    def write(self, folder: Path) -> None:
        """Write the manifest into its stage folder."""
        self.write_as(folder / MANIFEST)

    def write_as(self, path: Path) -> None:
        """Write the manifest under any name, as for a single file's note beside it."""
        with atomic_write(path) as file:
            described = {key: value for key, value in self.__dict__.items() if key != "docids" or value}
            json.dump(described, file, ensure_ascii=False, indent=1, sort_keys=True)
            file.write("\n")

    @classmethod
    def read(cls, folder: str | Path) -> Manifest:
        """Read a folder's manifest; raise :class:`InputError` where there is none or it cannot be understood."""
        if not (Path(folder) / MANIFEST).exists():
            raise InputError(
                "is not the output of a stage: it has no manifest.json",
                path=folder,
                hint="name a folder that xqg-repro wrote, or run the stage that makes it",
            )
        return cls.read_as(Path(folder) / MANIFEST)

    @classmethod
    def read_as(cls, path: Path, hint: str = "delete the folder and run the stage again") -> Manifest:
        """Read a manifest of any name."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise InputError(f"cannot be read as a manifest: {error}", path=path, hint=hint) from error

    def differences(self, other: Manifest) -> list[str]:
        """Names of the parameters and inputs in which two manifests differ, for messages."""
        names = [] if self.stage == other.stage else ["stage"]
        for mine, theirs in ((self._decisive(), other._decisive()), (self.inputs, other.inputs)):
            # compared as JSON holds them: a tuple is a list once it has been read back
            names += [key for key in sorted({*mine, *theirs}) if digest(mine.get(key)) != digest(theirs.get(key))]
        return names


def _unnamed(value: Any) -> Any:
    """Settings without the names of their models."""
    if isinstance(value, dict):
        return {key: _unnamed(part) for key, part in value.items() if key != "model"}
    return [_unnamed(part) for part in value] if isinstance(value, list | tuple) else value


def fingerprint(folder: Path) -> str:
    """Fingerprint of a finished stage folder as somebody's input: its identity and its files' checksums."""
    manifest = Manifest.read(folder)
    return digest([manifest.identity, manifest.files])


def verify(folder: Path, *, checksums: bool = False) -> Manifest:
    """Check that a stage folder holds the files of its manifest, by size or by checksum too; return the manifest."""
    manifest = Manifest.read(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.exists():
            raise InputError("is missing from its stage folder", path=path, hint="run the stage again with --force")
        if path.stat().st_size != expected["bytes"] or (checksums and file_digest(path) != expected["sha256"]):
            raise InputError(
                "is not the file that its manifest describes",
                path=path,
                hint="it was changed or damaged; run the stage again with --force",
            )
    return manifest


def open_stage(folder: str | Path, *stages: str) -> Manifest:
    """The manifest of a folder that one of these stages wrote.

    Raises:
        InputError: another stage did, or the folder lacks one of its files.
    """
    made = Manifest.read(folder)
    if made.stage not in stages:
        hint = f"name a folder that xqg-repro {' or '.join(stages)} wrote"
        raise InputError(f"is the output of {made.stage}, not of {' or '.join(stages)}", path=folder, hint=hint)
    return verify(Path(folder))


def build_stage(
    folder: str | Path, wanted: Manifest, build: Callable[[Path], dict[str, int]], *, force: bool = False
) -> Manifest:
    """Bring a stage folder into being, or reuse the one that is there.

    If the one that is there names a model by another path, it names the one that is wanted from now on.

    Args:
        folder: the final folder.
        wanted: stage, parameters and inputs; its counts and files are filled in here.
        build: writes the files into the working folder given to it, skipping whole files that it finds there, and
            returns counts. It must write each file with :func:`atomic_write` or an equivalent rename.
        force: make the folder anew even when it matches; only a forced run that was killed is resumed.

    Raises:
        InputError: ``folder`` exists, is not empty and is not a stage folder (it is never deleted), or another process
            is making it.
    """
    given, folder = folder, Path(folder).resolve()  # a link stays one; its target is replaced
    if folder.exists() and not folder.is_dir():
        raise InputError("is a file where a folder is to be written", path=folder, hint="choose another --output")
    if folder.exists() and any(folder.iterdir()):
        there = Manifest.read(folder)
        if there.stage != wanted.stage:
            raise InputError(
                f"holds the output of {there.stage}, which {wanted.stage} does not replace",
                path=folder,
                hint="choose another --output",
            )
        if there.identity == wanted.identity and not force:
            logger.info(f"{wanted.stage}: {given} is up to date")
            shutil.rmtree(_stale(folder), ignore_errors=True)
            verify(folder)
            if digest(there.parameters) != digest(wanted.parameters):
                replace(there, parameters=wanted.parameters).write(folder)
            return Manifest.read(folder)
        reason = "--force" if there.identity == wanted.identity else f"changed: {', '.join(there.differences(wanted))}"
        logger.info(f"{wanted.stage}: {given} is rebuilt ({reason})")
    with _partial_folder(folder, wanted.identity, force) as partial:
        try:
            counts = build(partial)
        except InputError:
            if {path.name for path in partial.iterdir()} == {_IDENTITY, _LOCK}:
                shutil.rmtree(partial)
            raise
        files = {
            path.name: {"bytes": path.stat().st_size, "sha256": file_digest(path)}
            for path in sorted(partial.iterdir())
            if not path.name.startswith(".")
        }
        manifest = replace(wanted, counts=counts, files=files, docids=_docids_digest(partial))
        manifest.write(partial)
        with explain_write_errors(folder, partial):
            _swap(partial, folder)
    logger.info(f"{wanted.stage}: wrote {given} ({', '.join(f'{name} {number:,}' for name, number in counts.items())})")
    return manifest


def _docids_digest(folder: Path) -> str:
    paths = sorted(folder.glob("*.docid"))
    checksum = hashlib.sha256()
    for path in paths:
        checksum.update(path.read_bytes())
    return checksum.hexdigest() if paths else ""


def build_file(
    file: str | Path, wanted: Manifest, write: Callable[[Path], dict[str, int]], *, force: bool = False
) -> Manifest:
    """Write a single file with its manifest beside it, or reuse an existing file that matches.

    Args:
        file: the final file.
        wanted: stage, parameters and inputs; its counts and checksum are filled in here.
        write: writes the file, atomically, and returns counts.
        force: write it again even if it matches.
    """
    file = Path(file)
    if not force and (manifest := matching_manifest(file, wanted)):
        logger.info(f"{wanted.stage}: {file} is up to date")
        return manifest
    counts = write(file)
    entry = {"bytes": file.stat().st_size, "sha256": file_digest(file)}
    manifest = replace(wanted, counts=counts, files={file.name: entry})
    manifest.write_as(manifest_path(file))
    shown = ", ".join(f"{name} {number:,}" for name, number in counts.items())
    logger.info(f"{wanted.stage}: wrote {file} ({shown})")
    return manifest


def manifest_path(file: Path) -> Path:
    """Where the manifest of a single file lies: beside it.

    >>> note_path(Path("runs/run.txt")).name
    'run.txt.json'
    """
    return file.with_name(f"{file.name}.json")


def matching_manifest(file: Path, wanted: Manifest) -> Manifest | None:
    """The manifest beside a file that is whole and was made from the same things; else ``None``."""
    note = manifest_path(file)
    if not (file.exists() and note.exists()):
        return None
    there = Manifest.read_as(note, hint="delete this file and run the same command again")
    same = there.identity == wanted.identity and there.files.get(file.name, {}).get("sha256") == file_digest(file)
    return there if same else None


def write_manifest(file: Path, made: Manifest, counts: dict[str, int]) -> None:
    """Describe a finished file in the manifest beside it."""
    files = {file.name: {"bytes": file.stat().st_size, "sha256": file_digest(file)}}
    replace(made, counts=counts, files=files).write_as(manifest_path(file))


def _stale(folder: Path) -> Path:
    return folder.with_name(folder.name + ".stale")


def _swap(partial: Path, folder: Path) -> None:
    """Put the finished folder in the stale one's place; after a kill at any point, the same command mends it."""
    stale = _stale(folder)
    shutil.rmtree(stale, ignore_errors=True)
    if folder.exists():
        os.replace(folder, stale)
    os.replace(partial, folder)
    for name in (_IDENTITY, _LOCK):
        (folder / name).unlink()
    shutil.rmtree(stale, ignore_errors=True)


@contextmanager
def _partial_folder(folder: Path, identity: str, force: bool) -> Iterator[Path]:
    """The working folder, locked, and emptied unless it was left behind by a killed run of the same identity.

    What a run without ``force`` left behind is no start for one with it.
    """
    from filelock import FileLock, Timeout

    partial = folder.with_name(folder.name + ".partial")
    note, lock = partial / _IDENTITY, FileLock(partial / _LOCK)
    if partial.exists() and any(partial.iterdir()) and not (note.exists() or (partial / _LOCK).exists()):
        raise InputError("is in the way and no stage made it", path=partial, hint="move it or choose another --output")
    with explain_write_errors(partial, note):
        partial.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            hint = "wait until it has ended, then run the same command again"
            raise InputError("is being made by another process", path=folder, hint=hint) from None
    try:
        with explain_write_errors(partial, note):
            found = note.read_text() if note.exists() else ""
            resumed = found == identity + _FORCED or (found == identity and not force)
            for path in partial.iterdir():
                passing = path.name == MANIFEST or (path.name.startswith(".") and path.name.endswith(".tmp"))
                if path.name != _LOCK and (passing or not resumed):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            with atomic_write(note) as file:
                file.write(identity + (_FORCED if force else ""))
        yield partial
    finally:
        (partial / _LOCK).unlink(missing_ok=True)  # as long as it is held, so that nobody else holds it
        lock.release()
