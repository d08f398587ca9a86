"""Imports go one way: module -> device -> remote, stream; nothing imports the module."""

import ast
import functools
from pathlib import Path
from typing import NamedTuple

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


class Facts(NamedTuple):
    """What the source of a module says."""

    lines: int
    imports: list  # names of modules, and of what is imported from them
    classes: list  # name and number of lines
    words: set  # attributes and strings


@functools.cache
def facts_of(path):
    text = path.read_text(encoding='utf-8')
    facts = Facts(len(text.splitlines()), [], [], set())
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            facts.imports.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            facts.imports.append(node.module)
            facts.imports.extend(f'{node.module}.{alias.name}' for alias in node.names)
        elif isinstance(node, ast.ClassDef):
            facts.classes.append((node.name, node.end_lineno - node.lineno + 1))
        elif isinstance(node, ast.Attribute):
            facts.words.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            facts.words.add(node.value)
    return facts


@pytest.mark.parametrize('path', sorted(ROOM.rglob('*.py')), ids=name_of)
def test_each_room_imports_only_what_is_below_it(path):
    room = room_of(path)
    if room == '__init__':
        return
    allowed = MAY_IMPORT[room] | {room}
    for name in facts_of(path).imports:
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
    for name in facts_of(path).imports:
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
    found = [name for name in facts_of(path).imports if name.startswith('qudi.hardware')]
    assert not found, f'{name_of(path)} imports {found}'


@pytest.mark.parametrize('path', sorted((ROOM / 'device').glob('*.py')), ids=lambda p: p.name)
def test_the_plan_and_the_clock_are_free_of_qt(path):
    if path.stem in ('clock', 'plan', 'jobs', 'offers', 'samples'):
        found = [name for name in facts_of(path).imports if name.startswith(('qtpy', 'PySide'))]
        assert not found, f'{path.name} imports {found}'


def test_the_thread_of_a_device_has_no_slots():
    found = {'Slot', 'Signal', 'connect'} & facts_of(ROOM / 'device' / 'thread.py').words
    assert not found, f'{found}: PySide2 may crash when it calls a slot beside the main thread'


@pytest.mark.parametrize('path', MODULES, ids=name_of)
def test_files_and_classes_are_short_enough_to_be_read(path):
    facts = facts_of(path)
    assert facts.lines <= MOST_LINES
    for name, lines in facts.classes:
        assert lines <= MOST_CLASS_LINES, f'class {name} has {lines} lines'


@pytest.mark.parametrize('path', MODULES, ids=name_of)
def test_private_parts_of_qudi_and_rpyc_are_used_in_one_file(path):
    if path.name == 'host.py':
        return
    private = {'_channel', '____conn__', '_shutting_down', 'watchdog', '_getframe', 'deactivate'}
    found = private & facts_of(path).words
    assert not found, f'{name_of(path)} uses {found}; put it into host.py, with a test'
