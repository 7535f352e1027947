"""Progress of long work: a bar on a terminal, elsewhere one log line per minute."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

logger = logging.getLogger(__name__)

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 60.0


@contextmanager
def progress_bar(total: int | None, name: str, unit: str) -> Iterator[tqdm]:
    """Show how far long work has come.

    Without a terminal the bar is silent and a line such as ``encode: 5,000 of 10,033 passages, 19.4 passages/s,
    0:04:19 left`` is logged every minute.

    Args:
        total: number of items; ``None`` if unknown.
        name: what is being done, such as the stage.
        unit: plural noun for the items.

    Yields:
        a tqdm bar; call ``update(n)`` after each n items.
    """
    from tqdm import tqdm

    class LoggingBar(tqdm):
        """A bar that also logs."""

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
    """What is done, the total, the rate and the time left, in one line.

    >>> progress_line("encode", "passages", 5000, 10033, 258.0)
    'encode: 5,000 of 10,033 passages, 19.4 passages/s, 0:04:19 left'
    """
    rate = done / seconds
    text = f"{name}: {done:,} {'of ' + format(total, ',') + ' ' if total else ''}{unit}, {rate:,.1f} {unit}/s"
    if not total or not done:
        return text
    minutes, left = divmod(round((total - done) / rate), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{text}, {hours}:{minutes:02}:{left:02} left"


def track(items: Iterable[T], total: int | None, name: str, unit: str) -> Iterator[T]:
    """Iterate over items, showing how far the loop has come."""
    with progress_bar(total, name, unit) as bar:
        for item in items:
            yield item
            bar.update()
