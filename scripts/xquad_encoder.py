"""Measure an encoder before and after training on some articles of XQuAD, on questions about the other articles.

``make docs`` puts the scores that this writes into the tables of docs/fine-tuning.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence

from xqg_repro.core.errors import InputError
from xqg_repro.core.files import atomic_write
from xqg_repro.core.streams import exit_status
from xqg_repro.models.settings import load_preset
from xqg_repro.study.transfer import measure_transfer, transfer_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the scores as JSON and print them as a Markdown table."""
    args = parser().parse_args(arguments)
    settings = load_preset(args.preset)
    before, after = (dataclasses.replace(settings, model=model) for model in (args.before, args.after))
    try:
        measured = measure_transfer(before, after, args.folds, args.fold, device=args.device)
    except InputError as error:
        print(f"xquad_encoder: error: {error}", file=sys.stderr)
        return 2
    with atomic_write(args.output) as file:
        json.dump(measured, file, ensure_ascii=False, indent=1, sort_keys=True)
        file.write("\n")
    print(transfer_table(measured).markdown())
    return 0


def parser() -> argparse.ArgumentParser:
    """The script's options."""
    options = argparse.ArgumentParser(description="measure an encoder before and after training on XQuAD's articles")
    options.add_argument("--before", metavar="MODEL", required=True, help="model folder or Hugging Face id")
    options.add_argument(
        "--after", metavar="FOLDER", required=True, help="output of xqg-repro train xdr, started from it"
    )
    options.add_argument("--folds", metavar="FOLDER", required=True, help="output of xqg-repro train folds")
    options.add_argument("--fold", type=int, default=0, help="fold with the held-out articles (default: %(default)s)")
    options.add_argument("--preset", default="e5-small", help="settings of both encoders (default: %(default)s)")
    options.add_argument("--device", help="torch device (default: a GPU if there is one)")
    options.add_argument("--output", metavar="FILE", required=True, help="scores (.json) to write")
    return options


if __name__ == "__main__":
    sys.exit(exit_status(main))
