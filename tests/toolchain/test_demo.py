"""qudi-instream-demo, as a user runs it: in a process of its own, with real qudi."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

# isort: split
from qtpy import API_NAME, QtCore, QtGui

from qudi.util.instream.demo.command import example_config_path, qt_problem
from qudi.util.instream.demo.session import compare_recordings, window_places

DEMO = [sys.executable, '-m', 'qudi.util.instream.command', 'demo']
ROOT = Path(__file__).parents[2]
SOURCE = str(ROOT / 'src')
LEAN = str(Path(__file__).parents[1] / 'helpers' / 'lean')
# What must never be on the screen of a user
BAD_WORDS = ('Traceback', 'QThread', 'QObject::', 'Segmentation', 'Aborted')


def environment(**changes):
    return {
        **os.environ,
        'QT_QPA_PLATFORM': 'offscreen',
        'PYTHONUNBUFFERED': '1',
        'PYTHONPATH': LEAN,
        'PYTEST_ADDOPTS': '',  # pytest within a test would take the coverage of that around it
        **changes,
    }


def run(*arguments, command=DEMO, timeout=100, **changes):
    return subprocess.run(
        [*command, *arguments],
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
        check=False,
    )


def assert_clean(result):
    text = result.stdout + result.stderr
    for word in BAD_WORDS:
        assert word not in text, text


def test_headless_checks_both_streams_and_leaves_the_home_alone(home):
    (home / 'qudi' / 'mine.txt').write_text('of the user')
    before = sorted(path for path in home.rglob('*') if 'matplotlib' not in str(path))
    result = run('--headless', '--seconds', '3')
    assert result.returncode == 0, result.stdout + result.stderr
    assert_clean(result)
    assert 'Both programs have seen the same stream' in result.stdout
    for name in ('stream_buffer1', 'stream_buffer2'):
        lines = [line for line in result.stdout.splitlines() if f's  {name}:' in line]
        assert len(lines) == 3, 'one line a second for each buffer'
        assert all('0 samples lost' in line for line in lines)
    after = sorted(path for path in home.rglob('*') if 'matplotlib' not in str(path))
    assert after == before, 'the demo wrote into the home of the user'


@pytest.mark.skipif(sys.platform in ('win32', 'darwin'), reason='there is always a screen')
def test_a_screen_that_cannot_be_reached_is_told_with_a_cure():
    result = run(DISPLAY=':9977', QT_QPA_PLATFORM='')
    assert result.returncode == 1, result.stdout + result.stderr
    assert_clean(result)
    assert 'Qt does not work here: Fatal error occurred' in result.stderr + result.stdout
    assert 'add --headless' in result.stderr + result.stdout


def test_a_slow_program_overflows_and_the_first_one_does_not_notice():
    result = run('--headless', '--slow-consumer', '--seconds', '11')
    assert result.returncode == 0, result.stdout + result.stderr
    assert_clean(result)
    text = result.stdout
    received = int(re.search(r'"stream_buffer1" was not disturbed: (\d+) samples rec', text)[1])
    assert received > 400
    assert '"stream_buffer1" was not disturbed' in text
    assert f'{received} samples received, 0 lost. "stream_buffer2"' in text
    assert 'its stream has ended: its ring of 150 samples was full' in text
    assert 'Both programs have seen the same stream' in text


def test_a_slow_program_that_does_not_overflow_in_time_is_not_as_foretold():
    result = run('--headless', '--slow-consumer', '--seconds', '1')
    assert result.returncode == 1
    assert 'The stream of "stream_buffer2" is running' in result.stderr


def test_screenshots_show_both_windows_and_the_monitor(tmp_path):
    result = run('--seconds', '2', '--screenshots', str(tmp_path / 'shots'))
    assert result.returncode == 0, result.stdout + result.stderr
    assert_clean(result)
    for name in ('time_series_gui1', 'time_series_gui2', 'instream_monitor_gui', 'demo'):
        image = QtGui.QImage(str(tmp_path / 'shots' / f'{name}.png'))
        assert image.width() >= 400
        colours = {
            image.pixel(x, y)
            for x in range(0, image.width(), 3)
            for y in range(0, image.height(), 3)
        }
        assert len(colours) > 50, 'the picture is empty'


# -------------------------------------------------------------------- how it ends before its time


@pytest.fixture
def demo(tmp_path):
    """Start the demo, with a folder of its own for temporary files."""
    (tmp_path / 'temporary').mkdir()
    processes = []

    def start(*arguments, **changes):
        process = subprocess.Popen(
            [*DEMO, *arguments],
            env=environment(TMPDIR=str(tmp_path / 'temporary'), **changes),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def read_until(process, text):
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f'the demo has ended without "{text}": {process.stderr.read()}')


def assert_ended_with(process, exit_code, tmp_path):
    rest, errors = process.communicate(timeout=30)
    assert process.returncode == exit_code, rest + errors
    for word in BAD_WORDS:
        assert word not in rest + errors, rest + errors
    left = list((tmp_path / 'temporary').iterdir())
    assert not left, f'the demo has left {left}'
    return rest


@pytest.fixture
def slow_qt(tmp_path):
    """A Qt that takes a minute to load."""
    package = tmp_path / 'slow' / {'pyside6': 'PySide6', 'pyside2': 'PySide2'}[API_NAME.lower()]
    package.mkdir(parents=True)
    (package / '__init__.py').write_text('import time\ntime.sleep(60)\n')
    return os.pathsep.join([str(tmp_path / 'slow'), SOURCE])


def send_ctrl_c(process, times):
    """As a terminal does: to all processes of the group."""
    for _ in range(times):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.05)  # a second one is to come before the first one has done its work


on_posix = pytest.mark.skipif(
    sys.platform == 'win32', reason='a process group gets Ctrl-C on Windows'
)


@on_posix
def test_ctrl_c_while_the_command_itself_loads_ends_it_without_a_word():
    script = (
        'import sys, time\n'
        'class SlowDisk:\n'
        '    def find_spec(self, name, path=None, target=None):\n'
        '        if name == "qudi.util.instream.demo.command":\n'
        '            print("it loads", flush=True)\n'
        '            time.sleep(60)\n'
        'sys.meta_path.insert(0, SlowDisk())\n'
        'from qudi.util.instream.command.main import demo_command\n'
        'demo_command()\n'
    )
    with subprocess.Popen(
        [sys.executable, '-c', script],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        read_until(process, 'it loads')
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT  # which a shell calls 130
    assert rest + errors == ''


@on_posix
@pytest.mark.parametrize('times', [1, 9])
def test_ctrl_c_while_modules_load_ends_it_at_once(demo, slow_qt, tmp_path, times):
    process = demo('--headless', PYTHONPATH=slow_qt)
    read_until(process, 'qudi starts')  # and says so before Qt is loaded
    began = time.perf_counter()
    send_ctrl_c(process, times)
    assert_ended_with(process, 130, tmp_path)
    assert time.perf_counter() - began < 9, 'it has waited for qudi, which does not run yet'


@on_posix
@pytest.mark.parametrize(
    ('text', 'times'),
    [
        ('Starting qudi', 1),
        pytest.param('Starting qudi', 2, marks=pytest.mark.long),
        pytest.param('Loading startup', 1, marks=pytest.mark.long),
        ('Loading startup', 2),
        ('Starting Qt event', 1),
        pytest.param('Starting Qt event', 2, marks=pytest.mark.long),
        ('1 s  ', 2),
    ],
)
def test_ctrl_c_ends_it_cleanly_at_each_stage(demo, tmp_path, text, times):
    process = demo('--headless', '--seconds', '100')
    read_until(process, text)
    send_ctrl_c(process, times)
    assert_ended_with(process, 130, tmp_path)


@on_posix
def test_ctrl_c_quits_qudi_in_order(demo, tmp_path):
    process = demo('--headless', '--seconds', '100')
    read_until(process, '1 s  stream_buffer2')
    send_ctrl_c(process, 1)
    rest = assert_ended_with(process, 130, tmp_path)
    assert 'Interrupted, qudi quits' in rest
    assert 'Shutdown complete' in rest


@on_posix
def test_ctrl_c_while_qudi_quits_by_itself_leaves_nothing(demo, tmp_path):
    process = demo('--headless', '--seconds', '1')
    read_until(process, 'Qudi shutting down')
    send_ctrl_c(process, 3)
    assert_ended_with(process, 130, tmp_path)


def test_output_that_nobody_reads_any_more_ends_it_without_a_traceback(demo, tmp_path):
    process = demo('--headless', '--seconds', '100')
    for _ in range(3):
        process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert 'Traceback' not in errors
    assert 'BrokenPipe' not in errors
    assert not list((tmp_path / 'temporary').iterdir())


def test_its_qudi_ends_when_the_command_was_killed(demo):
    process = demo('--headless', '--seconds', '100')
    read_until(process, '1 s  stream_buffer2')
    (session,) = psutil.Process(process.pid).children()
    process.kill()
    _, alive = psutil.wait_procs([session], timeout=30)
    assert not alive, 'qudi goes on without the command'


# -------------------------------------------------------------------- its windows


@pytest.mark.parametrize(
    ('width', 'height'), [(1920, 1080), (1366, 768), (1280, 720), (1024, 768), (800, 800)]
)
def test_all_windows_have_a_place_on_the_screen(width, height):
    screen = QtCore.QRect(5, 30, width, height)
    windows, monitor = window_places(screen, 2, 530)
    for place in (*windows, monitor):
        assert screen.contains(place), f'{place} is not on the screen'
        assert place.top() > screen.top(), 'the title is off the screen'
    assert not any(place.intersects(monitor) for place in windows)
    assert not windows[0].intersects(windows[1]) or width < 2 * 530
    assert min(place.height() for place in windows) >= 290, 'the trace has no room'


# Begins a session in its own process and calls `later` when that streams
SESSION = """\
import json, sys
from qtpy import QtCore, QtWidgets
from qudi.core.application import Qudi
from qudi.util.instream.demo.session import run

