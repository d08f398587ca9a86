"""What the monitor costs: CPU of a process with eight streaming buffers, with and without it.

    python tests/benchmarks/monitor.py [--seconds 60]

The buffers stream 1 kS/s on two channels, and each is read every 430 ms, so that the bars and the
plots, which are full of jagged lines, differ at each look. Measured three times each, alternately,
with the window open.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

sys.path.append(str(Path(__file__).resolve().parents[1] / 'helpers'))

BUFFERS, RATE = 8, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=30.0, help='of each measurement')
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix='instream-monitor-') as home:
        for variable in ('HOME', 'USERPROFILE', 'APPDATA'):
            os.environ[variable] = home
        (Path(home) / 'qudi').mkdir()
        measure(seconds)


def measure(seconds: float) -> None:
    from qudi.core.gui.gui import Gui

    from qudi_host import QudiHost

    # isort: split
    from qtpy import API_NAME, QtCore, QtWidgets

    from bench import configure
    from qudi.gui.instream_monitor.monitor_window import MonitorWindow

    application = QtWidgets.QApplication([])
    application.setQuitOnLastWindowClosed(False)
    Gui.set_style_sheet('qdark.qss')

    def run(duration: float) -> None:
        loop = QtCore.QEventLoop()  # to quit the application would close the window
        QtCore.QTimer.singleShot(round(1000 * duration), loop.quit)
        getattr(loop, 'exec', loop.exec_)()

    qudi = QudiHost()
    qudi.add(
        'hardware',
        'streamer',
        'instream_buffer.simulator.InStreamSimulator',
        {'channels': ['a', 'b'], 'clocked': True},
    )
    qudi.activate('streamer')
    buffers = [qudi.add_buffer(f'buffer{number}') for number in range(1, BUFFERS + 1)]
    for buffer in buffers:
        configure(buffer, size=RATE, rate=RATE)
    for buffer in buffers:
        buffer.start_stream()
    reader = QtCore.QTimer()
    reader.timeout.connect(lambda: [buffer.read_data() for buffer in buffers])
    reader.start(430)
    logic = 'instream_monitor_logic.InStreamMonitorLogic'
    gui = 'instream_monitor.instream_monitor_gui.InStreamMonitorGui'
    # Plots of the usual number of points, but full after a short time
    qudi.add('logic', 'logic', logic, {'update_rate': 2.0, 'history': 300.0})
    qudi.add('gui', 'monitor', gui, connect={'monitor_logic': 'logic'})

    def cpu(with_monitor: bool) -> float:
        updates = []
        if with_monitor:
            qudi.activate('monitor')
            fill_plots(qudi['logic'])
            qudi['logic'].sigRowsChanged.connect(updates.append)
        run(2)
        before, began = time.process_time(), time.perf_counter()
        run(seconds)
        used = (time.process_time() - before) / (time.perf_counter() - began)
        if with_monitor:
            assert len(updates) >= 2 * seconds, f'{len(updates)} updates only'
            assert all(len(rows) == BUFFERS for rows in updates)
            (window,) = (w for w in application.topLevelWidgets() if isinstance(w, MonitorWindow))
            assert window.isVisible()
            qudi.deactivate('logic')
        return 100 * used

    values = [(cpu(False), cpu(True)) for _ in range(3)]
    without, with_it = (median(column) for column in zip(*values, strict=True))
    differences = [shown - alone for alone, shown in values]
    print(
        f'{API_NAME}, {application.platformName()}: {without:.2f} % of a core without the '
        f'monitor, {with_it:.2f} % with it; the monitor alone: '
        f'{", ".join(f"{value:.2f}" for value in differences)} %'
    )
    for buffer in buffers:
        buffer.stop_stream()
    qudi.close()


def fill_plots(logic: object) -> None:
    """Give each plot the points that it has after five minutes, all levels different."""
    from qtpy import QtCore

    end = time.perf_counter() + 10
    while len(logic.rows) < BUFFERS and time.perf_counter() < end:
        QtCore.QCoreApplication.processEvents()
    for source in logic._buffers.values():
        status = source._module().status
        for number in range(600):
            level = replace(status, samples_unread=137 * number % 430)
            source._history.add(level, time.perf_counter() - 0.5 * (600 - number))


if __name__ == '__main__':
    main()
