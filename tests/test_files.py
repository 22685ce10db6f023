import json
from pathlib import Path

import pytest

from datapruner.errors import PrunerError
from datapruner.files import read_json, whole_file, whole_folder, write_json


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def interrupted(path: Path) -> None:
    path.write_text("half")
    raise KeyboardInterrupt


def test_a_file_appears_whole_and_folders_are_made(tmp_path):
    with whole_file(tmp_path / "new" / "a.txt") as temporary:
        temporary.write_text("all")
        assert not (tmp_path / "new" / "a.txt").exists()
    assert (tmp_path / "new" / "a.txt").read_text() == "all"
    assert everything(tmp_path) == {"new", "new/a.txt"}


def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / "a.txt") as temporary:
        interrupted(temporary)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert everything(tmp_path) == {"a.txt"}


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path):
    for content in ("first", "second"):
        with whole_folder(tmp_path / "out") as temporary:
            (temporary / "sub").mkdir()
            (temporary / "sub" / content).write_text(content)
    assert everything(tmp_path) == {"out", "out/sub", "out/sub/second"}


def test_a_failure_keeps_the_old_folder_and_leaves_nothing(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "out") as temporary:
        interrupted(temporary / "half")
    assert everything(tmp_path) == {"out", "out/kept"}


def test_a_folder_that_cannot_be_renamed_brings_the_old_one_back(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").write_text("old")
    rename = Path.replace

    def refusing(self, target):
        if self.name.endswith(".partial"):
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", refusing)
    with pytest.raises(OSError, match="no"), whole_folder(tmp_path / "out"):
        pass
    assert everything(tmp_path) == {"out", "out/kept"}


def test_a_file_in_the_place_of_a_folder_and_the_reverse(tmp_path):
    (tmp_path / "a").write_text("mine")
    (tmp_path / "b").mkdir()
    with pytest.raises(PrunerError, match="a: is a file; give"), whole_folder(tmp_path / "a"):
        pass
    with pytest.raises(PrunerError, match="b: is a folder; give"), whole_file(tmp_path / "b"):
        pass
    with pytest.raises(PrunerError, match="cannot be made"), whole_file(tmp_path / "a" / "c"):
        pass
    assert everything(tmp_path) == {"a", "b"}
    assert (tmp_path / "a").read_text() == "mine"


def test_a_place_that_cannot_be_written_to_is_named_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(PrunerError, match="cannot be written to"), whole_file(tmp_path / "a"):
        raise AssertionError("the block ran")


def test_json_there_and_back(tmp_path):
    value = {"name": "Zoë", "rows": [1, 2.5, None, True]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}])
def test_what_is_not_json_is_refused_and_leaves_nothing(tmp_path, value):
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "a.json", {"x": value})
    assert everything(tmp_path) == set()


@pytest.mark.parametrize("content", [b"", b'{"x": ', b"\xff\xfe", json.dumps([1]).encode()[:-1]])
def test_damaged_json_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(PrunerError, match=r"a\.json: not readable as JSON .* write it again"):
        read_json(tmp_path / "a.json")


def test_missing_json_is_named(tmp_path):
    with pytest.raises(PrunerError, match=r"a\.json: no such file"):
        read_json(tmp_path / "a.json")
