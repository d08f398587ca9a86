"""Break the source on purpose, one place at a time, and see the test that is named here fail.

    python tests/tools/breakages.py

Here are breakages that only threads, qudi or several processes show, and two of properties, which
mutmut leaves alone; `tests/tools/mutation.py` has the rest. They are made in copies of the source
and the tests. The exit code is 0 only if the intact copy passes all these tests, and each breakage
is caught.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path('src') / 'qudi'


@dataclass(frozen=True)
class Breakage:
    """A piece of the source, what it is turned into, and the test that must fail then.

    Parameters
    ----------
    what : str
        What is broken, in words.
    where : str
        The class, method or function with the piece, whatever file it is in.
    piece : str
        A statement or expression, however it is wrapped and quoted there, or `if`, `while` or
        `except` with what follows it. It stands there only once.
    broken : str
        What it is turned into; for `if`, `while` and `except` without that word.
    test : str
        The test that notices, as pytest calls it, below tests.
    """

    what: str
    where: str
    piece: str
    broken: str
    test: str

    def places(self, source: str) -> list[tuple[int, int]]:
        """Where the piece stands in a source: the numbers of its first character and the next."""
        lines = source.encode().splitlines(keepends=True)

        def offset(line: int, column: int) -> int:
            before = b''.join(lines[: line - 1]) + lines[line - 1][:column]
            return len(before.decode())

        return [
            (offset(node.lineno, node.col_offset), offset(node.end_lineno, node.end_col_offset))
            for scope in _named(ast.parse(source), self.where)
            for node in _pieces(scope, self.piece)
        ]

    def found_in(self, root: Path) -> tuple[Path, int, int]:
        """Return the one file with the piece, and where it stands in it."""
        found = [
            (path, *place)
            for path in sorted((root / SOURCE).rglob('*.py'))
            for place in self.places(path.read_text(encoding='utf-8'))
        ]
        if len(found) != 1:
            raise ValueError(f'"{self.what}": its piece stands {len(found)} times in {self.where}')
        return found[0]


def _named(tree: ast.AST, name: str) -> Iterator[ast.AST]:
    """The classes and functions with a name like `Class.method` in a source."""
    first, _, rest = name.partition('.')
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == first:
            yield from _named(node, rest) if rest else [node]


def _pieces(scope: ast.AST, piece: str) -> Iterator[ast.AST]:
    word, _, rest = piece.partition(' ')
    kinds = {
        'if': (ast.If, 'test'),
        'while': (ast.While, 'test'),
        'except': (ast.ExceptHandler, 'type'),
    }
    if word in kinds:
        kind, part = kinds[word]
        found = [getattr(node, part) for node in ast.walk(scope) if isinstance(node, kind)]
        wanted = ast.dump(ast.parse(rest, mode='eval').body)
    else:
        found = list(ast.walk(scope))
        (statement,) = ast.parse(piece).body
        wanted = ast.dump(statement.value if isinstance(statement, ast.Expr) else statement)
    yield from (node for node in found if node is not None and ast.dump(node) == wanted)


BREAKAGES = [
    Breakage(
        'the registry lets two in at once',
        '_join',
        'entry = _entries[uuid] = _Entry(make(), users=1)',
        '_lock.release()\n'
        '(made := make()).open()\n'
        '_lock.acquire()\n'
        'entry = _entries[uuid] = _Entry(made, users=1)',
        'module/test_lifecycle.py::test_buffers_that_are_activated_at_once_share_one_distributor',
    ),
    Breakage(
        'a device that hangs is forgotten',
        'acquire',
        'while entry.users == 0',
        'False',
        'module/test_faults.py::'
        'test_a_device_that_hangs_past_the_deactivation_is_not_used_by_two[block in read]',
    ),
    Breakage(
        'a job runs in the thread of its caller',
        'DeviceThread.run',
        'self.jobs.run(Job(call, consequence, **options))',
        'call()',
        'module/test_device_thread.py::test_all_calls_come_from_one_thread_of_its_own',
    ),
    Breakage(
        'a job that has not begun is not withdrawn',
        'JobQueue._give_up',
        'if not job.has_begun and not job.must_run and job in self._jobs',
        'False',
        'module/test_device_thread.py::'
        'test_a_job_that_has_not_begun_is_withdrawn_when_its_caller_gives_up',
    ),
    Breakage(
        'a start whose caller gave up is not undone',
        'StreamDistributor.start',
        'partial(changed, stop)',
        'None',
        'module/test_faults.py::'
        'test_a_start_whose_caller_gave_up_stops_what_it_started[start slowly]',
    ),
    Breakage(
        'each caller has a patience of its own',
        'JobQueue._wait',
        'left = self._patience_for(job)',
        "since = vars(job).setdefault('since', self._now())\n"
        'left = max(0.0, since + self._patience - self._now())',
        'module/test_device_thread.py::'
        'test_callers_share_the_patience_which_counts_from_the_beginning_of_the_call',
    ),
    Breakage(
        'a stop wakes no reader before it has the device',
        'StreamDistributor._stop',
        "stream.end(StreamEnd.STOPPED, 'it was stopped')",
        'pass',
        'module/test_faults.py::test_a_hanging_read_freezes_nobody_for_long',
    ),
    Breakage(
        'a stop ends reads whose samples are due',
        'StreamDistributor.stop',
        'stream.begin_stop()',
        'pass',
        'module/test_field_reading.py::'
        'test_a_stop_lets_a_read_finish_whose_samples_are_due[alone-main thread]',
    ),
    Breakage(
        'a read copies with the lock held',
        'StreamReader',
        'ring.peek_into(*piece, first)',
        'with stream.lock: ring.peek_into(*piece, first)',
        'unit/test_stream.py::test_everything_else_goes_on_while_samples_are_copied',
    ),
    Breakage(
        'a read that was overtaken has a gap',
        'StreamReader',
        'if readers.overwritten != overwritten',
        'False',
        'unit/test_stream.py::test_a_read_that_is_overtaken_starts_again_without_a_gap',
    ),
    Breakage(
        'a read beside a stop returns before it',
        'Readers._return',
        'if self._is_stopping',
        'False',
        'unit/test_stream.py::test_a_read_beside_a_stop_returns_when_that_is_complete',
    ),
    Breakage(
        'a strict stream that is only looked at overflows',
        'BufferedStream.drops_oldest',
        'self._allow_overwrite or (self.is_snapshot and not self.is_read)',
        'self._allow_overwrite',
        'unit/test_stream.py::'
        'test_a_strict_stream_of_which_only_snapshots_are_taken_drops_its_oldest_samples',
    ),
    Breakage(
        'a late poll lets one too many into its second',
        'PollPlan.not_before',
        'self._polls[-most] + 1.0 if is_full else -math.inf',
        '-math.inf',
        'unit/test_poll_plan.py::test_never_polls_more_often_than_the_ceiling_allows',
    ),
    Breakage(
        'threads change the state during a deactivation',
        'DataInStreamBuffer._state_change_due',
        'if self._is_leaving',
        'False',
        'module/test_lifecycle.py::test_nobody_changes_the_state_while_qudi_deactivates',
    ),
    Breakage(
        'others start the device while buffers stream',
        'StartGuard._start_for_others',
        'if self._is_claimed',
        'False',
        'module/test_guard.py::test_a_second_start_of_the_device_is_refused_while_buffers_stream',
    ),
    Breakage(
        'the last one to end leaves the device running',
        'DeviceStop.stop',
        'self._hardware.stop()',
        'pass',
        'module/test_fault_table.py::'
        'test_deactivating_or_reloading_a_running_buffer_is_a_stop[3-waiting-strict-deactivate]',
    ),
    Breakage(
        'a slot runs in the thread of the device',
        'BufferReports.changed',
        'self._reports.put(self._follow_state)',
        'self._follow_state()',
        'module/test_field_sharing.py::'
        'test_a_slow_slot_of_one_buffer_delays_no_other[sigStateChanged]',
    ),
    Breakage(
        'a log handler runs in the thread of the device',
        'BufferReports.ended',
        'self._reports.put(lambda: self._tell_end(stream, status))',
        'self._tell_end(stream, status)',
        'module/test_field_sharing.py::test_a_slow_log_handler_keeps_no_sample_from_other_buffers',
    ),
    Breakage(
        'a device that never locks its state is not stopped',
        'DeviceState.is_running',
        "self._state == 'locked' or (self._is_started and self.is_kept is False)",
        "self._state == 'locked'",
        'module/test_field_devices.py::'
        'test_a_device_that_never_locks_its_state_is_stopped_with_its_last_buffer[deactivate]',
    ),
    Breakage(
        'an offer for others that the start refuses is not withdrawn',
        'DeviceStreams._start_hardware',
        'if is_refusal(error) or offer is found[-1]',
        'True',
        'module/test_field_sharing.py::'
        'test_channels_that_an_idle_buffer_once_wanted_keep_nobody_from_starting'
        '[reserve one channel]',
    ),
    Breakage(
        'the device is configured in another order than its own',
        'StreamHardware.ordered',
        '[channel for channel in known if channel in request.channels]',
        '[channel for channel in known[::-1] if channel in request.channels]',
        'module/test_field_settings.py::'
        'test_each_buffer_gets_its_channels_whatever_an_idle_one_asked_for_last',
    ),
    Breakage(
        'a property asks the device',
        'StreamDistributor.settings',
        'self._member(name).settings or self._hardware.reported',
        'self._member(name).settings or self._hardware._report()',
        'module/test_field_causes.py::test_only_the_rate_is_a_question_to_the_device[unconfigured]',
    ),
    Breakage(
        'an exception that is no Exception ends the polls',
        'DevicePolls.poll',
        '_fail(active, error, hardware.name, changes)',
        'if not isinstance(error, Exception):\n'
        '    raise\n'
        '_fail(active, error, hardware.name, changes)',
        'module/test_field_causes.py::'
        'test_an_exception_of_any_kind_is_a_fault_that_names_it[Panic-raise in available_samples]',
    ),
    Breakage(
        'an error of one stream is a fault of all',
        'DevicePolls.poll',
        'except Exception',
        'OSError',
        'module/test_field_sharing.py::'
        'test_an_error_in_the_part_of_one_stream_ends_that_stream_only',
    ),
    Breakage(
        'a device that fetches inside reads only is not read',
        'DeviceSamples.read',
        'is_fetch_due = not self._has_shown_any and self.asked_at > self._fetch_at',
        'is_fetch_due = False',
        'module/test_polling.py::test_a_device_that_shows_samples_only_inside_a_read_is_read',
    ),
    Breakage(
        'more is asked of the device than it has',
        'DeviceSamples.read',
        'rest = int(min(available, limit))',
        'rest = int(min(available + 1, limit))',
        'module/test_sharing.py::test_every_buffer_gets_the_whole_stream_at_its_own_pace',
    ),
    Breakage(
        'configure beside others goes to the device',
        'DeviceStreams.configure',
        'request.check_against(self.hardware.constraints)',
        'self.hardware.configure(request)',
        'module/test_requests.py::test_configure_while_another_runs_never_touches_the_device',
    ),
    Breakage(
        'an abandoned stream stays in the way',
        'DeviceStreams._clear_the_way',
        'if not streams or not all(stream and stream.is_abandoned for stream in streams)',
        'True',
        'module/test_field_windows.py::'
        'test_a_stream_whose_program_has_given_up_makes_way_for_another_rate',
    ),
    Breakage(
        'the stream of a client that died goes on',
        'DevicePolls.poll',
        'if member.client is not None and member.client.has_gone',
        'False',
        'remote/test_remote_consumers.py::'
        'test_a_killed_client_frees_its_buffer_and_costs_the_others_nothing',
    ),
    Breakage(
        'a read that waits long keeps qudi from quitting',
        'Readers',
        'self._is_quitting()',
        'False',
        'module/test_lifecycle.py::'
        'test_a_read_that_waits_long_does_not_keep_qudi_from_quitting[TIMESTAMP]',
    ),
    Breakage(
        'the monitor goes on looking at a buffer that was reloaded',
        'InStreamMonitorLogic._take',
        'if known is None or not known.is_of(module)',
        'known is None',
        'toolchain/test_monitor.py::test_rows_come_and_go_with_the_buffers',
    ),
]


def run_tests(tests: list[str], copy: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        'QT_QPA_PLATFORM': 'offscreen',
        'PYTHONPATH': str(copy / 'src'),
        'PYTHONDONTWRITEBYTECODE': '1',  # a file is changed twice within a second
    }
    usual = ['-q', '-x', '--no-header', '--tb=line', '--show-capture=no', '-p', 'no:cacheprovider']
    return subprocess.run(
        [sys.executable, '-m', 'pytest', *usual, *options, *tests],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def check(breakage: Breakage, copy: Path) -> bool:
    """Whether the named test fails with this breakage."""
    path, first, end = breakage.found_in(copy)
    intact = path.read_text(encoding='utf-8')
    before = intact[:first]
    indent = ' ' * (first - before.rfind('\n') - 1)
    broken = textwrap.indent(breakage.broken, indent).strip()
    path.write_text(f'{before}{broken}{intact[end:]}', encoding='utf-8')
    result = run_tests([f'tests/{breakage.test}'], copy, '-n0', '--timeout=60')
    path.write_text(intact, encoding='utf-8')
    if result.returncode not in (0, 1):  # neither passed nor failed: no such test, for example
        raise RuntimeError(result.stdout + result.stderr)
    return result.returncode == 1


def make_copy(copy: Path) -> Path:
    for part in ('src', 'tests', 'config', 'docs'):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns('__pycache__'))
    for part in ('pyproject.toml', 'README.md'):
        shutil.copy(ROOT / part, copy / part)
    return copy


def main() -> int:
    with tempfile.TemporaryDirectory(prefix='breakages-', ignore_cleanup_errors=True) as directory:
        copies = [make_copy(Path(directory) / f'copy{number}') for number in range(3)]
        result = run_tests(sorted({f'tests/{breakage.test}' for breakage in BREAKAGES}), copies[0])
        if result.returncode != 0:
            print(result.stdout + result.stderr, file=sys.stderr)
            return 1

        def check_in_a_copy(breakage: Breakage) -> bool:
            copy = copies.pop()
            try:
                return check(breakage, copy)
            finally:
                copies.append(copy)

        survived = 0
        print('| breakage | in | caught by |\n| --- | --- | --- |')
        with ThreadPoolExecutor(len(copies)) as pool:
            for breakage, is_caught in zip(
                BREAKAGES, pool.map(check_in_a_copy, BREAKAGES), strict=True
            ):
                survived += not is_caught
                test = breakage.test.partition('::')[2].partition('[')[0]
                caught_by = f'`{test}`' if is_caught else '**nothing**'
                print(f'| {breakage.what} | `{breakage.where}` | {caught_by} |', flush=True)
    return int(survived > 0)


if __name__ == '__main__':
    sys.exit(main())
