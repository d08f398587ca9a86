"""Real qudi quits while buffers stream: exit code 0, no complaint of Qt, no thread, device off."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from qudi.util.yaml import yaml_dump

from complaints import assert_clean
from ports import free_port

PROGRAM = Path(__file__).parents[1] / 'tools' / 'quit_qudi.py'
LIMITS = {'patience': 1.5, 'quitting_read': 0.5}  # what takes longer hangs, or waits for nothing
STRICT, OVERWRITING = {'allow_overwrite': False}, {'allow_overwrite': True}


def quit_qudi(directory, options, *words):
    """Run qudi with a buffer for each of these options until it quits, return what it printed."""
    names = [f'buffer{number}' for number in range(1, len(options) + 1)]
    hardware = {
        name: {
            'module.Class': 'instream_buffer.buffer.DataInStreamBuffer',
            'options': {'read_timeout': None, 'time_limits': LIMITS, **option},
            'connect': {'streamer': 'streamer'},
        }
        for name, option in zip(names, options, strict=True)
    }
    logic = {
        name.replace('buffer', 'logic'): {
            'module.Class': 'time_series_reader_logic.TimeSeriesReaderLogic',
            'connect': {'streamer': name},
        }
        for name in names
    }
    gui = {
        name.replace('buffer', 'window'): {
            'module.Class': 'time_series.time_series_gui.TimeSeriesGui',
            'connect': {'_time_series_logic_con': name.replace('buffer', 'logic')},
        }
        for name in names
    }
    hardware['streamer'] = {
        'module.Class': 'instream_buffer.simulator.InStreamSimulator',
        'options': {'sample_timing': 'TIMESTAMP'} if 'dark' in words else {'clocked': True},
    }
    startup_modules = names
    if 'logics' in words:
        startup_modules = list(gui if 'windows' in words else logic)
    config = {
        'global': {
            'startup_modules': startup_modules,
            'namespace_server_port': free_port(),
            'hide_manager_window': True,
        },
        'hardware': hardware,
        'logic': logic,
        'gui': gui,
    }
    yaml_dump(str(directory / 'quit.cfg'), config)
    result = subprocess.run(
        [sys.executable, str(PROGRAM), str(directory / 'quit.cfg'), *words],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    text = result.stdout + result.stderr
    assert result.returncode == 0, text
    assert 'exit code: 0' in text, text
    assert_clean(text)
    return text


@pytest.mark.parametrize(
    ('options', 'waiting'),
    [([OVERWRITING], False), ([STRICT, OVERWRITING, STRICT], True)],
    ids=['1-not waiting', '3-waiting'],
)
def test_qudi_quits_cleanly_while_buffers_stream(tmp_path, options, waiting):
    text = quit_qudi(tmp_path, options, *['waiting'] * waiting)
    count = len(options)
    assert f'streaming: {count} waiting: {count * waiting}' in text, text
    # One that has waited long may have been told before its buffer was deactivated
    assert text.count('read ended: The stream of') == count * waiting, text
    assert 'running threads: []' in text, text
    assert 'device: deactivated 1 1' in text, 'the device was left running\n' + text
    assert 'Traceback' not in text, text


def test_qudi_quits_while_programs_wait_for_light(tmp_path):
    text = quit_qudi(tmp_path, [STRICT, OVERWRITING], 'logics', 'dark')
    assert 'streaming: 2' in text, text
    assert 'running threads: []' in text, text
    assert 'device: deactivated 1 1' in text, 'the device was left running\n' + text
    assert text.count('has ended: qudi quits') >= 2, text


def test_qudi_quits_cleanly_while_windows_show_streams(tmp_path):
    text = quit_qudi(tmp_path, [STRICT, OVERWRITING], 'logics', 'windows')
    assert 'streaming: 2' in text, text
    assert 'running threads: []' in text, text
    assert 'device: deactivated 1 1' in text, 'the device was left running\n' + text
    assert 'Traceback' not in text, text


def test_qudi_quits_although_logics_wait_for_a_device_that_hangs(tmp_path):
    text = quit_qudi(tmp_path, [STRICT] * 2, 'logics', 'hanging', 'hang for good')
    assert 'streaming: 2' in text, text
    seconds = float(text.split('quit after: ')[1].split()[0])
    assert seconds < 10, f'qudi was frozen for {seconds} s'


@pytest.mark.parametrize('for_good', [False, True])
def test_qudi_quits_although_the_device_hangs(tmp_path, for_good):
    text = quit_qudi(tmp_path, [STRICT] * 3, 'hanging', *['hang for good'] * for_good)
    assert 'streaming: 3' in text, text
    assert ('running threads: []' in text) is not for_good, text
    assert '"buffer3" has stopped, but "streamer" has not' in text, text
