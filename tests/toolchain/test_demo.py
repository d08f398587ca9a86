"""qudi-instream-demo, as a user runs it: in a process of its own, with real qudi."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

# isort: split
from qtpy import QtCore, QtGui

from complaints import assert_clean
from demo_process import DEMO, ROOT, path_with_qt, run
from qudi.util.instream.demo.command import example_config_path, qt_problem
from qudi.util.instream.demo.session import compare_recordings, window_places


def test_headless_checks_both_streams_and_leaves_the_home_alone(home):
    (home / 'qudi' / 'mine.txt').write_text('of the user')
    before = sorted(path for path in home.rglob('*') if 'matplotlib' not in str(path))
    result = run('--headless', '--seconds', '3')
    assert result.returncode == 0, result.stdout + result.stderr
    assert_clean(result.stdout + result.stderr, 'Traceback')
    assert 'Both programs have seen the same stream' in result.stdout
    for name in ('stream_buffer1', 'stream_buffer2'):
        lines = [line for line in result.stdout.splitlines() if f's  {name}:' in line]
        assert len(lines) == 3, 'one line a second for each buffer'
        assert all('0 samples lost' in line for line in lines)
    after = sorted(path for path in home.rglob('*') if 'matplotlib' not in str(path))
    assert after == before, 'the demo wrote into the home of the user'


# A Qt that only tells what qudi finds in the environment
PROBE = """\
import json, os, site
found = [os.environ["HOME"], os.environ.get("XAUTHORITY"), site.getusersitepackages()]
print("found:", json.dumps(found), flush=True)
raise ImportError("no Qt")
"""


def test_the_session_finds_what_opens_the_screen_and_the_packages_of_the_user(
    home, tmp_path, monkeypatch
):
    """In the user's home, although it has one of its own."""
    for variable in ('XAUTHORITY', 'PYTHONUSERBASE'):
        monkeypatch.delenv(variable, raising=False)
    path = path_with_qt(tmp_path / 'probe', PROBE)

    def found(**changes):
        result = run('--headless', PYTHONPATH=path, **changes)
        assert 'found:' in result.stdout, result.stdout + result.stderr
        return json.loads(result.stdout.split('found:')[1].splitlines()[0])

    ask = 'import site; print(site.getusersitepackages())'
    packages = run(command=[sys.executable, '-c', ask]).stdout.strip()
    its_home, cookie, its_packages = found()
    assert Path(its_home) != home
    assert (cookie, its_packages) == (None, packages)
    (home / '.Xauthority').touch()
    assert found()[1:] == [str(home / '.Xauthority'), packages]
    other = str(tmp_path / 'other')
    _, cookie, its_packages = found(XAUTHORITY=other, PYTHONUSERBASE=other)
    assert cookie == other, 'the user has said where it is'
    assert its_packages.startswith(other)


@pytest.mark.skipif(sys.platform in ('win32', 'darwin'), reason='there is always a screen')
def test_a_screen_that_cannot_be_reached_is_told_with_a_cure():
    result = run(DISPLAY=':9977', QT_QPA_PLATFORM='')
    assert result.returncode == 1, result.stdout + result.stderr
    assert_clean(result.stdout + result.stderr, 'Traceback')
    assert 'Qt does not work here: Fatal error occurred' in result.stderr + result.stdout
    assert 'add --headless' in result.stderr + result.stdout


def test_a_slow_program_overflows_and_the_first_one_does_not_notice():
    result = run('--headless', '--slow-consumer', '--seconds', '11')
    assert result.returncode == 0, result.stdout + result.stderr
    assert_clean(result.stdout + result.stderr, 'Traceback')
    text = result.stdout
    received = int(re.search(r'"stream_buffer1" was not disturbed: (\d+) samples rec', text)[1])
    assert received > 400
    assert '"stream_buffer1" was not disturbed' in text
    assert f'{received} samples received, 0 lost. "stream_buffer2"' in text
    assert 'its stream has ended: its ring of 150 samples was full' in text
    assert 'The slow program has seen the same stream until its end' in text


def test_a_slow_program_that_does_not_overflow_in_time_is_not_as_foretold():
    result = run('--headless', '--slow-consumer', '--seconds', '1')
    assert result.returncode == 1
    assert 'The stream of "stream_buffer2" is running' in result.stderr


def test_screenshots_show_both_windows_and_the_monitor(tmp_path):
    result = run('--seconds', '2', '--screenshots', str(tmp_path / 'shots'))
    assert result.returncode == 0, result.stdout + result.stderr
    assert_clean(result.stdout + result.stderr, 'Traceback')
    for name in ('time_series_gui1', 'time_series_gui2', 'instream_monitor_gui', 'demo'):
        image = QtGui.QImage(str(tmp_path / 'shots' / f'{name}.png'))
        assert image.width() >= 400
        colours = {
            image.pixel(x, y)
            for x in range(0, image.width(), 3)
            for y in range(0, image.height(), 3)
        }
        assert len(colours) > 50, 'the picture is empty'


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
import json, os, sys
from qtpy import QtCore, QtWidgets
from qudi.core.application import Qudi
from qudi.util.instream.demo.session import run

def module(name):
    return Qudi.instance().module_manager[name].instance

class Request:
    is_made = False
    def begin(self):
        QtCore.QTimer.singleShot(2500, later)

def end(code):
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # as the demo does: PySide2 crashes now and then at the end of Python

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
        'end(run(example, home, True, seconds=float(seconds[0]), request=Request()))\n'
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
        'end(run(example, home, True, request=Request()))\n'
    )
    arguments = (str(example_config_path()), str(tmp_path))
    result = run(str(script), *arguments, command=[sys.executable])
    assert result.returncode == 0, result.stdout + result.stderr
    assert 'Shutdown complete' in result.stdout
    assert_clean(result.stdout + result.stderr, 'Traceback')


def test_a_module_that_does_not_start_is_named_and_ends_it(tmp_path):
    example = tmp_path / 'two_time_series.cfg'
    text = example_config_path().read_text()
    assert 'max_poll_rate' in text
    example.write_text(text.replace('max_poll_rate', 'max_pol_rate', 1))
    home = tmp_path / 'broken'
    home.mkdir()
    script = tmp_path / 'broken.py'
    script.write_text(SESSION + 'end(run(example, home, False, seconds=3))\n')
    result = run(str(script), str(example), str(home), command=[sys.executable])
    assert result.returncode == 1, result.stdout + result.stderr
    assert 'did you mean "max_poll_rate"?' in result.stdout + result.stderr
    assert '"time_series_logic1" did not start' in result.stderr


@pytest.fixture
def broken_qt(tmp_path):
    """A Qt on a system that lacks a library; where modules are found then."""
    problem = 'libEGL.so.1: cannot open shared object file: No such file'
    return path_with_qt(tmp_path / 'broken', f'raise ImportError("{problem}")\n')


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
