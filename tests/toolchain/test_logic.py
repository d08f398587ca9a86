"""Real time series logics on buffers: each starts, stops and is configured on its own."""

import threading

import numpy as np
import pytest

# isort: split
from qtpy import QtCore

from qudi.util.instream.demo.session import compare_recordings
from recorder import Recorder


@pytest.fixture
def toolchain(qudi):
    """Make a dummy and a logic on a buffer each; options are those of the buffers."""

    def make(*buffer_options, dummy=None, **logic_options):
        qudi.add_dummy(**(dummy or {}))
        for number, options in enumerate(buffer_options, 1):
            qudi.add_toolchain(number, options, **logic_options)

    return make


def test_two_logics_record_the_same_stream(qudi, toolchain, call, wait_until):
    toolchain({}, {})
    logics = [qudi.activate(name) for name in ('logic1', 'logic2')]
    recorders = [Recorder(logic) for logic in logics]
    for logic in logics:
        call(logic, 'start_reading', 'locked')
    wait_until(lambda: all(len(r.samples()) > 60 for r in recorders), 'both logics got samples')
    call(logics[0], 'stop_reading', 'idle')
    recorders[1].forget()
    wait_until(lambda: len(recorders[1].samples()) > 20, 'the other logic goes on')
    call(logics[0], 'start_reading', 'locked')
    recorders[0].forget()
    wait_until(lambda: len(recorders[0].samples()) > 40, 'the first logic streams again')
    for logic in logics:
        call(logic, 'stop_reading', 'idle')
    late, early = (recorder.samples() for recorder in recorders)
    begin = np.flatnonzero((early == late[0]).all(axis=1))[0]
    assert compare_recordings(early[begin:], late) == ''
    assert qudi['streamer'].module_state() == 'idle'


@pytest.mark.parametrize('timing', ['TIMESTAMP', 'RANDOM'])
def test_logics_stream_without_a_constant_rate(qudi, toolchain, call, wait_until, timing):
    toolchain({}, {}, dummy={'sample_timing': timing})
    logics = [qudi.activate(name) for name in ('logic1', 'logic2')]
    recorders = [Recorder(logic) for logic in logics]
    for logic in logics:
        call(logic, 'start_reading', 'locked')
    wait_until(lambda: all(len(r.samples()) > 30 for r in recorders), 'both logics got samples')
    for logic in logics:
        call(logic, 'stop_reading', 'idle')
    assert compare_recordings(*(recorder.samples() for recorder in recorders)) == ''


@pytest.mark.qt_no_exception_capture  # the logic raises in its own thread, as it does for users
def test_a_logic_opens_at_another_rate_and_is_told_at_its_start_who_runs(
    qudi, toolchain, call, wait_until
):
    toolchain({}, {})
    first = qudi.activate('logic1')
    first.set_trace_settings(data_rate=100)
    recorder = Recorder(first)
    call(first, 'start_reading', 'locked')
    wait_until(lambda: len(recorder.samples()) > 10, 'the first logic streams')
    second = qudi.activate('logic2')  # its own rate is 50 Hz
    assert second.data_rate == 50
    with pytest.raises(RuntimeError, match=r'"buffer1" streams.*: 50 Hz requested, 100 Hz running'):
        second.start_reading()
    assert second.module_state() == 'idle'
    count = len(recorder.samples())
    wait_until(lambda: len(recorder.samples()) > count + 50, 'the first logic is undisturbed')
    call(first, 'stop_reading', 'idle')
    call(second, 'start_reading', 'locked')
    call(second, 'stop_reading', 'idle')


def test_a_logic_that_follows_streams_at_the_running_rate(qudi, toolchain, call, wait_until):
    toolchain({}, {'follow_running': True})
    first = qudi.activate('logic1')
    first.set_trace_settings(data_rate=100)
    recorders = [Recorder(first)]
    call(first, 'start_reading', 'locked')
    second = qudi.activate('logic2')
    assert second.data_rate == 100
    recorders.append(Recorder(second))
    call(second, 'start_reading', 'locked')
    wait_until(lambda: len(recorders[1].samples()) > 50, 'the second logic streams too')
    call(first, 'stop_reading', 'idle')
    call(second, 'stop_reading', 'idle')
    early, late = (recorder.samples() for recorder in recorders)
    begin = np.flatnonzero((early == late[0]).all(axis=1))[0]
    assert compare_recordings(early[begin:], late) == ''


