"""The benchmarks: the script, tried out with tiny sizes, and the arithmetic behind its page."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from conftest import REPOSITORY

from xqg_repro.core.errors import InputError

pytestmark = pytest.mark.integration  # half a minute

SCRIPTS = REPOSITORY / "scripts" / "bench"
TARGETS = 8


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
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
    """The script's modules by name; they are imported from their folder and forgotten again."""
    names = {path.stem for path in SCRIPTS.glob("*.py")}
    assert not names & set(sys.modules)
    sys.path.insert(0, str(SCRIPTS))
    try:
        yield {name: importlib.import_module(name) for name in sorted(names)}
    finally:
        sys.path.remove(str(SCRIPTS))
        for name in names:
            sys.modules.pop(name, None)


def table(page: str, heading: str, first: str) -> list[list[str]]:
    """Cells of the table below a heading whose first column has that title, without its header."""
    section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = section.split(f"\n| {first} |")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_sections(page: str) -> None:
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == [
        "Targets",
        "Encoding generated queries",
        "Augmenting one shard",
        "Disk for 18 million passages",
        "Generating queries",
    ]
    assert "these numbers mean nothing" in page


def test_names_machine_and_versions_but_no_places(page: str) -> None:
    for name in ("processor", "AVX-512 BF16", "memory", "xqg_repro", "torch", "transformers", "numpy", "faiss-cpu"):
        assert re.search(rf"^\| {name} \| \S.*\|$", page, re.MULTILINE), name
    assert not any(place in page for place in (str(REPOSITORY), "/tmp", "xqg-bench-"))


def test_every_target_has_a_verdict(page: str) -> None:
    targets = table(page, "Targets", "what")
    assert len(targets) == TARGETS
    assert {verdict for *_, verdict in targets} <= {"met", "**not met**"}


def test_ours_encodes_to_the_references_vectors(page: str) -> None:
    cosines = table(page, "Encoding generated queries", "encoder")
    assert all(float(cosine) >= 0.999 for _, *found, _ in cosines for cosine in found)
    assert all(float(least[1]) > 0.999999 for least in cosines)  # float32
    assert float(cosines[1][-1]) < 0.9  # a trained encoder tells texts apart


def test_ours_augments_to_the_references_vectors(page: str) -> None:
    (first, *_, none), *ours = table(page, "Augmenting one shard", "way")
    assert (first, none) == ("reference", "–")
    largest = {row[0]: float(row[-1]) for row in ours}
    assert len(largest) == 5
    assert all(value <= (1e-5 if name.endswith("float32") else 1e-2) for name, value in largest.items())


def test_formats_take_what_is_computed(page: str) -> None:
    rows = table(page, "Disk for 18 million passages", "files")
    assert len(rows) == 13
    for name, computed, measured, _ in rows:
        assert float(measured.replace(",", "")) == pytest.approx(float(computed.replace(",", "")), rel=0.005), name


def test_rates_have_a_ratio_to_the_reference(page: str) -> None:
    for heading, ways in (("Encoding generated queries", 5), ("Generating queries", 3)):
        rows = table(page, heading, "way")
        assert len(rows) == ways and rows[0][-1] == "1.00×"
        assert all(float(row[2].replace(",", "")) > 0 for row in rows)


def test_disk_need_of_the_whole_collection(modules: dict[str, ModuleType]) -> None:
    disk = modules["disk"]
    for count in (1, 9, 10, 99, 100, 1234):
        assert disk.mean_id_length(count) * count == pytest.approx(sum(len(str(n)) for n in range(1, count + 1)))
    length = disk.mean_id_length(disk.PASSAGES)
    sizes = disk.Formats(id_length=length).components()
    totals = {name: sum(sizes[part] for part in parts) * disk.PASSAGES for name, parts in disk.pipelines().items()}
    line, vector = length + 1, 768 * 2
    # passages, sums with their counts, augmented passages
    assert totals["sums of 5 ranks, float16"] == pytest.approx(disk.PASSAGES * (7 * vector + 5 * 2 + 3 * line))
    assert totals["sums of the last rank, float16"] == pytest.approx(disk.PASSAGES * (3 * vector + 2 + 3 * line))
    int8 = 768 * 2 + 4 * (768 + 4)
    assert totals["sums of 5 ranks, int8"] == pytest.approx(disk.PASSAGES * (2 * vector + int8 + 5 * 2 + 3 * line))
    assert totals["in one stream, float16"] == pytest.approx(disk.PASSAGES * 2 * (vector + line))
    assert totals["reference"] == pytest.approx(37 * disk.PASSAGES * (768 * 4 + length + 3))


def test_ratios_are_medians_over_rounds(modules: dict[str, ModuleType]) -> None:
    timing = modules["common"].Timing
    mine, theirs = timing(10, (1.0, 2.0, 6.0)), timing(5, (2.0, 3.0, 3.0))
    assert mine.rate == 5.0
    assert mine.against(theirs) == 3.0  # of 4, 3 and 1
    calls: list[str] = []
    ways = {name: (1, lambda name=name: calls.append(name)) for name in "ab"}
    assert len(modules["common"].interleaved(ways, 2)["a"].seconds) == 2
    assert calls == ["a", "b", "a", "b"]


@pytest.mark.integration
def test_scoring_agrees_with_the_official_way(modules: dict[str, ModuleType], shared: Path) -> None:
    scoring = modules["scoring"]
    ranked = scoring.rankings(shared / "data" / "xquad", questions=20, depth=15)
    texts = [text for question in ranked for text in question.texts]
    assert len(set(texts)) == len(texts) == 300
    hits = [scoring.official(question) for question in ranked]
    assert [scoring.ours(question) for question in ranked] == hits
    assert {tuple(hit) for hit in hits} == {(0, 0), (1, 1)}  # 15 passages are fewer than 2,000 tokens
    targets, rates = scoring.measure(ranked, sample=4, rounds=1)
    assert [target.wanted for target in targets] == ["at least 10×", "at least 50×"]
    assert rates.rows[0][2] == "1×"


def test_scoring_needs_enough_text(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no xquad"):
        modules["scoring"].rankings(tmp_path, questions=1, depth=1)
