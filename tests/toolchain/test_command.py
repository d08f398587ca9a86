"""qudi-instream, as a user runs it: in a process of its own."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from qtpy import API_NAME, QtGui, QtWidgets

import qudi
from qudi.util.instream.command.configuration import Configuration
from qudi.util.instream.command.environment import environment_findings
from qudi.util.instream.command.findings import report
from qudi.util.instream.command.main import main
from qudi.util.instream.command.stream import read_stream

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, '-m', 'qudi.util.instream.command']
EXAMPLES = sorted((ROOT / 'config').glob('*.cfg'))
# What qudi-core and qudi-iqo-modules bring
SHIPPED = sorted(
    path
    for folder in qudi.__path__
    if Path(folder).resolve().parent != ROOT / 'src'
    for path in Path(folder).rglob('*.cfg')
)
BUFFER = 'instream_buffer.buffer.DataInStreamBuffer'

# A qudi-core that qudi-iqo-modules does not ask for is a finding by itself
with_fitting_releases = pytest.mark.skipif(
    any(environment_findings(read_stream([]), packages=('qudi-iqo-modules',))),
    reason='qudi-iqo-modules asks for another qudi-core',
)

# The set-up of this project's first description: a dummy, two buffers, two windows
SEED = """\
gui:
    time_series_gui1:
        module.Class: 'time_series.time_series_gui.TimeSeriesGui'
        options:
            use_antialias: True
        connect:
            _time_series_logic_con: 'time_series_logic1'
    time_series_gui2:
        module.Class: 'time_series.time_series_gui.TimeSeriesGui'
        options:
            use_antialias: True
        connect:
            _time_series_logic_con: 'time_series_logic2'
logic:
    time_series_logic1:
        module.Class: 'time_series_reader_logic.TimeSeriesReaderLogic'
        options:
            max_frame_rate: 30
            calc_digital_freq: True
        connect:
            streamer: 'stream_buffer1'
    time_series_logic2:
        module.Class: 'time_series_reader_logic.TimeSeriesReaderLogic'
        options:
            max_frame_rate: 30
            calc_digital_freq: True
        connect:
            streamer: 'stream_buffer2'
hardware:
    instream_dummy:
        module.Class: 'dummy.data_instream_dummy.InStreamDummy'
        options:
            channel_names: ['APD', 'analog 1']
            channel_units: ['Hz', 'V']
            channel_signals: ['counts', 'sine']
    stream_buffer1:
        module.Class: 'interfuse.instream_buffer.DataInStreamBuffer'
        options:
            allow_overwrite: False
            max_poll_rate: 30.0
        connect:
            streamer: 'instream_dummy'
    stream_buffer2:
        module.Class: 'interfuse.instream_buffer.DataInStreamBuffer'
        connect:
            streamer: 'instream_dummy'
"""


@pytest.fixture
def environment(tmp_path):
    """The variables of a user who has installed qudi's kernel."""
    kernel = tmp_path / 'jupyter' / 'kernels' / 'qudi' / 'kernel.json'
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps({'argv': [sys.executable], 'display_name': 'qudi'}))
    return {**os.environ, 'JUPYTER_PATH': str(tmp_path / 'jupyter')}


@pytest.fixture
def run(environment):
    """Run the command and return what it prints, as a whole."""

    def run_it(*arguments, **changes):
        result = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            env={**environment, **changes},
            capture_output=True,
            text=True,
            encoding='utf-8',
            timeout=60,
            check=False,
        )
        for word in ('Traceback', 'Warning', 'Error:'):
            assert word not in result.stdout + result.stderr, result.stdout + result.stderr
        return result

    return run_it


@with_fitting_releases
@pytest.mark.parametrize('path', [*EXAMPLES, *SHIPPED], ids=lambda path: path.stem)
def test_a_configuration_that_works_has_no_finding(run, path):
    result = run('check', path)
    assert (result.returncode, result.stderr) == (0, ''), result.stdout
    assert 'Nothing found.' in result.stdout
    assert '(device' in result.stdout or 'module of another process' in result.stdout


def test_qudi_brings_a_configuration():
    assert any(path.name == 'default.cfg' for path in SHIPPED)


