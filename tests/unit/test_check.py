"""`qudi-instream check` finds what is wrong in a configuration, says where, and what to write."""

import textwrap
from pathlib import Path

import pytest
from qudi.util.yaml import YAML

from configurations import BROKEN, BUFFER, CLIENT, GOOD, LOGIC, MONITOR_WINDOW, SERVER, replaced
from qudi.util.instream.command import mistakes, sharing
from qudi.util.instream.command.check import findings_of, outcome
from qudi.util.instream.command.configuration import Configuration, ConfigurationError
from qudi.util.instream.command.stream import read_stream
from qudi.util.instream.command.tree import draw

ROOT = Path(__file__).parents[2]


@pytest.fixture
def findings(tmp_path):
    """Write configurations and return what is found in them, as (file, line, finding)."""

    def find(*texts):
        configurations = []
        for number, text in enumerate(texts, 1):
            path = tmp_path / f'{number}.cfg'
            path.write_text(text, encoding='utf-8')
            configurations.append(Configuration(path))
        found = dict.fromkeys(findings_of(read_stream(configurations)))
        return [(Path(one.place.path).name, one.place.line, one) for one in found]

    return find


def told(found):
    return '\n'.join(f'{file}:{line}: {one.what}' for file, line, one in found)


def test_a_good_configuration_has_no_finding(findings):
    assert told(findings(GOOD)) == ''
    assert told(findings(SERVER)) == ''
    assert told(findings(CLIENT)) == ''
    assert told(findings(SERVER, CLIENT)) == ''


@pytest.mark.parametrize('what', BROKEN)
def test_a_mistake_is_found_where_it_stands(findings, what):
    *changes, (line, words) = BROKEN[what]
    found = findings(replaced(GOOD, changes))
    assert any(at == line and words in one.what for _, at, one in found), told(found)
    for _, _, one in found:
        assert one.why.endswith('.'), 'a reason is a sentence'
        assert one.place.line > 0, f'no line for: {one.what}'


def test_there_are_at_least_twenty_kinds_of_mistakes():
    assert len(BROKEN) >= 20


@pytest.mark.parametrize('what', BROKEN)
def test_the_lines_to_write_are_yaml(findings, what):
    *changes, _ = BROKEN[what]
    for _, _, one in findings(replaced(GOOD, changes)):
        YAML().load(one.lines)


def test_the_lines_for_two_programs_give_each_its_own_buffer(findings):
    *changes, _ = BROKEN['two programs on the device']
    text = replaced(GOOD, changes)
    (one,) = [one for _, _, one in findings(text) if 'directly' in one.what]
    written = YAML().load(one.lines)
    assert written['logic']['logic1']['connect']['streamer'] == 'logic1_buffer'
    assert written['logic']['logic2']['connect']['streamer'] == 'logic2_buffer'
    for name in ('logic1_buffer', 'logic2_buffer'):
        assert written['hardware'][name]['connect']['streamer'] == 'counter'
        assert written['hardware'][name]['module.Class'] == BUFFER


def test_what_was_written_cures_it(findings):
    *changes, _ = BROKEN['two programs on one buffer']
    text = replaced(GOOD, changes)
    (one,) = [one for _, _, one in findings(text)]
    written = YAML().load(one.lines)
    data = YAML().load(text)
    data['hardware'].update(written['hardware'])
    data['logic']['logic2']['connect'] = written['logic']['logic2']['connect']
    cured = '\n'.join(_yaml(data))
    assert told(findings(cured)) == ''


def _yaml(data, indent=''):
    for key, value in data.items():
        if isinstance(value, dict):
            yield f'{indent}{key}:'
            yield from _yaml(value, indent + '    ')
        else:
            yield f'{indent}{key}: {value!r}'


