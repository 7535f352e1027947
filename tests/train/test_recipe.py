from __future__ import annotations

import pytest

from xqg_repro.core.errors import InputError
from xqg_repro.core.settings import resource
from xqg_repro.models.settings import Precision, load_generator, load_preset, load_reader
from xqg_repro.train.recipe import EncoderRecipe, GeneratorRecipe, ReaderRecipe, Recipe, load_recipe

RECIPES = sorted(path.stem for path in resource("recipes").glob("*.yaml"))


def kind_of(recipe: str) -> type[Recipe]:
    kinds = {"xqg": GeneratorRecipe, "reader": ReaderRecipe}
    return kinds.get(recipe.partition("-")[0], EncoderRecipe)


def test_an_unknown_recipe_names_the_others() -> None:
    with pytest.raises(InputError, match=r"'nope' .*xdr-mbert, xdr-mini"):
        load_recipe("nope")


@pytest.mark.parametrize(("name", "kind"), [("xqg-mini", EncoderRecipe), ("xdr-mini", GeneratorRecipe)])
def test_a_recipe_of_another_kind_of_model_is_refused(name: str, kind: type[Recipe]) -> None:
    with pytest.raises(InputError, match=r"is a recipe of train .*, not of train") as caught:
        load_recipe(name, kind)
    assert caught.value.path == resource("recipes", f"{name}.yaml")


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_model_is_used_as_its_recipe_trains_it(name: str) -> None:
    recipe = load_recipe(name, kind_of(name))
    assert recipe.name == name
    if name in ("xdr-xlmr", "zs-mbert"):
        assert isinstance(recipe, EncoderRecipe) and load_preset(name) == recipe.encoder(f"./models/{name}")
    if not name.endswith("-mini"):
        return
    if isinstance(recipe, EncoderRecipe):
        assert load_preset(name) == recipe.encoder(f"package:{name}")
    elif isinstance(recipe, ReaderRecipe):
        assert load_reader(name) == recipe.reader(f"package:{name}")
    else:
        assert isinstance(recipe, GeneratorRecipe)
        preset = load_generator(name)
        assert (preset.model, preset.prompt) == (f"package:{name}", recipe.prompt)
        assert preset.prompt_max_length == recipe.prompt_max_length


def test_the_papers_generator_is_trained_as_the_paper_does() -> None:
    recipe = load_recipe("xqg-mt5-base", GeneratorRecipe)
    assert recipe == GeneratorRecipe(
        name="xqg-mt5-base",
        data="gp_squad_train_data.json",
        model="google/mt5-base",
        steps=2000,
        batch_size=128 // recipe.accumulation,
        accumulation=recipe.accumulation,
        evaluation_steps=100,
        checkpoint_steps=recipe.checkpoint_steps,
        held_out=recipe.held_out,
        learning_rate=1e-4,
        precision=Precision.BFLOAT16,
    )
    assert recipe.batch_size * recipe.accumulation == 128 and 0 < recipe.held_out < 0.2
