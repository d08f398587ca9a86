"""The everyday load of a fast device, in everyday settings, long enough to lose something."""

import time

import numpy as np

from bench import configure
from qudi.hardware.instream_buffer.simulator import foretold_samples

RATE = 200_000  # samples per second on each of 2 channels
POLL_INTERVAL = 1 / 30  # of a buffer with default options


def test_200_kilosamples_a_second_for_30_s_without_a_gap(make_bench, background):
    bench = make_bench(channels=['a', 'b'], clocked=True)
    buffers = [bench.qudi.add_buffer(name) for name in ('buffer1', 'buffer2')]
    for buffer in buffers:
        configure(buffer, size=2**20, rate=RATE)
    for buffer in buffers:
        buffer.start_stream()

    def read_everything(buffer):
        data, _ = buffer.read_data(10_000)
        first = int(data[0]) // 16
        position = first
        while position < first + 30 * RATE:
            expected = foretold_samples(position, len(data) // 2, 'ab').reshape(-1)
            assert (data == expected).all(), f'a gap or a mix-up after sample {position}'
            position += len(data) // 2
            data, _ = buffer.read_data(10_000)
        return first

    firsts = [future.result() for future in [background(read_everything, b) for b in buffers]]
    assert firsts[0] == 0
    assert firsts[1] < RATE, 'the second one did not begin at its start'
    for buffer in buffers:
        assert (buffer.status.state, buffer.status.samples_lost) == ('running', 0)
        buffer.stop_stream()
    assert bench.device.taken >= 30 * RATE


def test_a_first_read_returns_within_a_poll_interval_of_its_data(make_bench):
    bench = make_bench(channels=['a', 'b'], clocked=True)
    buffer = bench.qudi.add_buffer('buffer')
    configure(buffer, size=2**20, rate=RATE)
    delays = []
    for _ in range(9):
        buffer.start_stream()
        buffer.read_data(1000)
        ready_at = bench.device.started_at + 1000 / RATE
        delays.append(time.perf_counter() - ready_at)
        buffer.stop_stream()
    # 5 ms for the scheduling of a busy machine
    assert np.median(delays) < POLL_INTERVAL + 0.005, f'delays of first reads: {delays}'
