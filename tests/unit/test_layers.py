"""Imports go one way: module -> device -> remote, stream; nothing imports the module."""

import ast
from pathlib import Path

import pytest

PACKAGE = 'qudi.util.instream'
SOURCE = Path(__file__).parents[2] / 'src' / 'qudi'
ROOM = SOURCE / 'util' / 'instream'
MODULES = sorted(SOURCE.rglob('*.py'))

# What each room may import of this package, beside itself
MAY_IMPORT = {
    'host': set(),
    'stream': set(),
    'remote': {'host', 'stream'},
    'device': {'host', 'remote', 'stream'},
    'monitor': {'host', 'remote', 'stream'},
    'monitor_options': set(),  # free of Qt, for the command
    'simulation': set(),
    'versions': set(),
    'examples': set(),
    'demo': {'examples'},
    'command': {'demo', 'examples', 'host', 'monitor_options', 'stream', 'versions'},
}
# The files of the command, from those that know a file to those that know the user
COMMAND = ['configuration', 'classes', 'stream', 'findings', 'lines', 'tree', 'environment']
COMMAND += ['mistakes', 'sharing', 'check', 'add', 'main', '__main__']
# What a room must not import of the world
MUST_NOT_IMPORT = {
    'stream': ('qtpy', 'qudi.core', 'qudi.interface', 'qudi.util.network', 'rpyc', 'PySide'),
    'host': ('qtpy', 'PySide'),
    'remote': ('qtpy', 'PySide'),
    'command': ('qtpy', 'qudi.core', 'qudi.interface', 'PySide'),
}
MOST_LINES, MOST_CLASS_LINES = 400, 300


def name_of(path):
    return str(path.relative_to(SOURCE)).replace('\\', '/')


def room_of(path):
    return path.relative_to(ROOM).parts[0].removesuffix('.py')


def imports_of(path):
    tree = ast.parse(path.read_text(encoding='utf-8'))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


@pytest.mark.parametrize('path', sorted(ROOM.rglob('*.py')), ids=name_of)
def test_each_room_imports_only_what_is_below_it(path):
    room = room_of(path)
    if room == '__init__':
        return
    allowed = MAY_IMPORT[room] | {room}
    for name in imports_of(path):
        if name.startswith(f'{PACKAGE}.'):
            other = name.removeprefix(f'{PACKAGE}.').split('.')[0]
            assert other in allowed, f'{name_of(path)} imports {name}'
        for forbidden in MUST_NOT_IMPORT.get(room, ()):
            assert not name.startswith(forbidden), f'{name_of(path)} imports {name}'


@pytest.mark.parametrize('path', sorted((ROOM / 'command').glob('*.py')), ids=lambda p: p.name)
def test_the_files_of_the_command_import_only_what_comes_before_them(path):
    if path.stem == '__init__':
        return
    before = COMMAND[: COMMAND.index(path.stem)]
    for name in imports_of(path):
        if name.startswith(f'{PACKAGE}.command.'):
            other = name.removeprefix(f'{PACKAGE}.command.').split('.')[0]
            assert other in before, f'{path.name} imports {name}'


@pytest.mark.parametrize('path', MODULES, ids=name_of)
def test_nothing_but_the_first_path_and_its_kin_imports_the_qudi_module(path):
    if name_of(path) in (
        'hardware/interfuse/instream_buffer.py',
        'hardware/instream_buffer/remote.py',  # it is a buffer itself
    ):
        return
    found = [name for name in imports_of(path) if name.startswith('qudi.hardware')]
    assert not found, f'{name_of(path)} imports {found}'


@pytest.mark.parametrize('path', sorted((ROOM / 'device').glob('*.py')), ids=lambda p: p.name)
def test_the_plan_and_the_clock_are_free_of_qt(path):
    if path.stem in ('clock', 'plan', 'jobs', 'offers', 'samples'):
        found = [name for name in imports_of(path) if name.startswith(('qtpy', 'PySide'))]
        assert not found, f'{path.name} imports {found}'


@pytest.mark.parametrize('path', MODULES, ids=name_of)
def test_files_and_classes_are_short_enough_to_be_read(path):
    text = path.read_text(encoding='utf-8')
    assert len(text.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= MOST_CLASS_LINES, f'class {node.name} has {lines} lines'


@pytest.mark.parametrize('path', MODULES, ids=name_of)
def test_private_parts_of_qudi_and_rpyc_are_used_in_one_file(path):
    if path.name == 'host.py':
        return
    private = {'_channel', '____conn__', '_shutting_down', 'watchdog', '_getframe', 'deactivate'}
    tree = ast.parse(path.read_text(encoding='utf-8'))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    found = private & (names | {text for text in strings if isinstance(text, str)})
    assert not found, f'{name_of(path)} uses {found}; put it into host.py, with a test'
