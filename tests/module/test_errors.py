"""Whoever reads an error knows which buffer it is about."""

import numpy as np
import pytest

from bench import configure


@pytest.mark.parametrize(
    ('call', 'error'),
    [
        (lambda b: b.read_data(-1), ValueError),
        (lambda b: b.read_data(1.5), TypeError),
        (lambda b: b.read_data_into_buffer(np.empty(1), 5), ValueError),
        (lambda b: b.read_data_into_buffer(np.empty(10, 'int16'), 5), TypeError),
        (lambda b: b.read_data_into_buffer(np.empty(20)[::2], 5), ValueError),
        (lambda b: b.read_available_data_into_buffer([0.0] * 10), TypeError),
        (lambda b: configure(b), RuntimeError),
    ],
)
def test_errors_of_a_streaming_buffer_name_it(bench, call, error):
    (buffer,) = bench.buffers(1)
    buffer.start_stream()
    bench.produce(10)
    with pytest.raises(error, match=r'^"buffer1" cannot '):
        call(buffer)
    assert buffer.available_samples == 10
    buffer.stop_stream()


@pytest.mark.parametrize(
    ('settings', 'error', 'text'),
    [
        ({'channels': []}, ValueError, 'active_channels is empty'),
        ({'channels': ['a', 'a']}, ValueError, 'names a channel twice'),
        ({'channels': 'ab'}, TypeError, "got the text 'ab'"),
        ({'mode': 7}, ValueError, '7 is not a valid StreamingMode'),
        ({'size': 10.5}, ValueError, 'must be a whole number of samples'),
        ({'size': 2**40}, ValueError, ''),
        ({'size': float('inf')}, ValueError, 'must be a whole number of samples'),
        ({'rate': -1}, ValueError, 'must be a positive number of Hz'),
    ],
)
def test_errors_of_a_configuration_name_the_buffer(bench, settings, error, text):
    running, buffer = bench.buffers(2)
    running.start_stream()
    with pytest.raises(error, match=f'^"buffer2" cannot be configured: .*{text}'):
        configure(buffer, **settings)
    running.stop_stream()
