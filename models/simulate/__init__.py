"""The scene simulator: training tiles and the sample area, with their truth."""

from models.simulate.area import SampleArea, sample_area
from models.simulate.files import write_area
from models.simulate.scene import Scene, training_tile

__all__ = ["SampleArea", "Scene", "sample_area", "training_tile", "write_area"]
