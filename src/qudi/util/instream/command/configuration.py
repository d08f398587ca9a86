"""A qudi configuration as qudi reads it, and the line in which each of its entries stands."""

from __future__ import annotations

import locale
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import ruamel.yaml
from qudi.util.yaml import YAML, DuplicateKeyError, MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

__all__ = ['BASES', 'Configuration', 'ConfigurationError', 'Module', 'Place']

BASES = ('gui', 'logic', 'hardware')


class ConfigurationError(Exception):
    """A configuration that cannot be read at all."""


@dataclass(frozen=True, order=True)
class Place:
    """Where something stands: a file and, if it is known, a line of it."""

    path: str
    line: int = 0

    def __str__(self) -> str:
        return f'{self.path}:{self.line}' if self.line else self.path


@dataclass(eq=False)
class Module:
    """One entry of a configuration."""

    configuration: Configuration
    base: str
    name: str
    entry: Mapping[str, Any] = field(repr=False)

    def place(self, *keys: str) -> Place:
        """Return where the entry stands, or a part of it."""
        return self.configuration.place(self.base, self.name, *keys)

    @property
    def module_class(self) -> str:
        """What `module.Class` says; empty for a module of another process."""
        value = self.entry.get('module.Class')
        return value if isinstance(value, str) else ''

    @property
    def options(self) -> dict[str, Any]:
        """The options of the module."""
        return _mapping(self.entry.get('options'))

    @property
    def connections(self) -> dict[str, str]:
        """Names of modules, by connector."""
        connections = _mapping(self.entry.get('connect'))
        return {str(key): value for key, value in connections.items() if isinstance(value, str)}

    @property
    def connected(self) -> list[str]:
        """Names of the connectors that stand there, also those with a value that is none."""
        return [str(key) for key in _mapping(self.entry.get('connect'))]

    @property
    def is_remote(self) -> bool:
        """Whether the module runs in another process."""
        return 'native_module_name' in self.entry

    @property
    def is_shared(self) -> bool:
        """Whether other processes may use the module."""
        return self.entry.get('allow_remote') is True


class Configuration:
    """One file.

    Parameters
    ----------
    path : Path
        The file, in the form in which messages shall name it.
    text : str, optional
        What stands in it; by default it is read.
    system_encoding : str, optional
        The encoding in which qudi reads it; by default that of this computer.

    Raises
    ------
    ConfigurationError
        If there is no such file, it is no text, or no YAML.
    """

    def __init__(
        self, path: Path, text: str | None = None, system_encoding: str | None = None
    ) -> None:
        self.path = path
        self.system_encoding = system_encoding or locale.getpreferredencoding(False)
        self.content = _read(path) if text is None else text.encode()
        self.text, self.encoding = self._decode()
        self.repeated: Place | None = None  # a key that stands twice, which qudi refuses
        self.data = self._load()
        self.root = _compose(self.text)

    def _decode(self) -> tuple[str, str]:
        for encoding in ('utf-8', self.system_encoding):
            try:
                return self.content.decode(encoding), encoding
            except UnicodeDecodeError:
                continue
        raise ConfigurationError(
            f'{self.path}: this is not a text file. Give a qudi configuration (.cfg)'
        )

    def _load(self) -> Any:
        yaml = YAML()
        yaml.allow_duplicate_keys = self.repeated is not None
        try:
            data = yaml.load(self.text)
            return {} if data is None else data
        except DuplicateKeyError as error:
            self.repeated = Place(str(self.path), _line_of(error))
            return self._load()
        except YAMLError as error:
            place = Place(str(self.path), _line_of(error))
            problem = getattr(error, 'problem', None) or str(error).splitlines()[0]
            problem += '. Write spaces instead of tabs' if '\\t' in problem else ''
            raise ConfigurationError(f'{place}: this is not valid YAML: {problem}') from None
        except Exception as error:  # a tag of qudi's with a value that it cannot make
            raise ConfigurationError(f'{self.path}: cannot be read: {error}') from None

    def node(self, *keys: str | int) -> tuple[Node | None, Node | None]:
        """Return the nodes of the deepest key that there is, and of its value."""
        key_node: Node | None = None
        node: Node | None = self.root
        for key in keys:
            if isinstance(node, SequenceNode) and isinstance(key, int) and key < len(node.value):
                key_node = node = node.value[key]
                continue
            pairs = node.value if isinstance(node, MappingNode) else []
            found = next((pair for pair in pairs if pair[0].value == str(key)), None)
            if found is None:
                break
            key_node, node = found
        return key_node, node

    def place(self, *keys: str | int) -> Place:
        """Return where the deepest of the nested keys that there is stands."""
        key_node, _ = self.node(*keys)
        return Place(str(self.path), key_node.start_mark.line + 1 if key_node else 0)

    def entries(self) -> Iterator[Module]:
        """All modules in the order of the file, also two of one name in two sections."""
        for base, section in _mapping(self.data).items():
            if base in BASES:
                for name, entry in _mapping(section).items():
                    yield Module(self, base, str(name), _mapping(entry))

    @property
    def modules(self) -> dict[str, Module]:
        """The modules by their names."""
        return {module.name: module for module in self.entries()}

    def shares(self, name: str) -> bool:
        """Whether it has a module of that name that other processes may use."""
        module = self.modules.get(name)
        return module is not None and module.is_shared

    @property
    def settings(self) -> dict[str, Any]:
        """What stands under `global`."""
        return _mapping(_mapping(self.data).get('global'))

    @property
    def startup_modules(self) -> list[str]:
        """Names of the modules that qudi activates when it starts."""
        return _texts(self.settings.get('startup_modules'))

    @property
    def extension_paths(self) -> list[str]:
        """Folders in which qudi looks for modules first."""
        return _texts(self.settings.get('extension_paths'))

    @property
    def server_port(self) -> int | None:
        """Port for other processes; None if there is no server."""
        port = _mapping(self.settings.get('remote_modules_server')).get('port')
        return port if isinstance(port, int) else None

    @property
    def loaded_at_start(self) -> set[str]:
        """Names of the startup modules and of all modules that these need."""
        modules = self.modules
        loaded: set[str] = set()
        waiting = self.startup_modules
        while waiting:
            name = waiting.pop()
            if name in modules and name not in loaded:
                loaded.add(name)
                waiting.extend(modules[name].connections.values())
        return loaded


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f'{path}: {error.strerror or error}') from None


def _compose(text: str) -> Node | None:
    try:
        node: Node | None = ruamel.yaml.YAML(typ='rt').compose(StringIO(text))
    except YAMLError:  # qudi's parser is another one, and has read it
        return None
    return node


def _line_of(error: Exception) -> int:
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    return mark.line + 1 if mark is not None else 0


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _texts(value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
