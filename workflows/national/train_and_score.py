"""Train on a finished training set, and compare the new weights with the bundled ones on its test counties.

In: the folder of a training set and a training file as template. Out: weights with their card, and a paired
comparison on the same test tiles, with bootstrap intervals over blocks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from overwatt.models.detector.card import DEFAULT_WEIGHTS
from overwatt.models.training.tileset import INDEX_NAME, read_index
from overwatt.workflows.config.training import TrainingFile, resolve
from overwatt.workflows.config.yaml import read_yaml, validate
from overwatt.workflows.io import run_folder
from overwatt.workflows.training import evaluation, train

log = logging.getLogger(__name__)

Say = Callable[[str], None]
# keys of the training file whose values are paths
_PATHS = ("image", "outlines", "scored_against", "images", "land_cover", "data_centers", "start", "index")


def train_and_evaluate(folder: Path, template: Path, say: Say, steps: int | None = None) -> dict[str, Any]:
    """Train on the train tiles of a set, with early stopping on its val tiles, and score on its test tiles.

    Args:
        folder: a finished training set; weights are written to its subfolder `training/`.
        template: training file; its `tiles` are replaced by those of the set.
        say: receives progress lines.
        steps: overrides the number of steps in the template.

    Returns:
        The result of `train.run`, and `test`: scores and the comparison with the bundled weights, or None if the
        set has no test tile.

    Raises:
        ConfigError: the training file is unusable, or the set has no tile to train on.
    """
    data = _absolute(read_yaml(template), template.resolve().parent)
    splits = {p for p in ("train", "val", "test") if _has(folder, p)}
    log.debug("training set %s: tiles of splits %s", folder, ", ".join(sorted(splits)) or "none")
    data["tiles"] = [{"index": INDEX_NAME, "split": s} for s in ("train", "val") if s in splits]
    validate(data, TrainingFile, template.name)
    config = folder / "train.yaml"
    run_folder.write_text(config, yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    result = train.run(config, folder / "training", folds=None, say=say, steps=steps)
    both = [Path(result["weights"]), DEFAULT_WEIGHTS]
    result["test"] = evaluation.on_tiles(folder, "test", weights=both) if "test" in splits else None
    run_folder.write_json(folder / "training" / "test.json", {"test": result["test"]})
    return result


def lines(result: dict[str, Any]) -> list[str]:
    """Return the test scores as lines of text."""
    return evaluation.lines(result["test"]) if result["test"] else ["the set has no test tiles, so nothing was scored"]


def _has(folder: Path, split: str) -> bool:
    return bool((read_index(folder)["split"] == split).any())


def _absolute(node: Any, base: Path, key: str = "") -> Any:  # noqa: ANN401  # YAML is anything
    """A training file with absolute paths, because its copy is stored in another folder.

    Not shared with `_absolute` in config/run.py: there other keys hold paths, `area` may be a path or coordinates,
    and `thermal.stack` is a pattern, which must stay as written.
    """
    if isinstance(node, dict):
        return {k: _absolute(v, base, str(k)) for k, v in node.items()}
    if isinstance(node, list):
        return [_absolute(v, base) for v in node]
    if isinstance(node, str) and key in _PATHS:
        return str(resolve(node, base))
    return node
