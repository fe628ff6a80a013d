"""The item must validate where there is no network: STAC core by pystac's schemas, MLM by the package stac-model."""

import json

import jsonschema
import pystac
import pytest
import shapely
import torch
from pystac.validation.local_validator import get_local_schema_cache
from referencing import Registry, Resource
from stac_model.schema import MLModelProperties

from overwatt.aoi.errors import ModelContractError
from overwatt.models.detector import weights as weight_files
from overwatt.models.detector.card import DEFAULT_WEIGHTS, OUTPUTS, ModelCard, TrainingData, load_card
from overwatt.models.detector.network import SiteNet
from overwatt.models.detector.stac_mlm import MEANING, MLM_SCHEMA, mlm_item, write
from tests.support import naming

CORE = get_local_schema_cache()
ITEM = next(schema for uri, schema in CORE.items() if uri.endswith("/item.json"))
REGISTRY = Registry().with_resources([(k, Resource.from_contents(v)) for k, v in CORE.items()])


def check(item):
    """What validates offline, and what the MLM schema asks across fields, which stac-model does not check."""
    data = item.to_dict(include_self_link=False, transform_hrefs=False)
    jsonschema.Draft7Validator(ITEM, registry=REGISTRY).validate(data)
    properties = data["properties"]
    MLModelProperties.model_validate(properties)
    assert MLM_SCHEMA in data["stac_extensions"]
    assert data["stac_version"] == "1.1.0"
    names = [b["name"] for b in properties["bands"]]
    for entry in properties["mlm:input"]:
        assert set(entry["bands"]) <= set(names)
        assert "bands" in entry["input"]["dim_order"]
        assert len(entry["value_scaling"]) == len(entry["bands"]) == entry["input"]["shape"][1]
    models = [a for a in data["assets"].values() if "mlm:model" in a["roles"]]
    assert len(models) == 1 == sum("mlm:artifact_type" in a for a in data["assets"].values())
    assert models[0]["mlm:artifact_type"]
    return data


