"""The benchmarks: the script with tiny sizes, and the arithmetic behind its page."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import REPOSITORY, SHARED

from xqg_repro.core.errors import InputError

SCRIPTS = REPOSITORY / "scripts" / "bench"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a quick run."""
    path = tmp_path_factory.mktemp("bench") / "benchmarks.md"
    command = [sys.executable, str(SCRIPTS / "bench.py"), "--quick", "--output", str(path)]
    environment = {**os.environ, "TMPDIR": str(path.parent)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout == path.read_text(encoding="utf-8") + "\n"
    assert not list(path.parent.glob("xqg-bench-*"))  # the temporary files are gone
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """The script's modules by name, importable during these tests only."""
    names = {path.stem for path in SCRIPTS.glob("*.py")}
    assert not names & set(sys.modules)
    sys.path.insert(0, str(SCRIPTS))
    try:
        yield {name: importlib.import_module(name) for name in sorted(names)}
    finally:
        sys.path.remove(str(SCRIPTS))
        for name in names:
            sys.modules.pop(name, None)


def read_table(page: str, heading: str, first: str) -> list[list[str]]:
    """Cells of the table below a heading whose first column has this title, without its header."""
    section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = section.split(f"\n| {first} |")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@pytest.mark.integration
def test_the_page_names_the_machine_and_has_all_verdicts(page: str) -> None:
    assert "these numbers mean nothing" in page
    for name in ("processor", "AVX-512 BF16", "memory", "xqg_repro", "torch", "transformers", "numpy", "faiss-cpu"):
        assert re.search(rf"^\| {name} \| \S.*\|$", page, re.MULTILINE), name
    assert not any(place in page for place in (str(REPOSITORY), "/tmp", "xqg-bench-"))
    targets = read_table(page, "Targets", "what")
    assert len(targets) == 12 + (3 if SHARED.is_dir() else 0)
    assert {verdict for *_, verdict in targets} <= {"met", "**not met**"}


@pytest.mark.integration
def test_both_ways_give_the_same_vectors(page: str) -> None:
    timed, trained = read_table(page, "Encoding generated queries", "encoder")
    for _, float32, bfloat16, _ in (timed, trained):
        assert float(float32) > 0.999999 and float(bfloat16) >= 0.999
    assert float(trained[-1]) < 0.9  # texts differ for a trained encoder
    (reference, *_, none), *ours = read_table(page, "Augmenting one shard", "way")
    assert (reference, none, len(ours)) == ("reference", "–", 5)
    assert all(float(row[-1]) <= (1e-5 if row[0].endswith("float32") else 1e-2) for row in ours)


@pytest.mark.integration
def test_files_have_the_computed_sizes_and_rates_are_relative_to_the_reference(page: str) -> None:
    rows = read_table(page, "Disk for 18 million passages", "files")
    assert len(rows) == 13
    for name, computed, measured, _ in rows:
        assert float(measured.replace(",", "")) == pytest.approx(float(computed.replace(",", "")), rel=0.005), name
    for heading, ways in (("Encoding generated queries", 5), ("Generating queries", 12)):
        rows = read_table(page, heading, "way")
        assert len(rows) == ways and rows[0][-1] == "1.00×"
        assert all(float(row[2].replace(",", "")) > 0 for row in rows)


@pytest.mark.integration
def test_int8_vectors_and_rankings_are_close_to_those_of_float32(page: str, shared: Path) -> None:
    (reference, *_, one), *ours = read_table(page, "Encoding real texts", "way")
    assert (reference, float(one), len(ours)) == ("sentence-transformers, float32", 1, 4)
    for name, *_, cosine in ours:
        assert float(cosine) >= (0.9999 if name.endswith("float32") else 0.99)
    rows = read_table(page, "Quality of int8 encoding", "condition")
    assert [row[:2] for row in rows] == [["xdr-mini-xqg", f"xor-mini/{split}"] for split in ("dev", "held-out")]
    for *_, float32, mixed, quantised, first, second in rows:
        assert 0 < float(float32) < 2  # two passages answer few questions
        assert float(mixed) - float(float32) == pytest.approx(float(first), abs=0.011)
        assert float(quantised) - float(float32) == pytest.approx(float(second), abs=0.011)


@pytest.mark.integration
def test_the_time_of_a_reproduction_is_the_sum_of_its_stages(modules: dict[str, ModuleType]) -> None:
    target, table = modules["stages"].measure(["zs-mini"])
    assert target.met
    assert {row[0] for row in table.rows[:-2]} == {"encode", "index", "search", "evaluate", "read"}
    *rows, (_, _, total, *_) = table.rows
    assert sum(float(row[2]) for row in rows) == pytest.approx(float(total), abs=0.5)
    assert all(float(row[3]) <= float(row[2]) for row in rows[:-1])


def test_disk_space_for_the_whole_collection(modules: dict[str, ModuleType]) -> None:
    disk = modules["disk"]
    for count in (1, 9, 10, 1234):
        assert disk.mean_id_length(count) * count == pytest.approx(sum(len(str(n)) for n in range(1, count + 1)))
    length = disk.mean_id_length(disk.PASSAGES)
    sizes = disk.Formats(id_length=length).components()
    totals = {name: sum(sizes[part] for part in parts) for name, parts in disk.pipelines().items()}
    line, vector = length + 1, 768 * 2
    # passages, sums with their counts, augmented passages
    assert totals["sums of 5 ranks, float16"] == pytest.approx(7 * vector + 5 * 2 + 3 * line)
    assert totals["sums of the last rank, float16"] == pytest.approx(3 * vector + 2 + 3 * line)
    int8 = 768 * 2 + 4 * (768 + 4)
    assert totals["sums of 5 ranks, int8"] == pytest.approx(2 * vector + int8 + 5 * 2 + 3 * line)
    assert totals["in one stream, float16"] == pytest.approx(2 * (vector + line))
    assert totals["reference"] == pytest.approx(37 * (768 * 4 + length + 3))


def test_ratios_are_medians_over_rounds(modules: dict[str, ModuleType]) -> None:
    timing = modules["common"].Timing
    mine, theirs = timing(10, (1.0, 2.0, 6.0)), timing(5, (2.0, 3.0, 3.0))
    assert (mine.rate, mine.ratio_to(theirs)) == (5.0, 3.0)  # of 4, 3 and 1
    calls: list[str] = []
    ways = {name: (1, lambda name=name: calls.append(name)) for name in "ab"}
    assert len(modules["common"].time_in_turns(ways, 2)["a"].seconds) == 2
    assert calls == ["a", "b", "a", "b"]


@pytest.mark.integration
def test_both_ways_of_searching_agree(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    exact = modules["exact"]
    section = exact.measure(tmp_path, exact.QUICK, 2, "cpu")
    assert [target.target for target in section.targets] == ["at least 1×", "under 4 GB", "under 15 minutes"]
    flat, ours = (
        exact.run_in_child(way, tmp_path, exact.QUICK, "cpu") for way in (exact.search_flat, exact.search_streamed)
    )
    assert ours.positions.shape == flat.positions.shape == (20, 10)
    assert exact.largest_difference(ours, flat, exact.QUICK.flat) < 1e-4
    assert (np.sort(ours.positions) != np.sort(flat.positions)).any()  # as FAISS has the first 2,000 only


@pytest.mark.integration
def test_growth_is_measured_for_every_stage(tmp_path: Path) -> None:
    path = tmp_path / "growth.md"
    command = [sys.executable, str(SCRIPTS / "growth.py"), "--quick", "--output", str(path)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr
    text = path.read_text(encoding="utf-8")
    assert result.stdout == text + "\n" and "these numbers mean nothing" in text
    stages = ["encode", "sum", "augment", "search", "evaluate"]
    for heading in ("Time", "Memory"):
        rows = read_table(text, heading, "stage")
        assert [row[0] for row in rows] == stages
        assert all(float(cell.replace(",", "")) >= 0 for row in rows for cell in row[1:3])
    svg = (tmp_path / "images" / "growth.svg").read_text(encoding="utf-8")
    assert all(f">{stage}<" in svg for stage in stages)
    assert not list(tmp_path.glob("xqg-bench-*"))  # the temporary files are gone


def test_slopes_of_growth(modules: dict[str, ModuleType]) -> None:
    slope = modules["growth"].slope
    assert slope([10, 100, 1000], [3, 30, 300]) == pytest.approx(1)
    assert slope([10, 100], [5, 5]) == pytest.approx(0)
    assert slope([10, 100], [2, 200]) == pytest.approx(2)


@pytest.mark.integration
def test_both_ways_of_scoring_agree(modules: dict[str, ModuleType], shared: Path, tmp_path: Path) -> None:
    scoring = modules["scoring"]
    rankings = scoring.make_rankings(shared / "data" / "xquad", questions=20, depth=15)
    texts = [text for ranking in rankings for text in ranking.texts]
    assert len(set(texts)) == len(texts) == 300
    hits = [scoring.official(ranking) for ranking in rankings]
    assert [scoring.ours(ranking) for ranking in rankings] == hits
    assert {tuple(hit) for hit in hits} == {(0, 0), (1, 1)}  # 15 passages have fewer than 2,000 tokens
    targets, rates = scoring.measure(rankings, sample=4, rounds=1)
    assert [target.target for target in targets] == ["at least 10×", "at least 50×"]
    assert rates.rows[0][2] == "1×"
    with pytest.raises(InputError, match="has no xquad"):
        scoring.make_rankings(tmp_path, questions=1, depth=1)


def test_the_costs_follow_from_the_rates(modules: dict[str, ModuleType]) -> None:
    settings = {"passages": 7_200, "languages": 2, "queries": 5, "dimension": 768, "query_bytes": 100, "devices": 4}
    table = modules["cost"].cost(argparse.Namespace(generate=10, sum=20, encode=1, **settings))
    assert [row[1:5] for row in table.rows[:3]] == [
        ("72,000 queries", "10", "2.0", "0.5"),
        ("72,000 queries", "20", "1.0", "0.2"),
        ("7,200 passages", "1", "2.0", "0.5"),
    ]
