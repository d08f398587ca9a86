"""The two configurations that users may copy run as they stand, but for the ports."""

from pathlib import Path

import pytest

from ports import free_port
from remotes import QudiProcess, expect_frames, stop_all

CONFIG = Path(__file__).parents[2] / 'config'


@pytest.fixture(scope='module')
def texts():
    """Both files, with free ports, and without a window that would ask for a Jupyter kernel."""
    ports = {'12345': free_port(), '18861': free_port(), '18862': free_port()}
    texts = []
    for name in ('remote_server.cfg', 'remote_client.cfg'):
        text = (CONFIG / name).read_text(encoding='utf-8')
        for port, free in ports.items():
            text = text.replace(port, str(free))
        texts.append(text.replace('global:\n', 'global:\n    hide_manager_window: True\n'))
    return texts


def test_the_client_shows_the_stream_of_the_server(begin, texts):
    server = begin(QudiProcess.from_text, texts[0])
    client = begin(QudiProcess.from_text, texts[1])
    toolchains = [(server, 'time_series_logic'), (client, 'remote_time_series_logic')]
    for process, logic in toolchains:
        process.ask(f"start('{logic}', checked=False)")
    expect_frames(10, *toolchains)
    stop_all(*toolchains)
    server.wait_until("state('instream_dummy') == 'idle'", 'the device to be stopped')
    assert server.ask("module('stream_buffer_client1').status.samples_lost") == 0
    assert client.quit() == 0
    assert server.quit() == 0
