"""Stream for a long time to programs of different habits, check every sample, and report.

    python tests/tools/soak.py --minutes 30

The device is the simulated one, in real time, on qudi's real module manager. The exit code is 0
only if each program got what it must get: of strict buffers every sample in order, of overwriting
ones everything that they do not count as lost.
"""

from __future__ import annotations

import argparse
import platform
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

sys.path.append(str(Path(__file__).parents[1] / 'helpers'))
from qudi.hardware.instream_buffer.simulator import foretold_samples

# isort: split
import qtpy
from qtpy import QtCore

from bench import configure
from qudi_host import QudiHost

RATE = 50_000  # samples per second on each of 2 channels


class Habit(threading.Thread):
    """A program that reads one buffer in its own way until it is told to stop.

    Parameters
    ----------
    qudi : QudiHost
        Where the buffer is added.
    read : callable
        Gets this habit and does one round of reading.
    size : int
        Samples that the ring holds.
    """

    def __init__(
        self, qudi: QudiHost, read: Callable[[Habit], None], size: int, allow_overwrite: bool
    ) -> None:
        super().__init__(name=read.__name__, daemon=True)
        self.device = qudi['streamer']
        self.buffer = qudi.add_buffer(read.__name__, allow_overwrite=allow_overwrite)
        configure(self.buffer, size=size, rate=RATE)
        self.size = size
        self._read_once = read
        self._allow_overwrite = allow_overwrite
        self._stopping = threading.Event()
        self.position: int | None = None  # index of the next sample to come
        self.read_here = self.gaps_here = 0  # in this stream
        self.streams = self.received = self.read = self.unread = self.lost = 0
        self.worst_latency = 0.0
        self.problem: BaseException | None = None

    def begin(self) -> None:
        self.buffer.start_stream()
        self.streams += 1
        self.position = None
        self.read_here = self.gaps_here = 0

    def finish(self) -> None:
        """Stop the stream; its own figures must agree with what was read here."""
        self.buffer.stop_stream()
        self.count()

    def count(self) -> None:
        status = self.buffer.status
        assert status.samples_read == self.read_here, f'{status}, but {self.read_here} came'
        parts = status.samples_read + status.samples_unread + status.samples_lost
        assert status.samples_received == parts, status
        if self._allow_overwrite:
            # Overwritten samples show as a gap only in front of a sample that was read
            assert self.gaps_here <= status.samples_lost, f'{status}, but {self.gaps_here} missing'
        self.received += status.samples_received
        self.read += status.samples_read
        self.unread += status.samples_unread
        self.lost += status.samples_lost

    def take(self, count: int | None = None) -> int:
        """Read and check; with a count, wait for it."""
        waits = count is not None and self.buffer.available_samples < count
        samples = self.buffer.read_data(count)[0].reshape(-1, 2)
        now = time.perf_counter()
        if not len(samples):
            return 0
        first = int(samples[0, 0]) // 16
        position = first if self.position is None else self.position
        gap = first - position
        assert gap == 0 or (gap > 0 and self._allow_overwrite), (
            f'sample {position} was due, sample {first} came'
        )
        assert (samples == foretold_samples(first, len(samples), 'ab')).all(), (
            f'a gap or a mix-up within {len(samples)} samples after sample {first}'
        )
        self.gaps_here += gap
        self.position = first + len(samples)
        self.read_here += len(samples)
        if waits:
            exists_since = self.device.started_at + self.position / RATE
            self.worst_latency = max(self.worst_latency, now - exists_since)
        return len(samples)

    def pause(self, seconds: float) -> None:
        self._stopping.wait(seconds)

    def run(self) -> None:
        try:
            self.begin()
            while not self._stopping.is_set():
                self._read_once(self)
            self.finish()
        except BaseException as problem:
            self.problem = problem

    def stop(self) -> None:
        self._stopping.set()


