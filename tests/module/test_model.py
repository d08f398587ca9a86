"""Any sequence of calls on real buffers, compared with a simple model of who may see which sample.

The model knows nothing of rings, locks or threads: a stream is a list of sample indices.
"""

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bench import Bench, configure
from qudi_host import QudiHost

FAULTS = ['raise in available_samples', 'raise in read', 'rubbish', 'stopped by somebody else']
ERRORS = {'stopped': RuntimeError, 'overflow': OverflowError, 'fault': RuntimeError}


@dataclass(frozen=True)
class Request:
    channels: tuple = ('a', 'b', 'c', 'd')
    size: int = 1000
    rate: float = 100.0

    def fits(self, running):
        return set(self.channels) <= set(running.channels) and self.rate == running.rate


@dataclass
class Stream:
    size: int
    overwrites: bool
    unread: list = field(default_factory=list)
    read: int = 0
    state: str = 'running'
    newest: int = None
    was_looked_at: bool = False
    was_read: bool = False

    def receive(self, samples):
        if self.state != 'running':
            return
        self.newest = samples[-1]
        if self.overwrites or (self.was_looked_at and not self.was_read):
            self.unread = (self.unread + samples)[-self.size :]
            return
        free = self.size - len(self.unread)
        self.unread += samples[:free]
        if len(samples) > free:
            self.state = 'overflow'

    def take(self, count):
        taken, self.unread = self.unread[:count], self.unread[count:]
        self.read += len(taken)
        return taken

    def end(self, state):
        if self.state == 'running':
            self.state = state
            if state == 'stopped':
                self.unread = []


@dataclass
class Buffer:
    overwrites: bool
    activated: bool = False
    request: Request = None
    stream: Stream = None

    @property
    def active(self):
        return self.stream is not None and self.stream.state == 'running'


NAMES = st.sampled_from(['strict1', 'strict2', 'forgetful1', 'forgetful2'])
COUNTS = st.integers(1, 30)


