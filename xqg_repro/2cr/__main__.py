"""``python -m xqg_repro.2cr BENCHMARK``: the conditions of a benchmark, by name or in a YAML file of one's own."""

import sys

from xqg_repro.cli.two_click import main

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m xqg_repro.2cr BENCHMARK [--help] …")
    sys.exit(main(sys.argv[1], sys.argv[2:]))
