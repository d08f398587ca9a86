"""What is used of qudi and rpyc without their promise: a test fails when they change it."""

import _thread
from types import SimpleNamespace

import pytest
import rpyc
from qudi.core.application import Qudi
from qudi.core.config.schema import config_schema
from qudi.core.modulemanager import ManagedModule, ModuleManager
from qudi.core.services import QudiNamespaceService

from qudi.util.instream import host
from qudi.util.instream.remote.wire import PlainChannel, WholeStream
from rpyc_server import RpycServer

CALLERS = []


class Service(rpyc.Service):
    """Serves a method that asks who has called it."""

    def exposed_ask(self):
        CALLERS.append(calling_connection() is not None)

    def exposed_ask_logic(self):
        ask_who_calls()

    def exposed_list(self):
        return [1, 2]


def ask_who_calls():
    CALLERS.append(calling_connection() is not None)


def calling_connection():
    return host.calling_connection()


@pytest.fixture
def connection():
    server = RpycServer(Service())
    yield server.connect()
    server.close()


def test_the_socket_of_a_connection_is_found(connection):
    sock = host.socket_of(connection)
    assert sock.getpeername()[0] == '127.0.0.1'
    assert not host.is_closed(connection)
    connection.close()
    assert host.is_closed(connection)


def test_the_connection_of_an_object_in_another_process_is_found(connection):
    remote = connection.root.list()
    assert host.is_remote(remote)
    assert not host.is_remote([1, 2])
    assert host.connection_of(remote) is connection


def test_the_channel_of_a_connection_is_found_and_replaced(connection):
    sock = host.socket_of(connection)
    host.set_channel(connection, PlainChannel(WholeStream(sock)))
    assert isinstance(host.channel_of(connection), PlainChannel)
    assert len(connection.root.list()) == 2


class Manager(dict):
    """The part of qudi's module manager for one remote module."""

    def __init__(self):
        self.sigModuleStateChanged = SimpleNamespace(connect=self._connect, disconnect=self._leave)
        self.slots = []
        self['far'] = SimpleNamespace(
            is_remote=True, connection_cfg={}, _instance='lost', _load=self._load
        )
        self['near'] = SimpleNamespace(is_remote=False, connection_cfg={'streamer': 'far'})

    def _connect(self, slot):
        self.slots.append(slot)

    def _leave(self, slot):
        self.slots.remove(slot)

    def _load(self):
        assert self['far']._instance is None, 'qudi loads only what is not loaded'
        self['far']._instance = 'new'


def test_a_remote_module_is_dropped_when_qudi_finds_it_broken_and_comes_again():
    """The names are those of the installed qudi."""
    assert {'_load', 'is_remote', 'connection_cfg', 'state'} <= vars(ManagedModule).keys()
    assert '_instance' in ManagedModule.state.fget.__code__.co_names
    assert 'BROKEN' in ManagedModule.state.fget.__code__.co_consts
    assert hasattr(ModuleManager, 'sigModuleStateChanged')
    manager = Manager()
    source = host.RemoteSource(SimpleNamespace(module_manager=manager), 'near')
    source.watch()
    (slot,) = manager.slots
    slot('hardware', 'other', 'BROKEN')
    slot('hardware', 'far', 'idle')
    assert manager['far']._instance == 'lost'
    slot('hardware', 'far', 'BROKEN')
    assert manager['far']._instance is None
    assert source.renew() == 'new'
    source.close()
    assert not manager.slots
    source.drop()
    assert manager['far']._instance == 'new', 'it is left alone from then on'


def test_a_quitting_qudi_drops_its_watchdog_and_says_that_it_shuts_down():
    """The names of both are those of the installed qudi."""
    names = set(Qudi.quit.__code__.co_names) | set(Qudi.__init__.__code__.co_names)
    for function in vars(Qudi).values():
        names |= set(getattr(getattr(function, '__code__', None), 'co_names', ()))
    assert {'_shutting_down', 'watchdog'} <= names
    main = SimpleNamespace(_shutting_down=True, watchdog=None)
    module = SimpleNamespace(_qudi_main=main)
    assert host.is_quitting(module)
    main.watchdog = object()
    assert not host.is_quitting(module), 'qudi asks its user whether to quit'
    main.watchdog, main._shutting_down = None, False
    assert not host.is_quitting(module)


def test_qudi_deactivates_a_module_through_the_method_that_was_replaced(bench):
    buffer = bench.buffer('buffer1')
    calls = []
    original = buffer.module_state.deactivate
    buffer.module_state.deactivate = lambda: (calls.append(1), original())
    bench.qudi.deactivate('buffer1')
    assert calls == [1]
    assert buffer.module_state() == 'deactivated'


def test_the_connections_of_a_module_are_found(bench):
    bench.buffer('buffer1')
    assert host.connections_of(bench.qudi, 'buffer1') == {'streamer': 'streamer'}
    assert host.connections_of(bench.qudi, 'streamer') == {}
    assert host.connections_of(bench.qudi, 'no such module') == {}


def test_a_call_over_a_connection_is_told_from_a_local_one(connection):
    CALLERS.clear()
    ask_who_calls()
    connection.root.ask()
    connection.root.ask_logic()  # what a logic calls is the call of the logic
    assert CALLERS == [False, True, False]


class Owner:
    """For a service that keeps it weakly."""


class ConsoleService(QudiNamespaceService):
    """Serves a method that asks who has called it."""

    def exposed_ask(self):
        CALLERS.append(calling_connection() is not None)


def test_the_console_of_this_qudi_is_no_client():
    CALLERS.clear()
    owner = Owner()
    server = RpycServer(ConsoleService(qudi=owner))
    server.connect().root.ask()
    server.close()
    assert CALLERS == [False]


def test_a_buffer_can_be_stopped_by_a_call_without_python_code_around_it(bench, wait_until):
    buffer = bench.buffer('buffer1')
    buffer.start_stream()
    _thread.start_new_thread(buffer.stop_stream, ())
    wait_until(lambda: bench.device.module_state() == 'idle', 'the device stops')


def test_the_schema_of_a_configuration_is_the_one_of_qudi():
    assert host.configuration_schema() == config_schema()