def test_the_example_in_the_documents_is_what_check_prints(tmp_path, monkeypatch):
    window = "        module.Class: 'time_series.time_series_gui.TimeSeriesGui'\n"
    logic = f"        module.Class: '{LOGIC}'\n"
    text = (
        'gui:\n'
        f'    time_series_gui1:\n{window}'
        "        connect:\n            _time_series_logic_con: 'time_series_logic1'\n\n"
        f'    time_series_gui2:\n{window}'
        "        connect:\n            _time_series_logic_con: 'time_series_logic2'\n\n"
        'logic:\n'
        f'    time_series_logic1:\n{logic}'
        "        connect:\n            streamer: 'stream_buffer1'\n\n"
        f'    time_series_logic2:\n{logic}'
        "        connect:\n            streamer: 'my_counter'\n\n"
    ) + GOOD[GOOD.index('hardware:') : GOOD.index('    buffer2:\n        mod')]
    text = text.replace('counter:', 'my_counter:').replace("'counter'", "'my_counter'")
    text = text.replace('    buffer1:', '    stream_buffer1:').replace(
        'max_poll_rate: 20', 'max_polrate: 60'
    )
    (tmp_path / 'my_setup.cfg').write_text(text, encoding='utf-8')
    monkeypatch.chdir(tmp_path)
    stream = read_stream([Configuration(Path('my_setup.cfg'))])
    printed = outcome(stream, list(findings_of(stream)))
    document = (ROOT / 'docs' / 'commands.md').read_text(encoding='utf-8')
    assert printed in document, printed


# -------------------------------------------------------------------- several processes


@pytest.mark.parametrize(
    ('server', 'client', 'file', 'line', 'words'),
    [
        (('        allow_remote: True\n', ''), (), 1, 14, 'is used by'),
        (('[shared1]', '[]'), (), 1, 14, '"shared1" is for other processes, but is not among'),
        ((), ("'shared1'", "'shared2'"), 2, 8, 'has no module of that name'),
    ],
)
def test_a_buffer_that_a_client_cannot_reach_is_found(findings, server, client, file, line, words):
    texts = [
        replaced(SERVER, [server] if server else []),
        replaced(CLIENT, [client] if client else []),
    ]
    found = findings(*texts)
    assert any(
        (name, at) == (f'{file}.cfg', line) and words in one.what for name, at, one in found
    ), told(found)


def test_a_buffer_for_others_is_checked_without_the_client_too(findings):
    without = findings(SERVER.replace('        allow_remote: True\n', ''))
    assert 'No program reads "shared1", and no other process can use it' in told(without)
    not_loaded = findings(SERVER.replace('[shared1]', '[]'))
    assert '"shared1" is for other processes, but is not among the startup' in told(not_loaded)


def test_buffers_of_one_device_in_two_processes_are_found(findings):
    server = SERVER.replace(
        "InStreamDummy'\n", "InStreamDummy'\n        allow_remote: True\n"
    ).replace('[shared1]', '[shared1, counter]')
    client = CLIENT.replace("'shared1'", "'counter'") + (
        f"    buffer1:\n        module.Class: '{BUFFER}'\n"
        "        connect:\n            streamer: 'far'\n"
    )
    client = client.replace("streamer: 'far'", "streamer: 'buffer1'", 1)
    found = told(findings(server, client))
    assert '2.cfg:8: "counter" is read in its own process by "shared1", and in another' in found


def test_two_clients_on_one_buffer_are_found(findings):
    expected = '"far" and "far" read the same buffer "shared1"'
    assert expected in told(findings(SERVER, CLIENT, CLIENT))
    assert 'are the same module "shared1" of another process' in told(findings(CLIENT, CLIENT))


# -------------------------------------------------------------------- one port, several servers


def server(*shared, device='counter'):
    """A server on the usual port that shares buffers of these names."""
    head, one = SERVER.replace('counter', device).split('    shared1:')
    buffers = ''.join(f'    {name}:{one}' for name in shared)
    return head.replace('[shared1]', f'[{", ".join(shared)}]') + buffers


def client(**entries):
    """One that reads modules of servers: by name of its entry the address and the name there."""
    programs, remotes = '', ''
    for name, (address, module) in entries.items():
        program, remote = CLIENT.replace('logic1', f'logic_{name}').split('hardware:\n')
        programs += program.removeprefix('logic:\n').replace("'far'", f"'{name}'")
        remote = remote.replace('far:', f'{name}:').replace('localhost', address)
        remotes += remote.replace('shared1', module)
    return f'logic:\n{programs}hardware:\n{remotes}'


