"""ir-datasets' home, for which a temporary folder stands in if it cannot be written: its import creates folders."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from pathlib import Path

from xqg_repro.core.outputs import unwritable

logger = logging.getLogger(__name__)

HOME, DATA = "IR_DATASETS_HOME", "XQG_REPRO_DATA"
"""The environment variables of ir-datasets' home and of the folder of data files."""

_STAND_IN = "xqg-repro-home-"


def prepare_home() -> None:
    """Make ``import ir_datasets`` work. The embedded collection needs no home, so an unwritable one is only reported.

    What the home contains is linked into the folder that stands in for it, until the process ends.
    """
    for variable in (HOME, DATA):
        if value := os.environ.get(variable):
            os.environ[variable] = os.path.expanduser(value)
    home = Path(os.environ.get(HOME) or os.path.join(os.path.expanduser("~"), ".ir_datasets"))
    try:
        home.mkdir(parents=True, exist_ok=True)
        reason = unwritable(home)
    except OSError as error:
        reason = error.strerror or str(error)
    if not reason:
        return
    stand_in = Path(tempfile.mkdtemp(prefix=_STAND_IN))
    atexit.register(shutil.rmtree, stand_in, ignore_errors=True)
    if home.is_dir():
        for path in home.iterdir():
            (stand_in / path.name).symlink_to(path.absolute())
    os.environ[HOME] = str(stand_in)
    logger.warning(f"{home} cannot be written: {reason}; downloads go to a temporary folder (set {HOME} to another)")


def describe_home() -> str:
    """The home in words."""
    home = os.environ.get(HOME) or os.path.join(os.path.expanduser("~"), ".ir_datasets")
    return f"temporary, as ir-datasets' own cannot be written (set {HOME})" if _STAND_IN in home else home
