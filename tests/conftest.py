"""A qudi for tests: real module manager, real threads, a home of its own, nothing left behind."""

from __future__ import annotations

import faulthandler
import gc
import os
import threading
import time
import weakref
from concurrent.futures import Future, wait
from itertools import zip_longest

import pytest
from hypothesis import settings

os.environ.setdefault('QT_QPA_PLATFORM', 'offscreen')

import lean_imports  # noqa: F401

# isort: split
from qudi.util.instream.demo.command import qt_problem

try:
    from qudi_host import QudiHost, running_threads
except ImportError as error:
    raise SystemExit(qt_problem(str(error))) from error

# isort: split
from bench import Bench
from qudi.hardware.instream_buffer.simulator import InStreamSimulator
from qudi.util.instream.device import registry
from tracing import trace_qt_threads

faulthandler.enable()
# How long an example takes says more about the machine than about the code
settings.register_profile('patient', deadline=None)
settings.load_profile('patient')


def pytest_addoption(parser):
    parser.addoption(
        '--pictures', metavar='DIR', help='save the pictures of the documentation in DIR'
    )
    parser.addoption(
        '--storm',
        metavar='SECONDS',
        type=float,
        default=30.0,
        help='how long the storms marked "long" last (default: 30)',
    )


def pytest_xdist_auto_num_workers():
    """Return three processes for each core: most tests wait most of the time."""
    count = getattr(os, 'sched_getaffinity', lambda _: range(os.cpu_count() or 1))
    return 3 * len(count(0))


def pytest_collection_modifyitems(items):
    """Let a file that begins processes be followed by one that mostly waits: cores are few.

    Of the latter, those with few tests and those that do not wait come last, so that no process has
    a long file to itself at the end.
    """
    files = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    busy = [path for path in files if path.parent.name in ('remote', 'toolchain')]
    others = [path for path in files if path not in busy]
    others.sort(key=lambda path: (path.parent.name, -len(files[path])))  # 'unit' is the last one
    order = [path for pair in zip_longest(busy, others) for path in pair if path is not None]
    items[:] = [item for path in order for item in files[path]]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home directory per test: qudi keeps states and logs there."""
    path = tmp_path / 'home'
    (path / 'qudi').mkdir(parents=True)
    for variable in ('HOME', 'USERPROFILE', 'APPDATA'):
        monkeypatch.setenv(variable, str(path))
    return path


@pytest.fixture(autouse=True)
def _coverage_of_qt_threads():
    trace_qt_threads()  # before each test, since one may have reloaded a module


@pytest.fixture(scope='module', autouse=True)
def _fast_garbage_collection():
    """What imports and earlier modules made need not be looked through after each test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Fail a test that leaves a thread, a registry entry or a running device."""
    yield
    gc.enable()
    gc.collect()
    entries = [distributor.streamer_name for distributor in registry.distributors()]
    threads = [thread.objectName() for thread in running_threads()]
    assert not entries, f'Left in the registry: {entries}'
    assert not threads, f'Threads left running: {threads}'
    running = {simulator.module_name for simulator in InStreamSimulator.running}
    InStreamSimulator.running.clear()
    assert not running, f'Simulated devices left running: {running}'


@pytest.fixture
def qudi(qapp):
    """A qudi without modules."""
    host = QudiHost()
    yield host
    host.close()


@pytest.fixture
def wait_until(qtbot):
    """Wait for a condition while Qt's events are processed; says what it waited for in vain."""

    def wait_for(condition, what, timeout=10.0):
        end = time.perf_counter() + timeout
        while not condition():
            assert time.perf_counter() < end, f'Waited {timeout:g} s in vain: {what}'
            qtbot.wait(5)

    return wait_for


@pytest.fixture(scope='module')
def begin(tmp_path_factory):
    """Begin qudi processes; those that are left are ended after the last test of a module."""
    begun = []

    def begin_process(kind, *arguments, **settings):
        begun.append(kind(tmp_path_factory.mktemp('process'), *arguments, **settings))
        return begun[-1]

    yield begin_process
    for process in begun:
        process.close()


@pytest.fixture
def make_bench(qudi, wait_until):
    """Make a bench with options for its simulated device, and time limits of its buffers."""

    def make(limits=None, **options):
        # Nobody can foresee when a device without a clock has its samples
        rest = {} if options.get('clocked') else {'longest_rest': 1e-6}
        qudi.time_limits = {**rest, **(limits or {})}
        return Bench(qudi, wait_until, **options)

    return make


@pytest.fixture
def bench(make_bench):
    """A device with constant timing that makes samples when it is told to."""
    return make_bench()


@pytest.fixture
def background():
    """Run calls in other threads; afterwards all must have returned."""
    futures = []

    def submit(function, *arguments):
        future = Future()

        def run():
            try:
                future.set_result(function(*arguments))
            except BaseException as error:
                future.set_exception(error)

        futures.append(future)
        threading.Thread(target=run, daemon=True).start()  # a hanging call must not keep pytest
        return future

    yield submit
    _, hanging = wait(futures, timeout=10)
    if hanging:
        faulthandler.dump_traceback(all_threads=True)
    assert not hanging, f'{len(hanging)} calls in other threads hang'


@pytest.fixture
def dies():
    """Check that an object is collected once nobody refers to it."""

    def check(reference: weakref.ref):
        gc.collect()
        assert reference() is None, f'Still alive: {reference()!r}'

    return check
