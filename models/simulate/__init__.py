"""The scene simulator: training scenes and the sample area, with their truth."""

from models.simulate.area import SampleArea, sample_area
from models.simulate.files import write_area
from models.simulate.scene import Scene
from models.simulate.thermal import excess_k, ground_contrast_k
from models.simulate.training import training_scene

__all__ = [
    "SampleArea",
    "Scene",
    "excess_k",
    "ground_contrast_k",
    "sample_area",
    "training_scene",
    "write_area",
]