@pytest.fixture
def reads(tmp_path):
    """Write configurations; return what is found, and in which file each remote module runs."""

    def read(**texts):
        paths = []
        for name, text in texts.items():
            paths.append(tmp_path / f'{name}.cfg')
            paths[-1].write_text(text, encoding='utf-8')
        stream = read_stream([Configuration(path) for path in paths])
        servers = {}
        for member in stream.members:
            if member.is_remote:
                configuration = stream.server_of(member)
                servers[member.name] = configuration and configuration.path.stem
        hinted = [name for name in servers if f'"{name}" runs' in ' '.join(sharing.hints(stream))]
        assert hinted == [name for name in servers if servers[name] is None]
        return [one.what for one in findings_of(stream)], servers

    return read


FAR = {'far_a': ('pc-a.lab', 'buffer_a'), 'far_b': ('pc-b.lab', 'buffer_b')}


def test_of_servers_with_one_port_each_is_found_by_what_it_shares(reads):
    both = {'a': server('buffer_a'), 'b': server('buffer_b')}
    assert reads(**both, c=client(**FAR)) == ([], {'far_a': 'a', 'far_b': 'b'})
    of_two_programs = {'c': client(far_a=FAR['far_a']), 'd': client(far_b=FAR['far_b'])}
    assert reads(**both, **of_two_programs) == ([], {'far_a': 'a', 'far_b': 'b'})
    tunnels = {'c': client(far_b=('localhost', 'buffer_b'))}
    assert reads(**both, **tunnels) == ([], {'far_b': 'b'})


def test_a_name_that_several_servers_share_says_nothing(reads):
    far = client(far_a=('pc-a.lab', 'shared1'), far_b=('pc-b.lab', 'shared1'))
    unknown = {'far_a': None, 'far_b': None}
    assert reads(a=server('shared1'), b=server('shared1'), c=far) == ([], unknown)
    assert reads(a=server('shared1'), c=far) == ([], unknown), 'one of them was not given'


def test_what_another_computer_shares_is_not_looked_for_in_the_server_that_was_given(reads):
    assert reads(a=server('buffer_a'), c=client(**FAR)) == ([], {'far_a': 'a', 'far_b': None})


def test_one_computer_is_not_two_servers_in_one_program(reads):
    far = client(far_a=('localhost', 'buffer_a'), far_b=('pc-b.lab', 'buffer_b'))
    shares_both = server('buffer_a', 'buffer_b')
    assert reads(a=shares_both, c=far)[1] == {'far_a': None, 'far_b': None}


def test_the_computer_of_the_server_may_call_it_localhost(reads):
    """Others name it, or reach it through a tunnel."""
    shares_both = server('buffer_a', 'buffer_b')
    near, far = client(near=('localhost', 'buffer_a')), client(far=('pc-a.lab', 'buffer_b'))
    assert reads(a=shares_both, c=near, d=far) == ([], {'near': 'a', 'far': 'a'})
    near = client(near=('localhost', 'buffer_a'), too=('127.0.0.1', 'buffer_b'))
    assert reads(a=shares_both, c=near) == ([], {'near': 'a', 'too': 'a'})
    far = client(far=('pc-a.lab', 'buffer_a'))
    what, _ = reads(a=shares_both, c=client(near=('localhost', 'buffer_a')), d=far)
    assert what == ['"near" and "far" read the same buffer "buffer_a"']


def test_a_shared_device_beside_buffers_is_found(findings):
    server = SERVER.replace("InStreamDummy'\n", "InStreamDummy'\n        allow_remote: True\n")
    assert 'Other processes may use the device "counter" itself' in told(findings(server))


# -------------------------------------------------------------------- files that are none


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'hardware:\n\tcounter:\n', 'file.cfg:2: this is not valid YAML'),
        (b'hardware: [a, b\n', 'this is not valid YAML'),
        (b'a: 1\n--- \nb: 2\n', 'this is not valid YAML'),
        (b'\x00\x01\x02\xff', 'file.cfg: this is not'),
        (b'a: !!complex nothing\n', 'cannot be read'),
    ],
)
def test_a_file_that_is_no_configuration_is_told_in_one_line(tmp_path, content, words):
    path = tmp_path / 'file.cfg'
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as error:
        Configuration(path)
    assert words in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('begin', 'place', 'words'),
    [
        ('\ufeff', 1, 'begins with a byte order mark (BOM). Save it without'),
        ('# all of\n# \u00c1ngel\n', 2, 'cannot read a letter of this line'),
    ],
)
def test_letters_that_qudi_cannot_read_on_this_computer_are_found(tmp_path, begin, place, words):
    path = tmp_path / 'lab.cfg'
    path.write_bytes((begin + GOOD).encode())

    def found(encoding):
        configuration = Configuration(path, system_encoding=encoding)
        return [(one.place.line, one.what) for one in findings_of(read_stream([configuration]))]

    ((line, what),) = found('cp1252')
    assert line == place
    assert what.startswith('qudi reads this file as cp1252 here, ')
    assert words in what
    assert found('UTF-8') == []


