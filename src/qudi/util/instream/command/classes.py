"""What the source of a qudi module says about its class, without importing it.

A device's module may need a driver that is not installed here, and what it does when it is imported
is not known. So its file is found as Python would find it, and read as a syntax tree.
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import qudi

__all__ = ['ClassNotFoundError', 'ClassReader', 'ConnectorFact', 'ModuleClass', 'OptionFact']

# Where base classes come from that have neither connectors nor options
_PLAIN = ('PySide2', 'PySide6', 'qtpy', 'abc', 'typing', 'builtins')
_DEEPEST = 30  # base classes above one another, and imports that hand a class on


class ClassNotFoundError(Exception):
    """A class whose source is not there, or cannot be read."""


@dataclass(frozen=True)
class ConnectorFact:
    """One Connector of a class: the name of the class that it wants."""

    interface: str
    is_optional: bool


@dataclass(frozen=True)
class OptionFact:
    """One ConfigOption of a class."""

    is_required: bool


@dataclass
class ModuleClass:
    """What is known of a class and its bases.

    `files` has the class and its bases by name, each with the file that defines it, `unread` the
    bases whose source was not found.
    """

    files: dict[str, Path] = field(default_factory=dict)
    connectors: dict[str, ConnectorFact] = field(default_factory=dict)
    options: dict[str, OptionFact] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)

    @property
    def ancestors(self) -> set[str]:
        """Names of the class and of all its bases."""
        return {*self.files, *self.unread}


class ClassReader:
    """Finds and reads the classes of one configuration.

    Parameters
    ----------
    extension_paths : sequence of str
        Folders in which qudi looks before all others.
    """

    def __init__(self, extension_paths: Sequence[str] = ()) -> None:
        self._extensions = [Path(path) for path in extension_paths]
        self._trees: dict[Path, ast.Module] = {}

    def read(self, base: str, module_class: str) -> ModuleClass:
        """Read the class that an entry of the configuration names.

        Parameters
        ----------
        base : str
            'gui', 'logic' or 'hardware'.
        module_class : str
            As in the configuration, for example 'dummy.data_instream_dummy.InStreamDummy'.

        Raises
        ------
        ClassNotFoundError
            If there is no such file, no such class in it, or it is no Python.
        """
        module, _, name = f'qudi.{base}.{module_class}'.rpartition('.')
        found = ModuleClass()
        self._collect(found, *self._definition(module, name))
        return found

    def find(self, module: str) -> Path | None:
        """Return the file that Python would import as `module`, None if there is none."""
        parts = module.split('.')
        if parts[0] == 'qudi':
            parts = parts[1:]
            folders = [path / 'qudi' for path in self._extensions]
            folders += [Path(path) for path in qudi.__path__]
        else:
            folders = [*self._extensions, *map(Path, sys.path)]
        for number, part in enumerate(parts, 1):
            is_last = number == len(parts)
            spaces = []  # the folders of a namespace package
            for folder in folders:
                package = folder / part / '__init__.py'
                if package.is_file():
                    if is_last:
                        return package
                    spaces = [package.parent]
                    break
                file = folder / f'{part}.py'
                if file.is_file():
                    return file if is_last else None
                if (folder / part).is_dir():
                    spaces.append(folder / part)
            folders = spaces
        return None

    def imports_of(self, path: Path) -> set[str]:
        """Return the names of the modules that a file imports."""
        imported = set()
        for node in ast.walk(self._tree(path)):
            if isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module)
            elif isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
        return imported

    def _file_of(self, module: str) -> Path:
        path = self.find(module)
        if path is None:
            raise ClassNotFoundError(f'there is no module "{module}"')
        return path

    def _tree(self, path: Path) -> ast.Module:
        if path not in self._trees:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter('ignore')  # what is wrong in modules of others
                    self._trees[path] = ast.parse(path.read_bytes())
            except (OSError, SyntaxError, ValueError) as error:
                raise ClassNotFoundError(f'{path} cannot be read: {error}') from None
        return self._trees[path]

    def _definition(self, module: str, name: str, depth: int = 0) -> tuple[str, Path, ast.ClassDef]:
        """Find where a class is defined, also if the module hands on another one's."""
        path = self._file_of(module)
        stars = []
        for node in _statements(self._tree(path).body):
            if isinstance(node, ast.ClassDef) and node.name == name:
                return module, path, node
            if isinstance(node, ast.ImportFrom) and depth < _DEEPEST:
                origin = _origin(node, module, path)
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return self._definition(origin, alias.name, depth + 1)
                    if alias.name == '*':
                        stars.append(origin)
        for origin in stars:
            try:
                return self._definition(origin, name, depth + 1)
            except ClassNotFoundError:
                continue
        raise ClassNotFoundError(f'there is no class "{name}" in {path}')

    def _collect(
        self, found: ModuleClass, module: str, path: Path, node: ast.ClassDef, depth: int = 0
    ) -> None:
        """Add what a class has and its bases have; what is nearer to the class counts."""
        found.files.setdefault(node.name, path)
        for attribute, value in _attributes(node):
            if attribute in found.attributes:
                continue  # a class that is nearer has replaced it
            found.attributes.add(attribute)
            if not isinstance(value, ast.Call):
                continue
            kind = _last_name(value.func)
            if kind == 'Connector':
                name, fact = _connector(attribute, value)
                found.connectors.setdefault(name, fact)
            elif kind == 'ConfigOption':
                name, option = _option(attribute, value)
                found.options.setdefault(name, option)
        for expression in node.bases:
            origin, name = self._origin_of(expression, module, path)
            if origin.startswith('qudi.core') or origin.split('.')[0] in _PLAIN:
                continue
            try:
                if depth > _DEEPEST:
                    raise ClassNotFoundError(f'the base classes of {name} have no end')
                self._collect(found, *self._definition(origin, name), depth + 1)
            except ClassNotFoundError:
                found.unread.add(name)

    def _origin_of(self, expression: ast.expr, module: str, path: Path) -> tuple[str, str]:
        """Return the module from which a base class comes, and its name there."""
        name = _last_name(expression)
        dotted = ast.unparse(expression) if isinstance(expression, ast.Attribute) else ''
        prefix = dotted.rpartition('.')[0]
        for node in _statements(self._tree(path).body):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if prefix and prefix == (alias.asname or alias.name):
                        return alias.name, name
            elif isinstance(node, ast.ImportFrom):
                origin = _origin(node, module, path)
                for alias in node.names:
                    visible = alias.asname or alias.name
                    if prefix and visible == prefix:
                        return f'{origin}.{alias.name}', name
                    if not prefix and visible == name:
                        return origin, alias.name
        return 'builtins' if name == 'object' else module, name


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """All statements of a module, those under `try` and `if` included."""
    for node in body:
        yield node
        if isinstance(node, (ast.If, ast.Try)):
            handlers = node.handlers if isinstance(node, ast.Try) else []
            for part in (node.body, *(handler.body for handler in handlers), node.orelse):
                yield from _statements(part)