def blocks(habit: Habit) -> None:
    """Waits for 100 ms of samples at a time."""
    habit.take(RATE // 10)


def frames(habit: Habit) -> None:
    """Takes what is there, 20 times a second."""
    habit.pause(0.05)
    habit.take()


def points(habit: Habit) -> None:
    """Waits for single samples, too slowly to get them all.

    With `read_data(1)`: `read_single_point` is a look at the newest sample and takes none.
    """
    habit.take(1)
    habit.pause(0.001)


def naps(habit: Habit) -> None:
    """Takes what is left after a nap that is longer than its ring."""
    habit.pause(0.7)
    habit.take()


def overflows(habit: Habit) -> None:
    """Sleeps until its stream has ended, takes the rest, and starts again."""
    habit.pause(0.5)
    if habit.buffer.status.state == 'overflow':
        habit.take()
        assert habit.read_here == habit.size, 'the ring did not hold what it should'
        try:
            habit.take(1)
        except OverflowError:
            habit.count()
            habit.begin()
        else:
            raise AssertionError('a read beyond the overflow did not raise')


def restarts(habit: Habit) -> None:
    """Reads a little, stops, and starts again."""
    habit.take(1000)
    habit.finish()
    habit.begin()


def soak(seconds: float) -> bool:
    """Stream for so many seconds, print the report, and return whether all was well."""
    application = QtCore.QCoreApplication([])
    qudi = QudiHost()
    qudi.add(
        'hardware',
        'streamer',
        'instream_buffer.simulator.InStreamSimulator',
        {'channels': ['a', 'b'], 'clocked': True},
    )
    device = qudi.activate('streamer')
    habits = [
        Habit(qudi, blocks, 10 * RATE, False),
        Habit(qudi, frames, 10 * RATE, False),
        Habit(qudi, points, 1000, True),
        Habit(qudi, naps, RATE // 2, True),
        Habit(qudi, overflows, RATE // 5, False),
        Habit(qudi, restarts, RATE, False),
    ]
    process = psutil.Process()
    began, cpu = time.perf_counter(), time.process_time()
    for habit in habits:
        habit.start()
    memory, threads = [], []
    last_look = longest_pause = 0.0
    while (elapsed := time.perf_counter() - began) < seconds:
        longest_pause = max(longest_pause, elapsed - last_look)
        last_look = elapsed
        application.processEvents()
        time.sleep(0.05)
        if elapsed > len(memory) * max(1, seconds / 30):
            memory.append(process.memory_info().rss / 2**20)
            threads.append(process.num_threads())
            device.polls.clear()  # its own records, for other tests
            device.read_sizes.clear()
    taken, starts = device.taken, device.starts
    for habit in habits:
        habit.stop()
    for habit in habits:
        habit.join(30)
    cpu = time.process_time() - cpu
    problems: list[tuple[str, object]] = []
    for habit in habits:
        if habit.is_alive():
            problems.append((habit.name, 'hangs'))
        elif habit.problem:
            problems.append((habit.name, habit.problem))
    if device.starts != device.stops:
        problems.append(('device', f'{device.starts} starts, {device.stops} stops'))

    print(
        f'{qtpy.API_NAME}, Python {platform.python_version()}: {taken} samples on each of 2 '
        f'channels in {seconds:g} s, {starts} start of the device.'
    )
    row = '| {:<9} | {:>7} | {:>11} | {:>11} | {:>9} | {:>11} | {:>13} |'.format
    print(row('program', 'streams', 'in', 'out', 'unread', 'lost', 'worst latency'))
    print(row(*['---'] * 7))
    for habit in habits:
        latency = f'{1e3 * habit.worst_latency:.1f} ms' if habit.worst_latency else ''
        print(
            row(
                habit.name,
                habit.streams,
                habit.received,
                habit.read,
                habit.unread,
                habit.lost,
                latency,
            )
        )
    tenths = [memory[len(memory) * tenth // 10] for tenth in range(1, 10)]
    print(
        f'Memory after each tenth of the time: {", ".join(f"{size:.1f}" for size in tenths)}, '
        f'{memory[-1]:.1f} MiB; {min(threads)} to {max(threads)} threads; '
        f'{100 * cpu / seconds:.1f} % of one core. The main thread, which looks 20 times a second, '
        f'was kept from it for {longest_pause:.2f} s at most.'
    )
    for name, problem in problems:
        print(f'PROBLEM in {name}: {problem!r}')
    qudi.close()
    return not problems


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--minutes', type=float, default=30.0, help='how long (default: 30)')
    sys.exit(0 if soak(60 * parser.parse_args().minutes) else 1)
