from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xqg_repro.collection.files import DataFile


@pytest.fixture
def local(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., DataFile]:
    """``local(text)``: a data file with that content in ``$XQG_REPRO_DATA``."""

    def make(text: str | bytes, **kwargs: Any) -> DataFile:
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        (folder / "file").write_bytes(text if isinstance(text, bytes) else text.encode())
        monkeypatch.setenv("XQG_REPRO_DATA", str(folder))
        return DataFile("test", "file", "https://example.org/file", **kwargs)

    return make
