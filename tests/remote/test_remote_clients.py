"""RemoteInStream: programs of other qudis read buffers over connections of their own."""

import pytest

from complaints import assert_clean
from remotes import Server, expect_frames, start_together, stop_all


@pytest.fixture(scope='module')
def server(begin):
    return begin(Server)


@pytest.fixture(scope='module')
def client(begin, server):
    return begin(server.stream_client, 'buffer1')


@pytest.mark.parametrize('rate', [50.0, 10e3, 1e6])
def test_programs_here_and_there_get_every_sample(server, client, rate):
    toolchains = [(client, 'logic1'), (client, 'logic2'), (server, 'logic3')]
    start_together(rate, *toolchains)
    expect_frames(20, *toolchains)
    records = [process.ask(f"record('{logic}')") for process, logic in toolchains]
    stop_all(*toolchains)
    server.expect_idle('buffer1', 'buffer3', 'streamer')
    assert min(r['first'] for r in records) == 0, 'the first one begins with the first sample'
    # Each value names its sample, so whoever has the same index has the same sample
    assert min(r['next'] for r in records) > max(r['first'] for r in records)


def test_both_qudis_quit_cleanly_while_it_streams(begin):
    server = begin(Server)
    client = begin(server.stream_client, 'buffer1')
    start_together(1000.0, (client, 'logic1'), (server, 'logic3'))
    assert client.quit(5) == 0
    server.expect_idle('buffer1')
    expect_frames(5, (server, 'logic3'))
    assert server.quit() == 0
    for process in (client, server):
        assert_clean(process.text, 'Traceback')
