from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import contents, described_anew, made_up, together, write_queries
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.generator import PassageQueries
from xqg_repro.models.settings import Pooling
from xqg_repro.representation.augment import align_shards, augment, augment_streaming, combine, resolve_augmentation
from xqg_repro.representation.encode import encoder_of
from xqg_repro.representation.settings import Aggregate, Augmentation
from xqg_repro.representation.sums import Layout, Sums, read_sums
from xqg_repro.retrieval.index import build_index

from .conftest import HOW, Few


def shards_of(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if name != "manifest.json"}


# the equation

MATRIX = arrays(np.float32, (3, 4), elements=st.floats(-8, 8, width=32))
COUNTS = arrays(np.int64, 3, elements=st.integers(0, 35))
SETTINGS = st.builds(Augmentation, st.floats(0, 1), st.sampled_from(Aggregate))


@settings(max_examples=50)
@given(MATRIX, MATRIX, COUNTS, SETTINGS)
def test_combine_is_the_papers_equation(p: np.ndarray, q: np.ndarray, counts: np.ndarray, how: Augmentation) -> None:
    with np.errstate(divide="raise", invalid="raise"):
        plain, normalised = (combine(p, q, counts, how, normalize) for normalize in (False, True))
    assert plain.dtype == normalised.dtype == np.float32
    for before, total, count, row, unit in zip(p, q, counts, plain, normalised, strict=True):
        if count == 0 or how.alpha == 0:
            np.testing.assert_array_equal([row, unit], [before, before])
            continue
        added = total / count if how.aggregate is Aggregate.MEAN else total
        np.testing.assert_allclose(row, (1 - how.alpha) * before + how.alpha * added, atol=1e-5)
        norm = np.linalg.norm(row)
        np.testing.assert_allclose(unit, row / norm if norm > 1e-18 else unit, atol=1e-5)
        assert np.isfinite(unit).all()


def test_the_equation_is_computed_in_float32_and_alpha_zero_changes_nothing() -> None:
    p, q, counts = np.full((1, 1), 1000.5, np.float16), np.full((1, 1), 0.01, np.float32), np.array([1])
    result = combine(p, q, counts, Augmentation(0.3), normalize=False)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, combine(p.astype(np.float32), q, counts, Augmentation(0.3), normalize=False))
    p, q = np.array([[3.0, -0.0]], dtype=np.float32), np.array([[np.inf, 1.0]], dtype=np.float32)
    assert combine(p, q, np.array([2]), Augmentation(0.0), normalize=True).tobytes() == p.tobytes()


@pytest.mark.parametrize("alpha", [-0.01, 1.01, float("nan")])
def test_alpha_outside_its_range_is_refused(alpha: float) -> None:
    with pytest.raises(InputError, match=r"α is .*between 0 and 1"):
        Augmentation(alpha)


# the stage


@pytest.mark.parametrize(
    ("how", "of"),
    [
        (Augmentation(), (slice(None), slice(None))),
        (Augmentation(0.3, queries=2), (slice(None), slice(2))),
        (Augmentation(0.3, languages=("te", "ru"), queries=1), ([0, 2], slice(1))),
        (Augmentation(0.4, Aggregate.MEAN, ("fi",), normalize=True), ([1], slice(None))),
    ],
)
def test_augmented_embeddings_are_the_references(few: Few, tmp_path: Path, how: Augmentation, of: Any) -> None:
    manifest = augment(few.output("encode"), few.output("sum"), tmp_path / "a", how)
    (before, p), (docids, augmented) = together(few.output("encode")), together(tmp_path / "a")
    queries = few.vectors[:, of[0]][:, :, of[1]]
    q = queries.mean((1, 2)) if how.aggregate is Aggregate.MEAN else queries.sum((1, 2))
    expected = (1 - how.alpha) * p + how.alpha * q
    if how.normalize:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert docids == before
    assert augmented.dtype == np.float32
    np.testing.assert_allclose(augmented, expected, atol=1e-5)
    assert np.abs(augmented - p).max() > 0.1
    assert manifest.counts == {"passages": 14, "dimension": 32, "missing": 0}


