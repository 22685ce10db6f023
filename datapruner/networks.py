"""The few small networks that benchmarks use."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from .errors import UsageError

Shape = tuple[int, ...]


def mlp(num_classes: int, shape: Shape) -> nn.Module:
    """Build LeNet-300-100: two hidden layers of 300 and 100 units on the flattened example.

    Source: LeCun, Bottou, Bengio, Haffner 1998. Takes any shape: pictures or rows of features, as
    floats.

    Example:
        >>> parameter_count(mlp(10, (1, 28, 28)))
        266610
    """
    model = _named(
        flatten=nn.Flatten(),
        fc1=nn.Linear(torch.Size(shape).numel(), 300),
        relu1=nn.ReLU(inplace=True),
        fc2=nn.Linear(300, 100),
        relu2=nn.ReLU(inplace=True),
        fc3=nn.Linear(100, num_classes),
    )
    model.register_forward_pre_hook(_only_floats)  # no layer of its own, which tracers would enter
    return model


def lenet(num_classes: int, shape: Shape) -> nn.Module:
    """Build LeNet-5 with ReLU and max pooling, for pictures from 8x8 up.

    A convolution is padded where its input is smaller than in the paper (32 and 14), so that small
    pictures are not eaten up. On 1x28x28 or 1x32x32 it has the well-known 61,706 parameters.
    Source: LeCun, Bottou, Bengio, Haffner 1998.

    Example:
        >>> parameter_count(lenet(10, (1, 28, 28)))
        61706
    """
    channels, height, width = picture_shape("lenet", shape)
    pad1 = 2 if min(height, width) < 32 else 0
    height, width = ((side + 2 * pad1 - 4) // 2 for side in (height, width))
    pad2 = 2 if min(height, width) < 14 else 0
    height, width = ((side + 2 * pad2 - 4) // 2 for side in (height, width))
    return _named(
        conv1=nn.Conv2d(channels, 6, 5, padding=pad1),
        relu1=nn.ReLU(inplace=True),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(6, 16, 5, padding=pad2),
        relu2=nn.ReLU(inplace=True),
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        fc1=nn.Linear(16 * height * width, 120),
        relu3=nn.ReLU(inplace=True),
        fc2=nn.Linear(120, 84),
        relu4=nn.ReLU(inplace=True),
        fc3=nn.Linear(84, num_classes),
    )


def resnet(
    num_classes: int, shape: Shape, *, blocks: tuple[int, ...], width: int = 16
) -> nn.Module:
    """Build a residual network for small pictures: a 3x3 stem, no pooling before the stages.

    With three stages of n blocks and width 16 this is the CIFAR network of 6n+2 layers; with
    four stages of 2 and width 64 it is ResNet-18 with the small stem. Where the shape changes, the
    shortcut is a 1x1 convolution with batch norm (option B of the paper), which weight pruning
    can follow; the paper's CIFAR networks pad with zeros (option A), 1 % fewer parameters at 20
    layers. Source: He, Zhang, Ren, Sun 2016.

    Args:
        num_classes: width of the logits.
        shape: (C, H, W).
        blocks: blocks in each stage; a stage doubles the width and halves the side.
        width: channels of the first stage.

    Example:
        >>> parameter_count(resnet(10, (3, 32, 32), blocks=(3, 3, 3)))
        272474
    """
    channels, _, _ = picture_shape("resnet", shape)
    parts: OrderedDict[str, nn.Module] = OrderedDict(stem=_conv(channels, width))
    before = width
    for stage, count in enumerate(blocks):
        after = width * 2**stage
        for block in range(count):
            stride = 2 if stage and not block else 1
            parts[f"stage{stage + 1}_{block + 1}"] = _basic_block(before, after, stride)
            before = after
    parts["pool"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = nn.Flatten()
    parts["fc"] = nn.Linear(before, num_classes)
    return _he_weights(nn.Sequential(parts))


def resnet9(num_classes: int, shape: Shape) -> nn.Module:
    """Build the nine-layer residual network that is trained on CIFAR-10 in a few epochs.

    Widths 64, 128, 256, 512; a residual pair after the first and the third pooling; global max
    pooling; no bias in the classifier. The features, not the logits, are divided by 8 (the same
    function), so that the classifier's output is the logits. Source: Page 2018, "How to train your
    ResNet"; Coleman et al. 2019, DAWNBench.

    Example:
        >>> parameter_count(resnet9(10, (3, 32, 32)))
        6573120
    """
    channels, _, _ = picture_shape("resnet9", shape)
    return _named(
        stem=_conv(channels, 64),
        conv1=_conv(64, 128, pool=True),
        pair1=_Residual(nn.Sequential(_conv(128, 128), _conv(128, 128))),
        conv2=_conv(128, 256, pool=True),
        conv3=_conv(256, 512, pool=True),
        pair3=_Residual(nn.Sequential(_conv(512, 512), _conv(512, 512))),
        pool=nn.AdaptiveMaxPool2d(1),
        flatten=nn.Flatten(),
        scale=_Scale(0.125),
        fc=nn.Linear(512, num_classes, bias=False),
    )


def bag(num_classes: int, vocabulary: str | int, *, width: int = 64) -> nn.Module:
    """Build a bag of words: the mean embedding of the tokens, then a linear layer.

    Takes int64 token ids (b, L) below `vocabulary`; id 0 is padding and does not count.
    Source: Joulin et al. 2016 (fastText).

    Example:
        >>> model = bag(2, 100)
        >>> tuple(model(torch.tensor([[5, 7, 0], [1, 0, 0]])).shape)
        (2, 2)
    """
    if not str(vocabulary).isdecimal() or int(vocabulary) < 2:
        raise UsageError(
            f"bag:{vocabulary} names no vocabulary; write the number of token ids, as in bag:30000"
        )
    embedding = nn.EmbeddingBag(int(vocabulary), width, mode="mean", padding_idx=0)
    model = _named(embedding=embedding, fc=nn.Linear(width, num_classes))
    model.register_forward_pre_hook(_only_tokens)
    return model


def parameter_count(model: nn.Module) -> int:
    """Count the parameters of a network, each shared one once; buffers do not count.

    Example:
        >>> parameter_count(nn.Linear(3, 2))
        8
    """
    return sum(parameter.numel() for parameter in model.parameters())


class _Residual(nn.Module):
    """after(body(x) + shortcut(x))."""

    def __init__(
        self, body: nn.Module, shortcut: nn.Module | None = None, after: nn.Module | None = None
    ):
        super().__init__()
        self.body = body
        self.shortcut = shortcut or nn.Identity()
        self.after = after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.after(self.body(x) + self.shortcut(x))
        return out


def _only_floats(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Say what to do with whole numbers, which are taken for token ids."""
    x = inputs[0]
    if not x.is_floating_point():
        raise UsageError(
            f"mlp takes floats, these examples are {str(x.dtype).removeprefix('torch.')}; give "
            "them as floats, or use bag:VOCABULARY for token ids"
        )


