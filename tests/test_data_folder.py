"""Folders of class folders."""

import io
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datapruner.data import open_data
from datapruner.errors import PrunerError
from datapruner.readers import passes

IMAGENETTE = Path("../shared/data/imagenette-mini")


def save(path, size=(6, 5), mode="RGB", seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    values = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(values).save(path)
    return path


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two classes, two training pictures and one test picture each."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "animals"
    for k, path in enumerate(("dog/2.png", "dog/10.png", "cat/b.png", "cat/a.png")):
        save(root / "train" / path, seed=k)
    save(root / "val/cat/c.png")
    save(root / "val/dog/d.png")
    return root


def test_both_splits_in_the_order_of_names(root):
    train, test = open_data(root), open_data(root, "test")
    assert (train.name, train.classes, train.shape) == ("animals", ("cat", "dog"), (3, 5, 6))
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 0, 1, 1], [0, 1])
    expected = [np.asarray(Image.open(root / "train" / p)) for p in ("cat/a.png", "dog/10.png")]
    assert np.array_equal(train.x[0].permute(1, 2, 0).numpy(), expected[0])
    assert np.array_equal(train.x[2].permute(1, 2, 0).numpy(), expected[1])


def test_the_order_is_that_of_image_folder(root):
    from datapruner.vision import torchvision

    save(root / "train/cat/deeper/0.JPG")
    save(root / "train/cat/z.png")
    (root / "train/cat/notes.txt").write_text("no picture")
    theirs = torchvision("datasets").ImageFolder(root / "train")
    from datapruner.readers.folder import FolderPictures

    ours = FolderPictures(root / "train", ("cat", "dog"))
    assert [ours.where(i) for i in range(len(ours))] == [path for path, _ in theirs.samples]
    assert ours.labels.tolist() == theirs.targets


def test_labels_of_the_test_split_follow_the_names_of_the_training_split(root):
    shutil.rmtree(root / "val/cat")
    test = open_data(root, "test")
    assert (test.labels.tolist(), test.classes) == ([1], ("cat", "dog"))


def test_class_folders_alone_are_a_training_split(root):
    alone = root / "train"
    assert open_data(alone).n == 4
    with pytest.raises(PrunerError, match=r"no test split, looked for .*train/test, .*/val"):
        open_data(alone, "test")


def test_a_test_split_alone_is_no_training_split(root):
    shutil.rmtree(root / "train")
    with pytest.raises(PrunerError, match="no train split, looked for .*animals/train"):
        open_data(root)
    assert open_data(root, "test").classes == ("cat", "dog")


def test_fingerprint_does_not_depend_on_the_place(root, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(root, moved)
    here = open_data(root).fingerprint
    assert open_data(moved).fingerprint == here
    (moved / "train/cat/a.png").rename(moved / "train/cat/aa.png")
    renamed = open_data(moved).fingerprint
    assert renamed != here
    with (moved / "train/cat/b.png").open("ab") as handle:
        handle.write(b"more")
    assert open_data(moved).fingerprint not in (here, renamed)


def test_pictures_of_different_sizes_are_read_when_asked_for(root):
    save(root / "train/dog/large.png", size=(9, 9), mode="L")
    data = pickle.loads(pickle.dumps(open_data(root)))
    assert data.x is None
    picture, label = data.dataset[4]
    assert (picture.mode, picture.size, label) == ("RGB", (9, 9), 1)
    assert data.picture(0).size == (6, 5)


def test_what_does_not_decode_is_flagged_in_memory_and_read_one_by_one(root):
    path = root / "train/cat/b.png"
    path.write_bytes(path.read_bytes()[:-30])
    (root / "train/cat/link.png").symlink_to(root / "nowhere")
    data = open_data(root)
    assert data.x is not None
    assert data.readable.tolist() == [True, False, False, True, True]
    with pytest.raises(PrunerError, match="picture 1 does not decode"):
        data.picture(1)
    save(root / "train/dog/large.png", size=(9, 9))
    data = open_data(root)
    assert data.x is None
    assert data.readable.tolist() == [True, False, False, True, True, True]
    with pytest.raises(PrunerError, match=r"cat/b.png: picture 1 cannot be read"):
        data.dataset[1]
    with pytest.raises(PrunerError, match=r"2 of 6 pictures .* row 1 \(.*b.png: .*mend or remove"):
        open_data(root, strict=True)


def test_a_mended_picture_is_looked_at_again(root):
    path = save(root / "train/dog/large.png", size=(9, 9))
    whole = path.read_bytes()
    path.write_bytes(bytes(len(whole)))
    assert not open_data(root).readable[4]
    path.write_bytes(whole)  # same name, same size
    os.utime(path, ns=(1, 1))
    assert open_data(root).readable.all()


def test_a_jpeg_that_is_cut_off_does_not_count_as_readable(root, monkeypatch):
    monkeypatch.setattr(passes, "MEMORY_LIMIT", 0)
    path = save(root / "train/cat/0.jpg", size=(64, 64))
    assert open_data(root).readable.all()
    path.write_bytes(path.read_bytes()[:-20])
    assert open_data(root).readable.tolist() == [False, True, True, True, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "train/owl").mkdir(), "train/owl: a class folder without pictures"),
        (lambda root: shutil.rmtree(root / "train" / "dog") or (root / "train/dog").mkdir(),
         "train/dog: a class folder without pictures"),
        (lambda root: [shutil.rmtree(root / "train" / c) for c in ("cat", "dog")],
         "train: holds no class folders"),
    ],
)  # fmt: skip
def test_what_is_empty_is_named(root, change, message):
    change(root)
    with pytest.raises(PrunerError, match=message):
        open_data(root)


def test_a_test_class_that_training_has_not_is_named(root):
    save(root / "val/owl/a.png")
    with pytest.raises(PrunerError, match="val/owl: the training set has no class of this name"):
        open_data(root, "test")


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(PrunerError, match="holds no class folders"):
        open_data(tmp_path)


@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_picture_becomes_grey_or_rgb(tmp_path, mode):
    from datapruner.readers.decode import decode

    values = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    picture = Image.fromarray(values)
    if mode == "I;16":
        picture = Image.fromarray(values.astype(np.uint16) * 256)
    elif mode != "L":
        picture = picture.convert("RGB").convert(mode)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    picture.save(path, **({"transparency": b"\1\2\3"} if mode == "P" else {}))
    found = decode(path.read_bytes())
    assert found.mode == ("L" if mode in ("1", "LA", "I;16") else "RGB")
    if mode == "I;16":
        assert np.array_equal(np.asarray(found), values)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_short_cut_for_webp_is_taken_and_gives_the_same_pixels(mode):
    from datapruner.readers.decode import _webp, decode

    values = np.random.default_rng(0).integers(0, 256, (7, 9, len(mode)), np.uint8)
    out = io.BytesIO()
    Image.fromarray(values).save(out, "WEBP")
    assert np.array_equal(_webp(out.getvalue()), np.asarray(decode(out.getvalue())))
    assert _webp(out.getvalue()[:-9]) is None


@pytest.mark.skipif(not IMAGENETTE.exists(), reason="needs the Imagenette copy beside the project")
def test_the_imagenette_copy():
    train, test = open_data(IMAGENETTE, strict=True), open_data(IMAGENETTE, "test", strict=True)
    assert (train.n, test.n, train.shape) == (200, 80, (3, 224, 224))
    assert train.classes == test.classes
    assert (train.classes[0], train.num_classes) == ("n01440764", 10)
