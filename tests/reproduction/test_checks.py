"""What is checked before the first task of a reproduction."""

from __future__ import annotations

from pathlib import Path

import pytest

from reproduction.toy import TOY, register, toy
from xqg_repro.core.errors import InputError
from xqg_repro.reproduction.checks import check_plan
from xqg_repro.reproduction.tasks import query_tasks

LATE = """\
  - {name: tokens, title: Tokens, late: decr-mini}
  - {name: again, title: Again, late: decr-mini, reranks: plain}
"""


@pytest.fixture(autouse=True)
def datasets() -> None:
    register()


def test_embeddings_take_two_encoders_and_late_interaction_a_single_one(tiny_untied: Path) -> None:
    benchmark = toy(TOY + LATE)
    check_plan(benchmark, [benchmark.condition("plain")], [], model=str(tiny_untied))
    for name in ("tokens", "again"):
        with pytest.raises(InputError, match=r"holds two encoders, one of questions .* a single .tied. one is needed"):
            check_plan(benchmark, [benchmark.condition(name)], [], model=str(tiny_untied))


def test_a_reranked_run_may_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    benchmark = toy(TOY + LATE)
    tasks = query_tasks(benchmark, benchmark.condition("again"), "toy/ar", "out")
    for task in tasks:
        output = Path(task.options["output"])
        output.parent.mkdir(parents=True, exist_ok=True)
        output.touch()
    assert "rerank" in {task.verb for task in tasks}
    check_plan(benchmark, [], tasks)
