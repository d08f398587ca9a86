"""A second window opens while the first one runs; one that has given up is in nobody's way."""

import logging

import numpy as np
import pytest
from qudi.interface.data_instream_interface import StreamingMode

from bench import configure

# -------------------------------------------------------------------- a second window


@pytest.mark.parametrize(
    ('asked', 'values'),
    [
        ({'rate': 50.0}, ('50 Hz', '100 Hz')),
        ({'mode': StreamingMode.FINITE}, ('FINITE', 'CONTINUOUS')),
        ({'channels': ['a', 'd']}, ("['a', 'd']", "['a', 'b']")),
    ],
    ids=['rate', 'mode', 'channels'],
)
def test_a_conflict_is_an_error_of_the_start_and_not_of_configure(bench, asked, values):
    first, second = bench.buffers(2)
    configure(first)
    first.start_stream()
    calls = len(bench.device.configure_calls)
    configure(second, **asked)
    request = (second.active_channels, second.streaming_mode, second.sample_rate)
    assert request == (
        list(asked.get('channels', ['a', 'b'])),
        asked.get('mode', StreamingMode.CONTINUOUS),
        asked.get('rate', 100.0),
    ), 'the request was not remembered'
    for _ in range(2):
        with pytest.raises(RuntimeError) as refused:
            second.start_stream()
        for text in ('"buffer2"', '"buffer1"', *values):
            assert text in str(refused.value)
    assert (second.module_state(), bench.device.starts) == ('idle', 1)
    assert len(bench.device.configure_calls) == calls, 'the running device was configured'
    bench.produce(10)
    bench.assert_delivers(first, 0, 10)
    first.stop_stream()
    second.start_stream()
    assert bench.device.sample_rate == asked.get('rate', 100.0)
    bench.produce(10)
    bench.assert_delivers(second, 0, 10)
    second.stop_stream()


@pytest.mark.parametrize(
    'asked',
    [{'size': 0}, {'size': 2**40}, {'rate': 5e6}, {'rate': 0}, {'channels': ['a', 'x']}],
    ids=str,
)
def test_beside_a_stream_a_request_is_checked_against_the_constraints(bench, asked):
    first, second = bench.buffers(2)
    configure(first)
    configure(second, ['b'], rate=70.0)
    first.start_stream()
    calls = len(bench.device.configure_calls)
    with pytest.raises(ValueError, match=r'^"buffer2" cannot be configured'):
        configure(second, **asked)
    assert (second.active_channels, second.sample_rate) == (['b'], 70.0)
    assert len(bench.device.configure_calls) == calls
    first.stop_stream()


def test_a_follower_adopts_the_running_rate_when_it_is_configured(bench):
    first = bench.buffer('first')
    follower = bench.buffer('follower', follow_running=True)
    configure(first, rate=10.0)
    first.start_stream()
    configure(follower, ['b'], StreamingMode.FINITE, 40, 20.0)
    assert follower.sample_rate == 10
    assert follower.streaming_mode is StreamingMode.CONTINUOUS
    follower.start_stream()
    bench.produce(10)
    bench.assert_delivers(follower, 0, 10)
    first.stop_stream()
    follower.stop_stream()


def test_a_follower_may_ask_for_channels_that_do_not_run_until_it_starts(bench):
    first = bench.buffer('first')
    follower = bench.buffer('follower', follow_running=True)
    configure(first, ['a'])
    first.start_stream()
    configure(follower, ['a', 'b'], rate=20.0)
    with pytest.raises(RuntimeError, match='channels'):
        follower.start_stream()
    first.stop_stream()


# -------------------------------------------------------------------- ghosts


@pytest.fixture
def ghost(bench, background):
    """A buffer whose program had a TimeoutError, with 3 unread samples, on a silent device."""
    buffer = bench.buffer('ghost', read_timeout=0.5)
    configure(buffer)
    buffer.start_stream()
    bench.produce(3)
    assert isinstance(background(buffer.read_data, 5).exception(10), TimeoutError)
    assert buffer.module_state() == 'locked', 'a stream goes on after a TimeoutError'
    return buffer


def test_a_stream_whose_program_has_given_up_makes_way_for_another_rate(
    bench, ghost, caplog, wait_until
):
    caplog.set_level(logging.INFO)
    other = bench.buffer('other')
    configure(other, rate=50.0)
    other.start_stream()
    assert bench.device.sample_rate == 50
    wait_until(lambda: ghost.module_state() == 'idle', 'the stream without a program has ended')
    assert ghost.status.state != 'running'

    def is_told():
        lines = [record.getMessage() for record in caplog.records]
        return any('"ghost"' in line and '"other"' in line and 'ended' in line for line in lines)

    wait_until(is_told, 'a log line says that "ghost" made way for "other"')
    bench.produce(10)
    bench.assert_delivers(other, 0, 10)
    with pytest.raises(RuntimeError, match='"ghost"'):
        ghost.read_data(5)
    other.stop_stream()


def test_a_client_takes_over_a_stream_that_its_program_has_given_up(bench, ghost):
    request = (('a',), 'CONTINUOUS', 1000, 50.0)
    is_done, *answer = ghost.for_clients.call('start', ('client', 1), request)
    assert is_done, answer
    assert bench.device.sample_rate == 50
    bench.produce(10)
    bench.assert_delivers(ghost, 0, 10)
    ghost.stop_stream()
    assert bench.device.module_state() == 'idle'


@pytest.mark.parametrize('read', ['read_data', 'read_data_into_buffer', 'read_available'])
def test_a_stream_whose_program_has_read_since_is_in_nobodys_way_no_more(bench, ghost, read):
    bench.produce(2)
    target = np.empty(10)
    if read == 'read_data':
        bench.assert_delivers(ghost, 0, 5)
    elif read == 'read_data_into_buffer':
        ghost.read_data_into_buffer(target, 5)
    else:
        assert ghost.read_available_data_into_buffer(target) == 5
    other = bench.buffer('other')
    configure(other, rate=50.0)
    with pytest.raises(RuntimeError) as refused:
        other.start_stream()
    for text in ('"ghost"', '50 Hz', '100 Hz'):
        assert text in str(refused.value)
    assert (ghost.status.state, bench.device.sample_rate) == ('running', 100)
    ghost.stop_stream()


def test_a_stream_whose_program_has_given_up_goes_on_beside_one_that_it_can_serve(bench, ghost):
    other = bench.buffer('other')
    configure(other, ['b'])
    other.start_stream()
    bench.produce(10)
    bench.assert_delivers(ghost, 0, 13)
    bench.assert_delivers(other, 3, 10)
    ghost.stop_stream()
    other.stop_stream()


def test_a_program_that_has_given_up_starts_anew(bench, ghost):
    ghost.start_stream()
    bench.produce(10)
    bench.assert_delivers(ghost, 0, 10)
    assert bench.device.starts == 2
    ghost.stop_stream()
