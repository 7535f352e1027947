"""What is there and what is missing: doctor."""

from __future__ import annotations

import argparse
from typing import Any


def add_doctor(verbs: Any, name: str) -> None:
    """Declare the verb ``doctor``."""
    text = "say what is there, what each condition and recipe still needs, and about how much disk and time they take"
    verb = verbs.add_parser(
        name, help=text, description=f"{text}; the exit status is 1 if the embedded collection cannot run"
    )
    verb.set_defaults(run=_doctor)
    verb.add_argument("--directory", default="out", help="where conditions would write (default: %(default)s)")
    verb.add_argument("--online", action="store_true", help="try whether the Hugging Face hub answers")
    verb.add_argument(
        "--measure",
        action="store_true",
        help="estimate times from how fast an encoder of mBERT's size is here; half a minute on two CPU cores",
    )
    verb.add_argument("--device", help="torch device to measure on (default: a GPU if there is one)")


def _doctor(args: argparse.Namespace) -> int:
    from xqg_repro.reproduction.doctor import examine

    report = examine(args.directory, online=args.online, measure=args.measure, device=args.device)
    print(report.text())
    return 0 if report.ready else 1
