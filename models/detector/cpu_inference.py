"""The network rewritten for inference on a CPU: the same function with fewer passes over memory.

In: a trained `SiteNet`. Out: a copy that gives the same logits and features except for rounding, at
twice the pixels per second. It cannot be trained. It rests on three identities and on public operators only:

- A batch norm in evaluation mode is a scale and a shift. It is folded into the convolution before it.
- Padding that is wider by one after the image than before it (TensorFlow's 'same' at stride 2) equals symmetric
  padding with a kernel that starts with a row and a column of zeros. So no padded copy is made.
- Nearest-neighbour upsampling by two is a transposed convolution with a 2 x 2 kernel of ones. Together with the 3 x 3
  convolution after it, it is one transposed convolution with a 4 x 4 kernel at stride 2. That takes 4 products per
  pixel instead of 9, and writes neither the upsampled image nor its concatenation with the skip. This holds at the
  borders too.

Training uses the original network, because these forms have no batch statistics. torch.jit could fuse more and is
deprecated; torch.compile takes longer to start than many workers run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from overwatt.models.detector.network import ConvNormActivation, SiteNet

_STAGES = ("up16", "up8", "up4", "up2", "up1")  # of the decoder, coarse to fine


def fast(net: SiteNet) -> SiteNet:
    """Return a copy for inference, in evaluation mode, with the precision and device of the network.

    Folding is done in float64, so the float32 logits differ from the original only by rounding.

    Args:
        net: network of any width, bands and outputs; it is not changed. A network that is already folded is copied.
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
    for layer in out.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
            # no effect on a 1 x 1 kernel, but torch 2.14 sends dilated convolutions to oneDNN, which is faster here
            # than the matrix product that one thread gets otherwise
            layer.dilation = (2, 2)
    return out.to(dtype=dtype).to(memory_format=torch.channels_last)


def arithmetic(net: nn.Module) -> str:
    """Name the order of operations, on which the last bits of a result depend; part of the keys of stored results."""
    return "folded 2" if any(isinstance(m, _Up) for m in net.modules()) else "as trained"


class _Up(nn.Module):
    """A decoder stage that does not write the upsampled image.

    Attributes:
        coarse: transposed convolution: upsampling and the part of the first convolution that acts on it.
        skip: the part of the first convolution that acts on the skip, with the bias.
        second: the second convolution with its ReLU6.
    """

    def __init__(self, stage: nn.Sequential, below: int) -> None:
        """Take the two folded convolutions of a stage, and the number of channels `below` of the coarser stage."""
        super().__init__()
        first = cast(nn.Conv2d, cast(nn.Sequential, stage[0])[0])
        part, rest = first.weight[:, :below], first.weight[:, below:]
        out = first.out_channels
        # kernel of ones (upsampling) convolved with the 3 x 3 kernel; flipped, because torch computes correlations
        ones = torch.ones(1, 1, 2, 2, dtype=part.dtype, device=part.device)
        kernel = F.conv2d(part.flip(2, 3).reshape(-1, 1, 3, 3), ones, padding=1).reshape(out, below, 4, 4)
        self.coarse = nn.ConvTranspose2d(below, out, 4, stride=2, padding=1, bias=False)
        self.coarse.weight = nn.Parameter(kernel.transpose(0, 1).contiguous(), requires_grad=False)
        self.skip = nn.Conv2d(rest.shape[1], out, 3, padding=1)
        self.skip.weight = nn.Parameter(rest.contiguous(), requires_grad=False)
        self.skip.bias = first.bias
        self.second = stage[1]

    def forward(self, x: Tensor, skip: Tensor | Callable[[], Tensor]) -> Tensor:
        own = self.skip(skip() if callable(skip) else skip)
        both = self.coarse(x).add_(own)
        del own  # at full resolution a third of the memory of a forward pass
        y: Tensor = self.second(F.relu6(both, inplace=True))
        return y


def _fold(module: nn.Module) -> None:
    """Replace every sequence of padding, convolution and batch norm inside a module by one convolution."""
    for name, child in module.named_children():
        if isinstance(child, nn.Sequential) and len(child) == 2 and isinstance(child[1], ConvNormActivation):
            setattr(module, name, _folded(child[0], child[1]))
        else:
            _fold(child)


def _folded(pad: nn.Module, layer: ConvNormActivation) -> nn.Sequential:
    conv = fuse_conv_bn_eval(cast(nn.Conv2d, layer[0]), cast(nn.BatchNorm2d, layer[1]))
    before, after, _, _ = pad.padding if isinstance(pad, nn.ZeroPad2d) else (0, 0, 0, 0)
    if after > before:  # asymmetric padding: zeros in front of the kernel shift it instead
        front = after - before
        conv.weight = nn.Parameter(F.pad(conv.weight, (front, 0, front, 0)), requires_grad=False)
        conv.kernel_size = (conv.weight.shape[2], conv.weight.shape[3])
    conv.padding = (after, after)
    return nn.Sequential(conv, *([nn.ReLU6(inplace=True)] if len(layer) > 2 else []))
