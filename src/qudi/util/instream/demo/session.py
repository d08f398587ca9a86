"""The part of the demo that runs in qudi: two programs from their start to the comparison."""

from __future__ import annotations

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

from qudi.util.instream.demo.process import QuitRequest

__all__ = ['compare_recordings', 'run']

_LOGICS = ('time_series_logic1', 'time_series_logic2')
_BUFFERS = ('stream_buffer1', 'stream_buffer2')
_WINDOWS = ('time_series_gui1', 'time_series_gui2')
_MONITOR = 'instream_monitor_gui'
_MONITOR_LOGIC = 'instream_monitor_logic'
# The channels whose values the windows show in large digits
_VALUES = ('average APD', 'average analog 1')

# Sizes on the screen, in pixels; that of a time series window is the largest of use
_LARGEST = QtCore.QSize(810, 500)
_NARROW = 530  # of one without its settings
_VALUE_SIZE = 36  # in points
_MONITOR_HEIGHT, _TITLE, _BORDER = 180, 36, 8

# What makes the second program slow: it takes so long for each sample (s), which is twice the
# sample period of the example, and its buffer holds so many samples only
_SLOWNESS, _SMALL_RING = 0.04, 150


# Where there are windows: the second program reads once a second, the buffers hold six seconds
# and the plots half a minute, so that the monitor shows levels that move
_LOGIC_OPTIONS = ({'channel_buffer_size': 300}, {'channel_buffer_size': 300, 'max_frame_rate': 1})
_MONITOR_OPTIONS = {'update_rate': 8.0, 'history': 30.0}


def _write_config(
    example: Path, directory: Path, startup_modules: tuple[str, ...], with_small_ring: bool
) -> Path:
    """Write the example for this run: other modules at the start, and a free port."""
    config = yaml_load(str(example))
    if _MONITOR in startup_modules:
        for name, options in zip(_LOGICS, _LOGIC_OPTIONS, strict=True):
            config['logic'][name]['options'].update(options)
        config['logic'][_MONITOR_LOGIC]['options'].update(_MONITOR_OPTIONS)
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
    example: str,
    home: str,
    with_windows: bool,
    seconds: float | None = None,
    screenshots: str | None = None,
    slow_consumer: bool = False,
    request: QuitRequest | None = None,
) -> int:
    """Run qudi with the example.

    Parameters
    ----------
    example : str
        Path of the example's configuration.
    home : str
        Directory for the configuration of this run.
    with_windows : bool
        Whether to open the two windows and the monitor.
    seconds : float, optional
        How long to stream and record. By default until the windows are closed, without a record.
    screenshots : str, optional
        Directory to save pictures of the windows in at the end.
    slow_consumer : bool
        Whether the second program is to be so slow that its buffer overflows.
    request : QuitRequest, optional
        Tells when the command wants qudi to quit.

    Returns
    -------
    int
        0 if all went as foretold, 1 if a module did not start, another stream ended than that of
        the slow program, or the two recordings differ, 130 after a request to quit.
    """
    # Before qudi makes it, so that a timer can wait for its event loop
    make_application = QtWidgets.QApplication if with_windows else QtCore.QCoreApplication
    application = make_application(sys.argv[:1])
    modules = (*_WINDOWS, _MONITOR) if with_windows else _LOGICS
    config = _write_config(Path(example), Path(home), modules, slow_consumer)
    qudi = Qudi(no_gui=not with_windows, config_file=str(config))
    session = _Session(qudi, with_windows, seconds, screenshots, slow_consumer, request)
    QtCore.QTimer.singleShot(0, session.begin)
    if isinstance(application, QtGui.QGuiApplication):
        application.lastWindowClosed.connect(session.finish)
    try:
        qudi.run()
    except SystemExit as leave:
        return session.exit_code or int(leave.code or 0)
    return session.exit_code


