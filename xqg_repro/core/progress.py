"""Progress of long-running work: a bar on a terminal, one log line per minute elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

logger = logging.getLogger(__name__)

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 60.0


@contextmanager
def progress_bar(total: int | None, name: str, unit: str) -> Iterator[tqdm]:
    """Show the progress of long-running work: a tqdm bar, whose ``update(n)`` is to be called after every n items.

    Without a terminal there is no bar; instead, :func:`progress_line` is logged every minute. The total is ``None`` if
    unknown, the name is usually the stage, and the unit is a plural noun for the items.
    """
    from tqdm import tqdm

    class LoggingBar(tqdm):
        """A bar that logs when it is disabled."""

        logged_at = time.monotonic()

        def update(self, n: float | None = 1) -> bool | None:
            if not self.disable:
                return super().update(n)
            self.n += n or 0
            now = time.monotonic()
            if now - self.logged_at >= SECONDS_BETWEEN_LINES:
                self.logged_at = now
                logger.info(progress_line(name, unit, int(self.n), total, now - started))
            return None

    started = time.monotonic()
    with LoggingBar(total=total, desc=name, unit=f" {unit}", disable=not sys.stderr.isatty()) as bar:
        yield bar


def progress_line(name: str, unit: str, done: int, total: int | None, seconds: float) -> str:
    """Items done, total, rate and time left, in one line.

    >>> progress_line("encode", "passages", 5000, 10033, 258.0)
    'encode: 5,000 of 10,033 passages, 19.4 passages/s, 0:04:20 left'
    """
    rate = done / seconds
    count = f"{done:,} of {total:,}" if total else f"{done:,}"
    line = f"{name}: {count} {unit}, {rate:,.1f} {unit}/s"
    if not total or not done:
        return line
    left = timedelta(seconds=round((total - done) / rate))
    return f"{line}, {left} left"


def track(items: Iterable[T], total: int | None, name: str, unit: str) -> Iterator[T]:
    """Iterate over items and show the progress."""
    with progress_bar(total, name, unit) as bar:
        for item in items:
            yield item
            bar.update()
