"""Clients in other processes, each on a buffer of its own of one server."""

import os
import re
import time

import pytest

from complaints import assert_clean
from remotes import Server, expect_frames, expect_no_loss, start_together, stop_all


@pytest.fixture(scope='module')
def server(begin):
    return begin(Server)


@pytest.fixture(scope='module')
def clients(begin, server):
    return [begin(server.client, f'buffer{number}') for number in (1, 2)]


@pytest.mark.parametrize('rate', [50.0, 10e3, 200e3])
def test_two_clients_and_a_local_toolchain_get_every_sample(server, clients, rate):
    toolchains = [(clients[0], 'logic'), (clients[1], 'logic'), (server, 'logic3')]
    start_together(rate, *toolchains)
    expect_frames(30, *toolchains)
    records = [process.ask(f"record('{logic}')") for process, logic in toolchains]
    stop_all(*toolchains)
    server.expect_idle('buffer1', 'buffer2', 'buffer3', 'streamer')
    # Each value names its sample, so whoever has the same index has the same sample
    assert min(r['first'] for r in records) == 0, 'the first one begins with the first sample'
    assert min(r['next'] for r in records) > max(r['first'] for r in records)


def test_an_array_comes_in_one_transfer_a_read(server, clients):
    client = clients[0]
    start_together(1000.0, (client, 'logic'))
    count = client.ask("count_requests('buffer1', 2.0, lambda: records['logic'].frames)")
    stop_all((client, 'logic'))
    assert count['frames'] >= 5
    assert abs(count['HANDLE_PICKLE numpy.ndarray'] - count['frames']) <= 2, count


def test_a_waiting_read_delays_no_other_client_and_no_local_consumer(server, clients):
    first, second = clients
    for process, name in ((first, 'buffer1'), (second, 'buffer2'), (server, 'buffer4')):
        process.ask(f"configure('{name}', ['a', 'b'], 10**6, 1000.0)")
        process.ask(f"module('{name}').start_stream()")
    waiting = first.begin("read('buffer1', 4_000, ['a', 'b'])")  # for 4 s
    for _ in range(3):
        second.ask("read('buffer2', 50, ['a', 'b'])")
        server.ask("read('buffer4', 50, ['a', 'b'])")
        server.ask("module('buffer4').stop_stream()")
        server.ask("module('buffer4').start_stream()")
    taken = server.ask("module('streamer').taken")
    assert taken < 4_000, 'the others had to wait for the long read'
    assert waiting()['faults'] == []
    first.ask("module('buffer1').stop_stream()")
    second.ask("module('buffer2').stop_stream()")
    server.ask("module('buffer4').stop_stream()")
    server.expect_idle('buffer1', 'buffer2', 'buffer4', 'streamer')


@pytest.mark.parametrize('device', ['delivers', 'is silent'])
def test_a_killed_client_frees_its_buffer_and_costs_the_others_nothing(
    begin, server, clients, device
):
    doomed = begin(server.client, 'buffer1')
    back, other = clients
    rest = [(other, 'logic'), (server, 'logic3')]
    start_together(1000.0, (doomed, 'logic'), *rest)
    if device == 'is silent':
        server.ask("module('streamer').faults.add('stall')")
        time.sleep(1.2)  # until all of them wait, and the main thread has asked for the state
    serving = "len(threads('Rpyc'))"
    before = server.ask(serving)
    doomed.kill()
    killed_at = time.perf_counter()
    server.wait_until("state('buffer1') == 'idle'", 'the buffer of the dead client', timeout=15)
    assert time.perf_counter() - killed_at < 15
    assert 'has disconnected' in server.ask("module('buffer1').status.message")
    server.wait_until(f'{serving} == {before - 1}', 'the thread that served it to end')
    server.ask("module('streamer').faults.discard('stall')")
    expect_frames(10, *rest)
    start_together(1000.0, (back, 'logic'))
    expect_frames(5, (back, 'logic'), *rest)
    stop_all((back, 'logic'), *rest)


def test_a_client_that_quits_while_it_streams_can_come_back(begin, server):
    for _ in range(2):
        client = begin(server.client, 'buffer1')
        start_together(1000.0, (client, 'logic'))
        expect_frames(5, (client, 'logic'))
        assert client.quit() == 0
        server.wait_until("state('streamer') == 'idle'", 'the device to be stopped')


def test_a_stream_that_a_client_had_a_logic_start_goes_on_without_it(begin, server):
    visitor = server.console()
    visitor.module('logic3').start_reading()
    server.wait_until("state('logic3') == 'locked'")
    visitor.close()
    server.ask("start('logic3')")
    expect_frames(30, (server, 'logic3'))
    stop_all((server, 'logic3'))


def test_the_console_stops_the_buffer_of_a_logic_that_waits_for_the_device(begin, server):
    server.ask("module('streamer').faults.add('stall')")
    server.ask("start('logic3')")
    server.wait_until("state('buffer3') == 'locked'")
    console = server.console()
    console.module('buffer3').stop_stream()
    server.wait_until("state('logic3') == 'idle'", 'the logic to end')
    server.expect_idle('buffer3', 'streamer')
    console.module('buffer4').start_stream()
    console.close()
    server.ask("module('streamer').faults.discard('stall')")
    server.wait_until("module('buffer4').available_samples > 100", 'a stream without its console')
    server.ask("module('buffer4').stop_stream()")


@pytest.mark.skipif(not hasattr(os, 'kill') or os.name == 'nt', reason='Windows has no SIGSTOP')
@pytest.mark.parametrize('busy_for', [2, pytest.param(12, marks=pytest.mark.long)])
def test_a_client_that_is_only_busy_is_not_given_up(server, clients, busy_for):
    client = clients[1]
    start_together(1000.0, (client, 'logic'), (server, 'logic3'))
    client.freeze()
    time.sleep(busy_for)
    assert server.ask("state('buffer2')") == 'locked'
    client.thaw()
    expect_frames(10, (client, 'logic'), (server, 'logic3'))
    stop_all((client, 'logic'), (server, 'logic3'))


def test_qudi_quits_cleanly_after_a_client_was_killed_and_while_one_waits(begin):
    server = begin(Server, force_remote_calls_by_value=False)
    doomed, other = (begin(server.client, f'buffer{number}') for number in (1, 2))
    start_together(1000.0, (doomed, 'logic'), (other, 'logic'), (server, 'logic3'))
    expect_no_loss((doomed, 'logic'), (other, 'logic'), (server, 'logic3'))
    doomed.kill()
    server.expect_idle('buffer1')
    assert server.quit() == 0
    # rpyc prints so when qudi closes a connection between two looks of the thread that serves it
    closed = 'file descriptor cannot be a negative integer'
    text = re.sub(f'Traceback((?!Traceback).)*{closed}', '', server.text, flags=re.DOTALL)
    assert_clean(text, 'Traceback')
    # The client of a server that has gone is told
    other.wait_until("state('logic') == 'idle'", 'the logic to have ended')
