"""Buffers on qudi's own NI X-series module, whose driver is a simulated card."""

import itertools
from contextlib import suppress

import pytest
from nidaqmx.errors import DaqError

pytest_plugins = ['ni_card']
pytestmark = pytest.mark.filterwarnings('ignore::nidaqmx.errors.DaqResourceWarning')

# -------------------------------------------------------------------- channel order


def test_no_buffer_gets_the_channels_of_another_whoever_configured_last(ni):
    ni.add(digital=(), analog=('ai0', 'ai1', 'ai2'))
    b0 = ni.qudi.add_buffer('b0')
    b1, b2 = ni.buffers(2)
    ni.configure(b1, ['ai0', 'ai2'])
    ni.configure(b2, ['ai2'])
    ni.configure(b0, ['ai2', 'ai0'])  # and it never starts
    b1.start_stream()
    b2.start_stream()
    after = ni.assert_reads(b1, 50, 0)
    joined = ni.assert_reads(b2, 50)
    ni.assert_reads(b1, 50, after)
    ni.assert_reads(b2, 50, joined)
    assert ni.device.active_channels == ['ai0', 'ai2']
    b1.stop_stream()
    b2.stop_stream()


@pytest.mark.parametrize(
    'channels',
    [
        ['ai1', 'ai0'],
        ['ai3', 'ai1', 'ai2', 'ai0'],
        ['pfi9', 'pfi8'],
        ['ai0', 'pfi8'],
        ['ai2', 'pfi9', 'ai0', 'pfi8'],
    ],
    ids=' '.join,
)
def test_a_buffer_gets_its_channels_in_the_order_that_it_asked_for(ni, channels):
    ni.add()
    directly = ni.assert_reads_directly(channels, 100)
    (buffer,) = ni.buffers(1)
    ni.configure(buffer, channels)
    assert buffer.active_channels == channels
    buffer.start_stream()
    samples = buffer.read_data(100)[0].reshape(100, -1)
    buffer.stop_stream()
    ni.assert_made(samples, channels, ni.rate, 0, 'the buffer')
    for column, channel in enumerate(ni.in_order(channels)):
        through_buffer = samples[:, channels.index(channel)]
        assert (through_buffer == directly[:, column]).all(), f'{channel} differs from direct'


@pytest.mark.parametrize(
    'requests',
    [
        [['ai2', 'ai0'], ['ai0', 'ai2'], ['ai2']],
        [['ai2', 'ai0'], ['pfi9', 'ai2', 'pfi8'], ['ai0', 'pfi9']],
    ],
    ids=['same channels', 'other channels'],
)
def test_what_the_device_holds_never_depends_on_who_configured_last(ni, requests):
    device = ni.add()
    buffers = ni.buffers(3)
    held = []
    for order in itertools.permutations(range(3)):
        for number in order:
            ni.configure(buffers[number], requests[number])
        buffers[0].start_stream()
        held.append(device.active_channels)
        ni.assert_reads(buffers[0], 5, 0)
        assert ni.card.acquired == ni.in_order(held[-1])
        buffers[0].stop_stream()
    assert held == [ni.in_order(held[0])] * len(held)


ORDERS = [''.join(order) for order in itertools.permutations('123')]


@pytest.mark.parametrize('stops', ORDERS, ids='stop{}'.format)
@pytest.mark.parametrize('starts', ORDERS, ids='start{}'.format)
def test_each_gets_the_whole_stream_in_every_order_of_start_and_stop(ni, starts, stops):
    device = ni.add()
    channels = {'1': ['ai2', 'pfi8'], '2': ['ai0', 'ai2'], '3': ['pfi9', 'ai2', 'pfi8', 'ai0']}
    buffers = dict(zip(channels, ni.buffers(3, max_poll_rate=500), strict=True))
    for number, buffer in buffers.items():
        ni.configure(buffer, channels[number])
    position = {}  # the number of the sample that each running buffer reads next

    def read_all():
        for number, first in position.items():
            position[number] = ni.assert_reads(buffers[number], 10, first)

    for number in starts:
        buffers[number].start_stream()
        position[number] = None if position else 0
        read_all()
    for number in stops:
        buffers[number].stop_stream()
        del position[number]
        assert device.module_state() == ('locked' if position else 'idle')
        read_all()
    assert not ni.card.tasks, f'the card still has tasks: {ni.card.tasks}'


