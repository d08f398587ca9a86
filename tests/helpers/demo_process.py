"""The demo as a command in a process of its own, and what must never be seen of it."""

import os
import subprocess
import sys
from pathlib import Path

from qtpy import API_NAME

__all__ = ['DEMO', 'ROOT', 'environment', 'path_with_qt', 'run']

DEMO = [sys.executable, '-m', 'qudi.util.instream.command', 'demo']
ROOT = Path(__file__).parents[2]
LEAN = str(Path(__file__).parent / 'lean')


def environment(**changes):
    return {
        **os.environ,
        'QT_QPA_PLATFORM': 'offscreen',
        'PYTHONUNBUFFERED': '1',
        'PYTHONPATH': LEAN,
        'PYTEST_ADDOPTS': '',  # pytest within a test would take the coverage of that around it
        **changes,
    }


def run(*arguments, command=DEMO, timeout=100, **changes):
    return subprocess.run(
        [*command, *arguments],
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
        check=False,
    )


def path_with_qt(folder, code):
    """Write a Qt that does this when it is imported; return where modules are found then."""
    package = folder / {'pyside6': 'PySide6', 'pyside2': 'PySide2'}[API_NAME.lower()]
    package.mkdir(parents=True)
    (package / '__init__.py').write_text(code)
    return os.pathsep.join([str(folder), str(ROOT / 'src')])
