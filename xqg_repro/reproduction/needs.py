"""What the causal generators of the presets need: download, memory, and access on the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from xqg_repro.core.settings import parse, read_yaml, resource
from xqg_repro.core.tables import Table
from xqg_repro.models.settings import load_generator


@dataclass(frozen=True)
class ModelNeeds:
    """What a model needs.

    Attributes:
        download: gigabytes to download.
        memory: gigabytes of memory in float32.
        access: what the hub asks for before it gives the model.
    """

    download: float
    memory: float
    access: str


@dataclass(frozen=True)
class PresetNeeds:
    """A generator preset, where its model is, and what that needs."""

    preset: str
    model: str
    state: str
    needs: ModelNeeds

    def row(self) -> tuple[str, ...]:
        """A row of :func:`needs_table`."""
        needs = self.needs
        return self.preset, self.model, self.state, f"{needs.download} GB", f"{needs.memory} GB", needs.access


def preset_needs(state: Callable[[str], str]) -> Iterator[PresetNeeds]:
    """The needs of each generator preset whose model is listed in ``resources/needs.yaml``.

    ``state`` says where a model is, in words.
    """
    path = resource("needs.yaml")
    listed = {model: parse(ModelNeeds, needs, path) for model, needs in read_yaml(path).items()}
    for preset in read_yaml(resource("generators.yaml")):
        model = load_generator(preset).model
        if model in listed:
            yield PresetNeeds(preset, model, state(model), listed[model])


def needs_table(presets: tuple[PresetNeeds, ...]) -> Table:
    """Presets and their needs as a table."""
    headers = ("generator preset", "model", "state", "download", "memory in float32", "access")
    return Table(headers, [preset.row() for preset in presets], left=6)