@with_fitting_releases
def test_server_and_client_are_one_stream(run):
    paths = [ROOT / 'config' / f'remote_{side}.cfg' for side in ('server', 'client')]
    result = run('check', *paths)
    assert result.returncode == 0, result.stdout
    of_client = '|   `-- remote_stream  (buffer of another process'
    assert of_client in result.stdout, result.stdout
    assert f'in {paths[1]})' in result.stdout


@with_fitting_releases
def test_the_seed_has_no_finding_and_nothing_to_add(run, tmp_path):
    path = tmp_path / 'seed.cfg'
    path.write_text(SEED, encoding='utf-8')
    result = run('check', path)
    assert result.returncode == 0, result.stdout
    note = f'{path}:19: "time_series_logic1" has no option "calc_digital_freq", qudi ignores it'
    assert note in result.stdout
    result = run('add', path, 'instream_dummy')
    assert result.returncode == 0
    assert 'No program reads "instream_dummy" directly. Nothing is written.' in result.stdout
    assert list(tmp_path.glob('*_buffered.cfg')) == []


@with_fitting_releases
def test_a_finding_has_place_reason_and_lines(run, tmp_path):
    path = tmp_path / 'lab.cfg'
    text = SEED.replace('max_poll_rate', 'max_polrate')
    path.write_text(text, encoding='utf-8')
    line = text.splitlines().index('            max_polrate: 30.0') + 1
    result = run('check', path)
    assert result.returncode == 1
    assert result.stdout.endswith(
        f'1 finding\n\n1. {path}:{line}\n'
        '   "stream_buffer1" has no option "max_polrate", did you mean "max_poll_rate"?\n'
        '   Why: The module does not load, and what is connected to it cannot be activated.\n'
        '   Write:\n'
        '       max_poll_rate: 30.0\n'
    ), result.stdout


@with_fitting_releases
@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_buffers_are_added_to_what_qudi_brings(run, tmp_path, path):
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    output = tmp_path / f'{path.stem}_buffered.cfg'
    result = run('add', copy, 'instream_dummy')
    assert result.returncode == 0, result.stderr
    assert f"+        module.Class: '{BUFFER}'" in result.stdout
    assert f'\nWrote {output}. Start qudi with it: qudi -c "{output}"' in result.stdout
    before, after = (file.read_text(encoding='utf-8').splitlines() for file in (copy, output))
    removed = [line for line in before if line not in after]
    assert removed == ['            streamer: instream_dummy'], 'one connection moves'
    assert len(after) == len(before) + 5
    checked = run('check', output)
    assert checked.returncode == 0, checked.stdout
    assert '|-- ' not in checked.stdout, 'one program, so one buffer'


def test_a_file_that_exists_is_left_alone(run, tmp_path):
    path = tmp_path / 'lab.cfg'
    path.write_text(SEED.replace("streamer: 'stream_buffer2'", "streamer: 'instream_dummy'"))
    output = tmp_path / 'other.cfg'
    output.write_text('mine')
    refused = run('add', path, 'instream_dummy', '--output', output)
    assert refused.returncode == 2
    assert f'{output} exists. Name another file with --output, or add --force' in refused.stderr
    assert output.read_text() == 'mine'
    allowed = run('add', path, 'instream_dummy', '--output', output, '--force')
    assert allowed.returncode == 0
    assert 'time_series_logic2_buffer' in output.read_text(encoding='utf-8')


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['check', 'missing.cfg'], 'missing.cfg: No such file'),
        (['check', '.'], 'qudi-instream check: .: '),
        (['add', 'missing.cfg', 'device'], 'missing.cfg: No such file'),
        (['check'], 'required: CONFIG'),
        (['add', 'one.cfg'], 'required: DEVICE'),
        ([], 'required: command'),
        (['chek', 'one.cfg'], 'invalid choice'),
    ],
)
def test_what_cannot_be_done_has_exit_code_2(run, arguments, words):
    result = run(*arguments)
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stdout == ''


def test_all_examples_are_copied_and_nothing_is_overwritten(run, tmp_path):
    folder = tmp_path / 'a new' / 'folder'
    result = run('examples', folder)
    assert result.returncode == 0, result.stderr
    assert [path.name for path in sorted(folder.iterdir())] == [path.name for path in EXAMPLES]
    for path in EXAMPLES:
        assert (folder / path.name).read_bytes() == path.read_bytes()
    mine = folder / EXAMPLES[0].name
    mine.write_text('mine')
    assert f'{mine} exists, left as it is' in run('examples', folder).stdout
    assert mine.read_text() == 'mine'


