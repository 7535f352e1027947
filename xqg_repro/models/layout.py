"""What a model folder says about its vectors; :func:`~xqg_repro.models.agreement.read_layout` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, NoReturn

from xqg_repro.core.errors import InputError, quote
from xqg_repro.core.text import Record
from xqg_repro.models.settings import Pooling

POOLER, POOLER_CONFIG = "pooler.pt", "pooler_config.json"
NORMALIZE = "Normalize"


class Dense(NamedTuple):
    """A linear layer with an activation function; ``folder`` has its weights."""

    folder: Path
    inputs: int
    outputs: int
    bias: bool
    activation: str


@dataclass(frozen=True)
class Layout:
    """How a folder's own library makes vectors of the token vectors that its network gives.

    Attributes:
        source: the file that says it.
        pooling, normalize: as in :class:`~xqg_repro.models.settings.EncoderConfig`; ``None`` if it says nothing.
        usual_pooling: the pooling without a setting, if the folder says nothing.
        max_length: maximum number of tokens of a text.
        lower_case: texts are lower-cased first.
        steps: what is between pooling and normalisation, in order: :class:`Dense`, or :data:`NORMALIZE`.
        pooler: Tevatron's linear layers are in this folder.
        prompts: name → text put before a query or passage.
        default_prompt: name of the prompt of all texts.
    """

    source: Path
    pooling: Pooling | None = None
    normalize: bool | None = None
    usual_pooling: Pooling | None = None
    max_length: int | None = None
    lower_case: bool = False
    steps: tuple[Dense | str, ...] = ()
    pooler: Path | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None

    @property
    def projection(self) -> str:
        """The names of what comes between pooling and normalisation; empty without."""
        names = [step.folder.name if isinstance(step, Dense) else step for step in self.steps]
        return ", ".join([*names, *([POOLER] if self.pooler else [])])


def read_size(config: Record, name: str) -> int:
    """A number of dimensions."""
    value = config.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise config.error(f"{name} is {quote(value)}, expected a whole number above 0")
    return value


def refuse(path: Path, problem: str, hint: str = "") -> NoReturn:
    """Raise :class:`InputError` for what a file describes and this package does not compute."""
    raise InputError(f"{problem}, which is not supported", path=path, hint=hint or "choose a model without")
