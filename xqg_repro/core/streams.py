"""Standard streams and signals of a command: no traceback from a closed pipe, a full disk, a terminal or a signal."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

from xqg_repro.core.errors import InputError

CLOSED_PIPE = 128 + 13  # what a shell reports of tools that SIGPIPE ends


def exit_status(action: Callable[[], int | None]) -> int:
    """Run a command and return its exit status.

    It is 2 after an error, which is printed as one line, 130 after an interrupt and 141 after a closed pipe. SIGTERM
    and SIGHUP end the process, after files under temporary names are removed.
    """
    _repair_streams()
    with _interrupt_on_signals() as received:
        try:
            status, message = action() or 0, ""
        except SystemExit:  # of argparse, which has printed its message
            status, message = _flush_stdout() or (0, "")
            _flush(sys.stderr)
            if not status:
                raise
        except BaseException as error:
            if not received and not isinstance(error, KeyboardInterrupt | InputError | OSError):
                raise
            status, message = _explain(error, received)
        status, message = _flush_stdout() or (status, message)
        _print_message(message)
    if received and received[0] != signal.SIGINT:
        signal.signal(received[0], signal.SIG_DFL)
        os.kill(os.getpid(), received[0])
    return status


def _explain(error: BaseException, received: list[int]) -> tuple[int, str]:
    """Exit status and message after an exception; after a signal, libraries may raise anything."""
    if received or isinstance(error, KeyboardInterrupt):
        ended = "interrupted" if received in ([], [signal.SIGINT]) else "terminated"
        return 130, f"{ended}; rerun the same command to resume"
    if isinstance(error, BrokenPipeError):
        return CLOSED_PIPE, ""
    message = str(error)
    if isinstance(error, OSError) and error.strerror:
        message = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return 2, f"error: {message}"


def _flush_stdout() -> tuple[int, str] | None:
    """Write what standard output holds back; exit status and message if that fails."""
    if (error := _flush(sys.stdout)) is None:
        return None
    if isinstance(error, BrokenPipeError):
        return CLOSED_PIPE, ""
    return 2, f"error: standard output: could not be written: {getattr(error, 'strerror', error)}"


def _flush(stream: IO[str]) -> Exception | None:
    """Write what a standard stream holds back, or drop it, as Python would try again at its exit; return the error."""
    try:
        stream.flush()
    except (OSError, ValueError) as error:
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
        return error
    return None


def _print_message(message: str) -> None:
    """Print one line on standard error, if it can be written."""
    if message:
        with suppress(OSError, ValueError):
            print(f"xqg-repro: {' '.join(message.splitlines())}", file=sys.stderr)
    _flush(sys.stderr)


def _repair_streams() -> None:
    """Open the standard streams that are closed, and escape the characters that a terminal cannot show.

    Otherwise the next file that is opened would take a closed stream's number, and what libraries print. What is
    written to a closed standard output is an error, as in other tools; to a closed standard error, it is lost.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _interrupt_on_signals() -> Iterator[list[int]]:
    """Raise KeyboardInterrupt for the signals that end a process; yield the list of those received, the first counts.

    A second signal ends the process at once. Signals that are ignored, as by ``nohup``, stay ignored.
    """
    received: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        received.append(number)
        for name in previous:
            signal.signal(name, signal.SIG_DFL)
        raise KeyboardInterrupt

    names = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    is_main = threading.current_thread() is threading.main_thread()
    usual = {signal.SIG_DFL, signal.default_int_handler}
    previous = {name: signal.getsignal(name) for name in names if is_main and signal.getsignal(name) in usual}
    for name in previous:
        signal.signal(name, interrupt)
    try:
        yield received
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)
