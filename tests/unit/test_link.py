"""StreamLink alone: which requests it makes of the other qudi, and when."""

import queue
import threading
import time

import numpy as np
import pytest

from qudi.util.instream.remote.link import StreamLink

SAMPLE = np.arange(1.0)


class Connection:
    """To a qudi that answers a request that waits for samples only when it is hurried."""

    def __init__(self):
        self.samples = b''  # of each reply
        self.wanted = queue.SimpleQueue()  # by each request, 0 for what is there
        self._is_hurried = threading.Event()
        self._is_closed = threading.Event()

    def hurry(self):
        self._is_hurried.set()

    def call(self, request, owner, wanted, most, seconds_there, seconds):
        assert (request, owner) == ('fetch', ('this client', 1))
        self.wanted.put(wanted)
        if wanted:
            assert self._is_hurried.wait(10)
            self._is_hurried.clear()
        if self._is_closed.is_set():
            raise EOFError
        if self.samples:
            return self.samples, None, 0, 0, 0.0, 0.0, None
        return b'', None, 0, 0, 0.0, 0.0, None

    def break_off(self):
        self._is_closed.set()
        self._is_hurried.set()

    def close(self):
        pass

    def wait_for(self, wanted):
        """Wait until a request wants so many samples."""
        while self.wanted.get(timeout=10) != wanted:
            pass


@pytest.fixture
def connection():
    return Connection()


@pytest.fixture
def link(connection):
    link = StreamLink(
        connection, ('this client', 1), 1, SAMPLE.dtype, connection.hurry, arrived=lambda: None
    )
    yield link
    link.break_off()


def test_a_program_that_wants_less_hurries_the_request_for_one_that_wants_more(link, connection):
    assert not link.is_there(400)
    connection.wait_for(400)
    assert not link.is_there(10)
    connection.wait_for(10)


def test_a_program_that_wants_more_leaves_the_request_as_it_is(link, connection):
    assert not link.is_there(10)
    connection.wait_for(10)
    assert not link.is_there(400)
    with pytest.raises(queue.Empty):
        connection.wanted.get(timeout=0.1)


def test_a_program_that_waits_for_more_than_fits_here_is_told_when_it_is_full(link, connection):
    connection.samples = bytes(2**22)
    count = 2**25 // SAMPLE.itemsize
    while link.waiting < count:
        link.is_there(1)
        connection.hurry()
        time.sleep(0.001)
    assert link.is_there(2 * count)
