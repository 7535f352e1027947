from __future__ import annotations

from xqg_repro.core.settings import read_yaml, resource
from xqg_repro.models.generator import check_generator
from xqg_repro.models.settings import load_generator
from xqg_repro.reproduction.needs import needs_table, preset_needs


def test_every_listed_model_belongs_to_a_preset_that_can_be_used() -> None:
    presets = tuple(preset_needs(lambda model: f"state of {model}"))
    assert {preset.model for preset in presets} == {*read_yaml(resource("needs.yaml"))}
    for preset in presets:
        config = load_generator(preset.preset)
        check_generator(config)
        assert config.prompt_max_length + config.query_max_length <= 512  # Gemma's window of attention
        assert config.prompt.index("{language}") > config.prompt.index("{text}")
        assert config.chat == ("gemma-3-270m" not in preset.preset)
    text = needs_table(presets).text()
    assert all(f"state of {preset.model}" in text for preset in presets)
    assert "accept the Gemma licence" in text
