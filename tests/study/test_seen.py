"""No model writes for an article that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from xqg_repro import cli
from xqg_repro.core.errors import InputError
from xqg_repro.core.stages import Manifest
from xqg_repro.models import seen as seen_module
from xqg_repro.models.reader import SEEN
from xqg_repro.models.seen import copy_seen
from xqg_repro.study.data import ParallelData, load_data
from xqg_repro.study.seen import check_writer, seen_articles

from .conftest import CODES
from .made import DOCIDS, write_generated, write_translated


@pytest.fixture(scope="module")
def xquad(shared_xquad: Path) -> ParallelData:
    return load_data(CODES)


def test_a_question_or_a_paragraph_is_enough_to_have_seen_an_article(xquad: ParallelData) -> None:
    assert seen_articles(["010.ar", "2-1", "4-0.th", "other", "99-0", ""], xquad) == {0, 2, 4}


@pytest.mark.parametrize("seen", [["300.th"], ["3-1.en"]])
@pytest.mark.parametrize("write", [write_generated, write_translated])
def test_a_planted_leak_stops_the_study(
    write: object,
    seen: Sequence[str],
    xquad: ParallelData,
    encoder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    half = [write(tmp_path / "0", DOCIDS[:6], seen=seen), write(tmp_path / "1", DOCIDS[6:], seen=["2-0"])]  # type: ignore[operator]
    option = "--generated" if write is write_generated else "--translated"
    command = ["study", "--encoder", str(encoder), "--pooling", "cls", "--languages", *CODES, "--device", "cpu"]
    command += [option, *map(str, half), "--output", str(tmp_path / "out")]
    for folder, docids in zip(half, (DOCIDS[:6], DOCIDS[6:]), strict=True):
        check_writer(folder, docids, xquad)
    # the second writer has seen an article that it wrote for
    leaking = write(tmp_path / "leak", DOCIDS[6:], seen=["2-0", *seen])  # type: ignore[operator]
    command[command.index(str(half[1]))] = str(leaking)
    assert cli.main(command) == 2
    assert (
        f"{leaking}: has texts for paragraph 3-0, but their writer was trained on article 3" in capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()


def test_the_writer_itself_is_asked_if_its_texts_do_not_list_what_it_saw(
    xquad: ParallelData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen_module, "resolve_model", Path)
    folder, model = write_generated(tmp_path / "queries"), tmp_path / "model"
    manifest = Manifest.read(folder)
    manifest.parameters["generator"]["model"] = str(model)
    manifest.write(folder)
    check_writer(folder, DOCIDS, xquad)  # the model is gone
    model.mkdir()
    check_writer(folder, DOCIDS, xquad)  # it lists nothing
    (model / SEEN).write_text("500.en\n")
    with pytest.raises(InputError, match="trained on article 5"):
        check_writer(folder, DOCIDS, xquad)
    check_writer(folder, DOCIDS[:-2], xquad)


def test_what_a_model_saw_is_copied_beside_its_texts(tmp_path: Path) -> None:
    for name in ("model", "texts"):
        (tmp_path / name).mkdir()
    copy_seen(tmp_path / "model", tmp_path / "texts")
    assert not (tmp_path / "texts" / SEEN).exists()
    (tmp_path / "model" / SEEN).write_text("500.en\n2-0\n")
    copy_seen(tmp_path / "model", tmp_path / "texts")
    assert (tmp_path / "texts" / SEEN).read_text() == "500.en\n2-0\n"
