"""What is compared: the buffer, its limits, and what one would write by hand instead.

Each contender serves a number of consumers from a device of its own (`InStreamSource`), on qudi's
real module manager:

    with SomeContender(load) as contender:
        contender.start()          # polls by itself from now on, at load.poll_rate
        contender.read(0, block)   # consumer 0 waits for as many samples as the block has
        contender.stop()           # reads that wait raise something

With `load.clocked` False nothing happens by itself: `contender.device.produce` makes samples, and
`contender.poll` moves them in the thread that calls it.
"""

from __future__ import annotations

import math
import queue
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from unittest import mock

import numpy as np
import zmq
from qudi.interface.data_instream_interface import StreamingMode

from qudi.util.instream.device import registry
from qudi.util.instream.device.polls import DevicePolls
from qudi_host import QudiHost

__all__ = [
    'Buffer',
    'Contender',
    'Direct',
    'FixedBeat',
    'Load',
    'MemoryCopies',
    'QueueOfChunks',
    'StreamEndedError',
    'ZmqPublisher',
]

PATIENCE = 5.0  # seconds after which a read that gets nothing gives up
NEVER = 0.001  # polls per second of a buffer that is polled by the benchmark


class StreamEndedError(Exception):
    """Nothing more will come from a contender."""


@dataclass(frozen=True)
class Load:
    """What a contender has to do.

    Parameters
    ----------
    rate : float
        Samples per second on each channel.
    read_size : int
        Samples per channel of one read.
    poll_rate : float
        How often the device may be read, per second.
    ring_size : int, optional
        Samples per channel that each consumer may be behind: a second by default.
    clocked : bool
        Whether the device makes samples by itself.
    block : float
        In pieces of how many seconds the device shows its samples; 0 for one by one.
    """

    rate: float = 1000.0
    read_size: int = 10
    poll_rate: float = NEVER
    consumers: int = 2
    channels: int = 2
    ring_size: int = 0
    clocked: bool = True
    block: float = 0.0

    @property
    def capacity(self) -> int:
        return self.ring_size or max(1000, int(self.rate))

    def array(self) -> np.ndarray:
        """Return an array for one read, its memory in use already."""
        return np.zeros((self.read_size, self.channels))


class Contender:
    """A way to get one device's samples to several consumers.

    Parameters
    ----------
    load : Load
        What it has to do.
    """

    name = ''

    def __init__(self, load: Load) -> None:
        self.load = load
        self.qudi = QudiHost()
        options = {
            'channel_count': load.channels,
            'clocked': load.clocked,
            'block': load.block,
        }
        self.qudi.add('hardware', 'streamer', 'instream_source.InStreamSource', options)
        self.device = self.qudi.activate('streamer')
        self.device.clock_delay = random.random() * self._longest_delay
        self.problem: BaseException | None = None  # of a polling thread

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: object) -> None:
        self.qudi.close()

    @property
    def _longest_delay(self) -> float:
        """Seconds from the device's start to the first tick of its clock, at most."""
        # Otherwise a fixed beat would always meet the clock in the same phase
        return 1 / self.load.poll_rate

    def start(self) -> None:
        self._configure(self.device)
        self.device.start_stream()

    def run(self, call: Callable[[], None]) -> None:
        """Make a call in which `poll` may be used: in the thread that owns the device."""
        call()

    def poll(self) -> None:
        raise NotImplementedError

    def read(self, consumer: int, block: np.ndarray) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        self.device.stop_stream()

    def _configure(self, streamer) -> None:
        streamer.configure(
            self.device.active_channels,
            StreamingMode.CONTINUOUS,
            self.load.capacity,
            self.load.rate,
        )


class Buffer(Contender):
    """This project's buffers, one per consumer."""

    name = 'DataInStreamBuffer'

    def __enter__(self) -> Buffer:
        options = {'max_poll_rate': self.load.poll_rate, 'read_timeout': PATIENCE}
        self.buffers = [
            self.qudi.add_buffer(f'buffer{number}', **options)
            for number in range(self.load.consumers)
        ]
        self._distributor = registry.distributors()[0]
        for buffer in self.buffers:
            self._configure(buffer)
        return self

    @property
    def _longest_delay(self) -> float:
        return 1 / self.load.rate  # as with a sample clock that runs all the time

    def start(self) -> None:
        for buffer in self.buffers:
            buffer.start_stream()

    def run(self, call: Callable[[], None]) -> None:
        self._distributor.thread.run(call, 'The measurement failed')

    def poll(self) -> None:
        self._distributor.polls.poll()

    def read(self, consumer: int, block: np.ndarray) -> None:
        self.buffers[consumer].read_data_into_buffer(block, len(block))

    def stop(self) -> None:
        for buffer in self.buffers:
            buffer.stop_stream()


def _always(*_: object) -> tuple[list[float], float]:
    return [-math.inf], math.inf


class FixedBeat(Buffer):
    """The same buffers, polling as often as they may instead of when somebody waits."""

    name = 'fixed beat'

    _longest_delay = Contender._longest_delay

    def __enter__(self) -> FixedBeat:
        self._patch = mock.patch.object(DevicePolls, 'demand', _always)
        self._patch.start()
        super().__enter__()
        return self

    def __exit__(self, *args: object) -> None:
        try:
            super().__exit__(*args)
        finally:
            self._patch.stop()


class Direct(Contender):
    """The device without anything in between, for one consumer. It waits until samples exist."""

    name = 'device directly'

    def poll(self) -> None:
        pass

    def read(self, consumer: int, block: np.ndarray) -> None:
        self.device.available_samples  # noqa: B018  # where the device notices its own overflow
        self.device.read_data_into_buffer(block.reshape(-1), len(block))


