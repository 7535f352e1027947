"""``python -m xqg_repro.2cr.xor_tydi_vital`` runs the conditions of resources/conditions/xor-tydi-vital.yaml."""

import sys

from xqg_repro.cli.two_click import main

if __name__ == "__main__":
    sys.exit(main("xor-tydi-vital"))
