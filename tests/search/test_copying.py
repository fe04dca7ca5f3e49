"""Copies are the same byte by byte, take no more room, and share only what never changes."""

from pathlib import Path

import pytest

from diptych.search.copying import copy_folder, link_folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "deep" / "empty").mkdir(parents=True)
    (folder / "small").write_bytes(b"few")
    (folder / "none").write_bytes(b"")
    with (folder / "deep" / "holes").open("wb") as file:
        file.seek(5 * 2**20)
        file.write(b"middle" * 1000)
        file.truncate(32 * 2**20)
    return folder


@pytest.mark.parametrize("copy", [copy_folder, link_folder])
def test_copies_are_the_same(source: Path, tmp_path: Path, copy: object) -> None:
    assert callable(copy)
    copy(source, tmp_path / "copy")
    for path in source.rglob("*"):
        place = tmp_path / "copy" / path.relative_to(source)
        assert place.is_dir() if path.is_dir() else place.read_bytes() == path.read_bytes()
    assert (tmp_path / "copy" / "deep" / "holes").stat().st_blocks * 512 < 2**20, "holes stay holes"
    assert (tmp_path / "copy" / "small").stat().st_nlink == 1
    assert (tmp_path / "copy" / "deep" / "holes").stat().st_nlink == (1 if copy is copy_folder else 2)
