"""Storms of calls from many threads: no deadlock, no sample twice, out of order or lost."""

import bisect
import faulthandler
import itertools
import random
import threading
import time

import pytest

from bench import configure
from qudi.hardware.instream_buffer.simulator import foretold_samples

RATE = 20_000  # samples per second; the device numbers them on, from one start to the next


class Ledger:
    """Which samples of one buffer were read: each at most once, whatever stream it belongs to."""

    def __init__(self):
        self._lock = threading.Lock()
        self._spans = []  # [first, behind the last], in order, merged where they touch

    def enter(self, first, behind):
        with self._lock:
            spans = self._spans
            at = bisect.bisect(spans, [first, behind])
            before = spans[at - 1] if at else [-1, -1]
            after = spans[at] if at < len(spans) else [behind + 1, behind + 1]
            assert before[1] <= first, f'samples {first} to {before[1]} were read twice'
            assert behind <= after[0], f'samples {after[0]} to {behind} were read twice'
            if before[1] == first:
                before[1] = behind
            else:
                spans.insert(at, [first, behind])
                before = spans[at]
            if behind == after[0]:
                before[1] = after[1]
                spans.remove(after)


class Storm:
    """Threads that call whatever they like on all buffers, for so many seconds."""

    def __init__(self, bench, buffers, seconds):
        self.bench = bench
        self.buffers = buffers
        self.end = time.perf_counter() + seconds
        self.problems = []
        self.refusals = {}
        self._ledgers = {buffer.module_name: Ledger() for buffer in buffers}
        self._threads = [
            threading.Thread(target=self._rage, args=(random.Random(seed),), daemon=True)
            for seed in range(8)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        """A read may wait for a stop, so stop until the last thread has ended."""
        patience = time.perf_counter() + 20
        while any(thread.is_alive() for thread in self._threads):
            if time.perf_counter() > patience:
                faulthandler.dump_traceback(all_threads=True)
                pytest.fail('a thread hangs, see the dump of all threads')
            for buffer in self.buffers:
                buffer.stop_stream()
            time.sleep(0.01)
        for buffer in self.buffers:
            buffer.stop_stream()
        assert self.problems == []

    @property
    def is_raging(self):
        return time.perf_counter() < self.end and not self.problems

    def _rage(self, rng):
        last_read = dict.fromkeys(self._ledgers, 0)
        acts = ['start', 'stop', 'configure', 'look', 'snapshot', 'take', 'read', 'read', 'read']
        while self.is_raging:
            buffer, act = rng.choice(self.buffers), rng.choice(acts)
            name = buffer.module_name
            try:
                if act in ('read', 'take'):
                    count = rng.randint(1, 400) if act == 'read' else None
                    samples = buffer.read_data(count)[0]
                    if samples.size:
                        last_read[name] = self._check(samples.reshape(-1, 2), name, last_read[name])
                else:
                    getattr(self, '_' + act)(buffer, rng)
            except (RuntimeError, OverflowError) as refusal:
                words = str(refusal).replace(name, '')[:70]
                self.refusals[words] = self.refusals.get(words, 0) + 1
            except BaseException as problem:
                self.problems.append(f'{act} of {name}: {problem!r}')

    def _check(self, samples, name, position):
        first = int(samples[0, 0]) // 16
        behind = first + len(samples)
        assert (samples == foretold_samples(first, len(samples), 'ab')).all(), 'a gap or a mix-up'
        assert first >= position, f'sample {first} came after sample {position - 1}'
        self._ledgers[name].enter(first, behind)
        return behind

    @staticmethod
    def _start(buffer, _):
        buffer.start_stream()

    @staticmethod
    def _stop(buffer, _):
        buffer.stop_stream()

    @staticmethod
    def _configure(buffer, rng):
        configure(buffer, size=rng.choice([500, 5000]), rate=RATE)

    @staticmethod
    def _snapshot(buffer, _):
        sample, _ = buffer.read_single_point()
        assert sample[1] == sample[0] + 1, 'a mix-up'

    @staticmethod
    def _look(buffer, _):
        assert buffer.active_channels == ['a', 'b']
        assert buffer.available_samples <= buffer.channel_buffer_size * 10
        assert buffer.sample_rate == RATE
        status = buffer.status
        parts = status.samples_read + status.samples_unread + status.samples_lost
        assert status.samples_received == parts, status


@pytest.fixture
def storm_bench(make_bench):
    bench = make_bench(channels=['a', 'b'], clocked=True)
    bench.device.faults.add('count on')
    return bench


def six_buffers(bench):
    buffers = bench.buffers(5)
    buffers.append(bench.buffer('forgetful', allow_overwrite=True))
    for buffer in buffers:
        configure(buffer, size=5000, rate=RATE)
    return buffers


@pytest.fixture(
    params=[3.0, pytest.param('long', marks=[pytest.mark.long, pytest.mark.timeout(0)])]
)
def seconds(request):
    """How long a storm lasts."""
    return request.config.getoption('--storm') if request.param == 'long' else request.param


def test_a_storm_of_calls_ends_without_a_deadlock_or_a_sample_twice(storm_bench, seconds, qtbot):
    device = storm_bench.device
    with Storm(storm_bench, six_buffers(storm_bench), seconds) as storm:
        for number in itertools.count():
            if not storm.is_raging:
                break
            # The main thread takes part, and now and then everything ends at once
            storm.buffers[number % 6].stop_stream()
            storm.buffers[number % 5].start_stream()
            qtbot.wait(20)
            if number % 10 == 5:
                device.faults.add('raise in read')
                qtbot.wait(5)
                device.faults.discard('raise in read')
            elif number % 10 == 0:
                for buffer in storm.buffers:
                    buffer.stop_stream()
    assert device.starts == device.stops > seconds, 'the device runs on, or hardly ever ran'
    assert any('device failed' in words for words in storm.refusals), storm.refusals


def test_a_storm_around_a_consumer_costs_it_no_sample(
    storm_bench, seconds, background, wait_until, qtbot
):
    witness = storm_bench.buffer('witness')
    configure(witness, size=10 * RATE, rate=RATE)
    witness.start_stream()
    position = 0

    def read_everything():
        nonlocal position
        while True:
            samples = witness.read_data(100)[0].reshape(-1, 2)
            assert (samples == foretold_samples(position, 100, 'ab')).all(), (
                f'a gap or a mix-up after sample {position}'
            )
            position += 100

    reading = background(read_everything)
    buffers = six_buffers(storm_bench)
    with Storm(storm_bench, buffers, seconds) as storm:
        while storm.is_raging:
            # qudi activates and deactivates in the main thread
            storm_bench.qudi.deactivate('buffer1')
            qtbot.wait(20)
            storm_bench.qudi.activate('buffer1')
            qtbot.wait(50)
    assert witness.status.samples_lost == 0
    witness.stop_stream()
    with pytest.raises(RuntimeError, match='it was stopped'):
        reading.result(5)
    assert position > 0.9 * seconds * RATE
    assert storm_bench.device.starts == storm_bench.device.stops == 1
