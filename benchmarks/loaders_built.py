"""What `loaders.py` measures: the loaders as their own documentation builds them, and the data."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import datapruner as dp
from datapruner.augment import Normalise
from datapruner.ffcv import write_beton
from datapruner.vision import torchvision

BATCH = 256
WORKERS = 2
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
NORMALISE = Normalise(MEAN, STD)


class Pictures(Dataset[Any]):
    """Data as torchvision's own data sets give them: a PIL picture, transformed, and its label."""

    def __init__(self, data: dp.Data, transform: Any) -> None:
        self.data, self.transform = data, transform
        self.x = None if data.x is None else data.x.permute(0, 2, 3, 1).contiguous().numpy()

    def __len__(self) -> int:
        return self.data.n

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        picture = self.data.dataset[i][0] if self.x is None else Image.fromarray(self.x[i])
        return self.transform(picture.convert("RGB")), int(self.data.labels[i])


class Repeated(Dataset[Any]):
    """JPEG photographs from a class folder, `times` over."""

    def __init__(self, folder: Path, times: int) -> None:
        self.paths = sorted(folder.glob("*/*/*.JPEG")) * times
        names = sorted({p.parent.name for p in self.paths})
        self.targets = [names.index(p.parent.name) for p in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[Image.Image, int]:
        return Image.open(self.paths[i]).convert("RGB"), self.targets[i]


def ffcv_loader(beton: Path, indices: np.ndarray | None, photo: bool) -> Any:
    """Return an FFCV loader as its own documentation builds it: flip, crop, normalise."""
    from ffcv.fields.basics import IntDecoder
    from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder, SimpleRGBImageDecoder
    from ffcv.loader import OrderOption
    from ffcv.transforms import (
        NormalizeImage,
        RandomHorizontalFlip,
        RandomTranslate,
        Squeeze,
        ToTensor,
        ToTorchImage,
    )

    from datapruner.ffcv.epochs import quiet_loader

    first = (
        [RandomResizedCropRGBImageDecoder((224, 224)), RandomHorizontalFlip()]
        if photo
        else [SimpleRGBImageDecoder(), RandomHorizontalFlip(), RandomTranslate(4)]
    )
    norm = NormalizeImage(np.array(MEAN) * 255, np.array(STD) * 255, np.float32)
    return quiet_loader(
        str(beton),
        batch_size=BATCH,
        num_workers=WORKERS,
        order=OrderOption.RANDOM,
        indices=indices,
        drop_last=False,
        seed=0,
        pipelines={
            "image": [*first, norm, ToTensor(), ToTorchImage()],
            "label": [IntDecoder(), ToTensor(), Squeeze()],
            "index": None,
        },
    )


def torch_loader(data: dp.Data, photo: bool, workers: int) -> DataLoader[Any]:
    """Return a DataLoader with torchvision's transforms, as its own examples build it."""
    t = torchvision("transforms")
    crop = t.RandomResizedCrop(224) if photo else t.RandomCrop(32, padding=4)
    steps = [crop, t.RandomHorizontalFlip(), t.ToTensor(), t.Normalize(MEAN, STD)]
    return DataLoader(
        Pictures(data, t.Compose(steps)),
        batch_size=BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def cifar(root: Path, folder: Path) -> tuple[dp.Data, Path]:
    """Return the CIFAR-10 copy in memory, and as a raw .beton."""
    data, beton = dp.open_data(root / "cifar10-webp"), folder / "cifar.beton"
    if not beton.exists():
        print(f"written at {write_beton(data, beton).per_second:,.0f} images/s", file=sys.stderr)
    return data, beton


def photos(root: Path, folder: Path) -> tuple[dp.Data, Path]:
    """Return imagenette-mini, ten times over, and as a .beton of JPEGs."""
    data = dp.open_data(Repeated(root / "imagenette-mini", 10))
    beton = folder / "photos.beton"
    if not beton.exists():
        written = write_beton(data, beton, mode="jpg")
        print(f"written at {written.per_second:,.0f} images/s", file=sys.stderr)
    return data, beton
