"""Data sets by name and root."""

import gzip
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from datapruner.data import open_data
from datapruner.errors import PrunerError, UsageError
from datapruner.readers import named

SHARED = Path("../shared/data")


def idx(values):
    head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    return head + values.astype(np.uint8).tobytes()


def write_idx(root, kind="MNIST", n=4, labels=None, packed=True):
    raw = root / kind / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    pictures = np.arange(n * 28 * 28).reshape(n, 28, 28) % 256
    labels = np.arange(n) if labels is None else np.array(labels)
    for stem in ("train", "t10k"):
        for name, values in (("images-idx3", pictures), ("labels-idx1", labels)):
            content = idx(values)
            path = raw / f"{stem}-{name}-ubyte"
            if packed:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(content))
            else:
                path.write_bytes(content)
    return raw


@pytest.fixture
def pretend(monkeypatch):
    """Stand in for torchvision.datasets with the classes given."""

    def use(**classes):
        monkeypatch.setattr(named, "torchvision", lambda _: SimpleNamespace(**classes))

    return use


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("name", "kind"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_idx_files_are_read_packed_or_not(tmp_path, name, kind, packed):
    raw = write_idx(tmp_path, kind, packed=packed)
    before = sorted(raw.iterdir())
    data = open_data(f"{name}:{tmp_path}")
    assert (data.name, data.n, data.shape, data.num_classes) == (name, 4, (1, 28, 28), 10)
    assert data.labels.tolist() == [0, 1, 2, 3]
    assert data.x.flatten()[:300].tolist() == [i % 256 for i in range(300)]
    assert sorted(raw.iterdir()) == before


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("train-images-idx3-ubyte.gz", lambda raw: raw[:-100], "damaged or cut off"),
        ("train-images-idx3-ubyte.gz", lambda raw: b"nothing", "damaged or cut off"),
        ("train-images-idx3-ubyte.gz", lambda _: gzip.compress(b"x" * 9), "not an IDX file of 3"),
        (
            "train-labels-idx1-ubyte.gz",
            lambda _: gzip.compress(idx(np.arange(3))),
            "4 pictures but",
        ),
        ("train-labels-idx1-ubyte.gz", lambda _: gzip.compress(idx(np.arange(4))[:-1]), "holds 3"),
        ("train-labels-idx1-ubyte.gz", lambda _: gzip.compress(idx(np.full(4, 11))), "label 11"),
    ],
)
def test_damaged_idx_files_are_named(tmp_path, file, change, message):
    path = write_idx(tmp_path) / file
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(PrunerError, match=message) as caught:
        open_data(f"mnist:{tmp_path}")
    assert "MNIST/raw" in str(caught.value)


def test_what_is_not_there_says_how_to_fetch_it(tmp_path):
    with pytest.raises(PrunerError, match=r"mnist: not in .*MNIST/raw.*fetch it with --download"):
        open_data(f"mnist:{tmp_path}")
    with pytest.raises(PrunerError, match="imagenet: no folder .*/train; get the archives from"):
        open_data(f"imagenet:{tmp_path}")


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "svhn", "imagenet"])
def test_a_name_without_a_root_is_named(name):
    with pytest.raises(UsageError, match=rf"{name} needs the folder it lies in: {name}:ROOT"):
        open_data(name)


def test_mnist_is_fetched_only_when_told(tmp_path, pretend):
    pretend(MNIST=lambda root, *, download, train: write_idx(Path(root)) if download else None)
    with pytest.raises(PrunerError, match="--download"):
        open_data(f"mnist:{tmp_path}")
    assert open_data(f"mnist:{tmp_path}", "test", download=True).n == 4


def test_cifar_and_svhn_come_from_torchvision(tmp_path, pretend):
    pictures = np.arange(2 * 32 * 32 * 3, dtype=np.uint8).reshape(2, 32, 32, 3)
    calls = []

    def cifar(root, *, download, train):
        calls.append((root, download, train))
        return SimpleNamespace(data=pictures, targets=[1, 0], classes=["a", "b"])

    def svhn(root, *, download, split):
        calls.append((root, download, split))
        return SimpleNamespace(data=pictures.transpose(0, 3, 1, 2), labels=np.array([9, 0]))

    pretend(CIFAR10=cifar, CIFAR100=cifar, SVHN=svhn)
    first, second = open_data(f"cifar10:{tmp_path}"), open_data(f"svhn:{tmp_path}", "test")
    assert (first.classes, first.labels.tolist()) == (("a", "b"), [1, 0])
    assert first.x.equal(second.x)
    assert first.x.equal(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    assert second.num_classes == 10
    assert calls == [(str(tmp_path), False, True), (str(tmp_path), False, "test")]


def test_what_torchvision_says_becomes_one_line(tmp_path, pretend):
    def absent(root, **options):
        raise RuntimeError("Dataset not found or corrupted.\nYou can use download=True")

    pretend(CIFAR100=absent)
    with pytest.raises(PrunerError, match=r"cifar100: not in .*, or damaged there; .*--download"):
        open_data(f"cifar100:{tmp_path}")
    with pytest.raises(
        PrunerError, match="could not be fetched into .*check the network"
    ) as caught:
        open_data(f"cifar100:{tmp_path}", download=True)
    assert "\n" not in str(caught.value)


def test_cifar_as_torchvision_itself_reports_it_missing(tmp_path):
    with pytest.raises(PrunerError, match="cifar10: not in .*--download"):
        open_data(f"cifar10:{tmp_path}")


def test_imagenet_is_class_folders_with_words_for_names(tmp_path):
    for split in ("train", "val"):
        for folder in ("n01", "n02"):
            (tmp_path / split / folder).mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(tmp_path / split / folder / "a.JPEG")
    assert open_data(f"imagenet:{tmp_path}").classes == ("n01", "n02")
    torch.save(({"n01": ("tench", "Tinca tinca"), "n02": ("hen",)}, []), tmp_path / "meta.bin")
    data = open_data(f"imagenet:{tmp_path}", "test")
    assert (data.name, data.classes) == ("imagenet", ("tench, Tinca tinca", "hen"))


@pytest.mark.skipif(not SHARED.exists(), reason="needs the MNIST copy beside the project")
def test_the_mnist_copy():
    train, test = open_data(f"mnist:{SHARED}"), open_data(f"mnist:{SHARED}", "test")
    assert (train.n, test.n, train.shape) == (60_000, 10_000, (1, 28, 28))
    assert train.labels[:6].tolist() == [5, 0, 4, 1, 9, 2]
    assert test.labels[:4].tolist() == [7, 2, 1, 0]
