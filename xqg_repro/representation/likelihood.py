"""Scores of many questions under many passages, in shards, so that an interrupted scoring resumes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from xqg_repro.core.files import atomic_write
from xqg_repro.core.outputs import is_stream
from xqg_repro.core.shards import shard_path, split_shards
from xqg_repro.core.text import read_json
from xqg_repro.core.working import working_folder
from xqg_repro.models.scorer import AskedPassage, QuestionScorer
from xqg_repro.models.scorer_settings import ScorerConfig
from xqg_repro.representation.shards import WriteShard, write_shards

if TYPE_CHECKING:
    from tqdm import tqdm

SHARD_SIZE = 500
"""Prompts in a shard."""

_DECIMALS = 6
_SUFFIX = ".json"


@contextmanager
def score_in_shards(
    passages: Sequence[AskedPassage],
    config: ScorerConfig,
    output: Path,
    identity: str,
    *,
    tokens_per_batch: int | None = None,
    device: str | None = None,
    force: bool = False,
) -> Iterator[tuple[list[list[float]], Counter[str]]]:
    """The scores of each passage's questions, rounded to six decimals, and the numbers of truncated texts.

    Complete shards are in ``<output>.partial`` until the block ends without an error, so it should write the output.

    Args:
        passages: passages with questions; the model reads each prompt once.
        config: the generator.
        output: the file that is made from the scores.
        identity: what the output depends on; only an interrupted run of the same identity is resumed.
        tokens_per_batch, device: see :class:`~xqg_repro.models.scorer.QuestionScorer`, which also lists errors.
        force: resume only an interrupted run with ``force``.
    """
    with _folder(output, identity, force) as folder:
        shards = split_shards(passages, folder, SHARD_SIZE, _SUFFIX)
        work, total = ScoreWork(config, tokens_per_batch), len(passages)
        counts = write_shards(work, shards, "score", "prompts", total=total, device=device, distribute=None)
        paths = [shard_path(folder, number, _SUFFIX) for number in range(-(-total // SHARD_SIZE))]
        yield [own for path in paths for own in read_json(path)["scores"]], counts


@contextmanager
def _folder(output: Path, identity: str, force: bool) -> Iterator[Path]:
    """The folder of the shards, which is removed at the end; beside a stream, nothing can be resumed."""
    if is_stream(output):
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
        return
    with working_folder(output, identity, force) as folder:
        yield folder
        shutil.rmtree(folder)


@dataclass(frozen=True)
class ScoreWork:
    """Passages with questions → a shard of scores."""

    config: ScorerConfig
    tokens_per_batch: int | None
    per_item: ClassVar = 1

    def open(self, device: str | None, progress: tqdm) -> WriteShard[AskedPassage]:
        """Load the generator."""
        scorer = QuestionScorer(self.config, device, self.tokens_per_batch)

        def write(path: Path, shard: Sequence[AskedPassage]) -> Counter[str]:
            scored = scorer.score(shard, progress.update)
            rounded = [[round(score, _DECIMALS) for score in own] for own in scored.scores]
            with atomic_write(path) as file:
                json.dump(scored._replace(scores=rounded)._asdict(), file)
            return self.count(path, shard)

        return write

    def count(self, path: Path, shard: Sequence[AskedPassage]) -> Counter[str]:
        """The numbers of truncated texts in a complete shard."""
        scored = read_json(path)
        return Counter({name: scored[name] for name in ("cut_prompts", "cut_questions")})