@pytest.mark.parametrize('encoding', ['utf-8', 'cp1252'])
def test_letters_that_qudi_reads_are_no_finding(tmp_path, encoding):
    """Also if it takes them for others: in a comment they say nothing to it."""
    path = tmp_path / 'lab.cfg'
    path.write_bytes(('# of M\u00fcller\n' + GOOD).encode(encoding))
    stream = read_stream([Configuration(path, system_encoding='cp1252')])
    assert list(findings_of(stream)) == []


@pytest.mark.parametrize('text', ['', '# nothing\n', 'global: {}\n'])
def test_an_empty_configuration_is_one(findings, text):
    assert told(findings(text)) == ''


@pytest.mark.parametrize(
    'text',
    [
        'just a text\n',
        '- a\n- list\n',
        'hardware: 3\n',
        'hardware:\n    counter: 3\n',
        'hardware:\n    counter:\n        module.Class: 3\n',
        'hardware:\n    counter:\n        module.Class: one_word\n',
        'logic:\n    a:\n        connect: [b]\n',
        'global:\n    startup_modules: [1, 2]\n',
        '1: 2\n',
        'hardware:\n    far:\n        native_module_name: 1\n        address: 2\n        port: x\n',
        "logic:\n    a: &x\n        module.Class: 'm.C'\n    \n    b: *x\n    c: *y\n",
    ],
)
def test_a_configuration_of_the_wrong_shape_gives_findings_and_no_traceback(findings, text):
    try:
        assert findings(text) or 'one_word' in text
    except ConfigurationError:
        assert '*y' in text, 'an alias of nothing is no YAML'


# -------------------------------------------------------------------- classes


@pytest.fixture
def lab(tmp_path):
    """A folder for modules of a lab, as `extension_paths` names it."""

    def write(path, source):
        file = tmp_path / 'lab' / 'qudi' / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(source), encoding='utf-8')
        return f'global:\n    extension_paths: ["{(tmp_path / "lab").as_posix()}"]\n'

    return write


def test_a_class_is_read_without_importing_it(findings, lab):
    """Also one whose driver is not installed, and whose base class is in another file."""
    lab(
        'hardware/lab/base.py',
        """
        import a_driver_that_is_not_installed
        from qudi.core.configoption import ConfigOption
        from qudi.interface.data_instream_interface import DataInStreamInterface as Interface

        raise RuntimeError('this file was imported')

        class LabBase(Interface):
            _address = ConfigOption('address', missing='error')
        """,
    )
    extension = lab(
        'hardware/lab/device.py',
        """
        from . import base

        class LabDevice(base.LabBase):
            pass
        """,
    )
    text = extension + GOOD.replace('global:\n', '').replace(
        'dummy.data_instream_dummy.InStreamDummy', 'lab.device.LabDevice'
    )
    found = findings(text)
    assert '"counter" has no option "address", which it needs' in told(found)
    assert len(found) == 1, told(found)


@pytest.mark.parametrize(
    'source',
    [
        'from lab_drivers.streams import *\n\nclass LabDevice(LabStream): pass\n',
        'import lab_drivers.streams\n\nclass LabDevice(lab_drivers.streams.LabStream): pass\n',
        'import lab_drivers.streams as s\n\nclass LabDevice(s.LabStream): pass\n',
        'try:\n    from lab_drivers import LabStream as LabDevice\nexcept ImportError:\n    pass\n',
        'if True:\n    from lab_drivers import *\nLabDevice = 1\n'
        'class LabDevice(streams.LabStream, object): pass\n',
    ],
)
def test_a_class_is_found_however_it_is_imported(findings, lab, tmp_path, source):
    """Also from packages outside of qudi."""
    extension = lab('hardware/lab/device.py', source)
    package = tmp_path / 'lab' / 'lab_drivers'
    package.mkdir()
    (package / '__init__.py').write_text('from .streams import LabStream\nfrom . import streams\n')
    (package / 'streams.py').write_text(
        'from qudi.core.configoption import ConfigOption\n'
        'import qudi.interface.data_instream_interface as interface\n'
        'class LabStream(interface.DataInStreamInterface):\n'
        "    _address: str = ConfigOption(name='address', missing='error')\n"
    )
    text = extension + GOOD.replace('global:\n', '').replace(
        'dummy.data_instream_dummy.InStreamDummy', 'lab.device.LabDevice'
    )
    assert '"counter" has no option "address", which it needs' in told(findings(text))


