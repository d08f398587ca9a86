"""qudi-instream-demo: one simulated device, two buffers, two time series programs, in real qudi.

With a screen it opens both windows and the monitor, and starts both traces. Without one it streams
for some seconds, and checks that both programs have seen the same stream. The user's own qudi is
not touched: the demo has a home directory of its own, which is gone afterwards.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ['command', 'example_config_path', 'main']

_EXAMPLE = 'two_time_series.cfg'

_DEBIAN_PACKAGES = (
    'libgl1 libegl1 libglib2.0-0 libfontconfig1 libdbus-1-3 libxkbcommon0 libxkbcommon-x11-0 '
    'libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-render-util0 libxcb-shape0 '
    'libxcb-xinerama0 fonts-dejavu-core'
)


def main(arguments: list[str] | None = None) -> int:
    """Run the demo and return its exit code: 0 if all is well, 1 if not, 130 after Ctrl-C."""
    options = _parse(arguments)
    has_screen = _has_screen()
    with_windows = options.screenshots is not None or (has_screen and not options.headless)
    on_screen = with_windows and has_screen and not options.headless
    if not on_screen:
        os.environ['QT_QPA_PLATFORM'] = 'offscreen'
        options.seconds = options.seconds or (15.0 if options.slow_consumer else 10.0)
    with _own_home() as home:
        problem = _qt_problem(with_windows)
        if problem:
            print(problem, file=sys.stderr)
            return 1
        from qudi.util.instream.demo.session import run

        return run(
            example_config_path(),
            home,
            with_windows,
            options.seconds,
            options.screenshots,
            options.slow_consumer,
        )


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='qudi-instream-demo',
        description='Two time series programs read one simulated device through two buffers, in '
        'real qudi. Opens two windows and the monitor, or checks both streams where there is no '
        'screen.',
    )
    parser.add_argument(
        '--headless', action='store_true', help='no windows: print numbers and check the streams'
    )
    parser.add_argument(
        '--seconds',
        type=_positive,
        help='how long to stream (default: 10, or 15 with --slow-consumer, without windows on a '
        'screen, else until they are closed)',
    )
    parser.add_argument(
        '--slow-consumer',
        action='store_true',
        help='the second program is too slow: its buffer overflows after some '
        'seconds, and the first program does not notice',
    )
    parser.add_argument(
        '--screenshots',
        type=Path,
        metavar='DIR',
        help='save a picture of each window in this directory at the end',
    )
    return parser.parse_args(arguments)


def _positive(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f'{text} is not a positive number of seconds')
    return seconds


def _has_screen() -> bool:
    if os.environ.get('QT_QPA_PLATFORM', '').startswith(('offscreen', 'minimal')):
        return False
    if sys.platform in ('win32', 'darwin'):
        return True
    return bool(os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY'))


@contextmanager
def _own_home() -> Iterator[Path]:
    """Give qudi a home directory of its own: it keeps its states and logs there."""
    variables = ('HOME', 'USERPROFILE', 'APPDATA')
    before = {variable: os.environ.get(variable) for variable in variables}
    # qudi may still hold its log file open, which Windows does not allow to be deleted
    with tempfile.TemporaryDirectory(
        prefix='qudi-instream-demo-', ignore_cleanup_errors=True
    ) as path:
        (Path(path) / 'qudi').mkdir()
        os.environ.update(dict.fromkeys(variables, path))
        try:
            yield Path(path)
        finally:
            for variable, value in before.items():
                if value is None:
                    del os.environ[variable]
                else:
                    os.environ[variable] = value


def _qt_problem(with_windows: bool) -> str:
    """Say what keeps Qt from working here and how to cure it; empty if nothing does.

    Asked in another process, because Qt aborts where it finds no way to open a window.
    """
    code = 'import qudi.core.application'
    if with_windows:
        code += '; from qtpy import QtWidgets; QtWidgets.QApplication([])'
    probe = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False
    )
    if probe.returncode == 0:
        return ''
    said = probe.stderr.strip().splitlines() or [f'exit code {probe.returncode}']
    if 'No module named' in said[-1]:
        return f'{said[-1]}\nInstall it with pip in this Python environment: {sys.prefix}'
    # qudi prints where it was called from below the message of Qt
    reason = next((line for line in said if line.startswith('Fatal error')), said[-1])
    return (
        f'Qt does not work here: {reason}\n'
        f'If the screen cannot be reached, add --headless. '
        f'If a system library is missing, on Debian or Ubuntu, as root:\n'
        f'    apt-get update\n'
        f'    apt-get install -y --no-install-recommends {_DEBIAN_PACKAGES}'
    )


def example_config_path() -> Path:
    """Return the example's configuration, in a checkout or as the wheel has installed it.

    Raises
    ------
    FileNotFoundError
        If it is in neither place.
    """
    candidates = [Path(__file__).resolve().parents[5] / 'config' / _EXAMPLE]
    installed = importlib.metadata.files('qudi-instream-buffer') or []
    candidates += [Path(file.locate()) for file in installed if file.name == _EXAMPLE]
    for path in candidates:
        if path.is_file():
            return path
    raise FileNotFoundError(f'{_EXAMPLE} is missing, install qudi-instream-buffer again')


def command() -> None:
    """Run the demo as a command."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # All is done. PySide2 crashes now and then while Python takes its modules apart
    os._exit(code)


if __name__ == '__main__':
    command()
