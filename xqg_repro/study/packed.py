"""Machine-made texts as a checkout ships them, compressed, so that the study runs without the models that wrote them.

``docs/study/generated/KIND.N`` is the Nth folder of a kind: a stage folder whose JSON lines are gzipped, with its
manifest and the list of what the writer was trained on. ``losses.N.json`` are the generators' held-out losses.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write, file_digest
from xqg_repro.core.stages import open_stage
from xqg_repro.core.text import open_bytes, read_json
from xqg_repro.models.reader import SEEN
from xqg_repro.study.settings import Kind
from xqg_repro.study.tables import PUBLISHED

PACKED = PUBLISHED / "generated"
"""The packed texts in a checkout, whose root is the working directory."""

MACHINE = PUBLISHED / "machine"
"""The study with machine-made texts in a checkout."""

STAGES = {Kind.GENERATED: "generate", Kind.FILTERED: "filter", Kind.TRANSLATED: "translate"}
LOSSES = "losses"
NOTE = """# Machine-made texts about XQuAD's English paragraphs

Queries (`generated.N`, of which `filtered.N` are the best) and translations (`translated.N`), as JSON lines compressed
with gzip. Each folder has its manifest, and in `questions.txt` the ids that its writer was trained on: no model wrote
for an article that it was trained on. `losses.N.json` has the writers' losses on held-out texts.

The texts are derived from XQuAD (Artetxe et al. 2020), which is licensed under
[CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/), and so are they.

`xqg-repro study --generated … --filtered … --translated …` reads these folders, and
`python -m xqg_repro.2cr.xquad --all` does so in a checkout. `scripts/pack_texts.py` wrote them.
"""


def pack_texts(texts: Mapping[Kind, Sequence[str | Path]], losses: Sequence[str | Path], target: Path) -> None:
    """Write machine-made texts and losses into a folder, with a note on their licence.

    Raises:
        InputError: a folder is not the output of its kind's stage; the target has other files.
    """
    if target.exists() and any(target.iterdir()):
        raise InputError("is not empty", path=target, hint="delete it, as its files would be mixed with new ones")
    for kind, folders in texts.items():
        for number, folder in enumerate(folders):
            pack_folder(folder, STAGES[kind], target / f"{kind}.{number}")
    for number, path in enumerate(losses):
        with atomic_write(target / f"{LOSSES}.{number}.json") as file:
            json.dump(read_json(Path(path), "file of losses"), file, indent=1, sort_keys=True)
            file.write("\n")
    with atomic_write(target / "README.md") as file:
        file.write(NOTE)


def pack_folder(folder: str | Path, stage: str, target: Path) -> None:
    """Write a stage folder with its JSON lines compressed; its manifest keeps only the last part of absolute paths."""
    manifest = open_stage(folder, stage)
    names = [name for name in manifest.files if name.endswith(".jsonl")]
    for name in names:
        with open_bytes(Path(folder) / name) as lines, atomic_write(target / f"{name}.gz", "wb") as file:
            file.write(lines.read())
    if SEEN in manifest.files:
        with open_bytes(Path(folder) / SEEN) as lines, atomic_write(target / SEEN, "wb") as file:
            file.write(lines.read())
    paths = sorted(path for path in target.iterdir() if path.name in {SEEN, *(f"{name}.gz" for name in names)})
    files = {path.name: {"bytes": path.stat().st_size, "sha256": file_digest(path)} for path in paths}
    dataclasses.replace(manifest, parameters=_without_places(manifest.parameters), files=files).write(target)


def find_packed(folder: Path = PACKED) -> dict[str, tuple[str, ...]]:
    """Kind of text, or ``losses`` → its packed folders or files, in order; only those that are there."""
    found = {}
    for name, pattern in [*((kind.value, f"{kind.value}.*") for kind in Kind), (LOSSES, f"{LOSSES}.*.json")]:
        paths = sorted(folder.glob(pattern), key=lambda path: int(re.findall(r"\d+", path.name)[0]))
        if paths:
            found[name] = tuple(path.as_posix() for path in paths)
    return found


def _without_places(value: Any) -> Any:
    """Parameters with the last part of each absolute path, as the others are of the machine that wrote the texts."""
    if isinstance(value, dict):
        return {key: _without_places(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_places(part) for part in value]
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value
