"""Write the machine-made texts of the study on XQuAD: per half, trim and train a language model, then let it write.

Each step is a command of ``xqg-repro``, which is printed and which resumes where it was interrupted. ``pack_texts.py``
packs what this writes. Run in a checkout's root; ``--dry-run`` prints the commands alone.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from xqg_repro.core.languages import LANGUAGE_NAMES
from xqg_repro.core.streams import exit_status
from xqg_repro.study.settings import load_study
from xqg_repro.train.recipe import CausalRecipe, load_recipe

FOLDS = 2
PROMPTS = "prompts.txt"
"""File in the output folder: what the prompts say in each language, so that trimming keeps its tokens."""


def commands(args: argparse.Namespace) -> Iterator[str]:
    """The commands of one fold, in order, without ``xqg-repro``."""
    recipe, languages = load_recipe(args.recipe, CausalRecipe), load_study().languages
    names, others = " ".join(languages), " ".join(code for code in languages if code != "en")
    halves, out = args.output / "halves", args.output
    yield f"train folds --languages {names} --folds {FOLDS} --parallel --output {halves}"
    data = {name: halves / f"{name}.{args.fold}.json" for name in ("train", "held-out")}
    sentences = {name: halves / f"parallel.{name}.{args.fold}.jsonl" for name in ("train", "held-out")}
    passages = halves / f"passages.{args.fold}.jsonl"
    model = args.model
    if args.first:
        model = out / f"trimmed.{args.fold}"
        texts = f"{data['train']} {sentences['train']} {passages} {out / PROMPTS}"
        yield (
            f"train trim --model {args.model} --texts {texts} --first {args.first} --languages {names} --output {model}"
        )
    generator = out / f"generator.{args.fold}"
    yield (
        f"train xqg --recipe {args.recipe} --model {model} --precision {args.precision} "
        f"--data {data['train']} --held-out-data {data['held-out']} --translations {sentences['train']} "
        f"--held-out-translations {sentences['held-out']} --output {generator}"
        + (f" --steps {args.steps}" if args.steps else "")
    )
    yield (
        f"generate --collection {passages} --generator {generator} --languages {names} --queries {args.queries} "
        f"--prompt {shlex.quote(recipe.prompt)} --precision int8 --output {out / f'generated.{args.fold}'}"
    )
    yield (
        f"translate --collection {passages} --translator {generator} --languages {others} "
        f"--prompt {shlex.quote(recipe.translation_prompt)} --precision int8 --output {out / f'translated.{args.fold}'}"
    )
    yield f"encode --collection xquad/en --encoder {args.encoder} --preset e5-small --output {out / 'embeddings'}"
    yield (
        f"filter --queries {out / f'generated.{args.fold}'} --embeddings {out / 'embeddings'} --keep {args.keep} "
        f"--output {out / f'filtered.{args.fold}'}"
    )


def write_prompts(path: Path) -> None:
    """Write what the prompts say in each language of the study."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [LANGUAGE_NAMES[code] for code in load_study().languages]
    path.write_text("".join(f"Question in {name}:\nIn {name}:\n" for name in names), encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    """The script's options."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", required=True, help="folder or Hugging Face id of the language model")
    options.add_argument("--encoder", required=True, help="multilingual-e5-small, which the filter uses")
    options.add_argument("--fold", type=int, choices=range(FOLDS), required=True, help="half that the model writes for")
    options.add_argument("--recipe", default="xqg-gemma3-270m-xquad", help="default: %(default)s")
    options.add_argument("--steps", type=int, help="instead of the recipe's")
    options.add_argument("--precision", default="float32", help="of the training (default: %(default)s)")
    options.add_argument(
        "--first", type=int, default=10_000, help="of train trim; 0: no trimming (default: %(default)s)"
    )
    options.add_argument("--queries", type=int, default=5, help="per language (default: %(default)s)")
    options.add_argument("--keep", type=int, default=3, help="of the filter (default: %(default)s)")
    options.add_argument("--output", type=Path, default=Path("out/machine"), help="default: %(default)s")
    options.add_argument("--dry-run", action="store_true", help="print the commands")
    return options


def main() -> None:
    """Run or print the commands of a fold."""
    args = parser().parse_args()
    if not args.dry_run:
        write_prompts(args.output / PROMPTS)
    for command in commands(args):
        print(f"$ xqg-repro {command}", flush=True)
        if not args.dry_run:
            subprocess.run([sys.executable, "-m", "xqg_repro", *shlex.split(command)], check=True)


if __name__ == "__main__":
    sys.exit(exit_status(main))