class BufferMachine(RuleBasedStateMachine):
    def __init__(self, wait_until):
        super().__init__()
        self.wait_until = wait_until
        self.qudi = QudiHost()
        self.bench = Bench(self.qudi, wait_until)
        self.device = self.bench.device
        self.held = Request()  # what the device is set to
        self.made = 0  # samples since the start of the device
        self.buffers = {}
        for name in ('strict1', 'strict2', 'forgetful1', 'forgetful2'):
            overwrites = name.startswith('forgetful')
            self.bench.buffer(name, allow_overwrite=overwrites, read_timeout=None)
            self.buffers[name] = Buffer(overwrites, activated=True)

    def teardown(self):
        self.qudi.close()

    def real(self, name):
        return self.qudi[name]

    @property
    def active(self):
        return [buffer for buffer in self.buffers.values() if buffer.active]

    # ---------------------------------------------------------------- what a user does

    @initialize(sizes=st.lists(st.sampled_from([5, 20, 50]), min_size=4, max_size=4))
    def configure_and_start_all(self, sizes):
        for name, size in zip(self.buffers, sizes, strict=True):
            self.configure(name, ['b', 'a'], size, 10.0)
        self.start_all()

    @rule(
        name=NAMES,
        channels=st.lists(st.sampled_from('abc'), min_size=1, max_size=3, unique=True),
        size=st.sampled_from([5, 20, 50]),
        rate=st.sampled_from([10.0, 10.0, 20.0]),
    )
    def configure(self, name, channels, size, rate):
        buffer, request = self.buffers[name], Request(tuple(channels), size, rate)
        if not buffer.activated or buffer.active:
            with pytest.raises(RuntimeError):
                configure(self.real(name), channels, size=size, rate=rate)
            return
        configure(self.real(name), channels, size=size, rate=rate)
        buffer.request, buffer.stream = request, None
        if not self.active:
            self.held = replace(request, channels=tuple(sorted(channels)))

    @rule(name=NAMES)
    def start(self, name):
        buffer = self.buffers[name]
        if buffer.active:
            buffer.stream.end('stopped')
        request = buffer.request or self.held
        if not buffer.activated or (self.active and not request.fits(self.held)):
            with pytest.raises(RuntimeError):
                self.real(name).start_stream()
            return
        self.real(name).start_stream()
        if not self.active:
            self.made = 0
            # The device is set to what all need that asked for this rate
            shared, size = set(request.channels), request.size
            for other in self.buffers.values():
                if other.request and other.request.rate == request.rate:
                    shared.update(other.request.channels)
                    size = max(size, other.request.size)
            self.held = Request(tuple(sorted(shared)), size, request.rate)
        buffer.stream = Stream(request.size, buffer.overwrites)

    @rule()
    def start_all(self):
        for name in self.buffers:
            self.start(name)

    @rule(name=NAMES)
    def stop(self, name):
        buffer = self.buffers[name]
        if not buffer.activated:
            with pytest.raises(RuntimeError):
                self.real(name).stop_stream()
            return
        self.real(name).stop_stream()
        if buffer.active:
            buffer.stream.end('stopped')

    @rule(name=NAMES)
    def deactivate(self, name):
        self.qudi.deactivate(name)
        self.buffers[name] = Buffer(self.buffers[name].overwrites)

    @rule(name=NAMES)
    def activate(self, name):
        self.qudi.activate(name)
        self.buffers[name].activated = True

    # ---------------------------------------------------------------- what the device does

    @precondition(lambda self: self.active)
    @rule(count=COUNTS)
    def produce(self, count):
        self.device.produce(count)
        samples = list(range(self.made, self.made + count))
        self.made += count
        for buffer in self.active:
            buffer.stream.receive(samples)
        self.wait_until(
            lambda: self.device.taken == self.made or self.device.module_state() == 'idle',
            f'the buffers took {count} samples',
        )
        self.bench.let_poll_finish()

    @precondition(lambda self: self.active)
    @rule(fault=st.sampled_from(FAULTS))
    def fail(self, fault):
        if fault == 'stopped by somebody else':
            self.device.stop_stream()
        else:
            self.device.faults.add(fault)
            self.device.produce(1)
        for buffer in self.active:
            buffer.stream.end('fault')
        self.wait_for_states()
        self.device.faults.clear()

    # ---------------------------------------------------------------- reading

    @rule(name=NAMES, count=COUNTS)
    def read(self, name, count):
        stream = self.buffers[name].stream
        if stream is not None:
            stream.was_read = True
        if stream is None or stream.state == 'stopped':
            with pytest.raises(RuntimeError):
                self.real(name).read_data(count)
        elif count <= len(stream.unread):
            self.compare(self.real(name).read_data(count), name, stream.take(count))
        elif stream.state != 'running':
            with pytest.raises(ERRORS[stream.state]):
                self.real(name).read_data(count)
        elif count <= stream.size:
            self.wait_and_produce(name, count - len(stream.unread), count)

    def wait_and_produce(self, name, missing, count):
        """A read that waits gets what comes."""
        result = Future()

        def read():
            try:
                result.set_result(self.real(name).read_data(count))
            except BaseException as error:
                result.set_exception(error)

        threading.Thread(target=read, daemon=True).start()
        self.bench.wait_for_reader(self.real(name))
        self.produce(missing)
        self.compare(result.result(5), name, self.buffers[name].stream.take(count))

    @rule(name=NAMES)
    def read_what_is_there(self, name):
        stream = self.buffers[name].stream
        if stream is not None:
            stream.was_read = True
        has_ended = stream is not None and stream.state != 'running' and not stream.unread
        if stream is None or has_ended:
            with pytest.raises(RuntimeError if stream is None else ERRORS[stream.state]):
                self.real(name).read_data()
        else:
            self.compare(self.real(name).read_data(), name, stream.take(1000))

    @rule(name=NAMES)
    def look_at_the_newest(self, name):
        stream = self.buffers[name].stream
        if stream is None or stream.state != 'running':
            with pytest.raises(RuntimeError if stream is None else ERRORS[stream.state]):
                self.real(name).read_single_point()
        elif stream.newest is not None:
            stream.was_looked_at = True
            sample, timestamp = self.real(name).read_single_point()
            self.compare((sample, timestamp), name, [stream.newest])

    def compare(self, received, name, indices):
        channels = self.real(name).active_channels
        samples = received[0].reshape(-1, len(channels))
        expected = [[16 * index + 'abcd'.index(ch) for ch in channels] for index in indices]
        assert samples.tolist() == expected, f'{name} should have delivered samples {indices}'

    # ---------------------------------------------------------------- always true

    def wait_for_states(self):
        def as_expected():
            states = {name: self.real(name).module_state() for name in self.buffers}
            return states == expected and self.device.module_state() == device

        expected = {
            name: ('locked' if buffer.active else 'idle') if buffer.activated else 'deactivated'
            for name, buffer in self.buffers.items()
        }
        device = 'locked' if self.active else 'idle'
        self.wait_until(as_expected, f'states {expected}, device {device}', timeout=5)

    @invariant()
    def states_are_true(self):
        self.wait_for_states()
        assert self.device.starts == self.device.stops + bool(self.active)

    @invariant()
    def figures_are_true(self):
        assert self.device.channel_buffer_size == self.held.size
        assert tuple(self.device.active_channels) == self.held.channels
        for name, buffer in self.buffers.items():
            if not buffer.activated:
                continue
            stream, real = buffer.stream, self.real(name)
            if stream and stream.state in ('overflow', 'fault') and not stream.unread:
                with pytest.raises(ERRORS[stream.state]):
                    _ = real.available_samples
            else:
                assert real.available_samples == len(stream.unread if stream else [])
            if buffer.request:
                shown = (tuple(real.active_channels), real.channel_buffer_size, real.sample_rate)
                assert shown == (buffer.request.channels, buffer.request.size, buffer.request.rate)
            if stream:
                status = real.status
                parts = status.samples_read + status.samples_unread + status.samples_lost
                assert status.samples_received == parts
                assert (status.samples_read, status.state) == (stream.read, stream.state)


@pytest.mark.timeout(900)  # to find the simplest example takes its time
@pytest.mark.parametrize('examples', [12, pytest.param(80, marks=pytest.mark.long)])
def test_buffers_behave_as_a_simple_model_whatever_is_called(qapp, wait_until, examples):
    run_state_machine_as_test(
        lambda: BufferMachine(wait_until),
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
