"""Interrupts at a chosen point of a stage: where it logs a message, or calls a function for the nth time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def interrupted_at(message: str) -> Iterator[None]:
    """A block that ends in a keyboard interrupt when the package logs a message that holds this one."""

    class Interrupt(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if message in record.getMessage():
                raise KeyboardInterrupt

    handler = Interrupt()
    logging.getLogger("xqg_repro").addHandler(handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        logging.getLogger("xqg_repro").removeHandler(handler)


def interrupt_call(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, number: int) -> list[tuple[Any, ...]]:
    """Let one call of ``target.name``, the ``number``-th, end in a keyboard interrupt; all calls' arguments, so far."""
    original = getattr(target, name)
    calls: list[tuple[Any, ...]] = []

    def interrupted(*args: Any, **settings: Any) -> Any:
        calls.append(args)
        if len(calls) == number:
            raise KeyboardInterrupt
        return original(*args, **settings)

    monkeypatch.setattr(target, name, interrupted)
    return calls
