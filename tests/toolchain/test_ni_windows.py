"""Real time series logics and windows on buffers on qudi's own NI X-series module."""

import numpy as np
import pytest

# isort: split

from recorder import Recorder

pytest_plugins = ['ni_card']
pytestmark = pytest.mark.filterwarnings('ignore::nidaqmx.errors.DaqResourceWarning')


class Frames(Recorder):
    """Knows what the card has made."""

    def __init__(self, ni, logic):
        super().__init__(logic)
        self._ni = ni

    def assert_whole(self, channels):
        """Compare with what the card made, as these channels, with no gap between frames."""
        samples = self.samples(1).reshape(-1)
        rate, name = self.logic.sampling_rate, self.logic.module_name
        self._ni.assert_made(samples, channels, rate, None, name)


@pytest.fixture
def toolchains(ni):
    """Two buffers on the module, a logic on each, a window on that; none is active yet."""
    ni.add()
    for number in (1, 2):
        ni.qudi.add_toolchain(number)
    return ni.qudi


def open_window(qudi, number):
    return qudi.activate(f'window{number}'), qudi[f'logic{number}']


def curve(window, channel):
    return np.array(window.curves[channel].getData()[1])


def assert_curve_names(ni, window, channels, rate):
    """Each curve shows samples of its own channel and nothing else."""
    for channel in channels:
        shown = curve(window, channel)
        shown = shown[shown != 0]
        ni.assert_made(shown, [channel], rate, None, f'the curve "{channel}"')


def test_two_windows_show_their_own_channels_of_the_same_stream(ni, toolchains, call, wait_until):
    requests = {1: ['ai2', 'pfi8'], 2: ['ai1', 'ai2', 'pfi9', 'pfi8']}
    windows, logics, frames = {}, {}, {}
    for number, channels in requests.items():
        windows[number], logics[number] = open_window(toolchains, number)
        logics[number].set_channel_settings(channels, [])
        frames[number] = Frames(ni, logics[number])
    for logic in logics.values():
        call(logic, 'start_reading', 'locked')
    for number, channels in requests.items():
        wait_until(lambda n=number: len(frames[n]) > 200, f'trace {number} runs')
        wait_until(
            lambda n=number, c=channels[0]: np.count_nonzero(curve(windows[n], c)) > 20,
            f'window {number} shows it',
        )
    for logic in logics.values():
        call(logic, 'stop_reading', 'idle')
    for number, channels in requests.items():
        assert logics[number].active_channel_names == channels
        frames[number].assert_whole(channels)
        assert_curve_names(ni, windows[number], channels, 50.0)
    assert ni.device.module_state() == 'idle'


@pytest.mark.parametrize('first_to_stop', [1, 2])
def test_a_trace_goes_on_when_the_other_stops_and_starts(
    ni, toolchains, call, wait_until, first_to_stop
):
    logics = {number: toolchains.activate(f'logic{number}') for number in (1, 2)}
    for logic in logics.values():
        logic.set_channel_settings(['ai1', 'pfi8'], [])
        call(logic, 'start_reading', 'locked')
    other = logics[3 - first_to_stop]
    frames = Frames(ni, other)
    call(logics[first_to_stop], 'stop_reading', 'idle')
    wait_until(lambda: len(frames) > 50, 'the other trace goes on')
    call(logics[first_to_stop], 'start_reading', 'locked')
    again = Frames(ni, logics[first_to_stop])
    wait_until(lambda: len(again) > 50, 'the first trace runs again')
    for logic in logics.values():
        call(logic, 'stop_reading', 'idle')
    frames.assert_whole(['ai1', 'pfi8'])
    again.assert_whole(['ai1', 'pfi8'])


@pytest.mark.parametrize('what', ['trace', 'channels'])
def test_settings_change_ten_times_from_the_console_while_the_trace_runs(
    ni, toolchains, call, wait_until, what
):
    # Directly on the NI module this is a matter of luck: it has no lock, and the frame that comes
    # during the stop finds tasks that are closed already
    logic = toolchains.activate('logic1')
    channels = ['ai0', 'ai1']
    logic.set_channel_settings(channels, [])
    call(logic, 'start_reading', 'locked')
    frames = Frames(ni, logic)
    for number in range(10):
        wait_until(lambda: len(frames) > 6, 'the trace runs')
        # From the main thread, while the logic reads in its own
        if what == 'trace':
            logic.set_trace_settings(data_rate=50 + 10 * number)
        else:
            channels = [['ai0', 'ai2'], ['ai0', 'ai1', 'ai3']][number % 2]
            logic.set_channel_settings(channels, [])
        frames.forget()
        assert logic.module_state() == 'locked', f'the trace has stopped at change {number + 1}'
    wait_until(lambda: len(frames) > 6, 'the trace runs with the last settings')
    call(logic, 'stop_reading', 'idle')
    frames.assert_whole(channels)
    if what == 'trace':
        assert logic.data_rate == 140
    assert ni.device.module_state() == 'idle'


@pytest.mark.qt_no_exception_capture  # the logic raises in its own thread, as it does for users
def test_a_second_window_opens_at_another_rate_while_the_first_runs(
    ni, toolchains, call, wait_until, caplog
):
    _, first = open_window(toolchains, 1)
    first.set_trace_settings(data_rate=100)
    call(first, 'start_reading', 'locked')
    frames = Frames(ni, first)
    window, second = open_window(toolchains, 2)
    assert second.data_rate == 50, 'its own rate'
    with pytest.raises(RuntimeError, match='"buffer1"') as conflict:
        toolchains['buffer2'].start_stream()
    assert '50 Hz' in str(conflict.value)
    assert '100 Hz' in str(conflict.value)
    wait_until(lambda: len(frames) > 100, 'the first trace goes on')
    call(first, 'stop_reading', 'idle')
    frames.assert_whole(first.active_channel_names)
    call(second, 'start_reading', 'locked')
    wait_until(
        lambda: np.count_nonzero(curve(window, 'ai1')) > 5, 'the second window shows samples'
    )
    assert ni.device.sample_rate == 50
    call(second, 'stop_reading', 'idle')
    assert_curve_names(ni, window, second.active_channel_names, 50.0)


def test_a_fault_of_the_card_ends_both_traces_and_both_start_again(
    ni, toolchains, call, wait_until
):
    logics = [toolchains.activate(f'logic{number}') for number in (1, 2)]
    for logic in logics:
        logic.set_channel_settings(['ai0', 'ai1'], [])
        call(logic, 'start_reading', 'locked')
    frames = [Frames(ni, logic) for logic in logics]
    wait_until(lambda: all(map(len, frames)), 'both traces run')
    ni.card.unplug()
    wait_until(lambda: all(logic.module_state() == 'idle' for logic in logics), 'both traces end')
    for kept in frames:
        kept.assert_whole(['ai0', 'ai1'])
        kept.forget()
    ni.card.plug_in()
    for logic, kept in zip(logics, frames, strict=True):
        call(logic, 'start_reading', 'locked')
        wait_until(lambda k=kept: len(k) > 20, f'{logic.module_name} shows samples again')
    for logic in logics:
        call(logic, 'stop_reading', 'idle')
    for kept in frames:
        kept.assert_whole(['ai0', 'ai1'])


def test_qudi_quits_while_both_windows_stream(ni, toolchains, call, wait_until):
    for number in (1, 2):
        window, logic = open_window(toolchains, number)
        call(logic, 'start_reading', 'locked')
        wait_until(lambda w=window: curve(w, 'ai0').any(), f'window {number} shows samples')
    toolchains.close()
    assert not ni.card.tasks, f'the card still has tasks: {ni.card.tasks}'