# -------------------------------------------------------------------- idle buffers


def test_an_idle_buffer_takes_no_counter_from_another(ni):
    ni.add()
    ni.card.taken_elsewhere = {'ctr0', 'ctr3'}  # the sample clock and one channel have room
    ni.assert_reads_directly(['pfi8'], 20)
    b0 = ni.qudi.add_buffer('b0')
    (b1,) = ni.buffers(1)
    ni.configure(b1, ['pfi8', 'pfi9'])
    ni.configure(b0, ['pfi8'])
    b0.start_stream()
    after = ni.assert_reads(b0, 50, 0)
    with pytest.raises(RuntimeError, match='pfi9'):
        b1.start_stream()
    ni.assert_reads(b0, 50, after)
    b0.stop_stream()


def test_an_idle_buffer_takes_no_sample_rate_from_another(ni):
    ni.add()
    fast = 500e3  # the card makes 1 MS/s in all
    ni.assert_reads_directly(['ai0', 'ai1'], 1000, fast, 10**6)
    b0 = ni.qudi.add_buffer('b0')
    (b1,) = ni.buffers(1)
    ni.configure(b1, ['ai0', 'ai1', 'ai2'], fast, 10**6)
    ni.configure(b0, ['ai0', 'ai1'], fast, 10**6)
    b0.start_stream()
    ni.assert_reads(b0, 50_000, 0)
    b0.stop_stream()
    with pytest.raises(RuntimeError, match='reserve resources for analog-in') as refused:
        b1.start_stream()
    assert isinstance(refused.value.__cause__, DaqError)


def test_a_start_that_the_card_refuses_leaves_nothing_behind(ni):
    device = ni.add()
    ni.card.taken_elsewhere = {'ctr0', 'ctr1', 'ctr2', 'ctr3'}
    b1, b2 = ni.buffers(2)
    ni.configure(b1, ['pfi8'])
    ni.configure(b2, ['pfi8'])
    with pytest.raises(RuntimeError, match='no free counter'):
        b1.start_stream()
    assert device.module_state() == b1.module_state() == 'idle'
    ni.card.taken_elsewhere.clear()
    b2.start_stream()
    ni.assert_reads(b2, 20, 0)
    b2.stop_stream()


# -------------------------------------------------------------------- settings while another runs


def test_another_rate_is_remembered_while_others_run_and_told_at_the_start(ni):
    device = ni.add()
    b1, b2 = ni.buffers(2)
    ni.configure(b1, ['ai0'])
    b1.start_stream()
    after = ni.assert_reads(b1, 20, 0)
    ni.configure(b2, ['ai1', 'ai0'], 2000.0)
    assert b2.sample_rate == 2000
    assert device.sample_rate == ni.rate
    with pytest.raises(RuntimeError, match='"b1"') as conflict:
        b2.start_stream()
    for value in ('2000 Hz', '1000 Hz'):
        assert value in str(conflict.value)
    ni.assert_reads(b1, 20, after)
    b1.stop_stream()
    b2.start_stream()
    assert device.sample_rate == 2000
    ni.assert_reads(b2, 20, 0)
    b2.stop_stream()


@pytest.mark.parametrize(
    ('request_', 'text'),
    [
        ({'channels': ['ai0', 'ai7']}, 'ai7'),
        ({'channels': ['ai0'], 'size': 1}, '1'),
        ({'channels': ['ai0'], 'rate': 2e6}, '2000000'),
    ],
    ids=['channel', 'ring', 'rate'],
)
def test_what_the_card_cannot_do_is_refused_at_once_while_others_run(ni, request_, text):
    ni.add()
    b1, b2 = ni.buffers(2)
    ni.configure(b1, ['ai0'])
    b1.start_stream()
    with pytest.raises(ValueError, match=text):
        ni.configure(b2, **request_)
    ni.assert_reads(b1, 20, 0)
    b1.stop_stream()


# -------------------------------------------------------------------- faults


