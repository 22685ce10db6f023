"""The small student of the CIFAR-10 part of benchmarks/distillation.py."""

from torch import nn

from datapruner.networks import resnet


def half(num_classes: int, shape: tuple[int, ...]) -> nn.Module:
    """Build resnet8 with half its channels: 8, 16 and 32."""
    return resnet(num_classes, shape, blocks=(1, 1, 1), width=8)
