"""Every configuration that users may copy is valid for qudi, runs as it stands, and streams."""

from pathlib import Path

import pytest
from qudi.core.config import Configuration
from qudi.interface.data_instream_interface import SampleTiming

# isort: split
from qtpy import QtCore

from qudi.util.instream.command.main import main

ROOT = Path(__file__).parents[2]
# Those for two processes are in tests/remote
CONFIGS = [path for path in sorted((ROOT / 'config').glob('*.cfg')) if 'remote' not in path.stem]


@pytest.fixture
def assert_streams(qudi, tmp_path, wait_until):
    """Load a configuration file, start all its traces, and stop them again."""

    def check(path):
        configuration = Configuration()
        configuration.load(str(path))
        qudi.load({base: configuration[base] for base in ('hardware', 'logic', 'gui')})
        for name in configuration['gui']:
            qudi.activate(name)
        logics = [qudi[name] for name in configuration['logic']]
        logics = [logic for logic in logics if hasattr(logic, 'start_reading')]
        frames = {logic.module_name: 0 for logic in logics}

        def count(name):
            frames[name] += 1

        for logic in logics:
            logic.sigNewRawData.connect(
                lambda *_, name=logic.module_name: count(name),
                QtCore.Qt.ConnectionType.DirectConnection,
            )
            tell(logic, 'start_reading')
        wait_until(lambda: min(frames.values()) >= 3, f'each logic of {path.name} got frames')
        buffers = [name for name in configuration['hardware'] if 'buffer' in name]
        assert len(buffers) == len(logics) >= 2
        for name in buffers:
            assert qudi[name].status.samples_lost == 0
        for logic in logics:
            tell(logic, 'stop_reading')
        for logic in logics:
            wait_until(lambda it=logic: it.module_state() == 'idle', f'{logic.module_name} stopped')
        return [qudi[name] for name in buffers]

    return check


def tell(logic, slot):
    QtCore.QMetaObject.invokeMethod(logic, slot, QtCore.Qt.ConnectionType.QueuedConnection)


def test_there_are_configurations():
    names = {path.stem for path in CONFIGS}
    assert names >= {'two_time_series', 'three_buffers', 'timestamps'}


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_streams_in_all_its_windows(assert_streams, path):
    buffers = assert_streams(path)
    timing = SampleTiming.TIMESTAMP if path.stem == 'timestamps' else SampleTiming.CONSTANT
    assert {buffer.constraints.sample_timing for buffer in buffers} == {timing}


def test_the_copy_that_add_writes_streams_in_all_its_windows(assert_streams, tmp_path):
    text = (ROOT / 'config' / 'timestamps.cfg').read_text(encoding='utf-8')
    text = text[: text.index('    stream_buffer1:\n')]
    for buffer in ('stream_buffer1', 'stream_buffer2'):
        text = text.replace(buffer, 'instream_dummy')
    path = tmp_path / 'lab.cfg'
    path.write_text(text, encoding='utf-8')
    assert main(['add', str(path), 'instream_dummy']) == 0
    buffers = assert_streams(tmp_path / 'lab_buffered.cfg')
    names = [buffer.module_name for buffer in buffers]
    assert names == ['time_series_logic1_buffer', 'time_series_logic2_buffer']


def test_the_entries_in_the_guide_stream_on_a_device_of_that_name(assert_streams, tmp_path):
    text = (ROOT / 'docs' / 'guide.md').read_text(encoding='utf-8')
    entries = text.split('```yaml\n')[1].split('```')[0]
    dummy = """hardware:
    my_counter:
        module.Class: 'dummy.data_instream_dummy.InStreamDummy'
        options:
            channel_names: ['APD']
            channel_units: ['Hz']
            channel_signals: ['counts']
"""
    assert entries.startswith('hardware:\n')
    path = tmp_path / 'guide.cfg'
    path.write_text(dummy + entries.removeprefix('hardware:\n'), encoding='utf-8')
    assert_streams(path)
