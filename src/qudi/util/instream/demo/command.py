"""qudi-instream-demo: one simulated device, two buffers, two time series programs, in real qudi.

With a screen it opens both windows and the monitor, and starts both traces. Without one it streams
for some seconds, and checks that both programs have seen the same stream. The user's own qudi is
not touched: the demo has a home directory of its own, which is gone afterwards.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import site
import sys
import tempfile
from pathlib import Path

from qudi.util.instream.demo.process import SessionProcess
from qudi.util.instream.examples import example_paths

__all__ = ['example_config_path', 'main', 'qt_problem']

_EXAMPLE = 'two_time_series.cfg'

_DEBIAN_PACKAGES = (
    'libgl1 libegl1 libglib2.0-0 libfontconfig1 libdbus-1-3 libxkbcommon0 libxkbcommon-x11-0 '
    'libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-render-util0 libxcb-shape0 '
    'libxcb-xinerama0 fonts-dejavu-core'
)


def main(arguments: list[str] | None = None) -> int:
    """Run the demo and return its exit code: 0 if all is well, 1 if not, 130 after Ctrl-C."""
    interrupts: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: interrupts.append(number))
    options = _parse(arguments)
    has_screen = _has_screen()
    with_windows = options.screenshots is not None or (has_screen and not options.headless)
    on_screen = with_windows and has_screen and not options.headless
    environment = dict(os.environ)
    if not on_screen:
        environment['QT_QPA_PLATFORM'] = 'offscreen'
        options.seconds = options.seconds or (15.0 if options.slow_consumer else 10.0)
    # qudi keeps its states and logs at home
    with tempfile.TemporaryDirectory(
        prefix='qudi-instream-demo-', ignore_cleanup_errors=True
    ) as home:
        (Path(home) / 'qudi').mkdir()
        _move_home(environment, home)
        session = SessionProcess(
            {
                'example': str(example_config_path()),
                'home': home,
                'with_windows': with_windows,
                'seconds': options.seconds,
                'screenshots': options.screenshots and str(options.screenshots.resolve()),
                'slow_consumer': options.slow_consumer,
            },
            environment,
        )
        session.show(_greeting(on_screen, options.seconds))
        return _exit_code(session, interrupts)


def _move_home(environment: dict[str, str], home: str) -> None:
    """Give the session a home of its own. What it needs of the user's home, it still finds."""
    cookie = os.path.expanduser(os.path.join('~', '.Xauthority'))
    if os.path.isfile(cookie):  # which opens the screen, as with ssh -X
        environment.setdefault('XAUTHORITY', cookie)
    environment.setdefault('PYTHONUSERBASE', site.getuserbase())  # of `pip install --user`
    environment.update(dict.fromkeys(('HOME', 'USERPROFILE', 'APPDATA'), home))


def _greeting(on_screen: bool, seconds: float | None) -> bytes:
    shows = 'two windows and the monitor open' if on_screen else 'figures of both buffers follow'
    ends = (
        'Ctrl-C ends the demo' if seconds is None else f'it ends after {seconds:g} s of streaming'
    )
    return f'qudi starts, which takes 5 to 10 s. Then {shows}; {ends}.\n'.encode()


def _exit_code(session: SessionProcess, interrupts: list[int]) -> int:
    """Wait for the end of the session; Ctrl-C asks it to quit, a second one does not wait."""
    is_asked = False
    while not session.ends_within(0.1):
        if len(interrupts) > 1:
            session.kill()
        elif not is_asked and (interrupts or session.output_is_closed.is_set()):
            is_asked = True
            if interrupts:
                session.show(b'Interrupted, qudi quits.\n')
            session.ask_to_quit()
    if interrupts:
        return 128 + interrupts[0]
    complaints = b''.join(session.complaints)
    if session.has_begun.is_set():
        session.show(complaints, error=True)
    elif session.exit_code:
        problem = qt_problem(complaints.decode(errors='replace'))
        session.show(problem.encode(), error=True)
        return 1
    return 1 if session.output_is_closed.is_set() else session.exit_code


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


def qt_problem(complaints: str) -> str:
    """Say what keeps Qt from working here and how to cure it.

    Parameters
    ----------
    complaints : str
        The text of the error, or what a process wrote that Qt has aborted.
    """
    lines = complaints.strip().splitlines() or ['it has ended without a word']
    if 'No module named' in lines[-1]:
        return f'{lines[-1]}\nInstall it with pip in this Python environment: {sys.prefix}\n'
    # qudi prints where it was called from below the message of Qt
    reason = next((line for line in lines if line.startswith('Fatal error')), lines[-1])
    screen = 'If the screen cannot be reached, add --headless. '
    return (
        f'Qt does not work here: {reason}\n'
        f'{screen if reason.startswith("Fatal error") else ""}'
        f'If a system library is missing, on Debian or Ubuntu, as root:\n'
        f'    apt-get update\n'
        f'    apt-get install -y --no-install-recommends {_DEBIAN_PACKAGES}\n'
    )


def example_config_path() -> Path:
    """Return the example's configuration, in a checkout or as the wheel has installed it."""
    return example_paths()[_EXAMPLE]