@pytest.mark.parametrize('wide_first', [True, False])
def test_one_logic_shows_one_channel_and_another_both(
    qudi, toolchain, call, wait_until, wide_first
):
    toolchain({}, {})
    narrow, wide = (qudi.activate(name) for name in ('logic1', 'logic2'))
    if wide_first:
        wide.set_channel_settings(['APD', 'analog 1'], [])
        narrow.set_channel_settings(['analog 1'], [])
    else:
        narrow.set_channel_settings(['analog 1'], [])
        wide.set_channel_settings(['APD', 'analog 1'], [])
    recorders = {logic: Recorder(logic) for logic in (narrow, wide)}
    for logic in (narrow, wide):
        call(logic, 'start_reading', 'locked')
    wait_until(
        lambda: len(recorders[narrow].samples(1)) > 30 and len(recorders[wide].samples()) > 30,
        'both logics got samples',
    )
    for logic in (narrow, wide):
        call(logic, 'stop_reading', 'idle')
    assert narrow.active_channel_names == ['analog 1']
    assert wide.active_channel_names == ['APD', 'analog 1']
    both = recorders[wide].samples()
    assert compare_recordings(recorders[narrow].samples(1), both[:, 1:]) == ''


def test_a_logic_whose_buffer_overflows_starts_again(qudi, toolchain, call, wait_until, caplog):
    toolchain({}, {}, channel_buffer_size=200)
    first, second = (qudi.activate(name) for name in ('logic1', 'logic2'))
    for logic in (first, second):
        call(logic, 'start_reading', 'locked')
    other = Recorder(second)
    # The second program takes so long with one frame that its ring of 200 samples fills
    pause = threading.Event()
    first.sigNewRawData.connect(
        lambda *_: pause.wait(20), QtCore.Qt.ConnectionType.DirectConnection
    )
    wait_until(lambda: qudi['buffer1'].status.state == 'overflow', 'the slow one overflowed')
    pause.set()
    wait_until(lambda: first.module_state() == 'idle', 'the slow logic noticed')
    assert 'its ring of 200 samples was full' in caplog.text
    count = len(other.samples())
    wait_until(lambda: len(other.samples()) > count + 20, 'the other logic goes on')
    call(first, 'start_reading', 'locked')
    wait_until(lambda: qudi['buffer1'].status.state == 'running', 'its stream began anew')
    call(first, 'stop_reading', 'idle')
    call(second, 'stop_reading', 'idle')


def test_deactivating_the_dummy_closes_running_toolchains(qudi, toolchain, call):
    toolchain({}, {})
    for name in ('logic1', 'logic2'):
        call(qudi.activate(name), 'start_reading', 'locked')
    qudi.deactivate('streamer')
    assert qudi['buffer1'].module_state() == qudi['logic2'].module_state() == 'deactivated'
    call(qudi.activate('logic1'), 'start_reading', 'locked')
    call(qudi['logic1'], 'stop_reading', 'idle')


def test_a_logic_on_the_device_itself_keeps_the_buffers_out(qudi, toolchain, call):
    toolchain({})
    qudi.add(
        'logic',
        'intruder',
        'time_series_reader_logic.TimeSeriesReaderLogic',
        connect={'streamer': 'streamer'},
    )
    intruder, logic = qudi.activate('intruder'), qudi.activate('logic1')
    call(intruder, 'start_reading', 'locked')
    with pytest.raises(RuntimeError, match='"streamer" was already started by another program'):
        qudi['buffer1'].start_stream()
    call(intruder, 'stop_reading', 'idle')
    call(logic, 'start_reading', 'locked')
    call(logic, 'stop_reading', 'idle')
