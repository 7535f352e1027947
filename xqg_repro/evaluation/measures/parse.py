"""Names of measures → ir-measures' measures, checked before a run is scored.

ir-measures parses many names that it cannot compute: for parameters that a measure lacks, for judgements that a topic
set lacks, or because it needs another package. Some parameters, such as a cutoff of 0, even abort the process. Here
they are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from xqg_repro.core.errors import InputError, quote
from xqg_repro.evaluation.measures import register

if TYPE_CHECKING:
    import pandas as pd
    from ir_measures import Measure

_TREC_EVAL = {
    "map": "AP",
    "ndcg": "nDCG",
    "recip_rank": "RR",
    "bpref": "Bpref",
    "set_P": "SetP",
    "set_recall": "SetR",
    "set_F": "SetF",
    "set_map": "SetAP",
    "set_relative_P": "SetRelP",
    "num_q": "NumQ",
    "num_ret": "NumRet",
    "num_rel": "NumRel",
    "num_rel_ret": "NumRelRet",
}
_TREC_EVAL_CUT = {
    "P": "P@{}",
    "recall": "R@{}",
    "success": "Success@{}",
    "map_cut": "AP@{}",
    "ndcg_cut": "nDCG@{}",
    "iprec_at_recall": "IPrec@{}",
    "set_F": "SetF(beta={})",
}
"""trec_eval's name → ir-measures'; those of the second table end in a number, after ``_`` or ``.``."""
_TYPES = {
    int: "a whole number",
    float: "a decimal number such as 1.0",
    bool: "True or False",
    dict: "a mapping of relevances to gains, such as {1: 3}",
    str: "text",
}
_HIGHEST_GAIN = 100_000  # pytrec_eval's memory grows with it


def parse_measures(names: Sequence[str]) -> dict[str, Measure]:
    """Measures by the name that was given: R2kt and R5kt, ir-measures' names (``nDCG@10``), or trec_eval's
    (``ndcg_cut_10``).

    Raises:
        InputError: a name is unknown, or has parameters for which its measure cannot be computed.
    """
    register()
    measures = {name: _parse(name) for name in names}
    for name, measure in measures.items():
        _check_parameters(name, measure)
        _check_provider(name, measure)
    return measures


def _parse(name: str) -> Measure:
    import ir_measures

    ours = _TREC_EVAL.get(name, name)
    if (cut := re.fullmatch(r"(\w+?)[._]([0-9]+(?:\.[0-9]+)?)", name)) and cut[1] in _TREC_EVAL_CUT:
        is_decimal = cut[1] in ("iprec_at_recall", "set_F") and "." not in cut[2]
        ours = _TREC_EVAL_CUT[cut[1]].format(f"{cut[2]}.0" if is_decimal else cut[2])
    try:
        if name.isprintable() and name == name.strip():
            return ir_measures.parse_measure(ours)
    except (ValueError, NameError, SyntaxError, AssertionError, RecursionError, MemoryError):
        pass
    raise InputError(f"ir-measures does not know the measure {quote(name)}", hint=_hint(name))


def _hint(name: str) -> str:
    import ir_measures

    if name in _TREC_EVAL_CUT:
        return f"name one cutoff, such as {name}_{'0.1' if name == 'iprec_at_recall' else '10'}"
    if "," in name and "(" not in name:
        return "separate measures by spaces"
    stem, at, cutoff = name.partition("@")
    names = {known.lower(): known for known in reversed(ir_measures.measures.registry)}
    if stem + cutoff in names.values():  # R@2kt
        return f"did you mean {stem}{cutoff}?"
    if stem not in names.values() and stem.lower() in names:
        return f"did you mean {names[stem.lower()]}{at}{cutoff}?"
    return "use R2kt, R5kt, an ir-measures name such as nDCG@10, or trec_eval's such as ndcg_cut_10"


def _check_parameters(name: str, measure: Measure) -> None:
    known, given = measure.SUPPORTED_PARAMS, measure.params
    for key, value in given.items():
        if key not in known:
            hint = f"it has {', '.join(known)}" if known else "it has no parameters"
            raise InputError(f"{name} cannot be computed: {measure.NAME} has no parameter {key!r}", hint=hint)
        dtype, expected = known[key].dtype, _expected(key, value)
        is_type = dtype is None or (isinstance(value, dtype) and (dtype is bool or not isinstance(value, bool)))
        if not is_type:
            expected = _TYPES[dtype]
        if expected:
            raise InputError(f"{name} cannot be computed: {key} is {value!r}", hint=f"it must be {expected}")
    for key, parameter in known.items():
        if parameter.required and key not in given:
            example = f"{measure.NAME}@10" if key == measure.AT_PARAM else f"{measure.NAME}({key}=1)"
            raise InputError(f"{name} cannot be computed without {key}", hint=f"such as {example}")
    try:
        measure.validate_params()
    except AssertionError as error:  # a value that is not among the choices
        raise InputError(f"{name} cannot be computed: {error}") from None


def _expected(key: str, value: Any) -> str:
    """What a parameter must be; empty if the value is that."""
    if key in ("cutoff", "rel") and isinstance(value, int) and not 1 <= value < 2**31:
        return "from 1 to 2147483647"
    if key == "recall" and isinstance(value, float) and not (0 <= value <= 1 and round(value, 2) == value):
        return "from 0.0 to 1.0, with at most two decimals"
    if key == "p" and isinstance(value, float) and not 0 < value < 1:
        return "between 0.0 and 1.0"
    if key == "beta" and isinstance(value, float) and not isfinite(value):
        return "finite"
    if key == "gains" and isinstance(value, dict):
        whole = all(type(number) is int for pair in value.items() for number in pair)
        if not whole or max(value.values(), default=0) > _HIGHEST_GAIN:
            return f"whole numbers up to {_HIGHEST_GAIN:,} by relevance"
    return ""


def _check_provider(name: str, measure: Measure) -> None:
    """Refuse a measure that needs a package that is not installed, or other judgements than relevance."""
    import ir_measures

    pipeline = ir_measures.DefaultPipeline
    if not pipeline.supports(measure):
        packages = [provider.NAME for provider in pipeline.providers if provider.supports(measure)]
        needs = f"needs {' or '.join(packages)}, which is not installed" if packages else "has no implementation"
        raise InputError(f"{name} cannot be computed: it {needs}", hint="choose another measure, such as nDCG@10")


def check_judgements(measures: Mapping[str, Measure], qrels: pd.DataFrame, topics: str) -> None:
    """Refuse measures that cannot be computed from these judgements, before a run is scored with them.

    Args:
        measures: by name, as :func:`parse_measures` returns them.
        qrels: query_id, doc_id and relevance of every judgement of ``topics``.
    """
    import pandas as pd

    highest = int(qrels["relevance"].max()) if len(qrels) else 0
    first = qrels[qrels["query_id"].isin(qrels["query_id"].drop_duplicates()[:3])]
    unjudged = first.drop_duplicates("query_id").assign(doc_id="unjudged")
    run = pd.concat([unjudged, first])[["query_id", "doc_id"]].assign(score=1.0)
    for name, measure in measures.items():
        if (rel := measure.params.get("rel", int("rel" in measure.SUPPORTED_PARAMS))) > highest:
            problem = f"{name} cannot be computed: no judgement of {topics} has a relevance of {rel} or more"
            raise InputError(problem, hint=f"the highest is {highest}")
        if _provider(measure) == "gdeval" and not qrels["query_id"].str.fullmatch("[0-9]+").all():
            problem = f"{name} cannot be computed: gdeval accepts only numbers as qids, which {topics} does not have"
            raise InputError(problem, hint="choose another measure, such as nDCG@10")
        calculate({name: measure}, first, run)


def _provider(measure: Measure) -> str:
    import ir_measures

    providers = ir_measures.DefaultPipeline.providers
    return next(provider.NAME for provider in providers if provider.is_available() and provider.supports(measure))


def calculate(
    measures: Mapping[str, Measure], qrels: pd.DataFrame, run: pd.DataFrame | Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Scores of a run by measure and qid.

    ``run`` has columns query_id, doc_id and score, or maps qid → docid → score, which ir-measures reads faster.

    Raises:
        InputError: ir-measures fails, or gives a score that is not a number.
    """
    import ir_measures

    scores: dict[str, dict[str, float]] = {name: {} for name in measures}
    # in one call with measures that have gains, ir-measures applies these to all
    together = [name for name, measure in measures.items() if "gains" not in measure.params]
    for names in filter(None, [together, *([name] for name in measures if name not in together)]):
        try:
            metrics = list(ir_measures.iter_calc([*dict.fromkeys(measures[name] for name in names)], qrels, run))
        except Exception as error:  # whatever a provider may raise
            problem = f"{', '.join(names)} cannot be computed: {str(error) or type(error).__name__}"
            raise InputError(" ".join(problem.split()), hint="choose another measure, such as nDCG@10") from None
        for metric in metrics:
            if not isfinite(metric.value):
                raise InputError(f"{metric.measure} cannot be computed: question {metric.query_id} has {metric.value}")
            for name in names:
                if measures[name] == metric.measure:  # two names can mean one measure, such as RR@10 and MRR@10
                    scores[name][str(metric.query_id)] = float(metric.value)
    return scores