def test_sums_and_streaming_give_the_same_embeddings(few: Few) -> None:
    (docids, stored), (others, streamed) = (together(few.output(name)) for name in ("augment", "augment_streaming"))
    assert docids == others
    np.testing.assert_allclose(stored, streamed, atol=1e-5)


def test_the_encoder_determines_an_open_normalisation(few: Few) -> None:
    for normalize in (True, False):
        encoder = dataclasses.replace(few.config, normalize=normalize)
        assert resolve_augmentation(Augmentation(), Layout(), encoder).normalize is normalize
        assert resolve_augmentation(Augmentation(normalize=False), Layout(), encoder).normalize is False


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_alpha_zero_gives_the_bytes_of_the_passages(few: Few, tmp_path: Path, dtype: str) -> None:
    source = shutil.copytree(few.output("encode"), tmp_path / "e")
    for path in source.glob("*.npy"):
        np.save(path, np.load(path).astype(dtype))
    described_anew(source)
    augment(source, few.output("sum"), tmp_path / "a", Augmentation(0, normalize=True))
    assert shards_of(tmp_path / "a") == shards_of(source)
    augment(source, few.output("sum"), tmp_path / "a", Augmentation(0.01))
    assert shards_of(tmp_path / "a") != shards_of(source)
    assert together(tmp_path / "a")[1].dtype == dtype


# the order of passages and sums


def without_digest(folder: Path, copy: Path) -> Path:
    """A copy of a stage folder as older versions wrote it: its manifest has no digest of the docids."""
    shutil.copytree(folder, copy)
    dataclasses.replace(Manifest.read(copy), docids="").write(copy)
    return copy


@pytest.mark.parametrize(("old", "comparisons"), [("none", 0), ("encode", 1), ("sum", 1)])
def test_docids_are_compared_only_without_digests(
    few: Few, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, comparisons: int
) -> None:
    embeddings, sums = (
        without_digest(few.output(name), tmp_path / name) if name == old else few.output(name)
        for name in ("encode", "sum")
    )
    calls, docids = [], Sums.docids
    monkeypatch.setattr(Sums, "docids", lambda self: calls.append(self) or docids(self))
    shards = list(align_shards(embeddings, read_sums(sums), [0, 1, 2], 2, allow_missing=False))
    assert np.concatenate([places for *_, places in shards]).tolist() == list(range(14))
    assert len(calls) == comparisons


@pytest.mark.parametrize("digest", [True, False])
def test_order_of_the_sums_does_not_matter(few: Few, tmp_path: Path, digest: bool) -> None:
    others = made_up(["x", "y"])
    mixed = [*others, *few.generated[9:], *few.generated[:9][::-1]]
    for passages in (mixed, [*few.generated, *others]):
        few.sum(write_queries(passages, tmp_path / "q"), tmp_path / "s")
        sums = tmp_path / "s" if digest else without_digest(tmp_path / "s", tmp_path / f"{passages[0].docid}")
        augment(few.output("encode"), sums, tmp_path / "a", HOW)
        np.testing.assert_allclose(together(tmp_path / "a")[1], together(few.output("augment"))[1], atol=1e-6)


@pytest.mark.parametrize("lines", [True, False])
def test_passages_without_queries_are_refused_or_left_unchanged(few: Few, tmp_path: Path, lines: bool) -> None:
    # 5 and 9 have no queries, and perhaps no line; 7 has only Finnish queries; 11 has one Russian query
    missing: dict[str, Any] = {"5": {}, "9": {}, "7": {"fi": ("ban",)}, "11": {"ru": ("ban",)}}
    passages = [PassageQueries(docid, missing.get(docid, queries)) for docid, queries in few.generated]
    queries = write_queries([passage for passage in passages if lines or passage.queries], tmp_path / "q")
    few.sum(queries, tmp_path / "s", allow_missing=True)
    embeddings, how = few.output("encode"), Augmentation(0.2, Aggregate.MEAN, languages=("ru", "te"))
    assert augment(embeddings, tmp_path / "s", tmp_path / "a", how, allow_missing=True).counts["missing"] == 3
    augment(embeddings, few.output("sum"), tmp_path / "whole", how)
    plain, augmented, whole = (together(path)[1] for path in (embeddings, tmp_path / "a", tmp_path / "whole"))
    unchanged, partly = [4, 6, 8], 10
    np.testing.assert_array_equal(augmented[unchanged], plain[unchanged])
    ban = TextEncoder(few.config, "cpu").encode_queries(["ban"])[0]
    np.testing.assert_allclose(augmented[partly], 0.8 * plain[partly] + 0.2 * ban, atol=1e-5)
    rest = np.setdiff1d(np.arange(14), [*unchanged, partly])
    np.testing.assert_allclose(augmented[rest], whole[rest], atol=1e-5)
    with pytest.raises(InputError, match=r"no queries for 3 of the passages; the first is 5 .*--allow-missing"):
        augment(embeddings, tmp_path / "s", tmp_path / "a", how)  # permission once given does not last


