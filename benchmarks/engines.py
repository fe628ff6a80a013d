"""The shipped network in other engines on the CPU: seconds per window, and whether any object changes its class.

    python -m benchmarks.engines --json [--image FILE] [--rounds N] [--only NAMES]

Each engine computes the same window of 1,024 x 1,024 pixels of a real picture, one thread, in alternating rounds;
`speed_ratio` is the median over rounds of torch's time (as the program runs it: folded, channels_last, float32) over
the engine's, above 1 if the engine is faster. Then the whole picture is computed with the engine in place of the
network, and its buildings are compared with torch's: `lost` have no partner with half of their area in common, and
`class_changed` have one of another class. Without the real picture a simulated scene is used, and `simulated` is true.
ONNX Runtime and OpenVINO: pip install 'overwatt[bench]'. torch.compile needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, cast

import geopandas as gpd
import numpy as np
import shapely
import torch
from torch import Tensor, nn

from benchmarks.real_data import real_data
from benchmarks.streaming.scene import write
from overwatt.aoi.grid import Tile
from overwatt.models.detector.card import DEFAULT_WEIGHTS, verified
from overwatt.models.detector.inference import Detector
from overwatt.models.detector.network import SiteNet
from overwatt.models.detector.windows import gather, lattice
from overwatt.pipeline.detection.vectorization import DetectSettings
from overwatt.workflows.io.images import Image, open_image
from overwatt.workflows.run import in_process
from overwatt.workflows.run.computing import plan_tiles
from overwatt.workflows.run.joining import Objects
from overwatt.workflows.run.tile import Arrays, Job

Outputs = tuple[Tensor, Tensor, Tensor]
Forward = Callable[[Tensor], Outputs]


class Whole(nn.Module):
    """The network with all three outputs of `forward_with_features`."""

    def __init__(self, net: SiteNet) -> None:
        """Wrap a network."""
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Outputs:
        """Return logits and both features."""
        return self.net.forward_with_features(x)


class Engine(nn.Module):
    """A network whose full pass runs elsewhere; the branches for machines stay with torch."""

    def __init__(self, net: SiteNet, prepare: Callable[[SiteNet, Tensor], Forward]) -> None:
        """Take the network, and what makes its full pass for a shape of input."""
        super().__init__()
        self.net, self.prepare = net, prepare
        self.passes: dict[tuple[int, ...], Forward] = {}

    def __getattr__(self, name: str) -> object:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.net, name)

    def forward_with_features(self, x: Tensor) -> Outputs:
        """Return the outputs of the engine; the first window of a shape prepares it."""
        if x.shape not in self.passes:
            self.passes[x.shape] = self.prepare(self.net, x)
        return self.passes[x.shape](x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.forward_with_features(x)[0]


def in_torch(net: SiteNet, x: Tensor) -> Forward:
    """As the program runs it."""
    return net.forward_with_features


def in_bfloat16(net: SiteNet, x: Tensor) -> Forward:
    """Autocast to bfloat16, which processors with AVX512-BF16 or AMX compute."""

    def run(x: Tensor) -> Outputs:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return cast(Outputs, tuple(out.float() for out in net.forward_with_features(x)))

    return run


def compiled(net: SiteNet, x: Tensor) -> Forward:
    """Compiled by Inductor."""
    return cast(Forward, torch.compile(Whole(net), dynamic=False))


def _onnx(net: SiteNet, x: Tensor, folder: Path) -> Path:
    path = folder / f"{'x'.join(map(str, x.shape))}.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own dependencies
        torch.onnx.export(Whole(net), (x.contiguous(),), path, dynamo=True, verbose=False)
    return path


def in_onnxruntime(net: SiteNet, x: Tensor) -> Forward:
    """ONNX Runtime, one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with TemporaryDirectory() as folder:
        session = onnxruntime.InferenceSession(_onnx(net, x, Path(folder)), options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: cast(
        Outputs, tuple(torch.from_numpy(v) for v in session.run(None, {name: x.contiguous().numpy()}))
    )


def in_openvino(net: SiteNet, x: Tensor) -> Forward:
    """OpenVINO, one thread, float32."""
    import openvino

    core = openvino.Core()
    with TemporaryDirectory() as folder:
        model = core.read_model(_onnx(net, x, Path(folder)))
        settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
        request = core.compile_model(model, "CPU", settings).create_infer_request()

    def run(x: Tensor) -> Outputs:
        found = request.infer([x.contiguous().numpy()])
        return cast(Outputs, tuple(torch.from_numpy(found[k].copy()) for k in range(3)))

    return run


ENGINES: dict[str, Callable[[SiteNet, Tensor], Forward]] = {
    "bfloat16": in_bfloat16, "compile": compiled, "onnxruntime": in_onnxruntime, "openvino": in_openvino,
}  # fmt: skip


def missing(name: str) -> str:
    """Say what an engine lacks here; empty if nothing."""
    needs = {"onnxruntime": ("onnxruntime", "onnxscript"), "openvino": ("openvino", "onnxscript")}
    for module in needs.get(name, ()):
        if importlib.util.find_spec(module) is None:
            return "pip install 'overwatt[bench]'"
    return "no C++ compiler" if name == "compile" and shutil.which("g++") is None else ""


def buildings(image: Image, detector: Detector) -> gpd.GeoDataFrame:
    """Return the buildings of an image."""
    job = Job(image, DEFAULT_WEIGHTS, detector.card, None, DetectSettings.of(detector.card))
    objects = Objects(image, job.settings)

    def on_done(tile: Tile, status: str, result: Arrays | str) -> None:
        assert not isinstance(result, str), result
        objects.add(tile, result)

    in_process.run_tiles(job, detector, plan_tiles(image), on_done, 1)
    found = objects.footprints()
    return found[found["class"].isin(["data_center", "other_building"])]


def changes(ours: gpd.GeoDataFrame, theirs: gpd.GeoDataFrame) -> dict[str, int]:
    """Count buildings without a partner that has half of their area in common, and those of another class."""
    # shares of areas: degrees serve as well as metres
    a, b = (np.asarray(f.geometry, dtype=object) for f in (ours, theirs))
    i, j = shapely.STRtree(b).query(a, predicate="intersects")
    common = shapely.area(shapely.intersection(a[i], b[j])) > shapely.area(a[i]) / 2
    i, j = i[common], j[common]
    other = ours["class"].to_numpy()[i] != theirs["class"].to_numpy()[j]
    return {"objects": len(a), "lost": len(a) - len(np.unique(i)), "class_changed": len(np.unique(i[other]))}


def measure(image: Image, names: list[str], rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the figures of each engine."""
    torch.set_num_threads(1)
    detector = Detector.load(DEFAULT_WEIGHTS, "cpu")
    cells = lattice(image.shape, image.gsd_m)
    window = gather(detector.card, image.read, cells, (0, 0, *image.shape)).patches[0].values
    x = torch.from_numpy(window)[None].contiguous(memory_format=torch.channels_last)
    result: dict[str, Any] = {"window": list(x.shape[2:])}
    own = buildings(image, detector)
    for name in names:
        if words := missing(name):
            result[name] = {"missing": words}
            continue
        try:
            net = Engine(detector.net, ENGINES[name])
            with torch.inference_mode():
                apart = [float((p - q).abs().max()) for p, q in zip(net.forward_with_features(x),
                         detector.net.forward_with_features(x), strict=True)]  # fmt: skip
                seconds = [(_seconds(detector.net, x), _seconds(cast(SiteNet, net), x)) for _ in range(rounds)]
            other = replace(detector, net=cast(SiteNet, net))
            result[name] = {
                "speed_ratio": round(median(a / b for a, b in seconds), 2),
                "torch_s": round(median(a for a, _ in seconds), 2),
                "logits_apart": round(apart[0], 5),
                **changes(own, buildings(image, other)),
            }
        except (RuntimeError, TypeError) as error:  # an engine that cannot take the network is a result too
            result[name] = {"failed": str(error).splitlines()[0][:200]}
        say(f"{name}: {result[name]}")
    return result


def _seconds(net: SiteNet, x: Tensor) -> float:
    start = time.perf_counter()
    net.forward_with_features(x)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--image", type=Path, default=real_data() / "ashburn" / "naip_rgb_2m.tif", help="picture")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the ratio to torch")
    parser.add_argument("--only", default="", help="engines, comma-separated [default: all]")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()
    names = [n for n in options.only.split(",") if n] or list(ENGINES)
    with TemporaryDirectory() as folder:
        simulated = not options.image.is_file()
        path = write(Path(folder) / "scene.tif", 1024, plain=False) if simulated else options.image
        image = open_image(path, verified(DEFAULT_WEIGHTS))
        result = measure(image, names, options.rounds, lambda text: print(text, file=sys.stderr, flush=True))
    result |= {"simulated": simulated, "cpu": torch.backends.cpu.get_cpu_capability()}
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
