"""Every configuration in config/ is valid for qudi, runs as it stands, and streams."""

from pathlib import Path

import pytest
from qudi.core.config import Configuration
from qudi.interface.data_instream_interface import SampleTiming

# isort: split
from qtpy import QtCore

CONFIGS = sorted((Path(__file__).parents[2] / 'config').glob('*.cfg'))


def test_there_are_configurations():
    assert {path.name for path in CONFIGS} >= {
        'two_time_series.cfg',
        'three_buffers.cfg',
        'timestamps.cfg',
    }


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_streams_in_all_its_windows(qudi, path, wait_until):
    configuration = Configuration()
    configuration.load(str(path))
    qudi.load({base: configuration[base] for base in ('hardware', 'logic', 'gui')})
    for name in configuration['startup_modules']:
        qudi.activate(name)
    logics = [qudi[name] for name in configuration['logic']]
    frames = {logic.module_name: 0 for logic in logics}

    def count(name):
        frames[name] += 1

    for logic in logics:
        logic.sigNewRawData.connect(
            lambda *_, name=logic.module_name: count(name),
            QtCore.Qt.ConnectionType.DirectConnection,
        )
        QtCore.QMetaObject.invokeMethod(
            logic, 'start_reading', QtCore.Qt.ConnectionType.QueuedConnection
        )
    wait_until(lambda: min(frames.values()) >= 3, f'each logic of {path.name} got frames')
    buffers = [name for name in configuration['hardware'] if 'buffer' in name]
    assert len(buffers) == len(logics) >= 2
    for name in buffers:
        assert qudi[name].status.samples_lost == 0
    if path.stem == 'timestamps':
        assert qudi[buffers[0]].constraints.sample_timing is SampleTiming.TIMESTAMP
    for logic in logics:
        QtCore.QMetaObject.invokeMethod(
            logic, 'stop_reading', QtCore.Qt.ConnectionType.QueuedConnection
        )
    for logic in logics:
        wait_until(lambda it=logic: it.module_state() == 'idle', f'{logic.module_name} stopped')
