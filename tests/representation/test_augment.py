from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import COUNT, LANGUAGES, Mini, contents, described_anew, killed, made_up, summed, together, write_queries
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xqg_repro.core.errors import InputError
from xqg_repro.core.shards import read_shards
from xqg_repro.core.stages import Manifest
from xqg_repro.models.encoder import TextEncoder
from xqg_repro.models.generator import PassageQueries
from xqg_repro.models.settings import EncoderConfig, Pooling
from xqg_repro.representation.augment import augment, augment_streaming, combine
from xqg_repro.representation.encode import encode, encoder_of
from xqg_repro.representation.settings import Aggregate, Augmentation
from xqg_repro.retrieval.index import build_index

stage = importlib.import_module("xqg_repro.representation.augment")  # the folder's name is the function


@pytest.fixture(scope="module")
def generated(mini_data: Mini) -> list[PassageQueries]:
    return made_up(docid for docid, *_ in mini_data.passages)


@pytest.fixture(scope="module")
def sums(generated: list[PassageQueries], config: EncoderConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sums for the same passages in the same order. Never to be written to."""
    return summed(generated, config, tmp_path_factory.mktemp("summed") / "sums")


@pytest.fixture(scope="module")
def vectors(generated: list[PassageQueries], config: EncoderConfig) -> np.ndarray:
    """Each query's embedding: (passages, languages, ranks, dimension)."""
    texts = [text for _, queries in generated for code in LANGUAGES for text in queries[code]]
    return TextEncoder(config, "cpu").encode_queries(texts).reshape(len(generated), len(LANGUAGES), COUNT, -1)


def shards_of(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if name != "manifest.json"}


# the equation

MATRIX = arrays(np.float32, (3, 4), elements=st.floats(-8, 8, width=32))
COUNTS = arrays(np.int64, 3, elements=st.integers(0, 35))
ALPHA = st.floats(0, 1)


@given(MATRIX, MATRIX, COUNTS, ALPHA)
def test_augmentation_is_linear_in_alpha(p: np.ndarray, q: np.ndarray, counts: np.ndarray, alpha: float) -> None:
    at = {a: combine(p, q, counts, Augmentation(a), normalize=False) for a in (0.0, alpha, 1.0)}
    np.testing.assert_allclose(at[alpha], (1 - alpha) * at[0.0] + alpha * at[1.0], atol=1e-5)
    assert at[alpha].dtype == np.float32
    np.testing.assert_array_equal(at[1.0], np.where(counts[:, None] > 0, q, p))


@given(MATRIX, MATRIX, COUNTS, ALPHA)
def test_mean_is_the_sum_over_the_number_of_queries(
    p: np.ndarray, q: np.ndarray, counts: np.ndarray, alpha: float
) -> None:
    with np.errstate(divide="raise", invalid="raise"):
        mean = combine(p, q * counts[:, None].astype(np.float32), counts, Augmentation(alpha, Aggregate.MEAN), False)
    np.testing.assert_allclose(mean, combine(p, q, counts, Augmentation(alpha), False), atol=1e-5)


@given(MATRIX, MATRIX, COUNTS, st.floats(0.01, 1))
def test_normalised_embeddings_have_length_one(p: np.ndarray, q: np.ndarray, counts: np.ndarray, alpha: float) -> None:
    plain = combine(p, q, counts, Augmentation(alpha), normalize=False)
    length = combine(p, q, counts, Augmentation(alpha), normalize=True)
    for before, after, number in zip(plain, length, counts, strict=True):
        norm = np.linalg.norm(before)
        np.testing.assert_allclose(after, before / norm if number and norm > 1e-18 else after, atol=1e-5)
        if not number:
            np.testing.assert_array_equal(after, before)
    assert np.isfinite(length).all()


def test_alpha_of_nought_leaves_vectors_as_they_are() -> None:
    p = np.array([[3.0, -0.0]], dtype=np.float32)
    q = np.array([[np.inf, 1.0]], dtype=np.float32)
    assert combine(p, q, np.array([2]), Augmentation(0.0), normalize=True).tobytes() == p.tobytes()


def test_equation_is_computed_in_float32() -> None:
    p, q, counts = np.full((1, 1), 1000.5, np.float16), np.full((1, 1), 0.01, np.float32), np.array([1])
    result = combine(p, q, counts, Augmentation(0.3), normalize=False)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, combine(p.astype(np.float32), q, counts, Augmentation(0.3), normalize=False))
    assert combine(p, q, counts, Augmentation(0.0), normalize=False).dtype == np.float32


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
        (Augmentation(1.0, languages=("fi",)), ([1], slice(None))),
    ],
)
def test_augmented_embeddings_are_the_references(
    embeddings: Path, sums: Path, vectors: np.ndarray, tmp_path: Path, how: Augmentation, of: tuple[Any, Any]
) -> None:
    manifest = augment(embeddings, sums, tmp_path / "a", how)
    (before, p), (docids, augmented) = together(embeddings), together(tmp_path / "a")
    expected = (1 - how.alpha) * p + how.alpha * vectors[:, of[0]][:, :, of[1]].sum((1, 2))
    assert docids == before
    assert augmented.dtype == np.float32
    np.testing.assert_allclose(augmented, expected, atol=1e-5)
    assert np.abs(augmented - p).max() > 0.1
    assert [len(ids) for ids, _ in read_shards(tmp_path / "a")] == [16, 16, 16, 12]
    assert manifest.counts == {"passages": 60, "dimension": 32, "missing": 0}


