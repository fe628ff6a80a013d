"""How torch runs a training: device, precision, determinism, and the scalars it logs.

In: words of the settings. Out: torch's objects. Apart from `overwatt.models.training.train` because an evaluation or
a benchmark asks the same questions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from overwatt.aoi.errors import ConfigError

Log = Callable[[str, float, int], None]  # name, value, step


def device_of(name: str) -> torch.device:
    """The device of a name: 'cpu', 'cuda' or 'auto', CUDA where there is one.

    Raises:
        ConfigError: another name, or CUDA where there is none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device '{name}': known: auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda': this machine offers none; use 'cpu' or 'auto'")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def half_of(precision: str, device: torch.device) -> torch.dtype | None:
    """The half precision that a word of `TrainSettings.precision` means on a device; None is float32.

    bfloat16 pays on CPUs with its own instructions (AVX-512 BF16, AMX); without them it is slower than
    float32, so 'auto' leaves it. A GPU without bfloat16 computes in float16, whose gradients need a scaler.
    """
    if precision == "float16":
        return torch.float16
    if device.type == "cuda":
        has = torch.cuda.is_bf16_supported()
        if precision == "auto":
            return torch.bfloat16 if has else torch.float16
        return torch.bfloat16 if precision == "bfloat16" and has else None
    fast = bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
    return torch.bfloat16 if precision == "bfloat16" or (precision == "auto" and fast) else None


@contextlib.contextmanager
def deterministic(seed: int, threads: int) -> Iterator[None]:
    """Seed torch, set its threads, ask for deterministic kernels; put all back as they were."""
    before = torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    had = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warn)
            torch.set_num_threads(had)


@contextlib.contextmanager
def scalars(folder: Path | None, step: int) -> Iterator[Log]:
    """A function that logs a scalar for TensorBoard, or does nothing where there is no folder.

    Args:
        folder: of the logs; an earlier run's are added to.
        step: the last step that is kept; what an earlier run had logged after it is purged.

    Raises:
        ConfigError: the package tensorboard is missing.
    """
    if folder is None:
        yield lambda name, value, at: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("TensorBoard logs need its package: pip install 'overwatt[train]'") from error
    with SummaryWriter(str(folder), purge_step=step + 1) as writer:
        yield writer.add_scalar
