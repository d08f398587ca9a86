"""What every consumer sees when something goes wrong: one test per row of the fault table.

Each row is played with one and with three consumers, with reads that wait meanwhile and without,
for buffers that overwrite and for strict ones.
"""

import itertools

import pytest

from bench import configure


class Consumers:
    """Buffers that stream and have 20 unread samples each; perhaps a read of 100 waits on each."""

    def __init__(self, bench, background, count, waiting, allow_overwrite, **options):
        self.bench = bench
        self.buffers = bench.buffers(count, allow_overwrite=allow_overwrite, **options)
        self.names = [buffer.module_name for buffer in self.buffers]
        for buffer in self.buffers:
            configure(buffer)
            buffer.start_stream()
        bench.produce(20)
        self._background = background
        self.reads = {}
        if waiting:
            self.wait()

    def wait(self):
        """Begin a read on each buffer that waits for more than there is."""
        self.reads = {b.module_name: self._background(b.read_data, 100) for b in self.buffers}
        for buffer in self.buffers:
            self.bench.wait_for_reader(buffer)

    def assert_undisturbed(self, buffers=None):
        """All samples so far arrive, in the reads that wait or in new ones."""
        buffers = self.buffers if buffers is None else buffers
        self.bench.produce(80)
        produced = self.bench.device.taken
        for buffer in buffers:
            first = 0
            if buffer.module_name in self.reads:
                samples, _ = self.reads.pop(buffer.module_name).result(5)
                assert samples.size == 100 * len(buffer.active_channels)
                first = 100
            if produced > first:
                self.bench.assert_delivers(buffer, first, produced - first)

    def assert_start_works(self):
        for name in self.names:
            self.bench.qudi.activate(name).start_stream()
        self.bench.produce(10)
        for name in self.names:
            buffer = self.bench.qudi[name]
            self.bench.assert_delivers(buffer, 0, 10)
            buffer.stop_stream()


@pytest.fixture(
    params=itertools.product([1, 3], ['waiting', 'not waiting'], ['overwriting', 'strict']),
    ids=lambda param: '-'.join(map(str, param)),
)
def make_consumers(request, background):
    count, waiting, overwriting = request.param

    def make(bench, **options):
        return Consumers(
            bench, background, count, waiting == 'waiting', overwriting == 'overwriting', **options
        )

    return make


@pytest.mark.parametrize(
    'fault',
    [
        'raise in available_samples',
        'raise in read',
        'overflow',
        'rubbish',
        'stopped by somebody else',
    ],
)
def test_a_fault_of_the_device_reaches_every_stream(bench, make_consumers, wait_until, fault):
    consumers = make_consumers(bench)
    if fault == 'stopped by somebody else':
        bench.device.stop_stream()
    else:
        bench.device.faults.add(fault)
        bench.device.produce(bench.device.channel_buffer_size + 1)
    for read in consumers.reads.values():
        error = read.exception(5)
        assert isinstance(error, RuntimeError)
        assert error.__cause__ is not None, 'the cause in the hardware is not chained'
    wait_until(lambda: bench.device.module_state() == 'idle', 'the device was stopped')
    for buffer in consumers.buffers:
        wait_until(lambda b=buffer: b.module_state() == 'idle', 'the buffer counts as inactive')
        assert buffer.status.state == 'fault'
        bench.assert_delivers(buffer, 0, 20)  # what came before the fault stays readable
        with pytest.raises(RuntimeError, match=f'"{buffer.module_name}" has ended: the device f'):
            buffer.read_data(1)
        with pytest.raises(RuntimeError, match='the device failed'):
            buffer.read_data()
    bench.device.faults.clear()
    consumers.assert_start_works()


def test_silence_is_a_timeout_with_constant_timing_and_the_stream_goes_on(bench, make_consumers):
    consumers = make_consumers(bench, read_timeout=0.6)
    for read in consumers.reads.values():
        assert isinstance(read.exception(5), TimeoutError)
    consumers.reads.clear()
    for buffer in consumers.buffers:
        with pytest.raises(TimeoutError, match=f'"{buffer.module_name}" has received no new samp'):
            buffer.read_data(21)
        assert buffer.module_state() == 'locked'
    consumers.assert_undisturbed()
    for buffer in consumers.buffers:
        buffer.stop_stream()


@pytest.mark.parametrize('timing', ['TIMESTAMP', 'RANDOM'])
def test_silence_is_waited_out_where_it_is_normal(make_bench, make_consumers, timing, qtbot):
    bench = make_bench(sample_timing=timing)
    consumers = make_consumers(bench, read_timeout=0.05)
    if not consumers.reads:
        consumers.wait()  # without one, nothing could be waited out
    qtbot.wait(200)
    assert not any(read.done() for read in consumers.reads.values())
    consumers.assert_undisturbed()
    for buffer in consumers.buffers:
        buffer.stop_stream()


@pytest.mark.parametrize('blow', ['stops', 'overflows', 'is deactivated', 'is reloaded', 'starts'])
def test_what_happens_to_one_consumer_is_nothing_to_the_others(
    bench, make_consumers, background, wait_until, blow
):
    victim = bench.buffer('victim')
    configure(victim, size=50)
    victim.start_stream()
    consumers = make_consumers(bench)
    read = background(victim.read_data, 45)
    bench.wait_for_reader(victim)
    if blow == 'stops':
        victim.stop_stream()
    elif blow == 'starts':
        victim.start_stream()
    elif blow == 'is deactivated':
        bench.qudi.deactivate('victim')
    elif blow == 'is reloaded':
        bench.qudi.module_manager.reload_module('victim')
    else:
        bench.produce(20)
        bench.produce(40)
        assert read.result(5)[0].size == 2 * 45
        bench.produce(40)
        wait_until(lambda: victim.module_state() == 'idle', 'the victim overflowed')
    if blow != 'overflows':
        assert isinstance(read.exception(5), RuntimeError), 'its own waiting read hangs'
    consumers.assert_undisturbed()
    assert bench.device.starts == 1
    for name in ('victim', *consumers.names):
        bench.qudi.deactivate(name)


@pytest.mark.parametrize('how', ['deactivate', 'reload'])
def test_deactivating_or_reloading_a_running_buffer_is_a_stop(bench, make_consumers, how):
    consumers = make_consumers(bench)
    left = list(consumers.buffers)
    while left:
        assert bench.device.module_state() == 'locked', 'stopped before its last buffer'
        name = left.pop(0).module_name
        if how == 'deactivate':
            bench.qudi.deactivate(name)
        else:
            bench.qudi.module_manager.reload_module(name)
        read = consumers.reads.pop(name, None)
        assert read is None or isinstance(read.exception(5), RuntimeError)
    assert (bench.device.module_state(), bench.device.stops) == ('idle', 1)
    consumers.assert_start_works()


def test_the_device_can_be_deactivated_under_running_buffers(bench, make_consumers):
    consumers = make_consumers(bench)
    bench.qudi.deactivate('streamer')
    assert bench.device.module_state() == 'deactivated'
    assert bench.device.starts == bench.device.stops == 1
    for read in consumers.reads.values():
        assert isinstance(read.exception(5), RuntimeError)
    for buffer in consumers.buffers:
        assert buffer.module_state() == 'deactivated'
        with pytest.raises(RuntimeError, match='is not activated, activate it in qudi first'):
            buffer.read_data(1)
    consumers.assert_start_works()