@pytest.mark.parametrize(
    ('source', 'words'),
    [
        ('class LabDevice(:\n', 'cannot be read'),
        ('class Device: pass\n', 'there is no class "LabDevice" in'),
        ('from .missing import *\n', 'there is no class "LabDevice" in'),
        ('from .device import LabDevice\n', 'there is no class "LabDevice" in'),
    ],
)
def test_a_device_whose_class_cannot_be_read_is_told(findings, lab, source, words):
    extension = lab('hardware/lab/device.py', source)
    text = extension + GOOD.replace('global:\n', '').replace(
        'dummy.data_instream_dummy.InStreamDummy', 'lab.device.LabDevice'
    )
    found = findings(text)
    assert 'qudi cannot load "counter": ' in told(found)
    assert words in told(found)


def test_a_base_class_that_is_not_there_leaves_the_options_open(findings, lab):
    extension = lab(
        'hardware/lab/device.py',
        'from a_driver import Base\nclass LabDevice(Base, LabDevice): pass\n',
    )
    text = extension + GOOD.replace('global:\n', '').replace(
        'dummy.data_instream_dummy.InStreamDummy', 'lab.device.LabDevice'
    )
    assert told(findings(text)) == ''


def test_a_buffer_of_another_package_that_is_found_first_is_told(findings, lab):
    extension = lab(
        'hardware/interfuse/instream_buffer.py',
        """
        from qudi.core.connector import Connector
        from qudi.interface.data_instream_interface import DataInStreamInterface

        class DataInStreamBuffer(DataInStreamInterface):
            _streamer = Connector(name='streamer', interface='DataInStreamInterface')
        """,
    )
    text = extension + GOOD.replace('global:\n', '')
    assert told(findings(text)) == '', 'our own path is not touched by it'
    found = findings(text.replace(BUFFER, 'interfuse.instream_buffer.DataInStreamBuffer', 1))
    assert len(found) == 1
    assert '"buffer1" would be the DataInStreamBuffer of another package: ' in told(found)
    assert str(Path('lab', 'qudi', 'hardware', 'interfuse', 'instream_buffer.py')) in told(found)
    assert BUFFER in found[0][2].lines


def test_the_first_path_of_the_buffer_is_ours(findings):
    text = GOOD.replace(BUFFER, 'interfuse.instream_buffer.DataInStreamBuffer')
    assert told(findings(text)) == ''


def test_modules_that_have_nothing_to_do_with_streams_may_be_missing(findings, tmp_path):
    text = GOOD.replace(
        'hardware:\n', "hardware:\n    laser:\n        module.Class: 'lab.laser.Laser'\n"
    )
    assert told(findings(text)) == ''
    stream = read_stream([Configuration(tmp_path / '1.cfg')])
    assert [one.name for one in mistakes.unread(stream)] == ['laser']