def assert_all_told(ni, wait_until, background, buffers, spoil):
    """Spoil the stream of buffers that have read 20 samples; nothing that is wrong is delivered."""
    for buffer in buffers:
        buffer.start_stream()
    after = [ni.assert_reads(b, 20, None if i else 0) for i, b in enumerate(buffers)]
    waiting = [background(buffer.read_data, 5000) for buffer in buffers]
    spoil()
    for buffer, read in zip(buffers, waiting, strict=True):
        error = read.exception(timeout=10)
        assert isinstance(error, RuntimeError), f'{buffer.module_name} was told {error!r}'
    wait_until(lambda: all(b.module_state() == 'idle' for b in buffers), 'all buffers became idle')
    for buffer, begin in zip(buffers, after, strict=True):
        with suppress(RuntimeError):  # nothing is left
            rest, _ = buffer.read_data()
            ni.assert_made(rest, buffer.active_channels, ni.rate, begin, buffer.module_name)
        with pytest.raises(RuntimeError):
            buffer.read_data(1)


@pytest.mark.parametrize('channels', [['ai0', 'ai1'], ['pfi8'], ['pfi8', 'ai0']], ids=' '.join)
def test_nothing_of_a_failed_read_is_delivered(ni, wait_until, background, caplog, channels):
    device = ni.add()
    ni.configure(device, channels)
    device.start_stream()
    ni.card.skip(5000)
    wait_until(lambda: device.available_samples == 10_000, 'the buffer of the card is full')
    rubbish = device.read_data(100)[0]
    assert device.module_state() == 'idle', 'the module itself has stopped'
    assert len(rubbish) == 100 * len(channels), 'and returns as if all were well'

    buffers = ni.buffers(2)
    for buffer in buffers:
        ni.configure(buffer, channels)
    caplog.clear()
    assert_all_told(ni, wait_until, background, buffers, lambda: ni.card.skip(5000))
    assert '-200279' in caplog.text
    assert device.module_state() == 'idle'
    buffers[1].start_stream()
    ni.assert_reads(buffers[1], 50, 0)
    buffers[1].stop_stream()


def test_a_card_that_is_unplugged_is_told_to_all_and_can_be_started_again(
    ni, wait_until, background, caplog
):
    device = ni.add()
    buffers = ni.buffers(2)
    for buffer, channels in zip(buffers, (['pfi8', 'ai0'], ['ai0']), strict=True):
        ni.configure(buffer, channels)
    assert_all_told(ni, wait_until, background, buffers, ni.card.unplug)
    assert '-201003' in caplog.text
    with pytest.raises(RuntimeError):
        buffers[0].start_stream()
    assert device.module_state() == 'idle'
    ni.card.plug_in()
    for number in (1, 0):
        buffers[number].start_stream()
        ni.assert_reads(buffers[number], 50, 0)
        buffers[number].stop_stream()
    ni.assert_reads_directly(['pfi8', 'ai0'], 50)


def test_a_sample_clock_that_the_card_waits_for_in_vain_is_told(ni, wait_until, caplog):
    ni.add(read_write_timeout=0.1)
    b1, b2 = ni.buffers(2)
    ni.configure(b1, ['pfi8', 'ai0'], 0.5)
    ni.configure(b2, ['ai0'], 0.5)
    b1.start_stream()
    b2.start_stream()
    ni.card.skip(2.0)  # now there is an analog sample and none of the counter
    for buffer in (b1, b2):
        with pytest.raises(RuntimeError):
            buffer.read_data(1)
    assert '-200284' in caplog.text
    wait_until(lambda: ni.device.module_state() == 'idle', 'the module has stopped')


# -------------------------------------------------------------------- slow clocks

SLOW = 0.1  # Hz
SPEED = 6.0  # so that a sample period takes 1.7 s


@pytest.fixture
def hold_read(ni, wait_until):
    """Begin a read of the device that takes a whole sample period: 5.6 s."""

    def begin(buffer):
        buffer.start_stream()
        ni.card.skip(1 / SLOW)  # the analog sample is there, the counter's not before the next edge
        wait_until(lambda: ni.card.waiting, 'the device waits for a sample of the counter')

    ni.add()
    ni.card.run_faster(SPEED)
    return begin


