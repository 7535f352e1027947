import subprocess
import sys

import pytest

import xqg_repro.retrieval
from xqg_repro.core.errors import InputError


def test_public_names_are_imported_on_first_use() -> None:
    code = (
        "import sys, xqg_repro.core as core; assert 'xqg_repro.core.stages' not in sys.modules;"
        "assert 'Manifest' in dir(core); core.Manifest; assert 'xqg_repro.core.stages' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_public_name_takes_precedence_over_the_module_of_that_name() -> None:
    import xqg_repro.retrieval.search

    assert callable(xqg_repro.retrieval.search)
    assert xqg_repro.retrieval.search.__module__ == "xqg_repro.retrieval.search"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        xqg_repro.core.nothing  # noqa: B018
    assert xqg_repro.core.InputError is InputError
