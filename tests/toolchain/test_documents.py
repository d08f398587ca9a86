"""Every block of YAML in the documents loads in qudi, every block of Python runs there."""

import importlib
import re
from pathlib import Path

import pytest
from qudi.core.config import Configuration

from bench import configure

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
DEVICE = 'my_counter'
BASES = ('hardware', 'logic', 'gui')


def blocks(path, language):
    return re.findall(
        rf'^```{language}\n(.*?)^```$', path.read_text('utf-8'), re.MULTILINE | re.DOTALL
    )


YAML_BLOCKS = [
    pytest.param(block, id=f'{path.name}-{number}')
    for path in DOCUMENTS
    for number, block in enumerate(blocks(path, 'yaml'), 1)
]
PYTHON_DOCUMENTS = [
    pytest.param(path, id=path.name) for path in DOCUMENTS if blocks(path, 'python')
]


@pytest.fixture
def add_device(qudi):
    """Add the device of the documents: a dummy."""

    def add():
        qudi.add(
            'hardware',
            DEVICE,
            'dummy.data_instream_dummy.InStreamDummy',
            {
                'channel_names': ['APD', 'analog 1'],
                'channel_units': ['Hz', 'V'],
                'channel_signals': ['counts', 'sine'],
            },
        )

    return add


@pytest.mark.parametrize('block', YAML_BLOCKS)
def test_a_block_of_yaml_is_a_configuration_that_loads(qudi, add_device, tmp_path, block):
    path = tmp_path / 'block.cfg'
    path.write_text(block, encoding='utf-8')
    configuration = Configuration()
    configuration.load(str(path))
    modules = {base: configuration[base] for base in BASES}
    assert any(modules.values()) or 'global:' in block, 'no module in it'
    for base, entries in modules.items():
        for entry in entries.values():
            if 'module.Class' in entry:
                module, name = entry['module.Class'].rsplit('.', 1)
                assert hasattr(importlib.import_module(f'qudi.{base}.{module}'), name)
    if re.search(r'\b(address|allow_remote|host|remote_modules_server):', block):
        return  # for two processes, which other tests start
    if DEVICE not in modules['hardware']:
        add_device()
    qudi.load(modules)
    for base in BASES:
        for name in modules[base]:
            qudi.activate(name)


@pytest.mark.parametrize('path', PYTHON_DOCUMENTS)
def test_the_blocks_of_python_run_one_after_the_other(qudi, add_device, path, capsys):
    add_device()
    qudi.add(
        'hardware',
        'stream_buffer1',
        'instream_buffer.buffer.DataInStreamBuffer',
        connect={'streamer': DEVICE},
    )
    buffer = qudi.activate('stream_buffer1')
    configure(buffer, ['APD', 'analog 1'], rate=200)
    namespace = {'stream_buffer1': buffer}
    for number, block in enumerate(blocks(path, 'python'), 1):
        exec(compile(block, f'{path.name}, block {number}', 'exec'), namespace)
    # What the blocks have prepared works as well
    buffer.start_stream()
    buffer.stop_stream()
    assert buffer.status.state == 'stopped'


def test_there_are_blocks():
    assert len(YAML_BLOCKS) >= 5
    assert len(PYTHON_DOCUMENTS) >= 2