def module(name):
    return Qudi.instance().module_manager[name].instance

class Request:
    is_made = False
    def begin(self):
        QtCore.QTimer.singleShot(2500, later)

example, home, *seconds = sys.argv[1:]
"""


def test_the_windows_fit_the_screen_and_show_something_to_look_at(tmp_path):
    script = tmp_path / 'look.py'
    script.write_text(
        SESSION + 'def later():\n'
        '    windows = [module(name)._mw for name in ("time_series_gui1", "time_series_gui2")]\n'
        '    monitor = module("instream_monitor_gui")._mw\n'
        '    status = [module(name).status for name in ("stream_buffer1", "stream_buffer2")]\n'
        '    screen = QtWidgets.QApplication.primaryScreen().availableGeometry()\n'
        '    print("seen:", json.dumps({\n'
        '        "titles": [window.windowTitle() for window in windows],\n'
        '        "values": [window.current_value_label.text() for window in windows],\n'
        '        "fit": [screen.contains(window.geometry()) for window in (*windows, monitor)],\n'
        '        "levels": [one.peak_fill / one.ring_size for one in status],\n'
        '    }))\n'
        'sys.exit(run(example, home, True, seconds=float(seconds[0]), request=Request()))\n'
    )
    arguments = (str(example_config_path()), str(tmp_path), '3')
    result = run(str(script), *arguments, command=[sys.executable])
    seen = json.loads(result.stdout.split('seen:')[1].splitlines()[0])
    assert all(seen['fit']), 'a window is not on the screen'
    assert len(set(seen['titles'])) == 2, 'the titles do not tell the windows apart'
    for value, unit in zip(seen['values'], ('Hz', 'V'), strict=True):
        assert re.fullmatch(rf'-?\d+\.\d+ .?{unit}', value), 'no value is shown'
    assert max(seen['levels']) > 0.1, 'the monitor shows empty buffers only'


def test_closing_the_windows_ends_it(tmp_path):
    script = tmp_path / 'close.py'
    script.write_text(
        SESSION + 'later = QtWidgets.QApplication.closeAllWindows\n'
        'sys.exit(run(example, home, True, request=Request()))\n'
    )
    arguments = (str(example_config_path()), str(tmp_path))
    result = run(str(script), *arguments, command=[sys.executable])
    assert result.returncode == 0, result.stdout + result.stderr
    assert 'Shutdown complete' in result.stdout
    assert_clean(result)


def test_a_module_that_does_not_start_is_named_and_ends_it(tmp_path):
    example = tmp_path / 'two_time_series.cfg'
    text = example_config_path().read_text()
    assert 'max_poll_rate' in text
    example.write_text(text.replace('max_poll_rate', 'max_pol_rate', 1))
    home = tmp_path / 'broken'
    home.mkdir()
    script = tmp_path / 'broken.py'
    script.write_text(SESSION + 'sys.exit(run(example, home, False, seconds=3))\n')
    result = run(str(script), str(example), str(home), command=[sys.executable])
    assert result.returncode == 1, result.stdout + result.stderr
    assert 'did you mean "max_poll_rate"?' in result.stdout + result.stderr
    assert '"time_series_logic1" did not start' in result.stderr


@pytest.fixture
def broken_qt(tmp_path):
    """A Qt on a system that lacks a library; where modules are found then."""
    package = tmp_path / 'broken' / {'pyside6': 'PySide6', 'pyside2': 'PySide2'}[API_NAME.lower()]
    package.mkdir(parents=True)
    (package / '__init__.py').write_text(
        'raise ImportError("libEGL.so.1: cannot open shared object file: No such file")\n'
    )
    return os.pathsep.join([str(tmp_path / 'broken'), SOURCE])


@pytest.mark.parametrize(
    'command',
    [[*DEMO, '--headless'], [sys.executable, '-m', 'pytest', 'tests/unit']],
    ids=['demo', 'tests'],
)
def test_a_missing_system_library_is_named_with_the_packages_to_install(broken_qt, command):
    result = run(command=command, PYTHONPATH=broken_qt)
    text = result.stdout + result.stderr
    assert result.returncode == 1, text
    assert 'libEGL.so.1' in text
    assert 'apt-get install' in text
    assert ' libegl1 ' in text
    assert 'Traceback' not in text


def test_the_readme_names_the_packages_that_the_demo_names():
    needed = qt_problem('it').split('--no-install-recommends ')[1].split()
    assert len(needed) > 10
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    (line,) = re.findall(r'^apt-get update && apt-get install .*$', readme, re.MULTILINE)
    assert set(needed) <= set(line.split())


@pytest.mark.parametrize('seconds', ['0', '-1', 'ten', 'inf'])
def test_a_duration_that_is_none_is_refused(seconds):
    result = run('--seconds', seconds)
    assert result.returncode == 2
    assert f'{seconds} is not a positive number of seconds' in result.stderr


def test_the_example_is_found_in_a_checkout():
    assert example_config_path() == Path(__file__).parents[2] / 'config' / 'two_time_series.cfg'


def record(first, count):
    return np.random.default_rng(5).random((1000, 2))[first : first + count]


@pytest.mark.parametrize(('first', 'second'), [((0, 500), (7, 480)), ((9, 500), (0, 500))])
def test_recordings_of_one_stream_are_the_same_whoever_began_first(first, second):
    assert compare_recordings(record(*first), record(*second)) == ''


def test_a_gap_a_repeat_or_another_stream_is_found():
    whole = record(0, 500)
    gap = np.delete(whole, 300, axis=0)
    assert 'they differ from sample 300' in compare_recordings(whole, gap)
    repeat = np.insert(whole, 300, whole[300], axis=0)
    assert 'they differ from sample 301' in compare_recordings(repeat, whole)
    assert 'not found' in compare_recordings(whole, whole[::-1] + 1)
    assert '500 and 0 samples were recorded' in compare_recordings(whole, whole[:0])
