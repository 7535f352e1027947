"""Pack machine-made texts about XQuAD into docs/study/generated, so that the study runs without their writers.

Give all folders of each kind, in the order of the folds. The packed texts are read and checked as the study does: each
paragraph once, none of an article that its writer was trained on. Run in a checkout's root.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from xqg_repro.core.streams import exit_status
from xqg_repro.study.data import load_data
from xqg_repro.study.made import read_made
from xqg_repro.study.packed import LOSSES, PACKED, find_packed, pack_texts
from xqg_repro.study.settings import Kind, load_study
from xqg_repro.study.trends import read_losses


def main() -> None:
    """Pack, then read and check what was packed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for kind in Kind:
        parser.add_argument(f"--{kind}", nargs="+", default=[], metavar="FOLDER", help=f"{kind} texts")
    parser.add_argument(f"--{LOSSES}", nargs="+", default=[], metavar="FILE", help="held-out losses of the writers")
    parser.add_argument("--languages", nargs="+", default=[], metavar="LANG", help="to check (default: all)")
    parser.add_argument("--output", type=Path, default=PACKED, help="default: %(default)s")
    args = parser.parse_args()
    texts = {kind: getattr(args, kind) for kind in Kind if getattr(args, kind)}
    pack_texts(texts, args.losses, args.output)
    packed = find_packed(args.output)
    study = load_study(args.languages)
    read_made(*(packed.get(kind, ()) for kind in Kind), study, load_data(study.languages))
    read_losses(packed.get(LOSSES, ()))
    for paths in packed.values():
        print(*paths, sep="\n")


if __name__ == "__main__":
    sys.exit(exit_status(main))