def test_mean_and_normalisation_are_what_the_settings_say(
    embeddings: Path, sums: Path, vectors: np.ndarray, tmp_path: Path
) -> None:
    how = Augmentation(0.4, Aggregate.MEAN, normalize=True)
    augment(embeddings, sums, tmp_path / "a", how)
    expected = 0.6 * together(embeddings)[1] + 0.4 * vectors.mean((1, 2))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(together(tmp_path / "a")[1], expected, atol=1e-5)


def test_result_is_normalised_as_the_encoder_does(
    mini_data: Mini, generated: list[PassageQueries], tiny_model: Path, tmp_path: Path
) -> None:
    config = EncoderConfig(str(tiny_model), normalize=True)
    encode(mini_data.docs, config, tmp_path / "e", device="cpu")
    folder = summed(generated, config, tmp_path / "s", per_language=False, every_rank=False)
    for normalize in (None, False):
        augment(tmp_path / "e", folder, tmp_path / str(normalize), Augmentation(0.1, normalize=normalize))
    lengths = {name: np.linalg.norm(together(tmp_path / name)[1], axis=1) for name in ("None", "False")}
    np.testing.assert_allclose(lengths["None"], 1, atol=1e-5)
    assert np.abs(lengths["False"] - 1).min() > 1e-3


