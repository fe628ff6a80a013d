"""Files of settings: YAML read safely, checked against a frozen model, errors in one line that name the line.

Plain scalars have the meaning of YAML 1.2: dates, `no`, `12:30` and `010` are text. Where a model wants text, a number
becomes the text of the file, so that `version: 1.10` stays "1.10". Aliases and keys that occur twice are refused.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from overwatt.aoi.errors import ConfigError, nearest

MAX_BYTES = 1_000_000
MAX_DEPTH = 50  # groups and lists in each other; settings have 5; own choice
_OPENING = (yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken, yaml.BlockSequenceStartToken,
            yaml.BlockMappingStartToken)  # fmt: skip
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
Model = TypeVar("Model", bound=BaseModel)
Keys = tuple[str | int, ...]  # position of a value: keys of mappings, indexes of lists


@dataclass(frozen=True)
class Place:
    """Where a value was written: name for messages ('w.yaml:12', '--set prior=7'), and its text if it is a scalar."""

    name: str
    text: str | None


Places = dict[Keys, Place]


class _Loader(yaml.SafeLoader):
    """A safe loader that resolves only null, true/false and decimal numbers (the core schema of YAML 1.2)."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # as in PyYAML; filled below


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)\.[0-9]*|(0|[1-9][0-9]*)(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)"
     r"|\.(nan|NaN|NAN)", list("-+0123456789.")),
):  # fmt: skip
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def read_yaml(path: Path, places: Places | None = None) -> dict[str, Any]:
    """Read a YAML mapping.

    Args:
        path: the file, in UTF-8.
        places: receives the place of every value.

    Raises:
        ConfigError: missing, too large, not YAML, with aliases or repeated keys, or not a mapping.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES} bytes, not a settings file")
    try:
        data = _parsed(path.read_text(encoding="utf-8-sig"), path.name, places)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path.name}: not UTF-8 text; save it in that encoding") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path.name}: expected a mapping of settings, found {type(data).__name__}")
    return data


def apply_set(data: dict[str, Any], assignments: list[str], places: Places | None = None) -> dict[str, Any]:
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
        below: Places = {}
        try:
            node[last] = _parsed(value, f"--set {key.strip()}", below, in_file=False)
        except ConfigError as error:
            raise ConfigError(f"--set '{text}': the value is not YAML ({error})") from error
        if places is not None:
            own = (*path, last)
            for keys in [k for k in places if k[: len(own)] == own]:
                del places[keys]
            places |= {(*own, *keys): place for keys, place in below.items()}
    return data


def validate(data: dict[str, Any], model: type[Model], source: str, places: Places | None = None) -> Model:
    """Check data against a model.

    Args:
        data: settings.
        model: their model.
        source: where they come from, for messages.
        places: where each value was written, as of `read_yaml` and `apply_set`.

    Raises:
        ConfigError: names the first wrong field, its place and value, and for unknown keys the nearest known one.
    """
    places = places or {}
    try:
        try:
            return model.model_validate(data)
        except ValidationError as error:
            return model.model_validate(_mended(data, error, places))
    except ValidationError as error:
        first = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")[0]
        keys = first["loc"]
        field = ".".join(str(p) for p in keys)
        where = next((places[keys[:n]].name for n in range(len(keys), 0, -1) if keys[:n] in places), source)
        if first["type"] == "extra_forbidden":
            known = _fields_at(model, keys[:-1])
            raise ConfigError(f"{where}: unknown key '{field}'; {nearest(str(keys[-1]), known)}") from error
        if not field:
            raise ConfigError(f"{source}: {first['msg'].removeprefix('Value error, ')}") from error
        value = "" if first["type"] == "missing" else f" (found {str(first.get('input'))[:60]!r})"
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where}: field '{field}': {message}{value}") from error


def load_yaml(
    path: Path, model: type[Model], assignments: list[str] | None = None, paths: tuple[str, ...] = ()
) -> Model:
    """Read, override and check a settings file; expand environment variables in the keys `paths`."""
    places: Places = {}
    data = apply_set(read_yaml(path, places), assignments or [], places)
    return validate(_expanded(data, (), paths, places), model, path.name, places)


def expanded_path(text: str, where: str) -> str:
    """Return a path with `~`, `$NAME` and `${NAME}` replaced by the environment's values.

    Args:
        text: the path as written.
        where: where it was written, for messages.

    Raises:
        ConfigError: a variable is not set or holds a URL, or the text cannot be a path of this machine.
    """
    if os.path.exists(text):  # unlike Path.exists, False for a text that is too long for a name
        return text

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        found = os.environ.get(name, "")
        if not found:
            raise ConfigError(f"{where}: environment variable {name} is not set; set it, or write the path out")
        if "://" in found:  # may hold a password, so its value is not shown
            raise ConfigError(f"{where}: environment variable {name} holds a URL; give a path of this machine")
        return found

    out = os.path.expanduser(re.sub(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))", value, text))
    if "://" in out:
        raise ConfigError(f"{where}: '{out[:80]}' is a URL, not a file; download it and give the file")
    if any(ord(c) < 32 for c in out):
        raise ConfigError(f"{where}: the path {out[:80]!r} holds a control character; backslashes in double quotes are "
                          "escapes: write / or use single quotes")  # fmt: skip
    if os.name == "posix" and "\\" in out:
        if re.match(r"[A-Za-z]:\\", out):
            raise ConfigError(f"{where}: '{out[:80]}' is a path of a Windows drive; give a path of this machine")
        out = out.replace("\\", "/")
    return out


def place_of(keys: Keys, places: Mapping[Keys, Place]) -> str:
    """Return the place of a setting and its name, for messages."""
    name = ".".join(map(str, keys))
    return f"{places[keys].name}: {name}" if keys in places else name


def _parsed(text: str, name: str, places: Places | None, *, in_file: bool = True) -> Any:  # noqa: ANN401
    """Return the value of a YAML text; note the place of every value in it."""

    def at(mark: yaml.Mark | None) -> str:
        return f"{name}:{mark.line + 1}" if in_file and mark is not None else name

    try:
        _check_tokens(text, name, at)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return None if node is None else _value(loader, node, (), at, {} if places is None else places)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        problem, hint = error.problem or "", ""
        if "'\\t'" in problem:
            hint = "; a tab: indent with spaces"
        elif "escape" in problem:
            hint = "; backslashes in double quotes are escapes: write / or use single quotes"
        elif error.problem_mark and "${" in text.split("\n")[min(error.problem_mark.line, text.count("\n"))]:
            hint = "; put a value with ${…} into quotes"
        line = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{at(error.problem_mark)}: broken YAML{line}: {problem}{hint}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not a YAML text file") from error
    except ValueError as error:  # numbers that are none
        raise ConfigError(f"{name}: a value cannot be read ({error})") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: nested too deeply for a settings file") from error


def _check_tokens(text: str, name: str, at: Callable[[yaml.Mark | None], str]) -> None:
    """Refuse aliases and deep nesting, whose cost grows with its square, before the text is parsed."""
    depth = 0
    for token in yaml.scan(text, Loader=_Loader):
        if isinstance(token, yaml.AliasToken):
            raise ConfigError(f"{name}: YAML aliases are not accepted; write the value out")
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > MAX_DEPTH:
            raise ConfigError(f"{at(token.start_mark)}: nested too deeply for a settings file, more than {MAX_DEPTH}")


def _value(loader: _Loader, node: yaml.Node, keys: Keys, at: Any, places: Places) -> Any:  # noqa: ANN401
    scalar = isinstance(node, yaml.ScalarNode)
    places[keys] = Place(at(node.start_mark), node.value if scalar else None)
    if not scalar and node.tag not in ("tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"):
        loader.construct_undefined(node)  # raises
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, item, (*keys, k), at, places) for k, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        if node.style is None and re.fullmatch(r"\d{4}-\d{2}-\d{2}", node.value):
            try:
                date.fromisoformat(node.value)
            except ValueError as error:
                field = ".".join(map(str, keys))
                raise ConfigError(
                    f"{at(node.start_mark)}: field '{field}': {node.value} is no date: {error}"
                ) from error
        return loader.construct_object(node, deep=True)
    out: dict[str, Any] = {}
    lines: dict[str, str] = {}
    for key, item in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{at(key.start_mark)}: a key is not text")
        if key.value in lines:
            raise ConfigError(
                f"{at(key.start_mark)}: key '{key.value[:60]}' is given twice, first at {lines[key.value]}; remove one"
            )
        lines[key.value] = at(key.start_mark)
        own = (*keys, key.value)
        out[key.value] = _value(loader, item, own, at, places)
        places[own] = Place(at(key.start_mark), places[own].text)
    return out


def _mended(data: dict[str, Any], error: ValidationError, places: Mapping[Keys, Place]) -> dict[str, Any]:
    """Return the data with the text of the file where a number stands for text, and without empty groups."""
    out = copy.deepcopy(data)
    for problem in error.errors():
        keys, found = problem["loc"], problem.get("input")
        is_number = isinstance(found, int | float)
        if not keys or not (found is None or (is_number and keys in places)):
            continue
        node: Any = out
        try:
            for key in keys[:-1]:
                node = node[key]
        except (KeyError, IndexError, TypeError):
            continue  # pydantic names parts of a value that the data do not have
        if is_number and problem["type"] in ("string_type", "path_type", "literal_error"):
            node[keys[-1]] = places[keys].text
        elif found is None and problem["type"] in ("model_type", "model_attributes_type") and isinstance(node, dict):
            del node[keys[-1]]  # a group whose settings are all commented out
    return out


def _expanded(node: Any, keys: Keys, paths: tuple[str, ...], places: Places) -> Any:  # noqa: ANN401
    if isinstance(node, dict):
        return {k: _expanded(v, (*keys, k), paths, places) for k, v in node.items()}
    if isinstance(node, list):
        return [_expanded(v, (*keys, k), paths, places) for k, v in enumerate(node)]
    if isinstance(node, str) and keys[-1] in paths:
        return expanded_path(node, place_of(keys, places))
    return node


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