def window_places(
    screen: QtCore.QRect, count: int, least_width: int
) -> tuple[list[QtCore.QRect], QtCore.QRect]:
    """Share a screen: windows side by side, the monitor below them.

    Parameters
    ----------
    screen : QRect
        The part of the screen that is free for windows.
    count : int
        Number of windows.
    least_width : int
        Width that a window needs. Where there is less room, the windows overlap.

    Returns
    -------
    windows : list of QRect
        Where the contents of the windows belong. Above each is room for its title.
    monitor : QRect
        Where the content of the monitor belongs.
    """
    width = min(_LARGEST.width(), screen.width() // count)
    step = width
    if width < least_width:
        width = min(least_width, screen.width())
        step = (screen.width() - width) // max(1, count - 1)
    height = min(_LARGEST.height(), screen.height() - _MONITOR_HEIGHT - 2 * _TITLE)
    left, top = screen.left(), screen.top() + _TITLE
    windows = [
        QtCore.QRect(left + number * step, top, width - _BORDER, height) for number in range(count)
    ]
    total = (count - 1) * step + width
    below = QtCore.QRect(left, top + height + _TITLE, total - _BORDER, _MONITOR_HEIGHT - _BORDER)
    return windows, below


class _Session:
    """The two programs, from the start of their traces to the comparison."""

    def __init__(
        self,
        qudi: Any,
        with_windows: bool,
        seconds: float | None,
        screenshots: str | None,
        slow_consumer: bool,
        request: QuitRequest | None,
    ) -> None:
        self.exit_code = 0
        self._request = request
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
        if self._request is not None:
            self._request.begin()
        self._timer.timeout.connect(self._tick)
        self._timer.start(100)
        for name in _LOGICS:
            logic = self._module(name)
            if logic is None or logic.module_state() == 'deactivated':
                print(f'"{name}" did not start. The reason is above.', file=sys.stderr)
                self.exit_code = 1
                self._quit()
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
        """Show all windows at once on the screen there is, each with something to look at."""
        windows = [self._module(name)._mw for name in _WINDOWS]
        screen = QtWidgets.QApplication.primaryScreen().availableGeometry()
        places, below = window_places(screen, len(windows), _NARROW)
        for number, (window, place) in enumerate(zip(windows, places, strict=True)):
            window.setWindowTitle(f'Program {number + 1} reads {_BUFFERS[number]} - qudi')
            if window.minimumSizeHint().width() > place.width():
                window.settings_dockwidget.hide()  # back with View > Trace settings
            font = window.current_value_label.font()
            font.setPointSize(_VALUE_SIZE)  # the digits would not fit otherwise
            window.current_value_label.setFont(font)
            window.layout().activate()  # it needs less room now
            window.setGeometry(place)
            value = window.current_value_combobox
            value.setCurrentIndex(value.findText(_VALUES[number]))
        self._module(_MONITOR)._mw.setGeometry(below)

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
        if self._request is not None and self._request.is_made:
            self._finishing = True
            self._is_hurried.set()
            self.exit_code = 130
            self._quit()
            return
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
            self._save_screenshots(Path(self._screenshots))
        if self._slow_consumer:
            self._tell_who_was_slow()
        if self._seconds is None:
            self._quit()
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
        if not self._timer.isActive():  # qudi quits
            return
        if any(self._module(name).module_state() == 'locked' for name in _LOGICS):
            QtCore.QTimer.singleShot(50, self._compare_when_stopped)
            return
        first, second = (self._recording(name) for name in _LOGICS)
        problem = compare_recordings(first, second)
        if problem:
            print(f'The two programs have NOT seen the same stream: {problem}', file=sys.stderr)
            self.exit_code = 1
        else:
            channels = f'{first.shape[1]} channels, compared one by one'
            print(
                f'The slow program has seen the same stream until its end: {len(second)} samples '
                f'of {channels}.'
                if self._slow_consumer
                else f'Both programs have seen the same stream: {len(first)} and {len(second)} '
                f'samples of {channels}.'
            )
        self._quit()

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

    def _quit(self) -> None:
        self._timer.stop()  # a second quit while qudi quits would wait for the first one
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
