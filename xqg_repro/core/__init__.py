"""What all other folders use: errors, files, stage folders, settings, languages, tables and plots."""

from typing import TYPE_CHECKING

from xqg_repro.core.lazy import export

if TYPE_CHECKING:
    from xqg_repro.core.errors import InputError as InputError
    from xqg_repro.core.stages import Manifest as Manifest

export(
    __name__,
    errors=["InputError"],
    stages=["Manifest"],
)
