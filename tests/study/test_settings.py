"""The study's settings: languages, methods and comparisons."""

from __future__ import annotations

import pytest

from xqg_repro.collection import xquad
from xqg_repro.core.errors import InputError
from xqg_repro.study.scoring import MEASURES
from xqg_repro.study.settings import load_study


@pytest.mark.parametrize(
    ("languages", "passages", "problem"),
    [
        (("en", "xx"), (), "XQuAD has no language 'xx'"),
        (("en", "ar"), ("th",), "this study has no language 'th'"),
        (("ar",), (), "this study has no language 'en'"),
        (("en", "en"), (), "--languages repeats en"),
    ],
)
def test_unknown_or_repeated_languages_are_refused(
    languages: tuple[str, ...], passages: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        load_study(languages, passages)


def test_methods_can_be_chosen_if_their_vectors_exist() -> None:
    study = load_study(methods=["queries-all", "passages-all"])
    assert list(study.methods) == ["none", "queries-all", "passages-all"]
    assert ("queries-all", "passages-all") in study.comparisons
    with pytest.raises(InputError, match=r"no method 'querys-all' \(did you mean queries-all"):
        load_study(methods=["querys-all"])
    for name in ("generated-own", "translations-all"):
        with pytest.raises(InputError, match=f"no method '{name}'"):
            load_study(methods=[name])
    assert (
        not {"generated-all", "translations-cut-own", "machine-both-own"} & load_study(translated=True).methods.keys()
    )
    assert not {"translations-own", "filtered-own", "machine-both-all"} & load_study(generated=True).methods.keys()


def test_comparisons_measures_and_groups_are_complete() -> None:
    study = load_study(generated=True, filtered=True, translated=True)
    assert {name for names in study.comparisons for name in names} <= study.methods.keys()
    assert {pair for pairs in study.question.values() for pair in pairs} <= {*study.comparisons}
    assert {(trend.method, trend.other) for trend in study.trends} <= {*study.comparisons}
    assert len(study.question) == 4 and load_study().question == {} and load_study().trends == ()
    assert {*study.measures, study.chosen_by} <= MEASURES.keys()
    assert set(study.languages) == set(xquad.LANGUAGES)
    assert all(set(group.languages) == set(xquad.LANGUAGES) and group.source for group in study.groups.values())
