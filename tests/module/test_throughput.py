"""The everyday load of a fast device, in everyday settings, long enough to lose something."""

import pytest

from bench import configure
from qudi.hardware.instream_buffer.simulator import foretold_samples

RATE = 200_000  # samples per second on each of 2 channels


@pytest.mark.parametrize('seconds', [3, pytest.param(30, marks=pytest.mark.long)])
def test_200_kilosamples_a_second_without_a_gap(make_bench, background, seconds):
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
        while position < first + seconds * RATE:
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
    assert bench.device.taken >= seconds * RATE
