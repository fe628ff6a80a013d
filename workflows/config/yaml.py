"""Files of settings: YAML read safely, checked against a frozen model, errors in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from overwatt.aoi.errors import ConfigError, nearest

MAX_BYTES = 1_000_000
Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: missing, too large, not YAML, or not a mapping.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES} bytes, not a settings file")
    try:
        text = path.read_text(encoding="utf-8")
        if any(isinstance(e, yaml.AliasEvent) for e in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ConfigError(f"{path.name}: YAML aliases are not accepted; write the value out")
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        where = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path.name}: broken YAML{where}: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name}: not a YAML text file") from error
    except ValueError as error:  # dates and numbers that are none: 2024-13-45
        raise ConfigError(f"{path.name}: a value cannot be read ({error})") from error
    except RecursionError as error:
        raise ConfigError(f"{path.name}: nested too deeply for a settings file") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path.name}: expected a mapping of settings, found {type(data).__name__}")
    return data


def apply_set(data: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Apply `key.sub=value` assignments; values are read as YAML scalars.

    Raises:
        ConfigError: no '=' in it, or it descends into something that is not a mapping.
    """
    for text in assignments:
        key, sep, value = text.partition("=")
        if not sep or not key.strip():
            raise ConfigError(f"--set '{text}': expected key.sub=value")
        node = data
        *path, last = key.strip().split(".")
        for part in path:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise ConfigError(f"--set '{text}': '{part}' is not a group of settings")
        try:
            node[last] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError(f"--set '{text}': the value is not YAML") from error
    return data


def validate(data: dict[str, Any], model: type[Model], source: str) -> Model:
    """Check data against a model.

    Raises:
        ConfigError: names the first wrong field, its value, and for unknown keys the nearest known one.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")[0]
        field = ".".join(str(p) for p in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _fields_at(model, first["loc"][:-1])
            raise ConfigError(f"{source}: unknown key '{field}'; {nearest(str(first['loc'][-1]), known)}") from error
        if not field:
            raise ConfigError(f"{source}: {first['msg'].removeprefix('Value error, ')}") from error
        value = "" if first["type"] == "missing" else f" (found {str(first.get('input'))[:60]!r})"
        raise ConfigError(f"{source}: field '{field}': {first['msg']}{value}") from error


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    current: type[BaseModel] = model
    for part in location:
        if not isinstance(part, str) or part not in current.model_fields:
            continue
        annotation = current.model_fields[part].annotation
        for candidate in (annotation, *get_args(annotation)):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                current = candidate
    return list(current.model_fields)


def load_yaml(path: Path, model: type[Model], assignments: list[str] | None = None) -> Model:
    """Read, override and check a settings file."""
    return validate(apply_set(read_yaml(path), assignments or []), model, path.name)