# what is refused


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"pooling": Pooling.MEAN}, "mean pooling, not normalised, but the embeddings use cls pooling, not normalised"),
        ({"normalize": True}, "cls pooling, normalised, but the embeddings use cls pooling, not normalised"),
        ({"model": ""}, "another model"),
    ],
)
def test_sums_of_another_encoder_are_refused(
    few: Few, model_folder: Callable[..., Path], tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    if "model" in change:
        change = {"model": str(model_folder("bert", seed=2))}
    few.run("sum", tmp_path / "s", config=dataclasses.replace(few.config, **change))
    with pytest.raises(InputError, match=problem) as caught:
        augment(few.output("encode"), tmp_path / "s", tmp_path / "a", Augmentation(), allow_missing=True)
    assert caught.value.path == tmp_path / "s"
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("embeddings", "sums", "problem"),
    [
        ("encode", "encode", "is the output of encode, not of sum"),
        ("sum", "sum", "is the output of sum, not of encode"),
        ("augment", "sum", "is the output of augment, not of encode"),
    ],
)
def test_folders_of_other_stages_are_refused(
    few: Few, tmp_path: Path, embeddings: str, sums: str, problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        augment(few.output(embeddings), few.output(sums), tmp_path / "a", Augmentation())
    assert list(tmp_path.iterdir()) == []


def test_streaming_refuses_queries_in_another_order(few: Few, tmp_path: Path) -> None:
    swapped = [*few.generated[1::-1], *few.generated[2:]]
    for passages, problem in ((swapped, "passage 1, got 2"), (few.generated[:-1], "passage 14, got none")):
        queries = write_queries(passages, tmp_path / "queries.jsonl")
        with pytest.raises(InputError, match=f"expected queries for the {problem}.*xqg-repro sum") as caught:
            augment_streaming(few.output("encode"), queries, tmp_path / "a", HOW, device="cpu")
        assert caught.value.path == queries


# the manifest


def test_manifest_keeps_what_index_and_search_need(few: Few, tmp_path: Path) -> None:
    augment(few.output("encode"), few.output("sum"), tmp_path / "a", Augmentation(0.2, languages=("te", "ru")))
    build_index(tmp_path / "a", tmp_path / "i")
    source, index = Manifest.read(few.output("encode")), Manifest.read(tmp_path / "i")
    assert encoder_of(index) == few.config
    assert index.inputs["model"] == source.inputs["model"]
    assert index.inputs["queries"] == Manifest.read(few.output("sum")).inputs["queries"]
    expected = {"alpha": 0.2, "aggregate": "sum", "languages": ["ru", "te"], "queries": 3, "normalize": False}
    assert index.parameters["augmentation"] == expected


def test_equivalent_settings_reuse_the_folder_and_others_rebuild_it(
    few: Few, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    same = [Augmentation(), Augmentation(queries=3), Augmentation(languages=("te", "fi", "ru"), normalize=False)]
    for how in [*same, Augmentation(0.02)]:
        augment(few.output("encode"), few.output("sum"), tmp_path / "a", how)
    assert all(line.endswith("is up to date") for line in caplog.messages[1:3])
    assert caplog.messages[3].endswith("is rebuilt (changed: augmentation)")
    few.run("sum", tmp_path / "s", shard_size=5)
    augment(few.output("encode"), tmp_path / "s", tmp_path / "a", Augmentation(0.02))
    assert caplog.messages[-2].endswith("is rebuilt (changed: sums)")
