"""What becomes of samples that do not fit into the ring of a stream, or were lost before it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from qudi.util.instream.stream.status import StreamEnd

if TYPE_CHECKING:
    from qudi.util.instream.stream.stream import BufferedStream

__all__ = ['put_all', 'put_rest', 'put_while_read', 'skip']


def put_while_read(
    stream: BufferedStream,
    samples: np.ndarray,
    timestamps: np.ndarray | None,
    waited: float,
    limit: float,
) -> tuple[np.ndarray, np.ndarray | None, float]:
    """Put in what fits, as long as reads make room for more. The stream's lock is held.

    Parameters
    ----------
    stream : BufferedStream
        The stream.
    samples, timestamps : numpy.ndarray
        Arrays of shape (count, channels) and (count,).
    waited : float
        How long the poll has waited for streams that drop their oldest samples (s). One of these
        waits for so much less.
    limit : float
        How long it may wait for room (s).

    Returns
    -------
    samples, timestamps : numpy.ndarray
        Those that are left.
    waited : float
        As before, with the time for this stream if it drops its oldest samples.
    """
    began = time.perf_counter()
    end = began + limit - (waited if stream.drops_oldest else 0.0)
    ring, readers, returned = stream.ring, stream.readers, stream.readers.returned
    while len(samples) > ring.free and readers.is_reading:
        if stream.drops_oldest and readers.returned > returned:
            break  # it only lets a read finish that has begun
        here, rest = slice(0, ring.free), slice(ring.free, None)
        stream.write(samples[here], None if timestamps is None else timestamps[here])
        samples, timestamps = samples[rest], None if timestamps is None else timestamps[rest]
        readers.wait_for(lambda: ring.free > 0 or not readers.is_reading, end - time.perf_counter())
        if not ring.free:
            readers.forget()
            break
        if stream.has_ended:
            break
    if stream.drops_oldest:
        waited += time.perf_counter() - began
    return samples, timestamps, waited


def put_all(stream: BufferedStream, samples: np.ndarray, timestamps: np.ndarray | None) -> None:
    """Put in samples that fit. The stream's lock is held."""
    stream.write(samples, timestamps)
    _finish_if_complete(stream)


def put_rest(stream: BufferedStream, samples: np.ndarray, timestamps: np.ndarray | None) -> None:
    """Put in samples; if they do not fit, the stream overflows. Its lock is held."""
    ring, count = stream.ring, len(samples)
    if count <= ring.free:  # a read has made room for all
        put_all(stream, samples, timestamps)
        return
    kept = _overflow(stream, count)
    lost = count - (kept.stop - kept.start)
    stream.write(samples[kept], None if timestamps is None else timestamps[kept], lost)
    if lost and not stream.drops_oldest:
        message = (
            f'its ring of {ring.capacity} samples was full, the samples from index '
            f'{stream.tally.received - lost} on are lost. Read faster, configure a larger '
            f'channel_buffer_size, or set allow_overwrite: True to lose the oldest samples '
            f'instead'
        )
        stream.finish(StreamEnd.OVERFLOW, message)
    else:
        _finish_if_complete(stream)


def skip(stream: BufferedStream, count: int) -> None:
    """Note that so many samples were lost before they came here, and before those put in next."""
    with stream.lock:
        if stream.has_ended or stream.selection.samples_to_skip > 0:  # older than the stream
            return
        count = int(min(count, stream.samples_missing))
        stream.tally.receive(count, count, stream.unread)
        stream.tally.overflow()
        if stream.drops_oldest:
            _finish_if_complete(stream)
            return
        message = (
            f'{count} samples per channel are missing: they were overwritten before they came '
            f'here. Configure a larger channel_buffer_size, or set allow_overwrite: True to go on '
            f'without them'
        )
        stream.finish(StreamEnd.OVERFLOW, message)


def _overflow(stream: BufferedStream, count: int) -> slice:
    """Decide what is lost of new samples and unread ones; return which go into the ring."""
    ring = stream.ring
    excess = count - ring.free
    if not stream.drops_oldest:
        stream.tally.overflow()
        return slice(0, count - excess)
    dropped = min(excess, len(ring))
    ring.drop(dropped)
    stream.tally.overflow(dropped)
    stream.readers.overwritten += 1
    return slice(max(0, count - ring.capacity), count)


def _finish_if_complete(stream: BufferedStream) -> None:
    if stream.tally.received >= stream.samples_to_acquire:
        message = f'all {stream.tally.received} samples were acquired'
        stream.finish(StreamEnd.FINISHED, message)
