"""The package's own measures, for use in ir-measures: R@kt, and EM and F1 of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xqg_repro.evaluation.measures import match, recall

if TYPE_CHECKING:
    from ir_measures import Measure


def register() -> dict[str, Measure]:
    """Define all of them for ``ir_measures.parse_measure``. Safe to repeat."""
    return {**recall.register(), **match.register()}