def test_a_terminal_that_knows_few_letters_is_no_problem(run, tmp_path):
    path = tmp_path / 'lab.cfg'
    text = SEED.replace("'Hz', 'V'", "'Hz', '\u2713'").replace('True', "'\u03bb'", 1)
    path.write_text(text.replace('30.0', "'\u03bb'"), encoding='utf-8')
    for encoding in ('cp1252', 'ascii'):
        result = run('check', path, PYTHONIOENCODING=encoding, PYTHONUTF8='0')
        assert result.returncode == 1, result.stderr
        assert '\\u03bb' in result.stdout


def printed_by(code, environment):
    """What a Python of its own prints for a piece of code."""
    return subprocess.run(
        [sys.executable, '-c', code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


@pytest.mark.parametrize('arguments', [['check'], ['add', 'instream_dummy']])
def test_it_takes_less_than_three_seconds(tmp_path, environment, arguments):
    """Of processor time, which does not depend on what else the computer does."""
    copy = tmp_path / 'default.cfg'
    copy.write_bytes(SHIPPED[0].read_bytes())
    command, *rest = arguments
    code = (
        'import time\nfrom qudi.util.instream.command.main import main\n'
        f'main({[command, str(copy), *rest]!r})\nprint(time.process_time())'
    )
    assert float(printed_by(code, environment).splitlines()[-1]) < 3


def test_neither_qt_nor_a_device_is_imported(tmp_path, environment):
    path = tmp_path / 'lab.cfg'
    path.write_text(SEED, encoding='utf-8')
    code = (
        'import sys\nfrom qudi.util.instream.command.main import main\n'
        f'main(["check", {str(path)!r}])\n'
        'print([name for name in sys.modules if name.startswith(("PySide", "qudi.hardware"))])'
    )
    printed = printed_by(code, environment)
    assert printed.endswith('[]\n'), printed


@with_fitting_releases
def test_a_missing_kernel_is_told_unless_no_window_needs_it(run, tmp_path):
    path = tmp_path / 'lab.cfg'
    path.write_text(SEED, encoding='utf-8')
    result = run('check', path, JUPYTER_PATH='')
    assert result.returncode == 1
    assert 'There is no Jupyter kernel named qudi.' in result.stdout
    assert 'Type:\n       qudi-install-kernel' in result.stdout
    path.write_text(f'global:\n    hide_manager_window: True\n{SEED}', encoding='utf-8')
    assert run('check', path, JUPYTER_PATH='').returncode == 0


@pytest.fixture
def pretend(tmp_path):
    """Make it look as if a release was installed; returns the value of PYTHONPATH."""

    def make(name, version, *requirements):
        folder = tmp_path / 'packages'
        metadata = folder / f'{name}-{version}.dist-info' / 'METADATA'
        metadata.parent.mkdir(parents=True)
        lines = ['Metadata-Version: 2.1', f'Name: {name}', f'Version: {version}']
        lines += [f'Requires-Dist: {requirement}' for requirement in requirements]
        metadata.write_text('\n'.join(lines) + '\n')
        return os.pathsep.join([str(folder), str(ROOT / 'src')])

    return make


def test_releases_that_do_not_fit_each_other_are_told(run, tmp_path, pretend):
    path = tmp_path / 'lab.cfg'
    path.write_text(SEED, encoding='utf-8')
    found = run('check', path, PYTHONPATH=pretend('qudi_core', '9.9.9'))
    assert found.returncode == 1
    text = ' '.join(found.stdout.split())
    assert 'qudi-iqo-modules' in text
    assert ', but qudi-core 9.9.9 is installed. Why: They were not made for each' in text
    assert 'Type: python -m pip install "qudi-iqo-modules==' in text


def test_a_missing_qt_is_told(run, tmp_path, pretend):
    path = tmp_path / 'lab.cfg'
    path.write_text(SEED, encoding='utf-8')
    other = {'pyside6': 'PySide2', 'pyside2': 'PySide6'}[API_NAME.lower()]
    found = run('check', path, PYTHONPATH=pretend('qudi_core', '1.7.0', f'{other}>=5.15'))
    text = ' '.join(found.stdout.split())
    assert f'qudi-core 1.7.0 needs {other.lower()}>=5.15, but none is installed' in text


def test_what_check_prints_fits_a_terminal(qapp, request, tmp_path):
    document = (ROOT / 'docs' / 'commands.md').read_text(encoding='utf-8')
    text = document.split('## check')[1].split('```')[1].strip('\n')
    assert max(map(len, text.splitlines())) <= 100
    terminal = QtWidgets.QLabel(f'$ qudi-instream check my_setup.cfg\n{text}')
    terminal.setFont(QtGui.QFont('DejaVu Sans Mono', 10))
    terminal.setStyleSheet('background: #1e1e1e; color: #d4d4d4; padding: 12px')
    terminal.resize(terminal.sizeHint())  # adjustSize stops at two thirds of the screen
    path = Path(request.config.getoption('--pictures') or tmp_path) / 'check.png'
    picture = terminal.grab().toImage()
    picture = picture.convertToFormat(QtGui.QImage.Format.Format_Indexed8)
    assert picture.save(str(path), quality=0)
    assert path.stat().st_size < 80_000


def test_a_missing_package_is_told(tmp_path):
    path = tmp_path / 'lab.cfg'
    path.write_text(SEED, encoding='utf-8')
    stream = read_stream([Configuration(path)])
    text = report(list(environment_findings(stream, packages=('qudi-of-the-moon',))))
    assert 'qudi-of-the-moon is not installed in this Python environment.' in text
    assert 'Type:\n       python -m pip install qudi-of-the-moon' in text


def test_an_incomplete_installation_is_told(run, tmp_path):
    (tmp_path / 'jsonschema.py').write_text('import one_that_is_missing\n')
    python_path = os.pathsep.join([str(tmp_path), str(ROOT / 'src')])
    result = run('check', EXAMPLES[0], PYTHONPATH=python_path)
    assert result.returncode == 2
    assert "No module named 'one_that_is_missing'. Install qudi-instream-buffer" in result.stderr


@pytest.mark.skipif(sys.platform == 'win32', reason='no signal reaches one process alone there')
def test_ctrl_c_ends_it_without_a_word(environment, tmp_path):
    pipe = tmp_path / 'lab.cfg'
    os.mkfifo(pipe)  # which no program writes, so that the command waits for it
    command = [*COMMAND, 'check', str(pipe)]
    with (
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
        pipe.open('w'),
    ):  # returns when the command reads
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT  # which a shell calls 130
    assert output == (b'', b'')


@pytest.mark.skipif(sys.version_info >= (3, 12), reason='that release is good there')
def test_the_broken_release_of_qt_is_told(run, tmp_path, pretend):
    path = tmp_path / 'lab.cfg'
    path.write_text(SEED, encoding='utf-8')
    found = run('check', path, PYTHONPATH=pretend('PySide6', '6.12.0'))
    assert found.returncode == 1
    assert 'PySide6 6.12.0 aborts Python 3.1' in found.stdout
    assert 'python -m pip install "PySide6!=6.12.0"' in found.stdout


@pytest.mark.skipif(sys.platform == 'win32', reason='there is no head')
def test_a_reader_that_leaves_early_is_no_error(environment, tmp_path):
    path = tmp_path / 'lab.cfg'
    path.write_text(SEED, encoding='utf-8')
    line = f'"{sys.executable}" -m qudi.util.instream.command check "{path}" | head -n 1'
    result = subprocess.run(
        line, shell=True, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout == f'{path}\n'
    assert result.stderr == ''


def test_the_demo_is_one_of_the_commands(run):
    result = run('demo', '--help')
    assert result.returncode == 0
    assert '--slow-consumer' in result.stdout
    assert 'demo' in run('--help').stdout


def test_it_works_within_another_program(monkeypatch, capsys, tmp_path):
    """With a standard output that is no terminal and no file."""
    monkeypatch.setattr(sys, 'stdout', io.StringIO())
    assert main(['examples', str(tmp_path / 'here')]) == 0
    assert 'two_time_series.cfg' in sys.stdout.getvalue()
