"""qudi processes for tests: begun, asked and ended from here."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing import forkserver

import pytest
import rpyc
from qudi.util.yaml import yaml_dump

import qudi_process
from ports import free_port

__all__ = [
    'QudiProcess',
    'RemoteError',
    'Server',
    'buffer_entry',
    'expect_frames',
    'expect_no_loss',
    'logic_entry',
    'remote_entry',
    'start_together',
    'stop_all',
    'stream_entry',
]

PATIENCE = 60.0  # for an answer, on a machine with much else to do (s)


_MODULES = (
    'qudi.hardware.instream_buffer.buffer',
    'qudi.hardware.instream_buffer.remote',
    'qudi.hardware.instream_buffer.simulator',
    'qudi.logic.time_series_reader_logic',
)


@functools.cache
def _processes():
    """Return what begins processes: where the system can, one that has imported everything.

    The imports of a qudi take 2 s of CPU.
    """
    if 'forkserver' not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context('spawn')
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['qudi_process', *_MODULES])
    with pytest.MonkeyPatch.context() as patch:  # Python 3.12 and older look nowhere else
        patch.setenv('PYTHONPATH', os.pathsep.join(sys.path))
        forkserver.ensure_running()
    return context


class RemoteError(Exception):
    """What was asked of the other process raised; the text begins with the type of its error."""


def buffer_entry(streamer='streamer', allow_remote=True, **options):
    return {
        'module.Class': 'instream_buffer.buffer.DataInStreamBuffer',
        'allow_remote': allow_remote,
        'options': options,
        'connect': {'streamer': streamer},
    }


def logic_entry(streamer, **options):
    return {
        'module.Class': 'time_series_reader_logic.TimeSeriesReaderLogic',
        'options': {'max_frame_rate': 20, **options},
        'connect': {'streamer': streamer},
    }


def remote_entry(port, name, **certificates):
    return {'native_module_name': name, 'address': '127.0.0.1', 'port': port, **certificates}


def stream_entry(port, name, **options):
    """A module that reads a buffer of another qudi over connections of its own."""
    return {
        'module.Class': 'instream_buffer.remote.RemoteInStream',
        'options': {'host': '127.0.0.1', 'port': port, 'buffer': name, **options},
    }


class Console:
    """A visitor of a qudi, as its console and its notebooks are."""

    def __init__(self, port):
        self._connection = rpyc.connect(
            '127.0.0.1', port, config={'allow_all_attrs': True, 'sync_request_timeout': PATIENCE}
        )

    def module(self, name):
        return self._connection.root.get_namespace_dict()[name]

    def close(self):
        self._connection.close()


class QudiProcess:
    """One qudi in a process of its own.

    Parameters
    ----------
    directory : pathlib.Path
        Becomes its home.
    hardware, logic : dict
        The modules of its configuration.
    startup : list of str
        Modules to activate at its start.
    accepted : pathlib.Path, optional
        Certificates of the clients that its server lets in.
    network : str, optional
        Name of the network namespace that it runs in.
    settings : dict
        More for the global section.
    """

    def __init__(
        self, directory, hardware, logic=None, startup=(), accepted=None, network=None, **settings
    ):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        (directory / 'qudi').mkdir(exist_ok=True)
        self.namespace_port = free_port()
        config = {
            'global': {
                'startup_modules': list(startup),
                'namespace_server_port': self.namespace_port,
                'hide_manager_window': True,
                **settings,
            },
            'hardware': hardware,
            'logic': logic or {},
        }
        yaml_dump(str(directory / 'remote.cfg'), config)
        self.start(accepted=accepted, network=network)

    @classmethod
    def from_text(cls, directory, text):
        """Begin one with windows and the text of a configuration."""
        process = cls.__new__(cls)
        process.directory = directory
        (directory / 'qudi').mkdir()
        (directory / 'remote.cfg').write_text(text, encoding='utf-8')
        process.start(with_windows=True)
        return process

    def start(self, **options):
        """Begin the process, and wait until qudi runs."""
        home = str(self.directory)
        environment = dict.fromkeys(('HOME', 'USERPROFILE', 'APPDATA'), home)
        self._connection, other_end = _processes().Pipe()
        self._process = _processes().Process(
            target=qudi_process.main,
            args=(other_end, self.directory / 'remote.cfg', environment),
            kwargs=options,
            daemon=True,
        )
        self._process.start()
        other_end.close()
        self._answers = {}
        self._numbers = itertools.count(1)
        self._arrived = threading.Condition()
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        self._expect(0, PATIENCE)

    @property
    def pid(self):
        return self._process.pid

    def _listen(self):
        while True:
            try:
                number, reply = self._connection.recv()
            except (EOFError, OSError):
                break
            with self._arrived:
                self._answers[number] = reply
                self._arrived.notify_all()
        with self._arrived:
            self._answers = None
            self._arrived.notify_all()

    def _expect(self, number, timeout):
        with self._arrived:
            came = self._arrived.wait_for(
                lambda: self._answers is None or number in self._answers, timeout
            )
            if self._answers is None:
                raise AssertionError(f'{self.directory.name} has ended:\n{self.text}')
            reply = self._answers.pop(number) if came else None
        if reply is None:
            self._print_stacks()
            raise AssertionError(
                f'{self.directory.name} has not answered for {timeout:g} s\n{self.text}'
            )
        if 'error' in reply:
            raise RemoteError(reply['error'])
        return reply['value']

    def _print_stacks(self):
        """End it with the stacks of all its threads, where the system can."""
        if hasattr(signal, 'SIGKILL'):  # not on Windows
            os.kill(self.pid, signal.SIGABRT)
            self._process.join(20)

    def console(self):
        """Connect to it as qudi's console does."""
        return Console(self.namespace_port)

    def begin(self, code):
        """Have an expression evaluated; call what is returned for its value."""
        number = next(self._numbers)
        self._connection.send((number, code))
        return lambda timeout=PATIENCE: self._expect(number, timeout)

    def ask(self, code, timeout=PATIENCE):
        """Have an expression evaluated and return its value."""
        return self.begin(code)(timeout)

    def wait_until(self, code, what='', timeout=PATIENCE):
        """Ask again and again until the answer is true, return the last one."""
        end = time.perf_counter() + timeout
        while True:
            value = self.ask(code)
            if value:
                return value
            if time.perf_counter() > end:
                raise AssertionError(
                    f'Waited {timeout:g} s in vain for {what or code}\n{self.text}'
                )
            time.sleep(0.02)

    @property
    def text(self):
        """What it has printed and logged."""
        logs = sorted((self.directory / 'qudi' / 'log').glob('*.log'))
        parts = [(self.directory / 'errors.txt').read_text(encoding='utf-8')]
        parts += [path.read_text(encoding='utf-8') for path in logs]
        return '\n'.join(parts)

    def kill(self):
        """End it at once, as a crash does."""
        self._process.kill()
        self._process.join(20)

    def freeze(self):
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self.pid, signal.SIGCONT)

    def quit(self, timeout=PATIENCE):
        """Quit it properly, return its exit code."""
        self.ask("in_main_thread(qudi, 'quit')")
        self._process.join(timeout)
        assert not self._process.is_alive(), f'qudi does not quit for {timeout:g} s\n{self.text}'
        return self._process.exitcode

    def close(self):
        """End it if it has not ended."""
        self.kill()
        self._reader.join(10)
        self._connection.close()
        self._process.close()


