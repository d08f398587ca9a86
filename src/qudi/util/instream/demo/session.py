"""The part of the demo that runs in qudi: two programs from their start to the comparison."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from qudi.core.application import Qudi
from qudi.util.yaml import yaml_dump, yaml_load

# isort: split
# Last, since qtpy takes the Qt binding that is loaded already: the one of qudi
from qtpy import QtCore, QtGui, QtWidgets

__all__ = ['compare_recordings', 'run']

_LOGICS = ('time_series_logic1', 'time_series_logic2')
_BUFFERS = ('stream_buffer1', 'stream_buffer2')
_WINDOWS = ('time_series_gui1', 'time_series_gui2')
_MONITOR = 'instream_monitor_gui'

# What makes the second program slow: it takes so long for each sample (s), which is twice the
# sample period of the example, and its buffer holds so many samples only
_SLOWNESS, _SMALL_RING = 0.04, 150


def _write_config(
    example: Path, directory: Path, startup_modules: tuple[str, ...], with_small_ring: bool
) -> Path:
    """Write the example for this run: other modules at the start, and a free port."""
    config = yaml_load(str(example))
    if with_small_ring:
        config['logic'][_LOGICS[1]]['options']['channel_buffer_size'] = _SMALL_RING
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    config['global'].update(
        startup_modules=list(startup_modules),
        namespace_server_port=port,
        hide_manager_window=True,
    )
    path = directory / example.name
    yaml_dump(str(path), config)
    return path


def run(
    example: Path,
    home: Path,
    with_windows: bool,
    seconds: float | None = None,
    screenshots: Path | None = None,
    slow_consumer: bool = False,
) -> int:
    """Run qudi with the example.

    Parameters
    ----------
    example : Path
        The example's configuration.
    home : Path
        Directory for the configuration of this run.
    with_windows : bool
        Whether to open the two windows and the monitor.
    seconds : float, optional
        How long to stream and record. By default until the windows are closed, without a record.
    screenshots : Path, optional
        Directory to save pictures of the windows in at the end.
    slow_consumer : bool
        Whether the second program is to be so slow that its buffer overflows.

    Returns
    -------
    int
        0 if all went as foretold, 1 if a module did not start, another stream ended than that of
        the slow program, or the two recordings differ, 130 after Ctrl-C.
    """
    # Before qudi makes it, so that a timer can wait for its event loop
    make_application = QtWidgets.QApplication if with_windows else QtCore.QCoreApplication
    application = make_application(sys.argv[:1])
    modules = (*_WINDOWS, _MONITOR) if with_windows else _LOGICS
    config = _write_config(example, home, modules, slow_consumer)
    qudi = Qudi(no_gui=not with_windows, config_file=str(config))
    session = _Session(qudi, with_windows, seconds, screenshots, slow_consumer)
    QtCore.QTimer.singleShot(0, session.begin)
    if with_windows:
        application.lastWindowClosed.connect(session.finish)
    try:
        qudi.run()
    except SystemExit as leave:
        return session.exit_code or int(leave.code or 0)
    return session.exit_code


class _Session:
    """The two programs, from the start of their traces to the comparison."""

    def __init__(
        self,
        qudi: Any,
        with_windows: bool,
        seconds: float | None,
        screenshots: Path | None,
        slow_consumer: bool,
    ) -> None:
        self.exit_code = 0
        self._qudi = qudi
        self._with_windows = with_windows
        self._seconds = seconds
        self._screenshots = screenshots
        self._slow_consumer = slow_consumer
        self._is_hurried = threading.Event()  # the slow program is slow until then
        self._timer = QtCore.QTimer()
        self._recordings: dict[str, list[np.ndarray]] = {}
        self._received = dict.fromkeys(_BUFFERS, 0)
        self._ticks = 0
        self._finishing = False

    def begin(self) -> None:
        signal.signal(signal.SIGINT, lambda *_: self._interrupt())
        # Python looks at signals between its instructions only, so some must be executed
        self._timer.timeout.connect(self._tick)
        self._timer.start(100)
        for name in _LOGICS:
            logic = self._module(name)
            if logic is None or logic.module_state() == 'deactivated':
                print(f'"{name}" did not start. The reason is above.', file=sys.stderr)
                self.exit_code = 1
                self._qudi.quit()
                return
            if self._seconds is not None:
                self._record(name, logic)
        if self._slow_consumer:
            self._module(_LOGICS[1]).sigNewRawData.connect(
                self._dawdle, QtCore.Qt.ConnectionType.DirectConnection
            )
            print(f'"{_BUFFERS[1]}" will overflow: its program is too slow.')
        if self._with_windows:
            self._arrange_windows()
        for name in _LOGICS:
            self._tell(name, 'start_reading')

    def _arrange_windows(self) -> None:
        """Put the windows side by side and the monitor below, so that one sees all at once."""
        left = 0
        for name in _WINDOWS:
            window = self._module(name)._mw
            window.setGeometry(left, 40, 800, 460)
            left += 810
        self._module(_MONITOR)._mw.setGeometry(0, 540, left - 10, 170)

    def _dawdle(self, samples: np.ndarray, _: object) -> None:
        """Be a program that takes its time. In the thread of the logic."""
        channel_count = len(self._module(_LOGICS[1]).active_channel_names)
        self._is_hurried.wait(_SLOWNESS * len(samples) / channel_count)

    def _record(self, name: str, logic: Any) -> None:
        frames = self._recordings.setdefault(name, [])
        # In the logic's own thread, which uses the array again for its next frame
        logic.sigNewRawData.connect(
            lambda samples, _: frames.append(samples.copy()),
            QtCore.Qt.ConnectionType.DirectConnection,
        )

    def _tick(self) -> None:
        self._ticks += 1
        if self._seconds is None or self._finishing:
            return
        elapsed = self._ticks / 10
        if self._ticks % 10 == 0:
            for name in _BUFFERS:
                self._print_status(elapsed, name)
        if elapsed >= self._seconds:
            self.finish()

    def _print_status(self, elapsed: float, name: str) -> None:
        status = self._module(name).status
        if status.state == 'idle':
            print(f'{elapsed:5.0f} s  {name}: not started')
            return
        rate = status.samples_received - self._received[name]
        self._received[name] = status.samples_received
        fill = 100 * status.samples_unread / status.ring_size
        print(
            f'{elapsed:5.0f} s  {name}: {status.samples_received:7d} samples received, '
            f'{rate:6d} /s, ring {fill:6.3f} % full, {status.samples_lost} samples lost',
            flush=True,
        )

    def finish(self) -> None:
        """Stop both traces, check what they have recorded, and quit."""
        if self._finishing:
            return
        self._finishing = True
        self._is_hurried.set()
        if self._screenshots is not None:
            self._save_screenshots(self._screenshots)
        if self._slow_consumer:
            self._tell_who_was_slow()
        if self._seconds is None:
            self._qudi.quit()
            return
        for name in _BUFFERS:
            status = self._module(name).status
            is_foretold = self._slow_consumer and name == _BUFFERS[1]
            if status.state != ('overflow' if is_foretold else 'running'):
                problem = f'The stream of "{name}" is {status.state}: {status.message}'
                print(problem, file=sys.stderr)
                self.exit_code = 1
        for name in _LOGICS:
            self._tell(name, 'stop_reading')
        self._compare_when_stopped()

    def _tell_who_was_slow(self) -> None:
        first, second = (self._module(name).status for name in _BUFFERS)
        print(
            f'"{_BUFFERS[0]}" was not disturbed: {first.samples_received} samples received, '
            f'{first.samples_lost} lost. "{_BUFFERS[1]}", whose program was too slow: '
            f'{second.samples_received} received, {second.samples_lost} lost'
            + (f'; its stream has ended: {second.message}.' if second.message else '.')
        )

    def _compare_when_stopped(self) -> None:
        if any(self._module(name).module_state() == 'locked' for name in _LOGICS):
            QtCore.QTimer.singleShot(50, self._compare_when_stopped)
            return
        first, second = (self._recording(name) for name in _LOGICS)
        problem = compare_recordings(first, second)
        if problem:
            print(f'The two programs have NOT seen the same stream: {problem}', file=sys.stderr)
            self.exit_code = 1
        else:
            print(
                f'Both programs have seen the same stream: {len(first)} and {len(second)} samples '
                f'of {first.shape[1]} channels, compared one by one.'
            )
        self._qudi.quit()

    def _recording(self, name: str) -> np.ndarray:
        channel_count = len(self._module(name).active_channel_names)
        frames = self._recordings[name]
        return np.concatenate([np.empty(0), *frames]).reshape(-1, channel_count)

    def _save_screenshots(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        windows = {name: self._module(name)._mw for name in (*_WINDOWS, _MONITOR)}
        places = QtGui.QRegion()
        for window in windows.values():
            places += window.geometry()
        together = QtGui.QImage(places.boundingRect().size(), QtGui.QImage.Format.Format_RGB32)
        together.fill(QtCore.Qt.GlobalColor.black)
        painter = QtGui.QPainter(together)
        for name, window in windows.items():
            picture = window.grab()
            picture.save(str(directory / f'{name}.png'))
            painter.drawPixmap(window.pos() - places.boundingRect().topLeft(), picture)
        painter.end()
        # 256 colours are enough for it, and light
        together = together.convertToFormat(
            QtGui.QImage.Format.Format_Indexed8, QtCore.Qt.ImageConversionFlag.ThresholdDither
        )
        together.save(str(directory / 'demo.png'), quality=0)
        print(f'Saved the pictures in {directory}')

    def _interrupt(self) -> None:
        print('Interrupted, qudi quits.')
        self._finishing = True
        self._is_hurried.set()
        self.exit_code = 130
        self._qudi.quit()

    def _module(self, name: str) -> Any:
        return self._qudi.module_manager[name].instance

    def _tell(self, name: str, slot: str) -> None:
        QtCore.QMetaObject.invokeMethod(
            self._module(name), slot, QtCore.Qt.ConnectionType.QueuedConnection
        )


def compare_recordings(first: np.ndarray, second: np.ndarray) -> str:
    """Compare what two programs have recorded of one stream, sample by sample.

    Parameters
    ----------
    first, second : numpy.ndarray
        Arrays of shape (samples, channels). Each may begin and end at its own time.

    Returns
    -------
    str
        What differs; empty if every sample between the later beginning and the earlier end is
        the same in both.
    """
    if not len(first) or not len(second):
        return f'{len(first)} and {len(second)} samples were recorded'
    for early, late in ((first, second), (second, first)):
        for offset in np.flatnonzero((early == late[0]).all(axis=1)):
            common = min(len(early) - offset, len(late))
            same = (early[offset : offset + common] == late[:common]).all(axis=1)
            if common < min(len(first), len(second)) / 2:
                continue
            if same.all():
                return ''
            return f'they differ from sample {int(np.argmin(same))} of {common} common ones on'
    return 'the beginning of one is not found in the other'
