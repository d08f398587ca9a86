"""qudi-instream-demo, as a user runs it: in a process of its own, with real qudi."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

# isort: split
from qtpy import API_NAME, QtGui

from qudi.util.instream.demo.command import example_config_path
from qudi.util.instream.demo.session import compare_recordings

DEMO = [sys.executable, '-m', 'qudi.util.instream.demo']
SOURCE = str(Path(__file__).parents[2] / 'src')
# What must never be on the screen of a user
BAD_WORDS = ('Traceback', 'QThread', 'QObject::', 'Segmentation', 'Aborted')


def environment(**changes):
    return {**os.environ, 'QT_QPA_PLATFORM': 'offscreen', 'PYTHONUNBUFFERED': '1', **changes}


def run(*arguments, command=DEMO, timeout=100, **changes):
    return subprocess.run(
        [*command, *arguments],
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=timeout,
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
    result = run(DISPLAY=':77', QT_QPA_PLATFORM='')
    assert result.returncode == 1, result.stdout + result.stderr
    assert_clean(result)
    assert 'Qt does not work here: Fatal error occurred' in result.stderr + result.stdout
    assert 'add --headless' in result.stderr + result.stdout


def test_a_slow_program_overflows_and_the_first_one_does_not_notice():
    result = run('--headless', '--slow-consumer')
    assert result.returncode == 0, result.stdout + result.stderr
    assert_clean(result)
    text = result.stdout
    received = int(re.search(r'"stream_buffer1" was not disturbed: (\d+) samples rec', text)[1])
    assert received > 600
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


@pytest.mark.skipif(sys.platform == 'win32', reason='a process group gets Ctrl-C on Windows')
def test_ctrl_c_quits_qudi_cleanly():
    with subprocess.Popen(
        [*DEMO, '--headless', '--seconds', '100'],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stdout:
            if '1 s  stream_buffer2' in line:
                break
        began = time.perf_counter()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.perf_counter() - began < 15
    assert 'Interrupted, qudi quits' in rest
    assert 'Shutdown complete' in rest
    for word in BAD_WORDS:
        assert word not in rest + errors, rest + errors


def test_closing_the_windows_ends_it(tmp_path):
    script = tmp_path / 'close.py'
    script.write_text(
        'import sys\n'
        'from pathlib import Path\n'
        'from qudi.util.instream.demo import command as demo, session as demo_session\n'
        'from qtpy import QtCore, QtWidgets\n'
        'begin = demo_session._Session.begin\n'
        'def begin_and_close(session):\n'
        '    begin(session)\n'
        '    QtCore.QTimer.singleShot(1500, QtWidgets.QApplication.closeAllWindows)\n'
        'demo_session._Session.begin = begin_and_close\n'
        'home = Path(sys.argv[1])\n'
        'example = demo.example_config_path()\n'
        'demo.main = lambda: demo_session.run(example, home, with_windows=True)\n'
        'demo.command()\n'
    )
    result = run(str(script), str(tmp_path), command=[sys.executable])
    assert result.returncode == 0, result.stdout + result.stderr
    assert 'Shutdown complete' in result.stdout
    assert_clean(result)


def test_a_module_that_does_not_start_is_named_and_ends_it(tmp_path):
    example = tmp_path / 'two_time_series.cfg'
    text = example_config_path().read_text()
    assert 'max_poll_rate' in text
    example.write_text(text.replace('max_poll_rate', 'max_pol_rate', 1))
    script = tmp_path / 'broken.py'
    script.write_text(
        'import sys\n'
        'from pathlib import Path\n'
        'from qudi.util.instream.demo import command as demo, session as demo_session\n'
        'example, home = map(Path, sys.argv[1:])\n'
        'home.mkdir()\n'
        'demo.main = lambda: demo_session.run(example, home, with_windows=False, seconds=3)\n'
        'demo.command()\n'
    )
    result = run(str(script), str(example), str(tmp_path / 'home2'), command=[sys.executable])
    assert result.returncode == 1, result.stdout + result.stderr
    assert 'did you mean "max_poll_rate"?' in result.stdout + result.stderr
    assert '"time_series_logic1" did not start' in result.stderr


def test_a_missing_system_library_is_named_with_the_packages_to_install(tmp_path):
    package = tmp_path / {'pyside6': 'PySide6', 'pyside2': 'PySide2'}[API_NAME.lower()]
    package.mkdir()
    (package / '__init__.py').write_text(
        'raise ImportError("libEGL.so.1: cannot open shared object file: No such file")\n'
    )
    result = run('--headless', PYTHONPATH=os.pathsep.join([str(tmp_path), SOURCE]))
    assert result.returncode == 1
    assert 'libEGL.so.1' in result.stderr
    assert 'apt-get install' in result.stderr
    assert ' libegl1 ' in result.stderr
    assert 'Traceback' not in result.stderr


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