SIMULATOR = {
    'module.Class': 'instream_buffer.simulator.InStreamSimulator',
    'allow_remote': True,
    'options': {'clocked': True, 'channels': ['a', 'b']},
}


class Server(QudiProcess):
    """A qudi with a simulated device, two buffers for clients, one with a logic, one without."""

    def __init__(
        self,
        directory,
        streamer=None,
        certificates=None,
        address='127.0.0.1',
        port=None,
        **settings,
    ):
        self.port, self.address = port or free_port(), address
        super().__init__(
            directory,
            {
                'streamer': streamer or SIMULATOR,
                'buffer1': buffer_entry(read_timeout=None, follow_running=True),
                'buffer2': buffer_entry(read_timeout=None, follow_running=True),
                'buffer3': buffer_entry(),
                'buffer4': buffer_entry(),
            },
            {'logic3': logic_entry('buffer3'), 'direct': logic_entry('streamer')},
            ['buffer1', 'buffer2', 'logic3', 'buffer4'],
            remote_modules_server={
                'address': address,
                'port': self.port,
                **(certificates or {}),
            },
            **settings,
        )

    def client(self, directory, shared, network=None, **certificates):
        """Begin a qudi whose logic reads a module of this one."""
        entry = {**remote_entry(self.port, shared, **certificates), 'address': self.address}
        return QudiProcess(
            directory, {shared: entry}, {'logic': logic_entry(shared)}, ['logic'], network=network
        )

    def client_with_buffers(self, directory, shared):
        """Begin a qudi with two buffers and a logic on a module of this one."""
        return QudiProcess(
            directory,
            {
                'far': remote_entry(self.port, shared),
                'near1': buffer_entry('far', allow_remote=False),
                'near2': buffer_entry('far', allow_remote=False),
            },
            {'logic': logic_entry('near1')},
            ['logic', 'near2'],
        )

    def stream_client(self, directory, shared, network=None, port=None, **options):
        """Begin a qudi with two logics on a buffer of this one: on a RemoteInStream, and through a
        buffer on that."""
        port = port or self.port
        return QudiProcess(
            directory,
            {
                'far': stream_entry(port, shared, host=self.address, **options),
                'near': buffer_entry('far', allow_remote=False),
            },
            {'logic1': logic_entry('far'), 'logic2': logic_entry('near')},
            ['logic1', 'logic2'],
            network=network,
        )

    def expect_idle(self, *buffers):
        for name in buffers:
            self.wait_until(f"state('{name}') == 'idle'", f'{name} to be idle')


def start_together(rate, *toolchains):
    """Set all logics to a rate and start them, (process, logic) each."""
    for process, logic in toolchains:
        process.ask(
            f"module('{logic}').set_trace_settings(data_rate={rate}, trace_window_size=0.5)"
        )
    for process, logic in toolchains:
        process.ask(f"start('{logic}')")
    for process, logic in toolchains:
        process.wait_until(f"record('{logic}')['frames'] >= 3", f'frames of {logic}')


def expect_frames(count, *toolchains):
    """Wait for that many more frames of each, and see that no sample was lost."""
    wanted = {}
    for process, logic in toolchains:
        wanted[process, logic] = process.ask(f"record('{logic}')['frames']") + count
    for process, logic in toolchains:
        process.wait_until(f"record('{logic}')['frames'] >= {wanted[process, logic]}", logic)
    expect_no_loss(*toolchains)


def expect_no_loss(*toolchains):
    for process, logic in toolchains:
        record = process.ask(f"record('{logic}')")
        assert not record['faults'], f'{process.directory.name}: {record}'


def stop_all(*toolchains):
    for process, logic in toolchains:
        process.ask(f"stop('{logic}')")
    for process, logic in toolchains:
        process.wait_until(f"state('{logic}') == 'idle'", f'{logic} to be idle')