def made(folder, name="small", **changes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = SiteNet(len(changes.get("bands", "rgb")) + len(changes.get("thermal_bands", "")), 4)
    bands = len(changes.get("bands", "rgb")) + len(changes.get("thermal_bands", ""))
    fields = {
        "name": name, "version": "0.3", "created": "2026-03-04", "licence": "CC-BY-4.0", "width": 4,
        "bands": ("red", "green", "blue"), "units": "display_uint8", "gsd_m": 1.0, "gsd_range_m": (0.5, 2),
        "native_range_m": (0.8, 1.5), "mean": (0.5,) * bands, "std": (0.25,) * bands, "limits": ("For tests.",),
        "outputs": OUTPUTS,
    }  # fmt: skip
    path = folder / f"{name}.safetensors"
    return weight_files.save(net, ModelCard(**(fields | changes)), path), path


def test_the_shipped_weights_have_a_valid_item():
    data = check(mlm_item(load_card(DEFAULT_WEIGHTS), DEFAULT_WEIGHTS))
    asset = data["assets"]["weights"]
    assert asset["href"] == "./sitenet-aerial-v3.safetensors"
    assert asset["file:size"] == DEFAULT_WEIGHTS.stat().st_size
    assert asset["file:checksum"] == "1220" + load_card(DEFAULT_WEIGHTS).weights_sha256
    west, south, east, north = data["bbox"]
    assert -78 < west < east < -77
    assert 39 < south < north < 40
    scaling = data["properties"]["mlm:input"][0]["value_scaling"]
    assert scaling[0] == {"type": "z-score", "mean": pytest.approx(123.675), "stddev": pytest.approx(58.395)}
    own = weight_files.load(DEFAULT_WEIGHTS)[0]
    assert data["properties"]["mlm:total_parameters"] == sum(p.numel() for p in own.parameters())
    shipped = DEFAULT_WEIGHTS.with_suffix(".stac.json")
    if shipped.is_file():  # what is shipped is what would be written
        kept = json.loads(shipped.read_text())
        kept["properties"]["mlm:framework_version"] = data["properties"]["mlm:framework_version"]
        assert kept["assets"] == data["assets"]
        assert kept["properties"].items() >= {k: v for k, v in data["properties"].items() if "hyper" not in k}.items()


def test_a_new_model_has_a_valid_item_that_pystac_reads_back(tmp_path):
    card, path = made(tmp_path)
    written = write(card, path, hyperparameters={"seed": 3, "mean": (0.5, 0.4)}, provider="A laboratory")
    assert written == tmp_path / "small.stac.json"
    data = check(pystac.Item.from_file(str(written)))
    assert (data["geometry"], "bbox" in data) == (None, False)
    properties = data["properties"]
    assert properties["datetime"] == "2026-03-04T00:00:00Z"
    assert properties["mlm:hyperparameters"] == {"seed": 3, "mean": [0.5, 0.4], "width": 4}
    assert properties["providers"] == [{"name": "A laboratory", "roles": ["producer"]}]
    assert (properties["license"], properties["version"]) == ("CC-BY-4.0", "0.3")
    assert [c["name"] for c in properties["mlm:output"][0]["classification:classes"]] == list(card.outputs)
    assert set(card.outputs) <= set(MEANING)
    assert "mlm:pretrained" not in properties
    assert "For tests." in properties["description"]
    for asset in data["assets"].values():
        assert (tmp_path / asset["href"]).is_file()


def test_thermal_bands_are_scaled_in_kelvin(tmp_path):
    card, path = made(tmp_path, thermal_bands=("lwir",), units="reflectance", licence="no licence, ask us")
    properties = check(mlm_item(card, path))["properties"]
    assert properties["mlm:input"][0]["bands"] == ["red", "green", "blue", "lwir"]
    assert {s["mean"] for s in properties["mlm:input"][0]["value_scaling"]} == {0.5}
    assert properties["license"] == "other"


@pytest.mark.parametrize("name", ["x", "1", "7-eleven", "ends.", "fine-name v2"])
def test_any_name_gives_a_name_that_the_extension_takes(tmp_path, name):
    card, path = made(tmp_path, "file")
    item = mlm_item(card.model_copy(update={"name": name}), path)
    assert item.properties["mlm:name"] == (name if name.startswith("fine") else f"weights {name} 1")
    check(item)


def test_the_ground_of_several_sources(tmp_path):
    def source(*extent):
        return TrainingData(name=str(extent), licence="CC0-1.0", outlines="by hand", extent=extent or None)

    card, path = made(tmp_path)

    def of(*sources):
        return check(mlm_item(card.model_copy(update={"training": sources}), path))

    two = of(source(1, 2, 3, 4), source(5, 6, 7, 8), source())
    assert two["bbox"] == [1, 2, 7, 8]
    assert shapely.geometry.shape(two["geometry"]).area == 8
    assert [link["href"] for link in two["links"]] == [f"./small.json#/training/{k}" for k in range(3)]
    assert two["properties"]["mlm:pretrained_source"].count(";") == 2
    across = of(source(179, -1, -179, 1))
    assert across["bbox"] == [179, -1, -179, 1]
    assert shapely.geometry.shape(across["geometry"]).area == 4


def test_a_card_of_other_weights_is_refused(tmp_path):
    card, path = made(tmp_path)
    with pytest.raises(ModelContractError, match=naming("small.safetensors", "'small'")):
        mlm_item(card.model_copy(update={"weights_sha256": "0" * 64}), path)
    with pytest.raises(ModelContractError, match=naming("other.safetensors")):
        mlm_item(card, tmp_path / "other.safetensors")
    with pytest.raises(ModelContractError, match=naming("'small'", "created", "'yesterday'")):
        mlm_item(card.model_copy(update={"created": "yesterday"}), path)
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(ModelContractError, match=naming("small.safetensors", "sha256")):
        write(card, path)
    assert not (tmp_path / "small.stac.json").exists()