@pytest.mark.parametrize("order", ["same", "another"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_alpha_of_nought_gives_the_bytes_of_the_passages(
    embeddings: Path,
    generated: list[PassageQueries],
    config: EncoderConfig,
    tmp_path: Path,
    order: str,
    dtype: str,
) -> None:
    source = shutil.copytree(embeddings, tmp_path / "e")
    for path in source.glob("*.npy"):
        np.save(path, np.load(path).astype(dtype))
    described_anew(source)
    folder = summed(generated if order == "same" else generated[::-1], config, tmp_path / "s")
    augment(source, folder, tmp_path / "a", Augmentation(0, normalize=True))
    assert shards_of(tmp_path / "a") == shards_of(source)
    augment(source, folder, tmp_path / "a", Augmentation(0.01))
    assert shards_of(tmp_path / "a") != shards_of(source)
    assert together(tmp_path / "a")[1].dtype == dtype


def test_order_of_the_sums_does_not_matter(
    embeddings: Path,
    sums: Path,
    generated: list[PassageQueries],
    config: EncoderConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    augment(embeddings, sums, tmp_path / "a", Augmentation(0.2))
    others = made_up(["x", "y"])
    mixed = summed([*others, *generated[40:], *generated[:40][::-1]], config, tmp_path / "mixed")
    longer = summed([*generated, *others], config, tmp_path / "longer")
    for folder, in_step in ((mixed, False), (longer, True)):
        seen: list[bool] = []
        original = stage._in_step
        monkeypatch.setattr(stage, "_in_step", lambda *a, f=original, seen=seen: seen.append(f(*a)) or seen[-1])
        augment(embeddings, folder, tmp_path / "b", Augmentation(0.2))
        monkeypatch.undo()
        assert seen == [in_step]
        np.testing.assert_allclose(together(tmp_path / "b")[1], together(tmp_path / "a")[1], atol=1e-6)


def test_passages_without_queries_are_refused_or_left_as_they_are(
    embeddings: Path, sums: Path, generated: list[PassageQueries], config: EncoderConfig, tmp_path: Path
) -> None:
    # 5 and 9 have no line, 7 has none but Finnish queries, 11 has one Russian query
    held = [passage for passage in generated if passage.docid not in ("5", "9")]
    few = {"7": {"fi": ("ban",)}, "11": {"ru": ("ban",)}}
    held = [PassageQueries(docid, few.get(docid, queries)) for docid, queries in held]
    folder = summed(held, config, tmp_path / "s", allow_missing=True)
    how = Augmentation(0.2, Aggregate.MEAN, languages=("ru", "te"))
    with pytest.raises(
        InputError, match=r"no queries for 3 of the passages, the first of which is 5 .*--allow-missing"
    ):
        augment(embeddings, folder, tmp_path / "a", how)
    assert not (tmp_path / "a").exists() and not (tmp_path / "a.partial").exists()
    assert augment(embeddings, folder, tmp_path / "a", how, allow_missing=True).counts["missing"] == 3
    augment(embeddings, sums, tmp_path / "whole", how)
    plain, augmented, whole = (together(path)[1] for path in (embeddings, tmp_path / "a", tmp_path / "whole"))
    left, partly = [4, 6, 8], 10
    np.testing.assert_array_equal(augmented[left], plain[left])
    ban = TextEncoder(config, "cpu").encode_queries(["ban"])[0]
    np.testing.assert_allclose(augmented[partly], 0.8 * plain[partly] + 0.2 * ban, atol=1e-5)
    rest = np.setdiff1d(np.arange(60), [*left, partly])
    np.testing.assert_allclose(augmented[rest], whole[rest], atol=1e-5)
    with pytest.raises(InputError, match="no queries for 3 of"):
        augment(embeddings, folder, tmp_path / "a", how)  # what was allowed once is not for ever


def test_passages_all_without_queries_can_be_left_as_they_are(
    embeddings: Path, config: EncoderConfig, tmp_path: Path
) -> None:
    # the first passage has a line, but no query in the language that is added
    folder = summed(made_up(["1"], ["fi"]), config, tmp_path / "s", allow_missing=True)
    how = Augmentation(0.5, languages=("ru",))
    manifest = augment(embeddings, folder, tmp_path / "a", how, allow_missing=True)
    assert manifest.counts["missing"] == 60
    assert shards_of(tmp_path / "a") == shards_of(embeddings)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"pooling": Pooling.MEAN}, "made with mean pooling, not normalised, but the embeddings use cls pooling, not"),
        ({"normalize": True}, "made with cls pooling, normalised, but the embeddings use cls pooling, not normalised"),
    ],
)
def test_sums_by_other_settings_are_refused(
    embeddings: Path, tiny_model: Path, tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    folder = summed(made_up(["1"]), EncoderConfig(str(tiny_model), **change), tmp_path / "s")
    with pytest.raises(InputError, match=problem) as caught:
        augment(embeddings, folder, tmp_path / "a", Augmentation(), allow_missing=True)
    assert caught.value.path == folder
    assert not (tmp_path / "a").exists()


def test_sums_by_another_model_are_refused(embeddings: Path, model_folder: Callable[..., Path], tmp_path: Path) -> None:
    other = model_folder("bert", seed=2)
    folder = summed(made_up(["1"]), EncoderConfig(str(other)), tmp_path / "s")
    with pytest.raises(InputError, match=rf"another model \({other}\) than the embeddings'"):
        augment(embeddings, folder, tmp_path / "a", Augmentation(), allow_missing=True)


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        (Augmentation(languages=("ko",)), "no sums of queries in 'ko'"),
        (Augmentation(queries=4), "sums of 3 queries a language, not 4"),
    ],
)
def test_augmentation_that_the_sums_cannot_give_is_refused(
    embeddings: Path, sums: Path, tmp_path: Path, how: Augmentation, problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        augment(embeddings, sums, tmp_path / "a", how)
    assert list(tmp_path.iterdir()) == []


def test_folders_of_other_stages_are_refused(embeddings: Path, sums: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is the output of encode, not query sums"):
        augment(embeddings, embeddings, tmp_path / "a", Augmentation())
    with pytest.raises(InputError, match="is the output of sum, not of encode"):
        augment(sums, sums, tmp_path / "a", Augmentation())
    augment(embeddings, sums, tmp_path / "a", Augmentation())
    with pytest.raises(InputError, match="is the output of augment, not of encode"):
        augment(tmp_path / "a", sums, tmp_path / "b", Augmentation())


def test_manifest_keeps_what_index_and_search_need(
    embeddings: Path, sums: Path, config: EncoderConfig, tmp_path: Path
) -> None:
    augment(embeddings, sums, tmp_path / "a", Augmentation(0.2, languages=("te", "ru")))
    build_index(tmp_path / "a", tmp_path / "i")
    source, index = Manifest.read(embeddings), Manifest.read(tmp_path / "i")
    assert encoder_of(index) == config
    assert index.inputs["model"] == source.inputs["model"]
    assert index.inputs["queries"] == Manifest.read(sums).inputs["queries"]
    expected = {"alpha": 0.2, "aggregate": "sum", "languages": ["ru", "te"], "queries": 3, "normalize": False}
    assert index.parameters["augmentation"] == expected


def test_settings_that_mean_the_same_reuse_the_folder(
    embeddings: Path, sums: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    same = [Augmentation(), Augmentation(queries=3), Augmentation(languages=("te", "fi", "ru"), normalize=False)]
    for how in [*same, Augmentation(0.02)]:
        augment(embeddings, sums, tmp_path / "a", how)
    there = f"augment: {tmp_path / 'a'} is up to date"
    assert caplog.messages[1:3] == [there, there]
    assert caplog.messages[3].endswith("is rebuilt (changed: augmentation)")


def test_augmentation_follows_its_sums(
    embeddings: Path,
    sums: Path,
    generated: list[PassageQueries],
    config: EncoderConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    augment(embeddings, sums, tmp_path / "a", Augmentation())
    changed = summed([*generated[:-1], *made_up(["60"], count=4)], config, tmp_path / "s", per_language=False)
    caplog.clear()
    augment(embeddings, changed, tmp_path / "a", Augmentation())
    assert "is rebuilt (changed: " in caplog.messages[0] and "sums" in caplog.messages[0]


def test_failed_run_goes_on_behind_its_last_whole_shard(
    embeddings: Path, sums: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    augment(embeddings, sums, tmp_path / "whole", Augmentation(0.2))
    done: list[int] = []

    def counting(p: np.ndarray, *rest: Any) -> np.ndarray:
        if len(done) == 2 and stop:
            raise KeyboardInterrupt
        done.append(len(p))
        return combine(p, *rest)

    monkeypatch.setattr(stage, "combine", counting)
    stop = True
    with pytest.raises(KeyboardInterrupt):
        augment(embeddings, sums, tmp_path / "a", Augmentation(0.2))
    assert not (tmp_path / "a").exists()
    stop = False
    augment(embeddings, sums, tmp_path / "a", Augmentation(0.2))
    assert done == [16, 16, 16, 12]
    assert contents(tmp_path / "a") == contents(tmp_path / "whole")


@pytest.mark.parametrize("free", [1000, 16 * 32 * 4 + 100])
def test_full_disk_ends_augment_with_nothing_half_written(
    embeddings: Path, sums: Path, tmp_path: Path, disk_of: Callable[[int], Any], free: int
) -> None:
    with disk_of(free), pytest.raises(InputError, match=r"00000\.npy: could not be written.*free some space"):
        augment(embeddings, sums, tmp_path / "a", Augmentation())
    assert {path.name for path in (tmp_path / "a.partial").iterdir()} == {".identity", "00000.docid"}
    assert not (tmp_path / "a").exists()


def test_damaged_embeddings_name_the_file(embeddings: Path, sums: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(embeddings, tmp_path / "e")
    (copy / "00001.docid").write_text("1\n")
    with pytest.raises(InputError, match="is not the file that its manifest describes") as caught:
        augment(copy, sums, tmp_path / "a", Augmentation())
    assert caught.value.path == copy / "00001.docid"
    with pytest.raises(InputError, match="has 1 docids for an array"):
        augment(described_anew(copy), sums, tmp_path / "a", Augmentation())


@pytest.mark.integration
def test_killed_stream_ends_with_the_bytes_of_an_undisturbed_one(
    generated: list[PassageQueries], mini_data: Mini, config: EncoderConfig, tmp_path: Path
) -> None:
    queries, passages = write_queries(generated, tmp_path / "queries.jsonl"), tmp_path / "passages"
    encode(mini_data.docs, config, passages, shard_size=1, device="cpu")
    program = (
        "from xqg_repro.representation.settings import Augmentation\n"
        "from xqg_repro.representation.augment import augment_streaming\n"
        f"augment_streaming({str(passages)!r}, {str(queries)!r}, {str(tmp_path / 'killed')!r},"
        f" Augmentation(0.1, languages={LANGUAGES}, queries={COUNT}), device='cpu')"
    )
    killed(program, tmp_path / "killed")
    how = Augmentation(0.1, languages=LANGUAGES, queries=COUNT)
    for output in ("killed", "whole"):
        augment_streaming(passages, queries, tmp_path / output, how, device="cpu")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert not (tmp_path / "killed.partial").exists()
