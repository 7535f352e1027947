"""``python -m xqg_repro.2cr.xquad`` runs the conditions of resources/conditions/xquad.yaml."""

import sys

from xqg_repro.cli.two_click import main

if __name__ == "__main__":
    sys.exit(main("xquad"))
