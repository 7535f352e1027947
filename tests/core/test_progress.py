import io
import sys

import pytest

from xqg_repro.core import progress
from xqg_repro.core.progress import progress_bar, progress_line, track


def test_without_a_terminal_a_line_is_logged_every_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10_000, 25))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress_bar(10, "encode", "passages") as bar:
        for _ in range(5):
            bar.update(2)
    lines = [message.partition(",")[0] for message in caplog.messages]
    assert lines == ["encode: 4 of 10 passages", "encode: 10 of 10 passages"]  # after 75 s and another 75 s
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", screen)
    assert list(track("abc", 3, "search", "questions")) == ["a", "b", "c"]
    assert "search: 100%" in screen.getvalue() and "3/3" in screen.getvalue()
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("done", "total", "line"),
    [
        (50, None, "x: 50 items, 5.0 items/s"),
        (0, 100, "x: 0 of 100 items, 0.0 items/s"),
        (50, 1_000_000, "x: 50 of 1,000,000 items, 5.0 items/s, 2 days, 7:33:10 left"),
    ],
)
def test_lines_without_a_total_and_with_a_long_time_left(done: int, total: int | None, line: str) -> None:
    assert progress_line("x", "items", done, total, 10.0) == line
