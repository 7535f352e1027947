"""Late interaction on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Mini, contents

from retrieval.conftest import same
from xqg_repro import cli
from xqg_repro.models.late_settings import LateConfig
from xqg_repro.retrieval.late_search import search_late
from xqg_repro.retrieval.runfile import read_run


def test_commands_index_search_and_rerank(
    mini_data: Mini, late: LateConfig, late_index: Path, tmp_path: Path, dense_run: Path
) -> None:
    settings = f"--encoder {late.model} --query-max-length 16 --passage-max-length 60 --device cpu"
    built = tmp_path / "index"
    line = f"index --late --collection {mini_data.docs} --output {built} --shard-size 25 {settings}"
    assert cli.main(line.split()) == 0
    assert contents(built) == contents(late_index)
    assert (
        cli.main(f"search --index {built} --topics {mini_data.topics} --output {tmp_path}/run.txt --depth 5".split())
        == 0
    )
    search_late(late_index, mini_data.topics, tmp_path / "expected.txt", depth=5)
    assert (tmp_path / "run.txt").read_bytes() == (tmp_path / "expected.txt").read_bytes()
    rerank = f"rerank late --run {dense_run} --topics {mini_data.topics} --output {tmp_path}"
    assert cli.main(f"{rerank}/stored.txt --index {built} --encoder {late.model} --device cpu".split()) == 0
    assert cli.main(f"{rerank}/computed.txt {settings}".split()) == 0
    same(read_run(tmp_path / "stored.txt"), read_run(tmp_path / "computed.txt"))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("index --late --output o --encoder m", "--late needs passages to index"),
        ("index --late --collection xor-mini --output o", "--late needs a model"),
        ("index --late --collection xor-mini --output o --encoder m --factory Flat", "--factory has no effect"),
        ("index --late --collection xor-mini --output o --encoder m --analyzer en", "--analyzer has no effect"),
        ("index --sparse --collection xor-mini --output o --encoder m", "no effect without --late"),
        ("index --sparse --collection xor-mini --output o --dtype float16", "--dtype has no effect without --late"),
        ("index --embeddings {index} --output o --device cpu", "--device has no effect without --late"),
        ("search --index {index} --topics t --output o --k1 1", "--k1 has no effect on a late-interaction index"),
        ("search --index {index} --topics t --output o --pooling cls", "knows its encoder's settings"),
        (
            "rerank late --run {run} --index {index} --topics t --output o --query-max-length 9",
            "knows its encoder's settings",
        ),
        ("rerank late --run {run} --topics t --output o", "name either a late-interaction index or an encoder"),
    ],
)
def test_options_without_effect_are_refused(
    late_index: Path, dense_run: Path, capsys: pytest.CaptureFixture[str], line: str, problem: str
) -> None:
    assert cli.main(line.format(index=late_index, run=dense_run).split()) == 2
    assert problem in capsys.readouterr().err
    assert not Path("o").exists()
