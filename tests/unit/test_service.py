"""What a buffer does for clients in other processes, without a connection."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from qudi.interface.data_instream_interface import StreamingMode

from qudi.util.instream.remote.service import StreamService
from qudi.util.instream.stream import BufferedStream, SampleRing


class SlowStream(BufferedStream):
    """One whose `has_ended` is looked at slowly on demand."""

    def __init__(self):
        super().__init__('far', SampleRing(10, 1, np.float64))
        self.is_looked_at, self.go_on = threading.Event(), None

    @property
    def has_ended(self):
        if self.go_on is not None:
            self.is_looked_at.set()
            assert self.go_on.wait(10)
        return super().has_ended


class Buffer(SimpleNamespace):
    """What a service needs of one, with a new stream at each start."""

    def __init__(self):
        super().__init__(
            active_channels=['a'],
            streaming_mode=StreamingMode.CONTINUOUS,
            channel_buffer_size=10,
            sample_rate=100.0,
            stream=None,
        )

    def start_stream(self):
        self.stream = SlowStream()

    def stop_stream(self):
        self.stream = None


@pytest.fixture
def buffer():
    return Buffer()


def test_a_late_stop_of_a_client_takes_no_stream_from_the_next_one(buffer, background):
    """Each connection has a thread of its own."""
    service = StreamService(buffer)
    assert service.call('start', ('first', 1), None)[0]
    stream = buffer.stream
    stream.go_on = threading.Event()
    stop = background(service.call, 'stop', ('first', 1))
    assert stream.is_looked_at.wait(10)
    assert service.call('start', ('second', 1), None)[0]
    stream.go_on.set()
    assert stop.result(5) == (True, None)
    end = service.call('fetch', ('second', 1), 0, 10, 0.0)[1][-1]
    assert end is None, f'the second client is told {end}, and its stream is read by nobody'
