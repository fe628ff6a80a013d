"""The model card as a STAC Item of the Machine Learning Model extension (MLM), for catalogues of models.

In: a card and its weights file. Out: an item that states the input and output of the network, the extent of its
training data, and its files with their hashes. The loader enforces the card; the item repeats it in a standard format.
The fields are written out here, because the class of pystac stops at version 1.4 of the extension.

The geometry of the item is that of the real training data, not of the area where the weights may be used. Its time is
the day on which the weights were made, because the card does not state the dates of the training imagery.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac
import shapely
import torch
from pystac.extensions.file import FileExtension
from pystac.extensions.version import VersionExtension

from overwatt.aoi.errors import ModelContractError
from overwatt.aoi.output import written
from overwatt.models.detector.card import ModelCard
from overwatt.models.detector.weights import load
from overwatt.models.detector.windows import CELL_PX, HALO_PX

MLM_SCHEMA = "https://stac-extensions.github.io/mlm/v1.5.0/schema.json"
MEANING = {
    "background": "neither of the buildings",
    "other_building": "large building that is no data center",
    "data_center": "data-center building",
    "cooling_equipment": "machines, on roofs or on the ground; a sigmoid of its own",
    "interior": "inside one building, away from its outline; a sigmoid of its own",
    "unit": "inside one machine; a sigmoid of its own, meaningful where pixels are at most 0.6 m",
    "chiller": "chillers, dry coolers or air handlers; one of four kinds of machines, by a softmax",
    "tower": "cells of cooling towers; likewise",
    "generator": "generators; likewise",
    "rooftop_unit": "packaged rooftop units; likewise",
    "substation": "inside a substation; a sigmoid of its own",
}


def mlm_item(
    card: ModelCard,
    weights_path: Path,
    *,
    hyperparameters: Mapping[str, object] | None = None,
    provider: str = "Overwatt",
) -> pystac.Item:
    """Describe weights as a STAC Item.

    Args:
        card: card of the weights.
        weights_path: the `.safetensors` file; asset links are relative to its folder.
        hyperparameters: settings of the training, such as `TrainSettings.model_dump()`; the width is added.
        provider: who made the weights.

    Raises:
        ModelContractError: the file cannot be loaded or is not that of the card, or the card has an invalid date.
    """
    net, own = load(weights_path)
    if own.weights_sha256 != card.weights_sha256:
        raise ModelContractError(f"{weights_path.name}: not the weights of card '{card.name}': their hashes differ")
    try:
        made = datetime.fromisoformat(card.created).replace(tzinfo=UTC)
    except ValueError as error:
        raise ModelContractError(
            f"card of '{card.name}': created '{card.created}' is not a date; use ISO 8601 (2026-05-04)"
        ) from error
    geometry, bbox = _extent_of([t.extent for t in card.training if t.extent is not None])
    item = pystac.Item(card.name, geometry, bbox, made, _properties(card, provider), stac_extensions=[MLM_SCHEMA])
    item.properties |= {
        "mlm:total_parameters": sum(p.numel() for p in net.parameters()),
        "mlm:memory_size": sum(v.nbytes for v in net.state_dict().values()),
        "mlm:hyperparameters": json.loads(json.dumps({**(hyperparameters or {}), "width": card.width})),
    }
    VersionExtension.ext(item, add_if_missing=True).version = card.version
    weights = pystac.Asset(
        f"./{weights_path.name}",
        title="Weights, half precision",
        media_type="application/octet-stream; application=safetensors",
        roles=["mlm:model", "mlm:weights"],
        # MLM wants bands in the item; STAC 1.1 allows them there only if an asset has them too
        extra_fields={"mlm:artifact_type": "safetensors.torch.save_file", "bands": item.properties["bands"]},
    )
    item.add_asset("weights", weights)
    # checksum as a multihash: 0x12 is SHA-256, 0x20 its length of 32 bytes
    FileExtension.ext(weights, add_if_missing=True).apply(
        size=weights_path.stat().st_size, checksum=f"1220{card.weights_sha256}"
    )
    card_name = f"./{weights_path.with_suffix('.json').name}"
    item.add_asset("card", pystac.Asset(card_name, title="Card", media_type="application/json", roles=["metadata"]))
    for k, source in enumerate(card.training):
        title = f"training data: {source.name} ({source.licence})"
        item.add_link(pystac.Link("derived_from", f"{card_name}#/training/{k}", "application/json", title))
    return item


def write(
    card: ModelCard,
    weights_path: Path,
    *,
    hyperparameters: Mapping[str, object] | None = None,
    provider: str = "Overwatt",
) -> Path:
    """Write the item next to the weights as NAME.stac.json and return its path; see `mlm_item`."""
    item = mlm_item(card, weights_path, hyperparameters=hyperparameters, provider=provider)
    path = weights_path.with_suffix(".stac.json")
    text = json.dumps(item.to_dict(include_self_link=False, transform_hrefs=False), indent=1, allow_nan=False)
    with written(path) as part:
        part.write_text(text + "\n", encoding="utf-8")
    return path


def _properties(card: ModelCard, provider: str) -> dict[str, Any]:
    """Return the properties of the item that follow from the card alone."""
    # the patterns are those of the schemas of MLM (name) and STAC (license)
    name = (
        card.name if re.fullmatch(r"[a-zA-Z][\w.\-\s]+[a-zA-Z0-9]", card.name, re.ASCII) else f"weights {card.name} 1"
    )
    version = re.match(r"\d+\.\d+\.\d+", torch.__version__)
    sources = "; ".join(t.name for t in card.training)
    bands = [{"name": b, "description": f"optical, {card.units}"} for b in card.bands]
    bands += [{"name": b, "description": "thermal, kelvin above the surroundings"} for b in card.thermal_bands]
    return {
        "title": f"{card.name} {card.version}",
        "description": " ".join(
            (f"Weights that outline data centers, other large buildings and cooling equipment at {card.gsd_m:g} m.",)
            + card.limits
        ),
        "created": f"{datetime.fromisoformat(card.created):%Y-%m-%dT00:00:00Z}",
        "license": card.licence if re.fullmatch(r"[\w\-.+]+", card.licence, re.ASCII) else "other",
        "providers": [{"name": provider, "roles": ["producer"]}],
        "gsd": card.gsd_m,
        "bands": bands,
        "mlm:name": name,
        "mlm:architecture": "U-Net with EfficientNet-Lite0 encoder",
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:framework": "PyTorch",
        **({"mlm:framework_version": version.group()} if version else {}),
        **({"mlm:pretrained": True, "mlm:pretrained_source": sources} if sources else {}),
        "mlm:accelerator": "amd64",
        "mlm:accelerator_constrained": False,
        "mlm:accelerator_summary": "a CPU; CUDA where there is one",
        "mlm:input": [_input(card)],
        "mlm:output": [_output(card)],
        "overwatt:gsd_range_m": list(card.gsd_range_m),
        "overwatt:limits": list(card.limits),
        "overwatt:training": [t.model_dump(mode="json") for t in card.training],
    }


def _input(card: ModelCard) -> dict[str, Any]:
    """Return the input of the network, with a normalisation for values as stored: 0..255 for display imagery."""
    full = [255.0 if card.units == "display_uint8" else 1.0] * len(card.bands) + [1.0] * len(card.thermal_bands)
    return {
        "name": "image",
        "description": f"{card.units} at {card.gsd_m:g} m; zero after scaling where there is no imagery; height and "
        "width any multiple of 32",
        "bands": [*card.bands, *card.thermal_bands],
        "input": {
            "shape": [-1, card.channels, CELL_PX + 2 * HALO_PX, CELL_PX + 2 * HALO_PX],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": [
            {"type": "z-score", "mean": round(m * f, 9), "stddev": round(s * f, 9)}
            for m, s, f in zip(card.mean, card.std, full, strict=True)
        ],
    }


def _output(card: ModelCard) -> dict[str, Any]:
    return {
        "name": "logits",
        "description": "one channel a class: a softmax over the first three, a sigmoid for each of the others",
        "tasks": ["semantic-segmentation"],
        "result": {
            "shape": [-1, len(card.outputs), CELL_PX + 2 * HALO_PX, CELL_PX + 2 * HALO_PX],
            "dim_order": ["batch", "class", "height", "width"],
            "data_type": "float32",
        },
        "classification:classes": [
            {"value": k, "name": name, "description": MEANING.get(name, name)} for k, name in enumerate(card.outputs)
        ],
        "post_processing_function": {
            "format": "python",
            "expression": "overwatt.models.detector.network:probabilities",
        },
    }


def _extent_of(
    extents: list[tuple[float, float, float, float]],
) -> tuple[dict[str, Any] | None, list[float] | None]:
    """Return GeoJSON geometry and bbox of [west, south, east, north] boxes; west > east crosses the antimeridian."""
    if not extents:
        return None, None
    boxes = []
    for w, s, e, n in extents:
        boxes += [shapely.box(w, s, e, n)] if w <= e else [shapely.box(w, s, 180, n), shapely.box(-180, s, e, n)]
    joined = shapely.union_all(boxes)
    west, south, east, north = joined.bounds
    if len(extents) == 1:
        west, east = extents[0][0], extents[0][2]
    return json.loads(shapely.to_geojson(shapely.orient_polygons(joined))), [west, south, east, north]
