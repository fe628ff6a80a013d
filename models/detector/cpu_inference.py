"""The network rewritten for inference on a CPU: the same function in fewer passes over memory.

In: a trained `SiteNet`. Out: a copy that gives the same logits and features but for rounding, at
twice the pixels a second, and cannot be trained. Three identities, with public operators alone:

- A batch norm that no longer learns is a scale and a shift, and goes into the convolution before it.
- Padding that is wider by one after the image than before it (TensorFlow's 'same' at stride 2) is
  symmetric padding with a kernel that has a row and a column of zeros in front, so no padded copy is made.
- Nearest upsampling by two is a transposed convolution with ones (2 x 2), and with the 3 x 3 convolution
  after it makes one transposed convolution with a 4 x 4 kernel at stride 2: 4 products a pixel in place
  of 9, and neither the upsampled picture nor its join with the skip is written. Borders included.

The training network stays as it is: these forms have no batch statistics to learn from. torch.jit, which
could fuse more, is deprecated; torch.compile takes longer to start than a worker often runs.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from overwatt.models.detector.network import ConvNormActivation, SiteNet

_STAGES = ("up16", "up8", "up4", "up2", "up1")  # of the decoder, coarse to fine


def fast(net: SiteNet) -> SiteNet:
    """Return a copy for inference, in evaluation mode, in the precision and on the device of the network.

    Folding is done in float64, so float32 logits differ by no more than the rounding of either network.

    Args:
        net: the network, of any width, bands and outputs; left as it is. A copy made here is copied.
    """
    dtype = net.head.weight.dtype
    out = copy.deepcopy(net).eval().requires_grad_(False).double()
    if arithmetic(out) == "as trained":
        _fold(out)
        below = [m for m in out.blocks.modules() if isinstance(m, nn.Conv2d)][-1].out_channels
        for name in _STAGES:
            up = _Up(getattr(out, name).conv, below)
            setattr(out, name, up)
            below = up.coarse.out_channels
    return out.to(dtype=dtype).to(memory_format=torch.channels_last)


def arithmetic(net: nn.Module) -> str:
    """Name the order of operations that a network's last bits depend on, for keys of stored results."""
    return "folded 1" if any(isinstance(m, _Up) for m in net.modules()) else "as trained"


class _Up(nn.Module):
    """A decoder stage without the upsampled picture.

    Attributes:
        coarse: transposed convolution of the coarse picture, for upsampling and the first convolution's part of it.
        skip: the first convolution's part of the skip, with its bias.
        second: the second convolution with its ReLU6.
    """

    def __init__(self, stage: nn.Sequential, below: int) -> None:
        """Take the stage's two folded convolutions, and how many channels come from the coarse picture."""
        super().__init__()
        first = cast(nn.Conv2d, cast(nn.Sequential, stage[0])[0])
        part, rest = first.weight[:, :below], first.weight[:, below:]
        out = first.out_channels
        # kernel of the upsampling (ones) * kernel of the convolution (flipped: torch correlates)
        ones = torch.ones(1, 1, 2, 2, dtype=part.dtype, device=part.device)
        kernel = F.conv2d(part.flip(2, 3).reshape(-1, 1, 3, 3), ones, padding=1).reshape(out, below, 4, 4)
        self.coarse = nn.ConvTranspose2d(below, out, 4, stride=2, padding=1, bias=False)
        self.coarse.weight = nn.Parameter(kernel.transpose(0, 1).contiguous(), requires_grad=False)
        self.skip = nn.Conv2d(rest.shape[1], out, 3, padding=1)
        self.skip.weight = nn.Parameter(rest.contiguous(), requires_grad=False)
        self.skip.bias = first.bias
        self.second = stage[1]

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        y: Tensor = self.second(F.relu6(self.coarse(x).add_(self.skip(skip)), inplace=True))
        return y


def _fold(module: nn.Module) -> None:
    """Replace every padding, convolution and batch norm below a module by one convolution."""
    for name, child in module.named_children():
        if isinstance(child, nn.Sequential) and len(child) == 2 and isinstance(child[1], ConvNormActivation):
            setattr(module, name, _folded(child[0], child[1]))
        else:
            _fold(child)


def _folded(pad: nn.Module, layer: ConvNormActivation) -> nn.Sequential:
    conv = fuse_conv_bn_eval(cast(nn.Conv2d, layer[0]), cast(nn.BatchNorm2d, layer[1]))
    before, after, _, _ = pad.padding if isinstance(pad, nn.ZeroPad2d) else (0, 0, 0, 0)
    if after > before:
        front = after - before
        conv.weight = nn.Parameter(F.pad(conv.weight, (front, 0, front, 0)), requires_grad=False)
        conv.kernel_size = (conv.weight.shape[2], conv.weight.shape[3])
    conv.padding = (after, after)
    return nn.Sequential(conv, *([nn.ReLU6(inplace=True)] if len(layer) > 2 else []))
