"""Two time series windows on qudi's own wavemeter module, unmodified, each through a buffer."""

from __future__ import annotations

import time

import numpy as np
import pytest

# isort: split
from qtpy import QtCore, QtWidgets

from recorder import Recorder
from wlm_library import (
    WavemeterBench,
    replaced_library,  # noqa: F401 a fixture
)


@pytest.fixture
def wavemeter(wlm_library, qudi, wait_until):
    bench = WavemeterBench(qudi, wait_until, wlm_library)
    for number in (1, 2):
        qudi.add_toolchain(number, channel_buffer_size=2048)
    yield bench
    bench.close()


def click(qtbot, window):
    action = window._mw.toggle_trace_action
    bars = window._mw.findChildren(QtWidgets.QToolBar)
    button = next(bar.widgetForAction(action) for bar in bars if bar.widgetForAction(action))
    qtbot.mouseClick(button, QtCore.Qt.MouseButton.LeftButton)


def curve(window, channel='red'):
    return np.array(window.curves[channel].getData()[1])


@pytest.fixture
def run(wavemeter, call):
    """Start the trace of a logic and return its frames once samples came."""

    def start(logic):
        frames = Recorder(logic)
        call(logic, 'start_reading')
        wavemeter.wait_until(lambda: frames.count > 3, f'the trace of {logic.module_name} runs')
        return frames

    return start


@pytest.fixture
def stop(call):
    """Stop the trace of a logic."""
    return lambda logic: call(logic, 'stop_reading', 'idle')


def test_both_windows_show_the_wavelengths(qudi, wavemeter, qtbot, wait_until):
    windows = [qudi.activate(f'window{number}') for number in (1, 2)]
    frames = [Recorder(qudi[f'logic{number}']) for number in (1, 2)]
    for window in windows:
        click(qtbot, window)
    for number, (window, record) in enumerate(zip(windows, frames, strict=True), 1):
        wait_until(lambda w=window: np.ptp(curve(w)) > 0, f'window {number} shows samples')
        before = curve(window)
        wait_until(lambda w=window, b=before: (curve(w) != b).any(), 'its curve moves on')
        wait_until(lambda r=record: r.count > 30, 'a second of samples was read')
        wavemeter.check(qudi[f'buffer{number}'], *record.take())
        assert 0 < curve(window)[-1] < 1e-6, 'the red laser is shown in metres'
        assert curve(window, 'green')[-1] > 1e14, 'the green laser is shown in hertz'
    for window in windows:
        click(qtbot, window)
    wait_until(lambda: qudi['streamer'].module_state() == 'idle', 'the wavemeter stopped')


def test_a_second_window_opens_and_runs_while_the_first_one_runs(
    qudi, wavemeter, qtbot, run, wait_until
):
    qudi.activate('window1')
    frames = run(qudi['logic1'])
    window = qudi.activate('window2')
    click(qtbot, window)
    wait_until(lambda: np.ptp(curve(window)) > 0, 'the second window shows samples')
    late = Recorder(qudi['logic2'])
    wait_until(lambda: late.count > 20, 'the second trace runs')
    wavemeter.check(qudi['buffer2'], *late.take())
    turns, _ = wavemeter.check(qudi['buffer1'], *frames.take())
    assert len(turns) > 20, 'the first trace did not go on'
    click(qtbot, window)
    wait_until(lambda: qudi['logic2'].module_state() == 'idle', 'the second trace stopped')
    wait_until(lambda: frames.count > 10, 'the first trace goes on')
    next_turns, _ = wavemeter.check(qudi['buffer1'], *frames.take())
    assert next_turns[0] == turns[-1] + 1, 'the first trace lost samples'
    qudi['logic1'].stop_reading()
    wait_until(lambda: qudi['streamer'].module_state() == 'idle', 'the wavemeter stopped')


def test_a_trace_is_as_long_as_its_window_size_says(qudi, wavemeter, run, stop):
    logics = [qudi.activate(f'logic{number}') for number in (1, 2)]
    first_frames = run(logics[0])
    logics[1].set_trace_settings(data_rate=1000, trace_window_size=6)
    run(logics[1])
    for logic in logics:
        rate = wavemeter.library.rate(1, 2)
        assert logic.data_rate == pytest.approx(rate), f'{logic.module_name} has another rate'
        times, _ = logic.trace_data
        assert len(times) == pytest.approx(6 * rate, rel=0.1), (
            f'a trace of 6 s at {rate:.1f} Hz has {len(times)} samples'
        )
    assert first_frames.count > 0
    for logic in logics:
        stop(logic)


