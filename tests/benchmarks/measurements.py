"""The measurements. Each takes a `Scale` and returns figures that can be written as JSON."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import psutil

from contenders import (
    Buffer,
    Contender,
    Direct,
    FixedBeat,
    Load,
    MemoryCopies,
    QueueOfChunks,
    ZmqPublisher,
)

__all__ = ['MEASUREMENTS', 'Scale', 'fill_rings']

CHUNK = 2**16  # samples
CONSUMERS = (1, 2, 4, 16)
POLL_RATES = (10, 30, 100, 500)
LATENCY_LOADS = {
    '10 S/s, reads of 1': Load(rate=10, read_size=1),
    '1 kS/s, reads of 10': Load(rate=1000, read_size=10),
    '1 kS/s, reads of 20': Load(rate=1000, read_size=20),
    '100 kS/s, reads of 1000': Load(rate=1e5, read_size=1000),
}
JUDGED = {('1 kS/s, reads of 20', 100), ('1 kS/s, reads of 10', 100), ('1 kS/s, reads of 10', 500)}
EVERYDAY_LOADS = {
    '50 kS/s, 20 reads/s, 30 polls/s': Load(rate=5e4, read_size=2500, poll_rate=30),
    '50 kS/s, 20 reads/s, 100 polls/s': Load(rate=5e4, read_size=2500, poll_rate=100),
    '1 kS/s, 20 reads/s, 100 polls/s': Load(rate=1000, read_size=50, poll_rate=100),
}
STREAMING = (Buffer, FixedBeat, QueueOfChunks, ZmqPublisher)
RING_MIB = 64  # of the rings whose memory is measured


@dataclass(frozen=True)
class Scale:
    """How much is measured. The default is what the page shows."""

    repeats: int = 5
    chunks: int = 512  # per timed piece with one consumer, fewer with several
    starts: int = 10
    seconds: float = 2.0  # that something streams
    settling: float = 0.5  # before the CPU is measured: a stream that begins is polled more often
    short_seconds: float = 0.45  # of each start where latencies are measured
    judged_seconds: float = 3.0  # where they are compared with what is promised
    slow_reads: int = 60  # of each start where reads take long; half as many starts
    poll_rates: tuple[int, ...] = POLL_RATES
    first_rate: float = 1e6  # S/s, where the search for the highest begins
    last_rate: float = 1e10  # and where it ends at the latest
    bisections: int = 3
    polls: int = 1000  # per timed piece
    backlog_seconds: float = 6.0  # of samples that are read at once

    @classmethod
    def quick(cls) -> Scale:
        """Enough to see that everything works; the times mean nothing."""
        return cls(
            repeats=1,
            chunks=16,
            starts=1,
            seconds=0.3,
            short_seconds=0.15,
            judged_seconds=0.15,
            slow_reads=3,
            poll_rates=(100,),
            last_rate=2e6,
            bisections=0,
            polls=50,
            backlog_seconds=0.5,
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the garbage collector out of what is timed."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# -------------------------------------------------------------------- CPU per gigabyte


def cpu_per_gigabyte(scale: Scale) -> dict:
    """CPU seconds per gigabyte delivered, for each number of consumers and each contender."""
    result = {}
    for consumers in CONSUMERS:
        load = Load(1e6, CHUNK, consumers=consumers, channels=4, ring_size=4 * CHUNK, clocked=False)
        contenders = [MemoryCopies, Buffer, QueueOfChunks, ZmqPublisher]
        if consumers == 1:
            contenders.append(Direct)
        chunks = int(scale.chunks / consumers**0.5)
        costs: dict[str, list[float]] = {contender.name: [] for contender in contenders}
        for _ in range(scale.repeats):
            for contender in contenders:
                costs[contender.name].append(_cost_of_a_gigabyte(contender, load, chunks))
        limits = costs[MemoryCopies.name]
        result[str(consumers)] = {
            name: {
                'seconds': median(values),
                'ratio': median(a / b for a, b in zip(values, limits, strict=True)),
            }
            for name, values in costs.items()
        }
    return result


def _cost_of_a_gigabyte(contender_class: type[Contender], load: Load, chunks: int) -> float:
    blocks = [load.array() for _ in range(load.consumers)]
    with contender_class(load) as contender:

        def deliver(count: int) -> None:
            for _ in range(count):
                contender.device.produce(CHUNK)
                contender.poll()
                for consumer, block in enumerate(blocks):
                    contender.read(consumer, block)

        contender.start()
        contender.run(partial(deliver, 8))  # each ring twice, so that all memory is in use
        with quiet():
            began = time.process_time()
            contender.run(partial(deliver, chunks))
            seconds = time.process_time() - began
        contender.stop()
    return seconds / (chunks * sum(block.nbytes for block in blocks) / 1e9)


# -------------------------------------------------------------------- streams in real time


class Reader(threading.Thread):
    """A consumer that reads block after block, checks that they fit, and notes when it got them."""

    def __init__(self, contender: Contender, consumer: int) -> None:
        super().__init__(daemon=True)
        self._contender, self._consumer = contender, consumer
        self.stopping = False
        self.times: list[float] = []
        self.newest: list[float] = []  # value of the newest sample of each block
        self.problem: BaseException | None = None

    def run(self) -> None:
        block, length = self._contender.load.array(), len(self._contender.device.samples)
        try:
            while not self.stopping:
                self._contender.read(self._consumer, block)
                self.times.append(time.perf_counter())
                first = block[0, 0]
                if self.newest and first != (self.newest[-1] + 1) % length:
                    raise AssertionError(f'sample {first} came after {self.newest[-1]}')
                self.newest.append(block[-1, 0])
        except Exception as error:
            if not self.stopping:
                self.problem = error


@dataclass
class Stream:
    """What was seen while a contender streamed."""

    seconds: float = 0.0  # that it streamed
    cpu: float = 0.0  # seconds
    ages: list[float] = field(default_factory=list)  # of the newest sample at the end of each read
    looks: list[float] = field(default_factory=list)  # times at which the device was polled
    problem: BaseException | None = None


def stream(
    contender_class: type[Contender], load: Load, seconds: float, settling: float = 0.0
) -> Stream:
    """Let consumers read for some seconds, in a phase between clock and polls by chance.

    What happens in the `settling` seconds before them is not seen.
    """
    seen = Stream()
    with contender_class(load) as contender:
        readers = [Reader(contender, number) for number in range(load.consumers)]
        with quiet():
            contender.start()
            for reader in readers:
                reader.start()
            time.sleep(settling)
            contender.device.looks.clear()  # a start may look as well
            cpu, began = time.process_time(), time.perf_counter()
            while not any(reader.problem for reader in readers):
                rest = began + seconds - time.perf_counter()
                if rest <= 0:
                    break
                time.sleep(min(rest, 0.1))
            seen.looks = contender.device.looks.copy()
            seen.cpu, seen.seconds = time.process_time() - cpu, time.perf_counter() - began
            for reader in readers:
                reader.stopping = True
            contender.stop()
            for reader in readers:
                reader.join(10)
        if any(reader.is_alive() for reader in readers):
            raise RuntimeError(f'A read of {contender.name} hangs ({load})')
        seen.problem = next((r.problem for r in readers if r.problem), contender.problem)
        for reader in readers:
            # Those that ended while it was looked at
            ended = slice(*(bisect_left(reader.times, t) for t in (began, began + seen.seconds)))
            seen.ages += list(contender.device.ages(reader.times[ended], reader.newest[ended]))
            if ended.start == ended.stop and seen.problem is None:
                seen.problem = RuntimeError('a consumer got nothing')
    return seen


def checked_stream(
    contender_class: type[Contender], load: Load, seconds: float, settling: float = 0.0
) -> Stream:
    """Let consumers read, and raise if anything was lost."""
    seen = stream(contender_class, load, seconds, settling)
    if seen.problem is not None:
        raise RuntimeError(f'{contender_class.name} failed ({load})') from seen.problem
    return seen


def highest_rate(scale: Scale) -> dict:
    """The highest rate in samples per second and channel at which nothing is lost."""
    contenders = (Direct, Buffer, QueueOfChunks, ZmqPublisher)
    logging.disable(logging.CRITICAL)  # of the losses at the rates that are too high
    try:
        return {contender.name: _highest_rate_of(contender, scale) for contender in contenders}
    finally:
        logging.disable(logging.NOTSET)


def _highest_rate_of(contender_class: type[Contender], scale: Scale) -> float:
    def holds(rate: float) -> bool:
        load = Load(
            rate=rate,
            read_size=int(rate / 50),
            poll_rate=100,
            consumers=1 if contender_class is Direct else 2,
            ring_size=min(int(rate / 4), 2**22),
        )
        # Twice, since a pause of the machine is no fault of the contender
        return any(stream(contender_class, load, scale.seconds).problem is None for _ in 'ab')

    good = scale.first_rate / 2
    while 2 * good <= scale.last_rate and holds(2 * good):
        good *= 2
    factor = 2.0
    for _ in range(scale.bisections):
        factor **= 0.5
        if holds(good * factor):
            good *= factor
    return good


def latency(scale: Scale) -> dict:
    """Age of the newest sample of a block when its blocking read returns, in seconds."""
    result: dict = {}
    for name, slow in LATENCY_LOADS.items():
        for poll_rate in scale.poll_rates:
            load = Load(slow.rate, slow.read_size, poll_rate)
            is_judged = (name, poll_rate) in JUDGED
            seconds = scale.judged_seconds if is_judged else scale.short_seconds
            seconds = max(seconds, scale.slow_reads * load.read_size / load.rate)
            count = scale.starts if seconds <= scale.judged_seconds else max(1, scale.starts // 2)
            starts: dict[str, list[list[float]]] = {c.name: [] for c in STREAMING}
            for _ in range(count):
                for contender in STREAMING:
                    starts[contender.name].append(checked_stream(contender, load, seconds).ages)
            result.setdefault(name, {})[str(poll_rate)] = {
                contender: _percentiles(ages) for contender, ages in starts.items()
            }
    return result


def _percentiles(starts: list[list[float]]) -> dict:
    """The median over the starts of each percentile, and the worst of all."""
    percentiles = np.median([np.percentile(ages, (50, 90, 99)) for ages in starts], axis=0)
    names = ('50', '90', '99')
    return {
        **{name: float(value) for name, value in zip(names, percentiles, strict=True)},
        'worst': max(max(ages) for ages in starts),
    }


def polls(scale: Scale) -> dict:
    """How often the device is read: for each load and max_poll_rate of the latencies."""
    result: dict = {}
    for name, slow in LATENCY_LOADS.items():
        for poll_rate in scale.poll_rates:
            load = Load(slow.rate, slow.read_size, poll_rate)
            seconds = max(scale.seconds, 3 * load.read_size / load.rate)
            seen = checked_stream(Buffer, load, seconds)
            result.setdefault(name, {})[str(poll_rate)] = _beat(seen)
    return result


def _beat(seen: Stream) -> dict:
    looks = seen.looks
    return {
        'mean': len(looks) / seen.seconds,
        'most': max((bisect_left(looks, t + 1) - i for i, t in enumerate(looks)), default=0),
        'shortest': min((b - a for a, b in pairwise(looks)), default=None),
    }


def everyday(scale: Scale) -> dict:
    """CPU of everyday loads in per cent of a core, above a process that is idle."""
    idle = _idle_cpu(scale.seconds)
    result = {}
    for name, load in EVERYDAY_LOADS.items():
        seen: dict[str, list[Stream]] = {contender.name: [] for contender in STREAMING}
        for _ in range(scale.repeats):
            for contender in STREAMING:
                seen[contender.name].append(
                    checked_stream(contender, load, scale.seconds, scale.settling)
                )
        beat = median(len(s.looks) / s.seconds for s in seen[FixedBeat.name])
        assert beat > 0.6 * load.poll_rate, f'{beat:.0f} polls a second: FixedBeat does not work'
        result[name] = {
            contender: {
                'cpu': 100 * median(s.cpu / s.seconds - idle for s in streams),
                'polls': median(len(s.looks) / s.seconds for s in streams),
            }
            for contender, streams in seen.items()
        }
    return result


def _idle_cpu(seconds: float) -> float:
    """CPU seconds a second of a process with buffers that do not stream."""
    with Buffer(Load()):
        cpu, began = time.process_time(), time.perf_counter()
        while time.perf_counter() < began + seconds:
            time.sleep(min(seconds, 0.1))
        return (time.process_time() - cpu) / (time.perf_counter() - began)


# -------------------------------------------------------------------- what one costs another


def large_read(scale: Scale) -> dict:
    """Worst read of a loop of 20 ms, alone and while much is copied beside it, in seconds.

    Beside a buffer, the program of another buffer reads a large backlog; beside the device, an
    array of the same size is copied.
    """
    worst: dict[str, dict[str, list[float]]] = {}
    for _ in range(scale.repeats):
        for contender in (Direct, Buffer):
            for beside in ('alone', 'beside a large read'):
                seconds = _worst_read(contender, scale, beside != 'alone')
                worst.setdefault(contender.name, {}).setdefault(beside, []).append(seconds)
    return {
        name: {beside: median(values) for beside, values in cases.items()}
        for name, cases in worst.items()
    }


def _worst_read(contender_class: type[Contender], scale: Scale, is_beside: bool) -> float:
    rate = 1e6
    is_buffer = issubclass(contender_class, Buffer)
    load = Load(rate, 20_000, 30, consumers=1 + is_buffer, ring_size=int(10 * rate))
    backlog = np.zeros((int(rate * scale.backlog_seconds), load.channels))
    target = np.ones_like(backlog)
    with contender_class(load) as contender:
        reader = Reader(contender, 0)
        with quiet():
            contender.start()
            reader.start()
            time.sleep(scale.backlog_seconds)
            began = time.perf_counter()
            if is_beside and is_buffer:
                contender.read(1, target[: int(0.9 * len(target))])
            elif is_beside:
                target[:] = backlog
            while time.perf_counter() < began + 0.3:
                time.sleep(0.01)
            reader.stopping = True
            contender.stop()
            reader.join(10)
    if reader.problem is not None:
        raise RuntimeError(f'{contender.name} failed beside a large read') from reader.problem
    times = np.array([began, *(t for t in reader.times if t > began)])
    return float(np.diff(times).max())


# -------------------------------------------------------------------- short streams, blocks


def frames(scale: Scale) -> dict:
    """Seconds of a frame of 20 ms: start, read, stop. And the median of the ratios to direct."""
    seconds: dict[str, list[float]] = {}
    load = Load(1000, 20, 100, consumers=1)
    block = load.array()
    for _ in range(scale.repeats):
        for contender_class in (Direct, Buffer):
            with contender_class(load) as contender:
                contender.device.clock_delay = 0.0
                for _ in range(scale.starts):
                    began = time.perf_counter()
                    contender.start()
                    contender.read(0, block)
                    contender.stop()
                    seconds.setdefault(contender.name, []).append(time.perf_counter() - began)
    direct = seconds[Direct.name]
    return {
        name: {
            'seconds': median(values),
            'ratio': median(a / b for a, b in zip(values, direct, strict=True)),
        }
        for name, values in seconds.items()
    }


def blocks(scale: Scale) -> dict:
    """Age of the newest sample of a read, from a device that shows samples in blocks of 20 ms."""
    load = Load(1000, 50, 30, consumers=1, block=0.02)
    seconds = max(scale.seconds, scale.slow_reads * load.read_size / load.rate)
    starts: dict[str, list[list[float]]] = {}
    for _ in range(max(1, scale.starts // 2)):
        for contender in (Direct, Buffer):
            starts.setdefault(contender.name, []).append(
                checked_stream(contender, load, seconds).ages
            )
    return {name: _percentiles(ages) for name, ages in starts.items()}


# -------------------------------------------------------------------- cost per consumer, memory


def cost_per_consumer(scale: Scale) -> dict:
    """Seconds of a poll that hands 10 samples to so many consumers, none of which waits."""
    seconds = {}
    for consumers in (1, 2, 4, 8, 16, 32, 64):
        load = Load(ring_size=10 * scale.polls, consumers=consumers, clocked=False)
        values = []
        with Buffer(load) as contender:
            contender.start()
            _time_polls(contender, scale.polls)  # all memory of the rings is in use from now on
            for _ in range(scale.repeats):
                values.append(_time_polls(contender, scale.polls))
            contender.stop()
        seconds[str(consumers)] = median(values)
    return {'poll': seconds, 'last': (seconds['64'] - seconds['32']) / 32}


def _time_polls(contender: Buffer, count: int) -> float:
    def poll() -> None:
        for _ in range(count):
            contender.device.produce(10)
            contender.poll()

    with quiet():
        began = time.process_time()
        contender.run(poll)
        seconds = time.process_time() - began
    for buffer in contender.buffers:
        assert len(buffer.read_data()[0]) == 20 * count
    return seconds / count


def memory(scale: Scale) -> dict:
    """Memory per buffer in units of its ring: right after the start, and full. Own processes."""
    command = [sys.executable, str(Path(__file__).with_name('run.py')), '--fill-rings']
    found = []
    for _ in range(scale.repeats):
        output = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if output.returncode:
            raise RuntimeError(f'the process of its own failed: {output.stderr}')
        found.append([float(word) for word in output.stdout.split()[-2:]])
    return {
        'started': median(started for started, _ in found),
        'full': median(full for _, full in found),
    }


def fill_rings(buffers: int = 2) -> None:
    """Print the memory per buffer in units of its ring, right after the start and full."""
    size = RING_MIB * 2**20
    load = Load(1e6, 1, ring_size=size // 16, consumers=buffers, clocked=False)
    process = psutil.Process()
    with Buffer(load) as contender:
        gc.collect()
        before = process.memory_info().rss
        contender.start()
        started = process.memory_info().rss
        contender.device.produce(load.capacity)
        while contender.buffers[0].available_samples < load.capacity:
            contender.poll()
        full = process.memory_info().rss
        contender.stop()
    print((started - before) / (buffers * size), (full - before) / (buffers * size))


MEASUREMENTS: dict[str, Callable[[Scale], dict]] = {
    'cpu': cpu_per_gigabyte,
    'consumers': cost_per_consumer,
    'memory': memory,
    'everyday': everyday,
    'polls': polls,
    'large': large_read,
    'frames': frames,
    'blocks': blocks,
    'latency': latency,
    'rate': highest_rate,
}
