"""``python -m xqg_repro`` is ``xqg-repro``."""

import sys

from xqg_repro.cli import main

if __name__ == "__main__":
    sys.exit(main())
