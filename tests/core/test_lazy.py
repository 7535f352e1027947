import subprocess
import sys

import pytest

import xqg_repro.retrieval


def test_public_names_are_imported_on_first_use() -> None:
    code = (
        "import sys, xqg_repro.models as models; assert 'xqg_repro.models.encoder' not in sys.modules;"
        "assert 'QueryEncoder' in dir(models); models.QueryEncoder; assert 'xqg_repro.models.encoder' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_public_name_takes_precedence_over_the_module_of_that_name() -> None:
    import xqg_repro.retrieval.search

    assert callable(xqg_repro.retrieval.search)
    assert xqg_repro.retrieval.search.__module__ == "xqg_repro.retrieval.search"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        xqg_repro.retrieval.nothing  # noqa: B018
