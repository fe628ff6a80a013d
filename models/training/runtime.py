"""How torch runs a training: device, precision, determinism, and logged scalars.

In: values of the settings. Out: torch objects. Separate from `overwatt.models.training.train` because evaluations and
benchmarks need them too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from overwatt.aoi.errors import ConfigError

Log = Callable[[str, float, int], None]  # name, value, step


def device_of(name: str) -> torch.device:
    """Return the device for a name: 'cpu', 'cuda' or 'auto' (CUDA if available, else CPU).

    Raises:
        ConfigError: another name, or 'cuda' without a CUDA device.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device '{name}': known: auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda': no CUDA device on this machine; use 'cpu' or 'auto'")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def half_of(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the half-precision type for a value of `TrainSettings.precision` on a device; None means float32.

    bfloat16 is faster only on CPUs with bfloat16 instructions (AVX-512 BF16, AMX); on others it is slower than
    float32, so 'auto' keeps float32. On a GPU without bfloat16 'auto' means float16, which needs a gradient scaler.
    """
    if precision == "float16":
        return torch.float16
    if device.type == "cuda":
        has = torch.cuda.is_bf16_supported()
        if precision == "auto":
            return torch.bfloat16 if has else torch.float16
        return torch.bfloat16 if precision == "bfloat16" and has else None
    # private in torch, so it may be absent
    fast = bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
    return torch.bfloat16 if precision == "bfloat16" or (precision == "auto" and fast) else None


@contextlib.contextmanager
def deterministic(seed: int, threads: int) -> Iterator[None]:
    """Context manager: seed torch, set its threads, request deterministic kernels; restore all settings at the end."""
    before = torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    had = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        # warn only: some CUDA kernels have no deterministic version
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warn)
            torch.set_num_threads(had)


@contextlib.contextmanager
def scalars(folder: Path | None, step: int) -> Iterator[Log]:
    """Context manager: give a function that logs a scalar to TensorBoard, or does nothing without a folder.

    Args:
        folder: folder of the logs; those of an earlier run are continued.
        step: last step to keep; later entries of an earlier run are purged.

    Raises:
        ConfigError: the package tensorboard is not installed.
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
