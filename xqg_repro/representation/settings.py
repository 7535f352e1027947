"""How query sums are added to passages; imports nothing heavy, for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import convert_enums


class Aggregate(StrEnum):
    """What is added to a passage: the sum over its queries, as in the paper, or their mean."""

    SUM = "sum"
    MEAN = "mean"


@dataclass(frozen=True)
class Augmentation:
    """How query sums are added to passages: ``(1-α)·p + α·Σq``. The defaults are the paper's.

    Attributes:
        alpha: α in [0, 1]; 0 leaves the passages unchanged.
        aggregate: see :class:`Aggregate`.
        languages: whose queries are added; empty for all available ones.
        queries: how many per language, from the first; 0 for all available ones.
        normalize: divide the result by its L2 norm; ``None`` does so if the encoder does.
    """

    alpha: float = 0.01
    aggregate: Aggregate = Aggregate.SUM
    languages: tuple[str, ...] = ()
    queries: int = 0
    normalize: bool | None = None

    def __post_init__(self) -> None:
        convert_enums(self, aggregate=Aggregate)
        if not 0 <= self.alpha <= 1:
            raise InputError(f"α is {self.alpha}", hint="it must lie between 0 and 1")
        if self.queries < 0:
            raise InputError(f"cannot add the first {self.queries} queries", hint="0 stands for all of them")