# What is called from the console while a trace runs, with the channels that it shows then
SETTINGS = {
    'window size': lambda logic, n: logic.set_trace_settings(trace_window_size=2 + n % 3),
    'averaging': lambda logic, n: logic.set_trace_settings(moving_average_width=1 + 2 * (n % 3)),
    'oversampling': lambda logic, n: logic.set_trace_settings(oversampling_factor=1 + n % 2),
    'channels': lambda logic, n: logic.set_channel_settings(
        [['red'], ['green', 'red'], ['red', 'green']][n % 3], []
    ),
}


@pytest.mark.parametrize('setting', list(SETTINGS))
@pytest.mark.parametrize('other_runs', [False, True], ids=['alone', 'beside another trace'])
@pytest.mark.qt_no_exception_capture  # a failure of the logic's own thread is seen below
def test_settings_from_the_console_work_while_the_trace_runs(
    qudi, wavemeter, run, stop, caplog, other_runs, setting
):
    logic = qudi.activate('logic1')
    other = qudi.activate('logic2')
    other_frames = run(other) if other_runs else None
    frames = run(logic)
    for number in range(10):
        SETTINGS[setting](logic, number)
        assert logic.module_state() == 'locked', f'the trace stopped at call {number + 1} of 10'
        frames.forget()
        wavemeter.wait_until(
            lambda: frames.count > 0, f'the trace goes on after call {number + 1} of 10', timeout=5
        )
    stop(logic)
    failed = caplog.text.count('Reading data from streamer went wrong')
    # One may begin after the stop: the logic looks at its state with no lock held
    assert failed <= 1, f'the stop let {failed} of 10 reads fail whose samples were due'
    if other_runs:
        turns, _ = wavemeter.check(qudi['buffer2'], *other_frames.take())
        assert len(turns) > 10, 'the other trace stood still'
        stop(other)
    assert wavemeter.device.module_state() == 'idle'


@pytest.fixture
def dark_traces(qudi, wavemeter, call, wait_until):
    """Two windows whose traces were started and wait for the first sample."""
    wavemeter.library.go_dark()
    for number in (1, 2):
        qudi.activate(f'window{number}')
    logics = [qudi[f'logic{number}'] for number in (1, 2)]
    for logic in logics:
        call(logic, 'start_reading')
    for number, logic in enumerate(logics, 1):
        wait_until(
            lambda n=number, g=logic: (
                g.module_state() == 'locked' and qudi[f'buffer{n}'].module_state() == 'locked'
            ),
            f'trace {number} was started',
        )
    yield logics
    # A read that still waits would keep qudi, as it does directly
    for number in (1, 2):
        qudi[f'buffer{number}'].stop_stream()


def test_stopping_the_buffers_in_the_dark_ends_the_traces_and_lets_them_be_deactivated(
    qudi, wavemeter, dark_traces, wait_until
):
    begin = time.perf_counter()
    for number, logic in enumerate(dark_traces, 1):
        qudi[f'buffer{number}'].stop_stream()
        wait_until(lambda g=logic: g.module_state() == 'idle', f'trace {number} stopped')
    for number in (1, 2):
        qudi.deactivate(f'logic{number}')
    took = time.perf_counter() - begin
    assert took < 5, f'ending both traces took {took:.1f} s'
    assert wavemeter.device.module_state() == 'idle'


def test_a_stop_that_was_clicked_in_the_dark_comes_with_the_light(
    qudi, wavemeter, dark_traces, call, wait_until
):
    call(dark_traces[0], 'stop_reading')
    wavemeter.library.is_dark = False
    frames = Recorder(dark_traces[1])
    wait_until(lambda: dark_traces[0].module_state() == 'idle', 'the first trace stopped')
    wait_until(lambda: frames.count > 10, 'the second trace runs')
    wavemeter.check(qudi['buffer2'], *frames.take())
    call(dark_traces[1], 'stop_reading', 'idle')
    wait_until(lambda: wavemeter.device.module_state() == 'idle', 'the wavemeter stopped')


def test_the_traces_can_be_started_again_after_the_wavemeter_stopped_itself(
    qudi, wavemeter, run, stop, wait_until
):
    logics = [qudi.activate(f'logic{number}') for number in (1, 2)]
    for logic in logics:
        run(logic)
    wavemeter.library.press_stop()
    for logic in logics:
        wait_until(lambda g=logic: g.module_state() == 'idle', f'{logic.module_name} was told')
    for number, logic in enumerate(logics, 1):
        frames = run(logic)
        wavemeter.check(qudi[f'buffer{number}'], *frames.take())
    for logic in logics:
        stop(logic)
