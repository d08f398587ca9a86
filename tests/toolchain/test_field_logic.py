"""A real time series logic whose settings are changed from a console or a script while it runs."""

import pytest

# isort: split

CHANGES = 30


def change_rate(logic, number):
    logic.set_trace_settings(data_rate=(50.0, 100.0)[number % 2])


def change_channels(logic, number):
    channels = (['APD'], ['APD', 'analog 1'])[number % 2]
    logic.set_channel_settings(channels, channels)


@pytest.mark.qt_no_exception_capture  # the logic raises in its own thread, as it does for users
@pytest.mark.parametrize('change', [change_rate, change_channels])
def test_settings_may_be_changed_from_a_console_while_a_trace_runs(qudi, qtbot, call, change):
    qudi.add_dummy()
    qudi.add_buffer('buffer1')
    reader = 'time_series_reader_logic.TimeSeriesReaderLogic'
    qudi.add('logic', 'logic1', reader, {'max_frame_rate': 30}, {'streamer': 'buffer1'})
    logic = qudi.activate('logic1')
    # Directly on the dummy the same is a race within the logic, which it loses now and then
    failed = []
    for number in range(CHANGES):
        if logic.module_state() != 'locked':
            call(logic, 'start_reading', 'locked')
        qtbot.wait(50 + number)  # at another moment of a read each time
        try:
            change(logic, number)
        except Exception as error:
            failed.append(repr(error))
        else:
            qtbot.wait(50)
            if logic.module_state() != 'locked':
                failed.append('the trace has stopped')
    if logic.module_state() == 'locked':
        call(logic, 'stop_reading', 'idle')
    assert not failed, f'{len(failed)} of {CHANGES} changes failed: {failed}'
