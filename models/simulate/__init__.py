"""The scene simulator: aerial pictures of places that do not exist, with exact labels.

In: a seed, and for a training scene its size in pixels and its ground sampling distance. Out: a `Scene` (picture,
masks, truth table), surface-temperature bands for it, or the `SampleArea` of the demo with its registry and files.
Read first: `training_scenes.training_scene`, which lays out lots (`lots`), fills each (`data_centers`,
`lookalikes`, `commercial_buildings`, `urban_buildings`) as shapes in metres (`drawing`), takes the picture
(`render`, `camera`) and burns the labels (`scene`). `thermal` makes the heat, `sample_area` the demo.
Numbers without a source are own choices, judged by eye on public aerial pictures; see docs/simulator.md.
"""

from overwatt.models.simulate.sample_area import SampleArea, sample_area
from overwatt.models.simulate.sample_files import write_area
from overwatt.models.simulate.scene import Scene
from overwatt.models.simulate.thermal import excess_k, ground_contrast_k
from overwatt.models.simulate.training_scenes import training_scene

__all__ = [
    "SampleArea",
    "Scene",
    "excess_k",
    "ground_contrast_k",
    "sample_area",
    "training_scene",
    "write_area",
]
