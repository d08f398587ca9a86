"""Two readers of one device, in one process or in two, are refused; nobody loses a sample by it."""

import pytest

from remotes import SIMULATOR, RemoteError, Server, expect_frames, start_together, stop_all

ADVICE = 'Connect each program to a DataInStreamBuffer of its own instead of to "streamer"'


@pytest.fixture(scope='module')
def server(begin):
    """A server whose logic3 has a buffer, and whose logic `direct` is on the device itself."""
    options = {**SIMULATOR['options'], 'wait_for_missing': True}
    server = begin(Server, {**SIMULATOR, 'options': options})
    server.ask("activate('direct')")
    return server


@pytest.fixture(scope='module')
def client(begin, server):
    """A client whose logic has a buffer on the device of the server."""
    return begin(server.client_with_buffers, 'streamer')


@pytest.fixture(scope='module')
def direct_client(begin, server):
    """A client whose logic is on the device of the server itself."""
    return begin(server.client, 'streamer')


@pytest.fixture
def everybody(server, client, direct_client):
    """All who might want the device, and what each calls to start."""
    return {
        'buffer': (server, 'logic3', "module('buffer3').start_stream()"),
        'direct': (server, 'direct', "module('streamer').start_stream()"),
        'buffer of a client': (client, 'logic', "module('near1').start_stream()"),
        'direct client': (direct_client, 'logic', "module('streamer').start_stream()"),
    }


@pytest.mark.parametrize(
    ('running', 'refused'),
    [
        ('buffer', 'direct'),
        ('buffer', 'buffer of a client'),
        ('buffer', 'direct client'),
        ('direct', 'buffer'),
        ('direct', 'buffer of a client'),
        ('buffer of a client', 'buffer'),
        ('direct client', 'buffer'),
        ('direct client', 'buffer of a client'),
    ],
)
def test_a_second_reader_is_told_who_connects_to_what(everybody, running, refused):
    process, logic, _ = everybody[running]
    other, _, start = everybody[refused]
    start_together(1000.0, (process, logic))
    for _ in range(3):
        with pytest.raises(RemoteError, match=f'RuntimeError: .*{ADVICE}'):
            other.ask(start)
    expect_frames(5, (process, logic))
    stop_all((process, logic))
    # It is free again, for the other one as well
    other.ask(start)
    other.ask(start.replace('start', 'stop'))


@pytest.mark.parametrize('other', ['direct', 'buffer of a client', 'direct client'])
def test_of_two_who_start_at_once_one_gets_the_stream_at_most(everybody, other):
    pair = [everybody['buffer'], everybody[other]]
    outcomes, refusals = set(), []
    for _ in range(8):
        calls = [process.begin(start) for process, _, start in pair]
        started = []
        for call, (process, _, start) in zip(calls, pair, strict=True):
            try:
                call()
            except RemoteError as error:
                refusals.append(str(error))
            else:
                started.append((process, start))
        outcomes.add(len(started))
        for process, start in started:
            process.ask(start.replace('start', 'stop'))
    assert outcomes <= {0, 1}
    assert 1 in outcomes
    assert all(ADVICE in refusal for refusal in refusals), refusals
