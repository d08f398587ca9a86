"""Tests use the package as its callers do: no private name is read, set or patched."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SOURCE = TESTS.parent / 'src' / 'qudi'
OURS = ('qudi.util.instream', 'qudi.hardware.instream_buffer', 'qudi.logic.instream', 'qudi.gui.in')

# What may stay, by file
_OF_QUDI = {'_mw'}  # the window of a module of qudi, which has the same name in ours
ALLOWED = {
    'toolchain/test_windows.py': _OF_QUDI,
    'toolchain/test_wavemeter_windows.py': _OF_QUDI,
    'helpers/rpyc_server.py': {'_authenticate_and_serve_client'},  # of rpyc
    'benchmarks/contenders.py': {'DevicePolls'},  # polls at a fixed beat, for a comparison
    'benchmarks/monitor.py': {'_buffers', '_module', '_history'},  # plots as after five minutes
}


def tree_of(path):
    return ast.parse(path.read_text(encoding='utf-8'))


def is_private(name):
    return name.startswith('_') and not name.startswith('__')


def is_of(node, *names):
    return isinstance(node, ast.Name) and node.id in names


def private_names():
    """All private names that the package defines: functions, classes, values, attributes."""
    for path in SOURCE.rglob('*.py'):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
            elif isinstance(node, ast.Attribute) and is_of(node.value, 'self'):
                yield node.attr


PRIVATE = {name for name in private_names() if is_private(name)}


def doors(path):
    """Return what of the package a file of tests uses although it is private, or replaces."""
    imported, found = set(), []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(OURS):
            names = [alias.name for alias in node.names]
            imported.update(alias.asname or alias.name for alias in node.names)
            found += [(node, name) for name in names if is_private(name)]
        elif isinstance(node, ast.Attribute):
            is_own = is_of(node.value, 'self', 'cls')
            if node.attr in PRIVATE and not is_own:
                found.append((node, node.attr))
        elif isinstance(node, ast.Call) and len(node.args) > 1:
            found += [(node, name) for name in _replaced(node, imported)]
    return {(name, node.lineno) for node, name in found}


def _replaced(call, imported):
    """Names that a call reaches by text: `setattr(module, '_NAME', 1)`."""
    name = getattr(call.func, 'attr', getattr(call.func, 'id', ''))
    if name not in ('setattr', 'delattr', 'getattr', 'object'):
        return
    target, text = call.args[:2]
    root = target
    while isinstance(root, ast.Attribute):
        root = root.value
    if isinstance(target, ast.Constant) and str(target.value).startswith(OURS):
        yield target.value
    elif isinstance(text, ast.Constant) and text.value in PRIVATE:
        yield text.value
    elif name != 'getattr' and is_of(root, *imported):
        yield ast.unparse(target)


def test_tests_use_no_private_part_of_the_package():
    found, used = [], {}
    for path in sorted(TESTS.rglob('*.py')):
        name = path.relative_to(TESTS).as_posix()
        for what, line in sorted(doors(path)):
            if what in ALLOWED.get(name, ()):
                used.setdefault(name, set()).add(what)
            else:
                found.append(f'{name}:{line}: {what}')
    assert not found, 'Private parts of the package are used:\n' + '\n'.join(found)
    assert used == ALLOWED, 'what is allowed is not needed any more'


@pytest.mark.parametrize(
    'code',
    [
        'queue._jobs.clear()',
        "setattr(queue, '_jobs', [])",
        "getattr(queue, '_jobs')",
        "monkeypatch.setattr(queue, '_jobs', [])",
        "monkeypatch.setattr('qudi.util.instream.device.polls.skip', None)",
        'from qudi.util.instream.device import polls\nmonkeypatch.setattr(polls, "skip", None)',
        'from qudi.util.instream.device.polls import DevicePolls as P\n'
        'mock.patch.object(P, "poll", None)',
        'from qudi.util.instream.stream.readers import _STEP',
    ],
)
def test_a_private_part_is_found(tmp_path, code):
    path = tmp_path / 'test_it.py'
    path.write_text(code, encoding='utf-8')
    assert doors(path)
