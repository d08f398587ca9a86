"""How qudi-instream-demo ends before its time: Ctrl-C, a closed pipe, a kill."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from complaints import assert_clean
from demo_process import DEMO, environment, path_with_qt


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
    assert_clean(rest + errors, 'Traceback')
    left = list((tmp_path / 'temporary').iterdir())
    assert not left, f'the demo has left {left}'
    return rest


@pytest.fixture
def slow_qt(tmp_path):
    """A Qt that takes a minute to load."""
    return path_with_qt(tmp_path / 'slow', 'import time\ntime.sleep(60)\n')


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