def _only_tokens(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Say what else there is for what are no rows of token ids."""
    x = inputs[0]
    if x.is_floating_point() or x.ndim != 2:
        raise UsageError(
            f"bag takes rows of token ids, whole numbers; these examples have shape "
            f"{tuple(x.shape[1:])} and are {str(x.dtype).removeprefix('torch.')}; use mlp"
        )


class _Scale(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def _conv(before: int, after: int, *, pool: bool = False) -> nn.Sequential:
    """3x3 convolution, pooling where asked for, batch norm, ReLU."""
    parts = {"conv": nn.Conv2d(before, after, 3, padding=1, bias=False)}
    pooling = {"pool": nn.MaxPool2d(2)} if pool else {}
    return _named(**parts, **pooling, norm=nn.BatchNorm2d(after), relu=nn.ReLU(inplace=True))


def _basic_block(before: int, after: int, stride: int) -> nn.Module:
    body = _named(
        conv1=nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
        norm1=nn.BatchNorm2d(after),
        relu=nn.ReLU(inplace=True),
        conv2=nn.Conv2d(after, after, 3, padding=1, bias=False),
        norm2=nn.BatchNorm2d(after),
    )
    shortcut = None
    if stride != 1 or before != after:
        conv = nn.Conv2d(before, after, 1, stride, bias=False)
        shortcut = _named(conv=conv, norm=nn.BatchNorm2d(after))
    return _Residual(body, shortcut, nn.ReLU(inplace=True))


def _named(**parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(parts))


def _he_weights(model: nn.Module) -> nn.Module:
    """Draw convolution weights as He et al. 2015 do."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


def picture_shape(name: str, shape: Shape) -> tuple[int, int, int]:
    """Return the shape of pictures (C, H, W); what is none is refused by the network's name."""
    if len(shape) != 3 or min(shape[1:]) < 8:
        raise UsageError(
            f"{name} takes pictures (C, H, W) from 8x8 up, these examples have shape {shape}; "
            "use mlp, which takes any shape"
        )
    return shape[0], shape[1], shape[2]
