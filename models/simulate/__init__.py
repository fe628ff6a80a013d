"""The scene simulator: training scenes and the sample area, with their truth."""

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
