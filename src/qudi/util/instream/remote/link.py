"""The client's side of a stream in another process: requests, and the thread that makes them."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import rpyc
from rpyc.core.async_ import AsyncResultTimeout

from qudi.util.instream.host import channel_of
from qudi.util.instream.remote.wire import LONGEST_SILENCE, Address, break_off, connect

__all__ = [
    'Arrival',
    'NoBufferError',
    'RemoteStreamError',
    'ServiceConnection',
    'StreamLink',
]

# How long a request waits there for samples (s), and a request without a wish here
_LONGEST_WAIT = 0.25

# Answers come so often (s) when all is well, also on a slow network
_SOON = 1.5

# How many bytes of samples a reply has at most, and how many may wait here for the device's thread
_REPLY_BYTES, _QUEUE_BYTES = 2**22, 2**25

_ERRORS = {
    kind.__name__: kind
    for kind in (RuntimeError, ValueError, TypeError, OverflowError, MemoryError, TimeoutError)
}


class RemoteStreamError(RuntimeError):
    """The stream of the buffer in the other process has ended by itself; `end` says why."""

    def __init__(self, text: str, end: str) -> None:
        super().__init__(text)
        self.end = end


class NoBufferError(RuntimeError):
    """There is no such buffer for clients in the other qudi."""


class ServiceConnection:
    """A connection to the service of a buffer in another process. For one thread but for two calls.

    Parameters
    ----------
    address : Address
        Where the buffer is.
    seconds : float
        How long it may take to connect.

    Raises
    ------
    ConnectionError
        If the other qudi cannot be reached.
    """

    def __init__(self, address: Address, seconds: float) -> None:
        self._address = address
        try:
            self._connection = connect(address, seconds)
        except OSError as error:
            raise ConnectionError(
                f'{address} cannot be reached ({type(error).__name__}: {error}). Check that this '
                f'qudi runs, its remote_modules_server and the network'
            ) from error
        self._service: Callable[..., Any] | None = None  # found with the first call

    def _find_service(self) -> Any:
        root = self._connection.root
        name = self._address.buffer
        if name not in root.get_loaded_module_names():
            raise NoBufferError(
                f'{self._address} is not there for clients. Give its entry allow_remote: True, '
                f'and name it in startup_modules'
            )
        try:
            return root.get_module_instance(name).for_clients
        except AttributeError:
            raise NoBufferError(
                f'{self._address} is no DataInStreamBuffer of this version. Name a buffer, and '
                f'install the same qudi-instream-buffer on both sides'
            ) from None

    def call(self, request: str, *values: Any, seconds: float) -> Any:
        """Make a request of a `StreamService` and return its result.

        Raises
        ------
        ConnectionError
            If there is no answer within so many seconds.
        NoBufferError
            If the other qudi has no such buffer for clients.
        Exception
            What the service raises: RuntimeError and the kinds that it knows.
        """
        end = time.perf_counter() + seconds
        with self._reaching(seconds):
            if self._service is None:
                self._service = rpyc.async_(self._find_service().call)
            result = self._service(request, *values)
            # rpyc takes a negative number for no limit
            result.set_expiry(max(0.0, end - time.perf_counter()))
            is_done, *answer = result.value
        if is_done:
            return answer[0]
        kind, text = answer
        raise _ERRORS.get(kind, RuntimeError)(text)

    def forget_buffer(self) -> None:
        """Have the next call look for the buffer again, which may be another one after a reload."""
        self._service = None

    def array(self) -> np.ndarray:
        """Return the bytes of the oldest array that came before the last results."""
        arrays: deque[np.ndarray] = channel_of(self._connection).arrays
        return arrays.popleft()

    def send(self, request: str, *values: Any) -> None:
        """Make a request whose result nobody needs; not during a call."""
        if self._service is not None:
            with suppress(Exception):
                self._connection.poll_all()  # earlier ones have been answered
                self._service(request, *values)

    def _reaching(self, seconds: float) -> _Reaching:
        return _Reaching(self._address, seconds)

    def break_off(self) -> None:
        """End the call in progress. From any thread."""
        break_off(self._connection)

    def close(self) -> None:
        """Close the connection, without waiting for the other side."""
        break_off(self._connection)
        with suppress(Exception):
            self._connection.close()


@dataclass
class _Reaching:
    """Says what a lost connection means."""

    address: Address
    seconds: float

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, AsyncResultTimeout):
            after = f' for {self.seconds:.3g} s' if self.seconds > 0 else ''
            text = f'it has not answered{after}'
        elif isinstance(error, (EOFError, OSError)):
            text = 'the connection is broken'
        else:
            return
        raise ConnectionError(
            f'{self.address} is lost: {text}. Check that this qudi runs, and the network; then '
            f'start again'
        ) from error


@dataclass
class Arrival:
    """Samples that have come."""

    samples: np.ndarray  # of shape (count, channels)
    timestamps: np.ndarray | None  # in s
    lost: int  # samples per channel that were overwritten there before these


class StreamLink:
    """Fetches the samples of one stream, in a thread of its own.

    A request waits in the other process for what is wanted here; without a wish, what has come
    there is fetched from time to time.

    Parameters
    ----------
    connection : ServiceConnection
        Joined to the service. For the thread alone, and closed by it.
    owner : tuple of str and int
        Name of this client, and the number of the start.
    channel_count : int
        Values of a sample.
    dtype : numpy.dtype
        Data type of the samples there.
    hurry : callable
        Has the request in progress return, by another connection.
    arrived : callable
        Called when samples have come, or the stream has ended.
    """

    def __init__(
        self,
        connection: ServiceConnection,
        owner: tuple[str, int],
        channel_count: int,
        dtype: np.dtype,
        hurry: Callable[[], None],
        arrived: Callable[[], None],
    ) -> None:
        self.connection = connection
        self._owner = owner
        self._channel_count = channel_count
        self._dtype = dtype
        self._most = max(1, _REPLY_BYTES // (channel_count * dtype.itemsize))
        self._full = _QUEUE_BYTES // (channel_count * dtype.itemsize)
        self._hurry = hurry
        self._arrived = arrived
        self._changed = threading.Condition()  # guards what follows
        self._queue: deque[Arrival] = deque()
        self._waiting = 0  # samples in the queue
        self._received = 0
        self._lost = 0
        self._targets: set[float] = set()  # numbers of received samples that are waited for
        self._asked_for = math.inf  # number for which the request in progress waits
        self._is_closing = False
        self.error: Exception | None = None  # why no more samples will come
        self.polled_at = self.answered_at = time.perf_counter()  # by the device there; by that qudi
        self.sample_rate = 0.0
        self._thread = threading.Thread(target=self._run, name='instream-link', daemon=True)
        self._thread.start()

    # ---------------------------------------------------------------- from any thread

    @property
    def waiting(self) -> int:
        """How many samples per channel have come and were not taken yet."""
        return self._waiting

    @property
    def is_answering(self) -> bool:
        """Whether the other qudi answers, as far as known."""
        is_lost = isinstance(self.error, ConnectionError)
        return not is_lost and time.perf_counter() < self.answered_at + _SOON

    def has(self, count: float) -> bool:
        """Whether so many samples have come, or as many as can wait here, or no more will."""
        return self._waiting >= min(count, self._full) or self.error is not None

    def is_there(self, count: int) -> bool:
        """Whether so many samples have come; if not, they are waited for from now on."""
        with self._changed:
            if self.has(count):
                return True
            target = self._received - self._waiting + count
            self._targets.add(target)
            self._changed.notify()
            is_late = target < self._asked_for
        if is_late:
            self._hurry()
        return False

    def forget(self) -> None:
        """Forget what is waited for."""
        with self._changed:
            self._targets.clear()

    def take(self, most: float) -> Arrival | None:
        """Return the oldest samples that have come, `most` at most; None if there are none."""
        with self._changed:
            if not self._queue or most < 1:
                return None
            first = self._queue[0]
            if len(first.samples) <= most:
                self._queue.popleft()
            else:
                count = int(most)
                times = first.timestamps
                self._queue[0] = Arrival(
                    first.samples[count:], None if times is None else times[count:], 0
                )
                first = Arrival(
                    first.samples[:count], None if times is None else times[:count], first.lost
                )
            self._waiting -= len(first.samples)
            self._changed.notify()
            return first

    def close(self) -> None:
        """End the thread as soon as its request returns. Does not wait."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()

    def break_off(self) -> None:
        """End the thread at once."""
        self.close()
        self.connection.break_off()

    # ---------------------------------------------------------------- in its thread

    def _run(self) -> None:
        try:
            left = 0
            while self._wait(has_more=left > 0):
                wanted = self._nearest() - self._received
                seconds = _LONGEST_WAIT if 0 < wanted < math.inf else 0.0
                reply = self.connection.call(
                    'fetch',
                    self._owner,
                    int(wanted) if seconds else 0,
                    self._most,
                    seconds,
                    seconds=LONGEST_SILENCE + seconds,
                )
                left = self._receive(*reply)
        except Exception as error:
            self.error = error
        self.connection.close()
        self._arrived()

    def _nearest(self) -> float:
        """Number of received samples for which the next request is to wait, inf for none."""
        with self._changed:
            self._targets = {target for target in self._targets if target > self._received}
            nearest = min(self._targets, default=math.inf)
            self._asked_for = nearest if nearest < math.inf else -math.inf
            return nearest

    def _wait(self, has_more: bool) -> bool:
        """Wait until the next request is due; return whether there is to be one."""
        end = time.perf_counter() + (0.0 if has_more else _LONGEST_WAIT)
        with self._changed:
            self._asked_for = -math.inf  # nobody has to hurry
            while not self._is_closing:
                is_wanted = any(target > self._received for target in self._targets)
                left = end - time.perf_counter()
                if self._waiting < self._full and (is_wanted or left <= 0):
                    return True
                self._changed.wait(left if left > 0 else _LONGEST_WAIT)
            return False

    def _array(self, content: bytes | bool, dtype: np.dtype) -> np.ndarray:
        if isinstance(content, bytes):
            return np.frombuffer(content, dtype=dtype)
        return self.connection.array().view(dtype)

    def _receive(
        self,
        samples: bytes | bool,
        timestamps: bytes | bool | None,
        left: int,
        lost: int,
        silent_for: float,
        rate: float,
        end: tuple[str, str] | None,
    ) -> int:
        """Keep what a reply brings, and return how much more is there."""
        array = self._array(samples, self._dtype).reshape(-1, self._channel_count)
        times = None if timestamps is None else self._array(timestamps, np.dtype(np.float64))
        with self._changed:
            if len(array) or lost > self._lost:
                self._queue.append(Arrival(array, times, lost - self._lost))
                self._waiting += len(array)
                self._received += len(array)
                self._lost = lost
            self.answered_at = time.perf_counter()
            self.polled_at = self.answered_at - silent_for
            self.sample_rate = rate or self.sample_rate
        if end is not None:
            state, message = end
            raise RemoteStreamError(message, state)
        if len(array):
            self._arrived()
        return left
