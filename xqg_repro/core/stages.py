"""Stage folders: built under a temporary name, described by a manifest, and reused only if the manifest matches.

Each stage writes a folder with ``manifest.json``. Its *identity* covers everything that the bytes depend on: the stage,
its parameters, and the fingerprints of its inputs (upstream manifests, files, model weights). If the identity matches,
the folder is reused; otherwise it is stale and is rebuilt.

A running stage works in ``<folder>.partial``, which it locks. Complete files in there already have their final names,
so an interrupted run resumes after the last of them. At the end, the stage writes the manifest and renames the folder.
Manifests contain no times and no host names: equal inputs give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, digest, file_digest
from xqg_repro.core.outputs import check_file, check_folder, check_writable, destination, is_same, is_stream
from xqg_repro.core.text import Record, read_json
from xqg_repro.core.working import remove_stale, swap, working_folder

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """What a stage folder contains and what it was made from.

    Attributes:
        stage: the verb that wrote it, such as ``encode``.
        parameters: every setting that changes the output.
        inputs: name → fingerprint of each input.
        counts: what the stage counted (passages, dimensions, …); not part of the identity. Those by language, such as
            ``kept.fi``, are not logged.
        files: name → size in bytes and SHA-256 of each file in the folder, such as ``00000.npy`` or ``fi/segments_1``.
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
        """Fingerprint of everything that the output depends on.

        A model's name or folder is not part of it, as the inputs have the fingerprint of the model's files. Nor is the
        backend torch, which is what an older manifest without a backend means.
        """
        return digest([self.format, self.stage, self._decisive(), self.inputs])

    def _decisive(self) -> dict[str, Any]:
        """The parameters that are part of the identity."""
        has_model = "model" in self.inputs or "models" in self.inputs
        return _settings(self.parameters, without="model") if has_model else self.parameters

    def write(self, folder: Path) -> None:
        """Write the manifest into its stage folder."""
        self.write_as(folder / MANIFEST)

    def write_as(self, path: Path) -> None:
        """Write the manifest to any path, such as beside a single file."""
        content = {key: value for key, value in self.__dict__.items() if key != "docids" or value}
        content["digest"] = digest(content)
        with atomic_write(path) as file:
            json.dump(content, file, ensure_ascii=False, indent=1, sort_keys=True)
            file.write("\n")

    @classmethod
    def read(cls, folder: str | Path) -> Manifest:
        """The manifest of a stage folder; :class:`InputError` if it is missing or unreadable."""
        path = Path(folder) / MANIFEST
        if not path.exists():
            hint = "name a folder that xqg-repro wrote, or run the stage that writes it"
            raise InputError(f"is not the output of a stage: it has no {MANIFEST}", path=folder, hint=hint)
        return cls.read_as(path)

    @classmethod
    def read_as(cls, path: Path, hint: str = "delete the folder and rerun the stage") -> Manifest:
        """The manifest at any path; :class:`InputError` if it is not what :meth:`write_as` writes."""
        try:
            content = Record(read_json(path, "manifest"), path)
            written = content.value.pop("digest", None)  # older manifests have none
            if written is not None and written != digest(content.value):
                raise content.error("it was changed after it had been written")
            cls._check(content)
        except InputError as error:
            problem = f"cannot be read as a manifest: {error.problem}"
            raise InputError(problem, path=path, line=error.line, hint=hint) from None
        return cls(**content.value)

    @classmethod
    def _check(cls, content: Record) -> None:
        expected = {field.name for field in fields(cls)}
        if unknown := sorted(content.value.keys() - expected):
            raise content.error(f"unknown key {unknown[0]!r}")
        content.text("stage")
        content.mapping("parameters", object)
        content.mapping("inputs", str)
        content.mapping("counts", int)
        for name in content.mapping("files", dict):
            file = Record(content.get("files")[name], content.path, name=f"files.{name}")
            file.text("sha256")
            file.number("bytes")

    def differences(self, other: Manifest) -> list[str]:
        """Names of the parameters and inputs in which two manifests differ."""
        names = [] if self.stage == other.stage else ["stage"]
        for mine, theirs in ((self._decisive(), other._decisive()), (self.inputs, other.inputs)):
            for key in sorted({*mine, *theirs}):
                if digest(mine.get(key)) != digest(theirs.get(key)):  # as JSON, where a tuple is a list
                    names.append(key)
        return names


