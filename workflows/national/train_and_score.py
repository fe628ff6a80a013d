"""Train on a finished training set, and score the new weights on its test counties beside the shipped ones.

In: the folder of a training set and a training file that says how to train. Out: weights with their
card, and a comparison on the same test tiles with intervals by block.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from overwatt.models.detector.card import DEFAULT_WEIGHTS
from overwatt.models.training.tileset import INDEX_NAME, read_index
from overwatt.workflows.config.training import TrainingFile
from overwatt.workflows.config.yaml import read_yaml, validate
from overwatt.workflows.io import run_folder
from overwatt.workflows.training import evaluation, train

Say = Callable[[str], None]
_PATHS = ("image", "outlines", "scored_against", "images", "start", "index")


def train_and_evaluate(folder: Path, template: Path, say: Say, steps: int | None = None) -> dict[str, Any]:
    """Train on the set's train tiles, stop early by its val tiles, score on its test tiles.

    Args:
        folder: a finished training set; weights go into `training/` in it.
        template: training file; its `tiles` are replaced by the set's.
        say: receives progress lines.
        steps: overrides the file's number of steps.

    Returns:
        What `overwatt train` returns, and `test`: scores and the comparison with the shipped
        weights, None where the set has no test tile.

    Raises:
        ConfigError: the training file is unusable, or the set has no tile to train on.
    """
    data = _absolute(read_yaml(template), template.resolve().parent)
    splits = {p for p in ("train", "val", "test") if _has(folder, p)}
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
    """What the training gave, as lines for people."""
    return evaluation.lines(result["test"]) if result["test"] else ["no test tile to score on"]


def _has(folder: Path, split: str) -> bool:
    return bool((read_index(folder)["split"] == split).any())


def _absolute(node: Any, base: Path, key: str = "") -> Any:  # noqa: ANN401  # YAML is anything
    if isinstance(node, dict):
        return {k: _absolute(v, base, str(k)) for k, v in node.items()}
    if isinstance(node, list):
        return [_absolute(v, base) for v in node]
    if isinstance(node, str) and key in _PATHS:
        return str((base / node).resolve())
    return node
