"""Settings of the judges that label passages; imports nothing heavy, for the command line."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import convert_enums
from xqg_repro.models.answerer_settings import AnswererConfig
from xqg_repro.models.settings import ReaderConfig


class JudgeKind(StrEnum):
    """The judges; see :mod:`xqg_repro.train.judges`."""

    STRING = "string"
    READER = "reader"
    GENERATOR = "generator"
    QRELS = "qrels"


@dataclass(frozen=True)
class JudgeConfig:
    """A judge and the model that it needs.

    Attributes:
        kind: which judge.
        reader: the model of the judge ``reader``; ``None`` for all others.
        answerer: the model of the judge ``generator``; ``None`` for all others.
    """

    kind: JudgeKind
    reader: ReaderConfig | None = None
    answerer: AnswererConfig | None = None

    def __post_init__(self) -> None:
        convert_enums(self, kind=JudgeKind)
        for name, kind in (("reader", JudgeKind.READER), ("answerer", JudgeKind.GENERATOR)):
            is_given = getattr(self, name) is not None
            if is_given and self.kind is not kind:
                raise InputError(f"--{name} has no effect with the judge {self.kind}", hint=f"leave out --{name}")
            if self.kind is kind and not is_given:
                raise InputError(f"the judge {self.kind} needs a model", hint=f"name one with --{name}")

    @property
    def falls_back(self) -> bool:
        """Whether a matched passage may become the positive of a question that has no other."""
        return self.kind is JudgeKind.GENERATOR

    def identify(self) -> tuple[dict[str, Any], dict[str, str]]:
        """What a manifest records: the settings, and the fingerprint of the model if there is one."""
        from xqg_repro.models.loading import model_fingerprint

        config = self.reader or self.answerer
        if config is None:
            return {"kind": self.kind}, {}
        return {"kind": self.kind, **dataclasses.asdict(config)}, {"model": model_fingerprint(config.model)}