def test_a_client_of_a_buffer_is_one_too(findings, lab):
    """It reads one of another process; buffers on it share its connection, programs do not."""
    extension = lab(
        'hardware/lab/client.py',
        """
        from qudi.core.configoption import ConfigOption
        from qudi.hardware.instream_buffer.buffer import DataInStreamBuffer

        class RemoteInStream(DataInStreamBuffer):
            _streamer = None
            _host = ConfigOption('host', missing='error')
            _port = ConfigOption('port', missing='error')
            _buffer = ConfigOption('buffer', missing='error')
        """,
    )
    client = extension + CLIENT.replace(
        """
        native_module_name: 'shared1'
        address: 'localhost'
        port: 12345
""",
        """
        module.Class: 'lab.client.RemoteInStream'
        options:
            buffer: 'shared1'
            host: 'localhost'
            port: 12345
            max_poll_rate: 10
""",
    )
    assert 'RemoteInStream' in client
    assert told(findings(client)) == ''
    assert told(findings(SERVER, client)) == ''
    wrong = findings(SERVER, client.replace('shared1', 'shared').replace('max_poll', 'max_pol'))
    assert '2.cfg:12: "far" is the module "shared" of another process' in told(wrong)
    assert '2.cfg:15: "far" has no option "max_pol_rate"' in told(wrong)
    assert '"far" has no option "host", which it needs' in told(
        findings(client.replace("            host: 'localhost'\n", ''))
    )
    both = client.replace(
        'hardware:\n',
        f"    logic2:\n        module.Class: '{LOGIC}'\n"
        "        connect:\n            streamer: 'far'\nhardware:\n",
    )
    found = findings(both)
    assert '"logic1" and "logic2" read the same buffer "far"' in told(found)
    written = YAML().load(found[0][2].lines)
    assert written['hardware']['logic2_buffer']['connect'] == {'streamer': 'far'}
    assert written['logic'] == {'logic2': {'connect': {'streamer': 'logic2_buffer'}}}


# -------------------------------------------------------------------- tree


def test_the_tree_ends_where_buffers_read_each_other_and_shows_what_is_missing(tmp_path):
    *changes, _ = BROKEN['two buffers on each other']
    path = tmp_path / 'ring.cfg'
    text = replaced(GOOD, changes)
    text = text.replace('time_series_reader_logic.Time', 'time_series_logic.Time', 1)
    text += (
        "    alone:\n        module.Class: 'instream_buffer.buffer.DataInStreamBuffer'\n"
        "        connect:\n            streamer: 'counter'\n"
    )
    path.write_text(text.replace('    monitor:', MONITOR_WINDOW), encoding='utf-8')
    assert draw(read_stream([Configuration(path)])).splitlines() == [
        'counter  (device, dummy.data_instream_dummy.InStreamDummy)',
        '`-- alone  (buffer, default options)',
        '    `-- (no program)',
        'buffer1  (buffer, max_poll_rate: 20.0)',
        '|-- buffer2  (buffer, default options)',
        '|   |-- buffer1  (buffer, max_poll_rate: 20.0)',
        '|   `-- logic2  (program)',
        '`-- logic1  (program, NOT FOUND)',
        '    `-- gui1  (window)',
        'monitor  (monitor of all buffers, instream_monitor_logic.InStreamMonitorLogic)',
        '`-- script  (logic, NOT FOUND)',
    ]
    empty = tmp_path / 'empty.cfg'
    empty.write_text('', encoding='utf-8')
    drawn = draw(read_stream([Configuration(empty)]))
    assert drawn == 'No module here provides or reads a stream.'


def test_the_tree_shows_device_buffers_programs_and_windows(tmp_path):
    path = tmp_path / 'good.cfg'
    path.write_text(GOOD, encoding='utf-8')
    assert draw(read_stream([Configuration(path)])).splitlines() == [
        'counter  (device, dummy.data_instream_dummy.InStreamDummy)',
        '|-- buffer1  (buffer, max_poll_rate: 20.0)',
        '|   `-- logic1  (program)',
        '|       `-- gui1  (window)',
        '`-- buffer2  (buffer, default options)',
        '    `-- logic2  (program)',
        'monitor  (monitor of all buffers, instream_monitor_logic.InStreamMonitorLogic)',
    ]


def test_the_tree_leads_into_other_processes(tmp_path):
    paths = [tmp_path / 'server.cfg', tmp_path / 'client.cfg']
    for path, text in zip(paths, (SERVER, CLIENT), strict=True):
        path.write_text(text, encoding='utf-8')
    server, client = map(Configuration, paths)
    assert draw(read_stream([server])).splitlines()[-1] == (
        '    `-- (other processes, through port 12345)'
    )
    assert draw(read_stream([client])).splitlines()[0] == (
        'shared1  (module of another process, localhost:12345)'
    )
    assert draw(read_stream([server, client])).splitlines()[1:] == [
        '`-- shared1  (buffer, default options, allow_remote)',
        f'    `-- far  (another process, in {paths[1]})',
        '        `-- logic1  (program)',
    ]
    assert 'Give its configuration as well' in ''.join(sharing.hints(read_stream([client])))