class MemoryCopies(Contender):
    """No more than the copies: out of the device, into and out of a ring per consumer.

    For chunks as large as a read, which divides the ring and the device's array.
    """

    name = 'memcpy limit'

    def start(self) -> None:
        super().start()
        self._staging = self.load.array()
        self._rings = [
            np.zeros((self.load.capacity, self.load.channels)) for _ in range(self.load.consumers)
        ]
        self._count = 0

    def _chunk(self, array: np.ndarray) -> np.ndarray:
        begin = self._count % len(array)
        return array[begin : begin + self.load.read_size]

    def poll(self) -> None:
        self._count += self.load.read_size
        self._staging[:] = self._chunk(self.device.samples)
        for ring in self._rings:
            self._chunk(ring)[:] = self._staging

    def read(self, consumer: int, block: np.ndarray) -> None:
        block[:] = self._chunk(self._rings[consumer])


class _ByHand(Contender):
    """A thread that reads the device at a fixed beat and passes whole chunks on to everybody."""

    def __enter__(self) -> _ByHand:
        self._rests = [np.empty((0, self.load.channels))] * self.load.consumers
        # As many chunks as are on their way when a consumer is behind by its ring
        seconds = self.load.capacity / self.load.rate
        self._most_chunks = max(16, int(self.load.poll_rate * seconds))
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        return self

    def start(self) -> None:
        super().start()
        if self.load.clocked:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            interval = 1 / self.load.poll_rate
            due = time.perf_counter() + interval
            while not self._stopping.wait(max(0.0, due - time.perf_counter())):
                due = max(due + interval, time.perf_counter())
                self.poll()
        except Exception as error:
            self.problem = error
            self._publish_end()

    def poll(self) -> None:
        count = self.device.available_samples
        if count:
            chunk = np.empty((count, self.load.channels))
            self.device.read_data_into_buffer(chunk.reshape(-1), count)
            self._publish(chunk)

    def read(self, consumer: int, block: np.ndarray) -> None:
        chunk, done = self._rests[consumer], 0
        while done < len(block):
            if not len(chunk):
                chunk = self._next_chunk(consumer)
            count = min(len(chunk), len(block) - done)
            block[done : done + count] = chunk[:count]
            chunk, done = chunk[count:], done + count
        self._rests[consumer] = chunk

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(PATIENCE)
        if self.problem is None:
            self._publish_end()
        super().stop()

    def _publish(self, chunk: np.ndarray) -> None:
        raise NotImplementedError

    def _publish_end(self) -> None:
        raise NotImplementedError

    def _next_chunk(self, consumer: int) -> np.ndarray:
        raise NotImplementedError


class QueueOfChunks(_ByHand):
    """A `queue.Queue` per consumer. All get the same array, which nobody changes."""

    name = 'queue.Queue'

    def __enter__(self) -> QueueOfChunks:
        super().__enter__()
        self._queues = [queue.Queue() for _ in range(self.load.consumers)]
        return self

    def _publish(self, chunk: np.ndarray) -> None:
        for chunks in self._queues:
            if chunks.qsize() >= self._most_chunks:
                raise OverflowError('a consumer is too slow')
            chunks.put(chunk)

    def _publish_end(self) -> None:
        for chunks in self._queues:
            chunks.put(None)

    def _next_chunk(self, consumer: int) -> np.ndarray:
        chunk = self._queues[consumer].get(timeout=PATIENCE)
        if chunk is None:
            raise StreamEndedError
        return chunk


class ZmqPublisher(_ByHand):
    """A publisher and a subscriber per consumer, in one process and without needless copies."""

    name = 'pyzmq PUB/SUB'

    def __enter__(self) -> ZmqPublisher:
        super().__enter__()
        self._context = zmq.Context()
        # XPUB is PUB that tells when somebody has subscribed, and can tell when it would drop
        self._publisher = self._context.socket(zmq.XPUB)
        self._publisher.setsockopt(zmq.XPUB_VERBOSE, 1)
        self._publisher.setsockopt(zmq.XPUB_NODROP, 1)
        self._publisher.setsockopt(zmq.SNDHWM, self._most_chunks)
        self._publisher.setsockopt(zmq.SNDTIMEO, 1000)  # a subscriber frees its queue in batches
        self._publisher.setsockopt(zmq.RCVTIMEO, int(1000 * PATIENCE))
        self._publisher.bind('inproc://samples')
        self._subscribers = [self._subscriber() for _ in range(self.load.consumers)]
        return self

    def _subscriber(self) -> zmq.Socket:
        subscriber = self._context.socket(zmq.SUB)
        subscriber.setsockopt(zmq.RCVHWM, 1)  # the limits of both ends add up
        subscriber.setsockopt(zmq.RCVTIMEO, int(1000 * PATIENCE))
        subscriber.setsockopt(zmq.SUBSCRIBE, b'')
        subscriber.connect('inproc://samples')
        self._publisher.recv()
        return subscriber

    def __exit__(self, *args: object) -> None:
        self._rests.clear()
        self._context.destroy(linger=0)
        super().__exit__(*args)

    def _publish(self, chunk: np.ndarray) -> None:
        self._publisher.send(chunk, copy=False)

    def _publish_end(self) -> None:
        self._publisher.setsockopt(zmq.SNDTIMEO, int(1000 * PATIENCE))
        with suppress(zmq.Again):
            self._publisher.send(b'')

    def _next_chunk(self, consumer: int) -> np.ndarray:
        frame = self._subscribers[consumer].recv(copy=False)
        if not len(frame.buffer):
            raise StreamEndedError
        return np.frombuffer(frame.buffer).reshape(-1, self.load.channels)
