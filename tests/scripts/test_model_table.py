from __future__ import annotations

import re
from typing import Any

import model_table
import pytest
from conftest import REPOSITORY, Mini

PAGE = (REPOSITORY / "docs" / "guides" / "add-a-model.md").read_text(encoding="utf-8")
QUICK = [verb for verb in model_table.VERBS if not verb.name.startswith("train")]


@pytest.mark.parametrize(
    "kind", ["BERT", "T5", "M2M100, NLLB", "GPT-2", "ViT", "sentence-transformers, another module", "Tevatron, pooler"]
)
def test_the_guides_table_says_what_happens(mini_data: Mini, kind: str) -> None:
    (cells,) = re.findall(rf"^\| {re.escape(kind)} \|(.*)\|$", PAGE, re.MULTILINE)
    shown: dict[str, Any] = dict(
        zip((verb.name for verb in model_table.VERBS), map(str.strip, cells.split("|")), strict=True)
    )
    messages = dict(re.findall(r"^(\d+)\. (.*)$", PAGE.partition("<!-- generated: models -->")[2], re.MULTILINE))
    expected = [messages.get(shown[verb.name].strip("()"), shown[verb.name]) for verb in QUICK]
    assert model_table.row(kind, QUICK) == expected