def _attributes(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    """The attributes of a class: what is assigned in its body, and its methods."""
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef):
            yield statement.name, ast.Constant(None)
            continue
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name):
                yield target.id, value


def _connector(attribute: str, call: ast.Call) -> tuple[str, ConnectorFact]:
    arguments = _arguments(call, ('interface', 'name', 'optional'))
    interface = arguments.get('interface')
    wanted = _constant(interface) or (_last_name(interface) if interface else '')
    fact = ConnectorFact(str(wanted), _constant(arguments.get('optional')) is True)
    return str(_constant(arguments.get('name')) or attribute), fact


def _option(attribute: str, call: ast.Call) -> tuple[str, OptionFact]:
    arguments = _arguments(call, ('name', 'default'))
    fact = OptionFact(_constant(arguments.get('missing')) == 'error')
    return str(_constant(arguments.get('name')) or attribute), fact


def _arguments(call: ast.Call, names: Sequence[str]) -> dict[str, ast.expr]:
    given = dict(zip(names, call.args, strict=False))
    given.update({keyword.arg: keyword.value for keyword in call.keywords if keyword.arg})
    return given


def _constant(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def _last_name(node: ast.expr) -> str:
    """The class in `Name`, `package.Name` and `Name[Parameter]`."""
    if isinstance(node, ast.Subscript):
        return _last_name(node.value)
    return str(getattr(node, 'attr', getattr(node, 'id', '')))


def _origin(node: ast.ImportFrom, module: str, path: Path) -> str:
    """The module of `from ... import`, relative ones included."""
    if not node.level:
        return node.module or ''
    parts = module.split('.')
    keep = len(parts) - node.level + (path.name == '__init__.py')
    return '.'.join([*parts[:keep], *([node.module] if node.module else [])])