def test_a_read_of_one_sample_period_is_no_fault(ni, hold_read, background, caplog):
    ni.qudi.time_limits = {'patience': 1.0}
    b1, b2 = ni.buffers(2)
    ni.configure(b1, ['pfi8', 'ai0'], SLOW)
    ni.configure(b2, ['pfi8'], SLOW)
    hold_read(b1)
    read = background(b1.read_data, 1)
    start = background(b2.start_stream)
    samples, _ = read.result(timeout=8)
    ni.assert_made(samples, ['pfi8', 'ai0'], SLOW, 0, 'b1')
    start.result(timeout=8)
    assert 'has not returned' not in caplog.text
    assert b2.module_state() == 'locked'
    ni.card.run_faster(500 * SPEED)  # the rest is no matter of time
    b2.stop_stream()
    b1.stop_stream()


def test_a_stop_during_a_read_of_one_sample_period_stops_the_device(ni, hold_read, caplog):
    ni.qudi.time_limits = {'patience': 1.0}
    (b1,) = ni.buffers(1)
    ni.configure(b1, ['pfi8', 'ai0'], SLOW)
    hold_read(b1)
    b1.stop_stream()
    assert ni.device.module_state() == 'idle', 'the device still runs after the stop'
    assert 'has not returned' not in caplog.text


def test_a_stop_lets_a_read_finish_whose_samples_are_due(ni, wait_until, background):
    device = ni.add()
    ni.configure(device, ['ai0', 'ai1'], 50.0)
    device.start_stream()
    directly = background(device.read_data, 20)
    wait_until(lambda: ni.card.waiting, 'the read waits')
    device.stop_stream()
    ni.assert_made(directly.result(timeout=5)[0], ['ai0', 'ai1'], 50.0, 0, 'the module itself')

    (b1,) = ni.buffers(1)
    ni.configure(b1, ['ai0', 'ai1'], 50.0)
    b1.start_stream()
    ni.assert_reads(b1, 1, 0)
    read = background(b1.read_data, 20)
    wait_until(lambda: b1.available_samples >= 4, 'the read waits while samples come')
    b1.stop_stream()
    ni.assert_made(read.result(timeout=5)[0], ['ai0', 'ai1'], 50.0, 1, 'b1')
    assert device.module_state() == 'idle'


# -------------------------------------------------------------------- lifecycle


def test_a_reload_of_a_buffer_leaves_the_stream_of_another_whole(ni):
    device = ni.add()
    b1, b2 = ni.buffers(2)
    ni.configure(b1, ['ai0', 'ai1'])
    ni.configure(b2, ['pfi8', 'ai0'])
    b1.start_stream()
    b2.start_stream()
    after = ni.assert_reads(b2, 20)
    ni.qudi.module_manager.reload_module('b1')
    after = ni.assert_reads(b2, 200, after)
    b1 = ni.qudi['b1']
    ni.configure(b1, ['pfi8', 'ai0'])
    b1.start_stream()
    ni.assert_reads(b1, 20)
    b2.stop_stream()
    assert device.module_state() == 'locked'
    b1.stop_stream()
    assert device.module_state() == 'idle'


def test_a_device_that_is_deactivated_under_its_buffers_is_free_and_starts_again(ni):
    ni.add()
    for buffer in ni.buffers(2):
        ni.configure(buffer, ['ai0', 'ai1'])
        buffer.start_stream()
    ni.qudi.deactivate('streamer')
    assert not ni.card.tasks, f'the card still has tasks: {ni.card.tasks}'
    b2 = ni.qudi.activate('b2')
    ni.configure(b2, ['pfi8', 'ai1'])
    b2.start_stream()
    ni.assert_reads(b2, 20, 0)
    ni.qudi.deactivate('b2')
    assert ni.device.module_state() == 'idle', 'deactivation of the last buffer stops the device'


def test_a_qudi_that_quits_while_reads_wait_leaves_no_task_on_the_card(ni, background):
    ni.add()
    reads = []
    for buffer in ni.buffers(2):
        ni.configure(buffer, ['pfi8', 'ai1'])
        buffer.start_stream()
        ni.assert_reads(buffer, 5)
        reads.append(background(buffer.read_data, 9000))
    ni.qudi.close()
    assert not ni.card.tasks, f'the card still has tasks: {ni.card.tasks}'
    for read in reads:
        assert isinstance(read.exception(timeout=5), RuntimeError)
