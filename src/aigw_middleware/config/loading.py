"""Reading a configuration: YAML, TOML, JSON or a dict, to a validated model, with every problem at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import ConfigError, Problem
from .files import WatchedFile
from .models import GatewayConfig
from .problems import problems_of

MAX_FILE_BYTES = 32 << 20
_MAX_YAML_DEPTH = 100


class Source:
    """Where a configuration comes from, and whether it changed since it was last looked at."""

    def __init__(self, config: Mapping[str, Any] | str | Path) -> None:
        self.path = None if isinstance(config, Mapping) else Path(config)
        self._given = dict(config) if isinstance(config, Mapping) else None
        self._file = WatchedFile(self.path) if self.path is not None else None

    @property
    def name(self) -> str:
        """The file name for messages, or what stands for it."""
        return str(self.path) if self.path is not None else "configuration"

    @property
    def directory(self) -> Path:
        """The folder that relative paths in the configuration start from."""
        return self.path.parent if self.path is not None else Path()

    def changed(self) -> bool:
        """Whether the file differs from what was last read, or cannot be read any more."""
        return self._file is not None and self._file.changed()

    def read(self) -> GatewayConfig:
        """Return the validated configuration. Raises ConfigError."""
        return parse(self.read_data(), self.name)

    def read_with_problems(self) -> tuple[GatewayConfig, tuple[Problem, ...]]:
        """Return the configuration without what is wrong with it, and what that is, so that all of it can be reported.

        Raises ConfigError when nothing can be made of it.
        """
        data = self.read_data()
        try:
            return parse(data, self.name), ()
        except ConfigError as error:
            try:
                return parse(_without(data, error.places), self.name), error.problems
            except ConfigError:
                raise error from None

    def read_data(self) -> dict[str, Any]:
        """Return the configuration as written. Raises ConfigError."""
        if self.path is None or self._file is None:
            return dict(self._given or {})
        try:
            data = self._file.read()
        except OSError as error:
            raise ConfigError([Problem("", f"cannot be read: {error.strerror or error}")], self.name) from None
        return decode(data, self.path.suffix.lower(), self.name)


def decode(data: bytes, suffix: str, name: str) -> dict[str, Any]:
    """Return the mapping in a file's bytes. Raises ConfigError."""
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError([Problem("", f"is larger than {MAX_FILE_BYTES} bytes")], name)
    try:
        text = data.decode("utf-8-sig")
        value = _parse(text, suffix)
    except (ValueError, RecursionError) as error:
        reason = str(error) if not isinstance(error, RecursionError) else "nested too deep"
        raise ConfigError([Problem("", f"is not valid {_format(suffix)}: {' '.join(reason.split())}")], name) from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError([Problem("", "should be a mapping of keys to values")], name)
    return value


def _parse(text: str, suffix: str) -> Any:
    if suffix == ".json":
        return json.loads(text, object_pairs_hook=_unique)
    if suffix == ".toml":
        import tomllib

        return tomllib.loads(text)
    import yaml

    class Loader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]
        """Safe YAML that refuses a key written twice, which YAML itself forbids and parsers let pass."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[Any] = set()
            for key, _ in node.value:
                name = key.value
                if name in seen and key.tag != "tag:yaml.org,2002:merge":
                    raise ValueError(f"key {name!r} is written twice, at line {key.start_mark.line + 1}")
                seen.add(name)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)  # noqa: S506 - the loader above is a safe one
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is written twice in one object")
    return value


def _format(suffix: str) -> str:
    return {".json": "JSON", ".toml": "TOML"}.get(suffix, "YAML")


def parse(data: Mapping[str, Any], name: str = "configuration") -> GatewayConfig:
    """Validate a mapping. Raises ConfigError with every problem."""
    try:
        return GatewayConfig.model_validate(dict(data), context={"local": True})
    except ValidationError as error:
        places = [item["loc"] for item in error.errors(include_url=False, include_input=False, include_context=False)]
        raise ConfigError(problems_of(error, "", GatewayConfig), name, places) from None


def _without(data: dict[str, Any], places: Iterable[tuple[Any, ...]]) -> dict[str, Any]:
    """Leave out the wrong keys of the top level, and the wrong items of its lists; the others keep their numbers."""
    kept = dict(data)
    for key, *inside in places:
        value = kept.get(key)
        number = inside[0] if inside else None
        if (
            isinstance(value, list)
            and isinstance(number, int)
            and number < len(value)
            and key in ("plugins", "outgoing")
        ):
            kept[key] = [*value[:number], {"name": "left out", "enabled": False}, *value[number + 1 :]]
        else:
            kept.pop(key, None)
    return kept
