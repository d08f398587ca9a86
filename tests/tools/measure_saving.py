"""How long the time series logic takes to save a recording, and what its buffer holds meanwhile.

The logic does not read while it saves, so the buffer must hold all that comes.

    python tests/tools/measure_saving.py --rows 1000000
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / 'helpers'))

RATE = 50_000  # Hz, of two channels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rows', type=int, default=1_000_000, help='rows of the recording')
    rows = parser.parse_args().rows
    os.environ.setdefault('QT_QPA_PLATFORM', 'offscreen')
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        (Path(home) / 'qudi').mkdir()
        os.environ.update(dict.fromkeys(('HOME', 'USERPROFILE', 'APPDATA'), home))
        measure(rows)


def measure(rows: int) -> None:
    from qudi_host import QudiHost

    # isort: split
    from qtpy import QtCore, QtWidgets

    application = QtWidgets.QApplication([])
    host = QudiHost()
    host.add_dummy()
    buffer = host.add_buffer('buffer1')
    logic_class = 'time_series_reader_logic.TimeSeriesReaderLogic'
    options = {'max_frame_rate': 30, 'channel_buffer_size': max(rows, 1_000_000) * 4}
    host.add('logic', 'logic1', logic_class, options, {'streamer': 'buffer1'})
    logic = host.activate('logic1')
    logic.set_trace_settings({**logic.trace_settings, 'data_rate': RATE, 'trace_window_size': 1})

    def tell(slot: str) -> None:
        QtCore.QMetaObject.invokeMethod(logic, slot, QtCore.Qt.ConnectionType.QueuedConnection)

    def wait(condition) -> None:
        while not condition():
            application.processEvents()
            time.sleep(0.01)

    tell('start_reading')
    wait(lambda: buffer.status.samples_received)
    tell('start_recording')
    wait(lambda: logic.data_recording_active)
    started = buffer.status.samples_received
    wait(lambda: buffer.status.samples_received - started >= rows)
    began = time.perf_counter()
    tell('stop_recording')
    wait(lambda: not logic.data_recording_active)
    seconds = time.perf_counter() - began
    print(
        f'{rows} rows of 2 channels were saved in {seconds:.1f} s, '
        f'{1e6 * seconds / rows:.1f} s per million; '
        f'the buffer held up to {buffer.status.peak_fill} samples'
    )
    tell('stop_reading')
    wait(lambda: logic.module_state() == 'idle')
    host.close()


if __name__ == '__main__':
    main()