def _settings(value: Any, without: str = "") -> Any:
    """Settings without the fields of a name, and without a ``backend`` that is torch, at any depth."""
    if isinstance(value, list | tuple):
        return [_settings(part, without) for part in value]
    if not isinstance(value, dict):
        return value
    kept = {key: part for key, part in value.items() if key != without}
    if kept.get("backend") in (None, "torch"):
        kept.pop("backend", None)
    return {key: _settings(part, without) for key, part in kept.items()}


def fingerprint(folder: Path) -> str:
    """Fingerprint of a stage folder as the input of another stage: its identity and its files' checksums."""
    manifest = Manifest.read(folder)
    return digest([manifest.identity, manifest.files])


def verify(folder: Path, *, checksums: bool = False) -> Manifest:
    """A stage folder's manifest; :class:`InputError` if a file is missing or has another size (or SHA-256)."""
    manifest = Manifest.read(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.exists():
            raise InputError("is missing from its stage folder", path=path, hint="rerun the stage with --force")
        if path.stat().st_size != expected["bytes"] or (checksums and file_digest(path) != expected["sha256"]):
            hint = "it was changed or damaged; rerun the stage with --force"
            raise InputError("is not the file that its manifest describes", path=path, hint=hint)
    return manifest


def open_stage(folder: str | Path, *stages: str) -> Manifest:
    """The manifest of a folder that one of these stages wrote; :class:`InputError` otherwise, or as :func:`verify`."""
    stage, expected = Manifest.read(folder).stage, " or ".join(stages)
    if stage not in stages:
        hint = f"name a folder that xqg-repro {expected} wrote"
        raise InputError(f"is the output of {stage}, not of {expected}", path=folder, hint=hint)
    return verify(Path(folder))


def build_stage(
    folder: str | Path, wanted: Manifest, build: Callable[[Path], dict[str, int]], *, force: bool = False
) -> Manifest:
    """Build a stage folder, or reuse an existing one that matches.

    A reused folder takes over the names of the models that are wanted.

    Args:
        folder: the final folder.
        wanted: stage, parameters and inputs; this function adds counts and files.
        build: writes the files into the working folder that it gets, skips complete files that it finds there, and
            returns counts. It must write each file with :func:`atomic_write` or an equivalent rename.
        force: rebuild a folder that matches, too; only an interrupted run with ``force`` is resumed.

    Raises:
        InputError: ``folder`` exists, is not empty and is not a stage folder (it is never deleted), or another process
            is building it.
    """
    shown, folder = folder, check_folder(folder)  # a link stays; its target is replaced
    if existing := _existing_manifest(folder, wanted):
        if existing.identity == wanted.identity and not force:
            logger.info(f"{wanted.stage}: {shown} is up to date")
            return _reuse(folder, existing, wanted)
        changes = ", ".join(existing.differences(wanted))
        reason = "--force" if existing.identity == wanted.identity else f"changed: {changes}"
        logger.info(f"{wanted.stage}: {shown} is rebuilt ({reason})")

    with working_folder(folder, wanted.identity, force) as partial:
        (partial / MANIFEST).unlink(missing_ok=True)
        counts = build(partial)
        files = {name: _describe(partial / name) for name in _list_files(partial)}
        manifest = replace(wanted, counts=counts, files=files, docids=_docids_digest(partial))
        manifest.write(partial)
        swap(partial, folder)
    _log_written(shown, manifest)
    return manifest


def build_file(
    file: str | Path, wanted: Manifest, write: Callable[[Path], dict[str, int]], *, force: bool = False
) -> Manifest:
    """Write a single file with its manifest beside it, or reuse an existing file that matches.

    Like :func:`build_stage`; ``write`` writes the file, atomically, and returns counts. A stream, such as standard
    output, is always written, and gets no manifest.
    """
    check_file(file)
    file = Path(file)
    if is_stream(file):
        manifest = replace(wanted, counts=write(file))
        _log_written(file, manifest)
        return manifest
    matching = _matching_manifest(file, wanted)
    if matching and not force:
        logger.info(f"{wanted.stage}: {file} is up to date")
        return matching
    check_writable(file)
    manifest_path(file).unlink(missing_ok=True)
    manifest = _write_manifest(file, wanted, write(file))
    _log_written(file, manifest)
    return manifest


def manifest_path(file: Path) -> Path:
    """Path of a single file's manifest, beside the file.

    >>> manifest_path(Path("runs/run.txt")).name
    'run.txt.json'
    """
    return file.with_name(f"{file.name}.json")


def metadata_path(run: str | Path) -> Path:
    """The path of a run's metadata, beside the run (see :mod:`xqg_repro.retrieval.metadata`).

    >>> metadata_path("runs/run.xor-mini.xdr-mini.dev.txt.gz").name
    'run.xor-mini.xdr-mini.dev.txt.yaml'
    """
    run = Path(run)
    return run.with_name(f"{run.name.removesuffix('.gz')}.yaml")


def _matching_manifest(file: Path, wanted: Manifest) -> Manifest | None:
    """The manifest beside a file that is intact and has the wanted identity; ``None`` otherwise."""
    path = manifest_path(file)
    if not path.exists():
        return None
    manifest = Manifest.read_as(path, hint="it would be replaced: choose another --output, or move this file")
    is_intact = file.exists() and manifest.files.get(file.name, {}).get("sha256") == file_digest(file)
    return manifest if is_intact and manifest.identity == wanted.identity else None


def _write_manifest(file: Path, wanted: Manifest, counts: dict[str, int]) -> Manifest:
    """Write the manifest beside a finished file; return it."""
    manifest = replace(wanted, counts=counts, files={file.name: _describe(file)})
    manifest.write_as(manifest_path(file))
    return manifest


def check_output(output: str | Path, *inputs: str | Path, folder: bool = False) -> None:
    """Raise :class:`InputError` for a file, or a stage ``folder``, that cannot be written or would replace an input.

    An input's manifest and metadata are part of it; nothing is written into a folder that is an input.
    """
    (check_folder if folder else check_file)(output)
    place = destination(output)
    for source in filter(os.path.exists, inputs):
        problem, real = "", Path(os.path.realpath(source))
        target = Path(os.path.realpath(place)) if isinstance(place, Path) else Path()
        if is_same(place, source):
            problem = "would be replaced by its own output"
        elif real.is_file() and any(is_same(place, beside(real)) for beside in (manifest_path, metadata_path)):
            problem = f"belongs to the input {source}"
        elif real.is_dir() and real in target.parents:
            problem = f"is inside the input {source}"
        elif folder and target in real.parents:
            problem = f"contains the input {source}"
        if problem:
            raise InputError(problem, path=output, hint="choose another --output")


def _describe(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_digest(path)}


def _list_files(folder: Path) -> list[str]:
    """The files of a folder and of its subfolders, relative to it; hidden files and folders are left out."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))


def _docids_digest(folder: Path) -> str:
    paths = sorted(folder.glob("*.docid"))
    checksum = hashlib.sha256()
    for path in paths:
        checksum.update(path.read_bytes())
    return checksum.hexdigest() if paths else ""


def _log_written(output: str | Path, manifest: Manifest) -> None:
    counts = ", ".join(f"{name} {number:,}" for name, number in manifest.counts.items() if "." not in name)
    logger.info(f"{manifest.stage}: wrote {output} ({counts})")


def _existing_manifest(folder: Path, wanted: Manifest) -> Manifest | None:
    """The manifest of the folder that is to be reused or replaced; ``None`` if there is none or it is empty."""
    if folder.exists() and not folder.is_dir():
        raise InputError("is a file, expected a folder", path=folder, hint="choose another --output")
    if not folder.exists() or not any(folder.iterdir()):
        return None
    existing = Manifest.read(folder)
    if existing.stage != wanted.stage:
        problem = f"holds the output of {existing.stage}, which {wanted.stage} does not replace"
        raise InputError(problem, path=folder, hint="choose another --output")
    return existing


def _reuse(folder: Path, existing: Manifest, wanted: Manifest) -> Manifest:
    remove_stale(folder)
    verify(folder)
    if digest(_settings(existing.parameters)) != digest(_settings(wanted.parameters)):
        replace(existing, parameters=wanted.parameters).write(folder)
    return Manifest.read(folder)
