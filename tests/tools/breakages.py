"""Break the source on purpose, one line at a time, and see the test that is named here fail.

    python tests/tools/breakages.py

The source and the tests are copied to a temporary folder and broken there. The table is printed as
it stands in docs/reliability.md; the exit code is 0 only if the intact copy passes all these
tests, and each breakage is caught.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLIENT = 'util/instream/remote/client.py'
CLOCK = 'util/instream/device/clock.py'
DISTRIBUTOR = 'util/instream/device/distributor.py'
GUARD = 'util/instream/device/guard.py'
HARDWARE = 'util/instream/device/hardware.py'
HOST = 'util/instream/host.py'
JOBS = 'util/instream/device/jobs.py'
MEMBERS = 'util/instream/device/members.py'
OFFERS = 'util/instream/device/offers.py'
PLAN = 'util/instream/device/plan.py'
POLLS = 'util/instream/device/polls.py'
READER = 'util/instream/stream/reader.py'
READERS = 'util/instream/stream/readers.py'
REGISTRY = 'util/instream/device/registry.py'
REPORTS = 'util/instream/device/reports.py'
RING = 'util/instream/stream/ring.py'
SAMPLES = 'util/instream/device/samples.py'
STATE = 'util/instream/device/state.py'
STREAM = 'util/instream/stream/stream.py'
STREAMS = 'util/instream/device/streams.py'
THREAD = 'util/instream/device/thread.py'
WATCH = 'util/instream/monitor/watch.py'
MODULE = 'hardware/instream_buffer/buffer.py'
MONITOR_LOGIC = 'logic/instream_monitor_logic.py'
MONITOR_WINDOW = 'gui/instream_monitor/monitor_window.py'


@dataclass(frozen=True)
class Breakage:
    """One passage of the source, what it is turned into, and the test that must fail then.

    Any blanks and line ends in the passage stand for any others, so that it is found also after
    the source was wrapped in another way.
    """

    what: str
    file: str
    line: str
    broken: str
    test: str

    @property
    def path(self) -> Path:
        return Path('src') / 'qudi' / self.file

    @property
    def test_name(self) -> str:
        return self.test.split('::')[1].split('[')[0]

    def places(self, source: str) -> list[slice]:
        """Where the passage stands in a source; the right number of places is 1."""
        words = map(re.escape, self.line.split())
        return [slice(*match.span()) for match in re.finditer(r'\s+'.join(words), source)]

    def applied_to(self, source: str) -> str:
        """Return the broken source."""
        places = self.places(source)
        if len(places) != 1:
            raise ValueError(f'"{self.what}": its line stands {len(places)} times in {self.path}')
        return source[: places[0].start] + self.broken + source[places[0].stop :]


BREAKAGES = [
    Breakage(
        'the registry lets two in at once',
        REGISTRY,
        'entry = _entries[uuid] = _Entry(StreamDistributor(streamer, limits), users=1)',
        '_lock.release()\n'
        '            (made := StreamDistributor(streamer, limits)).open()\n'
        '            _lock.acquire()\n'
        '            entry = _entries[uuid] = _Entry(made, users=1)',
        'module/test_lifecycle.py::test_buffers_that_are_activated_at_once_share_one_distributor',
    ),
    Breakage(
        'a device that hangs is forgotten',
        REGISTRY,
        'while entry.users == 0:',
        'while False:',
        'module/test_faults.py::'
        'test_a_device_that_hangs_past_the_deactivation_is_not_used_by_two[block in read]',
    ),
    Breakage(
        'a job runs in the thread of its caller',
        THREAD,
        'result: Result = self._jobs.run(Job(call, consequence, **options))',
        'return call()',
        'module/test_device_thread.py::test_all_calls_come_from_one_thread_of_its_own',
    ),
    Breakage(
        'a job that has not begun is not withdrawn',
        JOBS,
        'if not job.has_begun and not job.must_run and job in self._jobs:',
        'if False:',
        'module/test_device_thread.py::'
        'test_a_job_that_has_not_begun_is_withdrawn_when_its_caller_gives_up',
    ),
    Breakage(
        'a start whose caller gave up is not undone',
        DISTRIBUTOR,
        'undo=partial(changed, stop),',
        'undo=None,',
        'module/test_faults.py::'
        'test_a_start_whose_caller_gave_up_stops_what_it_started[start slowly]',
    ),
    Breakage(
        'each caller has a patience of its own',
        JOBS,
        'left = self._patience_for(job)',
        "since = vars(job).setdefault('since', time.perf_counter())\n"
        '                left = max(0.0, since + self._patience - time.perf_counter())',
        'module/test_device_thread.py::'
        'test_callers_share_the_patience_which_counts_from_the_beginning_of_the_call',
    ),
    Breakage(
        'a poll that raises is the last one',
        THREAD,
        'self._plan.polled(wanted, latest, asked_at, too_early)\n            self._work()',
        'self._plan.polled(wanted, latest, asked_at, too_early)\n        self._work()',
        'module/test_device_thread.py::test_polls_go_on_after_one_that_raised',
    ),
    Breakage(
        'a stop wakes no reader before it has the device',
        DISTRIBUTOR,
        "member.end_stream('it was stopped')",
        'pass',
        'module/test_faults.py::test_a_hanging_read_freezes_nobody_for_long',
    ),
    Breakage(
        'a stop ends reads whose samples are due',
        DISTRIBUTOR,
        'stream.begin_stop()',
        'pass',
        'module/test_field_reading.py::'
        'test_a_stop_lets_a_read_finish_whose_samples_are_due[alone-main thread]',
    ),
    Breakage(
        'threads change the state during a deactivation',
        MODULE,
        'if self._is_leaving:',
        'if False:',
        'module/test_lifecycle.py::test_nobody_changes_the_state_while_qudi_deactivates',
    ),
    Breakage(
        'others start the device while buffers stream',
        GUARD,
        'if self._is_claimed:',
        'if False:',
        'module/test_guard.py::test_a_second_start_of_the_device_is_refused_while_buffers_stream',
    ),
    Breakage(
        'the last one to end leaves the device running',
        STREAMS,
        'self._device_stop.stop(ended[-1])',
        'pass',
        'module/test_fault_table.py::'
        'test_deactivating_or_reloading_a_running_buffer_is_a_stop[3-waiting-strict-deactivate]',
    ),
    Breakage(
        'a slot runs in the thread of the device',
        REPORTS,
        'self._reports.put(self._follow_state)',
        'self._follow_state()',
        'module/test_field_sharing.py::'
        'test_a_slow_slot_of_one_buffer_delays_no_other[sigStateChanged]',
    ),
    Breakage(
        'a log handler runs in the thread of the device',
        REPORTS,
        'self._reports.put(lambda: self._tell_end(stream, status))',
        'self._tell_end(stream, status)',
        'module/test_field_sharing.py::test_a_slow_log_handler_keeps_no_sample_from_other_buffers',
    ),
    Breakage(
        'the state after a read of the device is not looked at',
        SAMPLES,
        'if is_running and not self._state.is_running and not',
        'if False and not',
        'module/test_fault_table.py::'
        'test_a_fault_of_the_device_reaches_every_stream[3-not waiting-strict-rubbish]',
    ),
    Breakage(
        'a device that never locks its state is not stopped',
        STATE,
        "self._state == 'locked' or (self._is_started and self.is_kept is False)",
        "self._state == 'locked'",
        'module/test_field_devices.py::'
        'test_a_device_that_never_locks_its_state_is_stopped_with_its_last_buffer[deactivate]',
    ),
    Breakage(
        'an offer for others that the start refuses is not withdrawn',
        STREAMS,
        'if is_hopeless or offer is found[-1]:',
        'if True:',
        'module/test_field_sharing.py::'
        'test_channels_that_an_idle_buffer_once_wanted_keep_nobody_from_starting'
        '[reserve one channel]',
    ),
    Breakage(
        'the device is configured in another order than its own',
        HARDWARE,
        'channels = [channel for channel in known if channel in request.channels]',
        'channels = [channel for channel in known[::-1] if channel in request.channels]',
        'module/test_field_settings.py::'
        'test_each_buffer_gets_its_channels_whatever_an_idle_one_asked_for_last',
    ),
    Breakage(
        'columns stay in the order of the device',
        MEMBERS,
        '[delivered.index(channel) for channel in settings.channels]',
        'sorted(delivered.index(channel) for channel in settings.channels)',
        'module/test_requests.py::'
        'test_each_buffer_has_its_own_order_of_channels_whatever_the_device_has',
    ),
    Breakage(
        'rates that the device turns into one conflict',
        HARDWARE,
        'or same_rate(self._rates.get(first, first), self._rates.get(second, second))',
        '',
        'module/test_field_settings.py::'
        'test_two_rates_that_a_device_turns_into_one_are_both_served',
    ),
    Breakage(
        'each look at the rate asks the device',
        DISTRIBUTOR,
        'self._polls.is_rate_wanted = True',
        "self._thread.run(hardware.update_rate, '')",
        'module/test_field_causes.py::test_the_rate_is_asked_once_per_poll_at_most',
    ),
    Breakage(
        'a property asks the device',
        DISTRIBUTOR,
        'return self._member(name).settings or self._hardware.reported',
        'return self._member(name).settings or self._hardware._report()',
        'module/test_field_causes.py::test_only_the_rate_is_a_question_to_the_device[unconfigured]',
    ),
    Breakage(
        'an exception that is no Exception ends the polls',
        POLLS,
        'except BaseException as error:  # a driver may raise anything',
        'except Exception as error:',
        'module/test_faults.py::'
        'test_an_exception_of_any_kind_out_of_a_driver_is_a_fault[available_samples]',
    ),
    Breakage(
        'an error of one stream is a fault of all',
        POLLS,
        'except Exception as error:  # is no fault of the others',
        'except OSError as error:',
        'module/test_faults.py::test_an_error_in_the_part_of_one_stream_ends_that_one_only',
    ),
    Breakage(
        'a read takes its own pause for silence',
        READERS,
        'read.is_given_up = read.grace < 0',
        'read.is_given_up = True',
        'unit/test_stream.py::test_a_pause_without_polls_is_no_silence',
    ),
    Breakage(
        'a read waits for ever for a device that hangs',
        READERS,
        'read.grace -= 1',
        'pass',
        'unit/test_stream.py::test_a_read_gives_up_by_itself_when_no_poll_comes_any_more',
    ),
    Breakage(
        'a device that fetches inside reads only is not read',
        SAMPLES,
        'is_fetch_due = not self._has_shown_any and self.asked_at > self._fetch_at',
        'is_fetch_due = False',
        'module/test_polling.py::test_a_device_that_shows_samples_only_inside_a_read_is_read',
    ),
    Breakage(
        'a poll trusts the size that the device reports',
        SAMPLES,
        'rest = int(min(available, limit))',
        'rest = int(min(available, limit, self._buffer_size))',
        'module/test_polling.py::test_a_poll_takes_all_that_the_device_has_whatever_its_size[0]',
    ),
    Breakage(
        'more is asked of the device than it has',
        SAMPLES,
        'rest = int(min(available, limit))',
        'rest = int(min(available + 1, limit))',
        'module/test_sharing.py::test_every_buffer_gets_the_whole_stream_at_its_own_pace',
    ),
    Breakage(
        'the device is not asked for room for three polls',
        OFFERS,
        'size = max(size, min(most, room_for_polls(hardware, wide, poll_interval)))',
        'pass',
        'module/test_field_polling.py::test_the_device_is_asked_for_room_for_three_polls[30]',
    ),
    Breakage(
        'a strict ring holds less than three polls',
        MEMBERS,
        'size = max(size, room_for_polls(hardware, settings, self.poll_interval))',
        'pass',
        'module/test_dummy.py::'
        'test_a_buffer_smaller_than_a_poll_streams_as_the_dummy_does_directly',
    ),
    Breakage(
        'a ring goes round although it is nearly empty',
        RING,
        'if begin < 4 * unread or begin == 0 or self._lent is not None:',
        'if True:',
        'unit/test_stream.py::test_the_memory_of_a_ring_follows_its_fill',
    ),
    Breakage(
        'a read copies with the lock held',
        READER,
        'ring.peek_into(*piece, first)',
        'with stream.lock: ring.peek_into(*piece, first)',
        'unit/test_stream.py::test_everything_else_goes_on_while_samples_are_copied',
    ),
    Breakage(
        'a read that was overtaken has a gap',
        READER,
        'if readers.overwritten != overwritten:',
        'if False:',
        'unit/test_stream.py::test_a_read_that_is_overtaken_starts_again_without_a_gap',
    ),
    Breakage(
        'new samples do not wait for the room that a read makes',
        STREAM,
        'if readers.is_copying:',
        'if False:',
        'unit/test_stream.py::test_new_samples_wait_for_the_room_that_a_read_is_making[False]',
    ),
    Breakage(
        'a look at the newest sample consumes one',
        READER,
        'return newest[0].copy(), newest[1]',
        'stream.took(newest[0][None], None); return newest',
        'unit/test_stream.py::test_the_newest_sample_stays_unread',
    ),
    Breakage(
        'a strict stream that is only looked at overflows',
        STREAM,
        'return self._allow_overwrite or (self.is_snapshot and not self.is_read)',
        'return self._allow_overwrite',
        'unit/test_stream.py::'
        'test_a_strict_stream_of_which_only_snapshots_are_taken_drops_its_oldest_samples',
    ),
    Breakage(
        'a read beside a stop returns before it',
        READERS,
        'if self._is_stopping:',
        'if False:',
        'unit/test_stream.py::test_a_read_beside_a_stop_returns_when_that_is_complete',
    ),
    Breakage(
        'a look does not tell of the end',
        READER,
        'if stream.has_ended and stream.unread == 0:',
        'if False:',
        'unit/test_stream.py::test_available_samples_tells_the_cause_once_nothing_is_left',
    ),
    Breakage(
        'configure beside others goes to the device',
        STREAMS,
        'request.check_against(self.hardware.constraints)',
        'self.hardware.configure(request)',
        'module/test_requests.py::test_configure_while_another_runs_never_touches_the_device',
    ),
    Breakage(
        'a start joins a stream that cannot serve it',
        STREAMS,
        'if not conflicts:',
        'if True:',
        'module/test_field_windows.py::'
        'test_a_conflict_is_an_error_of_the_start_and_not_of_configure[rate]',
    ),
    Breakage(
        'an abandoned stream stays in the way',
        STREAMS,
        'if not streams or not all(stream and stream.is_abandoned for stream in streams):',
        'if True:',
        'module/test_field_windows.py::'
        'test_a_stream_whose_program_has_given_up_makes_way_for_another_rate',
    ),
    Breakage(
        'timestamps count from the start of the device',
        STREAMS,
        'offset = hardware.samples.own_time if hardware.has_timestamps else 0.0',
        'offset = 0.0',
        'module/test_sharing.py::test_the_timestamps_of_a_late_buffer_count_from_its_own_start',
    ),
    Breakage(
        'the clock does not learn the period',
        CLOCK,
        'elif is_other:',
        'elif False:',
        'unit/test_clock.py::'
        'test_learns_the_rate_of_a_device_that_is_faster_or_slower_than_it_says[0.0-3.0]',
    ),
    Breakage(
        'a late poll lets one too many into its second',
        PLAN,
        'self._polls[-most] + 1.0 if is_full else -math.inf',
        '-math.inf',
        'unit/test_poll_plan.py::test_never_polls_more_often_than_the_ceiling_allows',
    ),
    Breakage(
        'the stream of a client that died goes on',
        POLLS,
        'if member.client is not None and member.client.has_gone:',
        'if False:',
        'remote/test_remote_consumers.py::'
        'test_a_killed_client_frees_its_buffer_and_costs_the_others_nothing',
    ),
    Breakage(
        'a read that waits long keeps qudi from quitting',
        READERS,
        'and self._is_quitting()',
        'and False',
        'module/test_lifecycle.py::'
        'test_a_read_that_waits_long_does_not_keep_qudi_from_quitting[TIMESTAMP]',
    ),
    Breakage(
        'lost samples are not shown in red',
        MONITOR_WINDOW,
        '_LOST), _RED if status.samples_lost else None)',
        '_LOST), None)',
        'toolchain/test_monitor.py::test_the_cells_say_what_became_of_each_buffer',
    ),
    Breakage(
        'the monitor goes on looking at a buffer that was reloaded',
        MONITOR_LOGIC,
        'if known is None or not known.is_of(module):',
        'if known is None:',
        'toolchain/test_monitor.py::test_rows_come_and_go_with_the_buffers',
    ),
]


def run_tests(tests: list[str], copy: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        'QT_QPA_PLATFORM': 'offscreen',
        'PYTHONPATH': str(copy / 'src'),
        'PYTHONDONTWRITEBYTECODE': '1',  # a file is changed twice within a second
    }
    options = ['-q', '-x', '--no-header', '--tb=line', '--show-capture=no', '--timeout=60']
    return subprocess.run(
        [sys.executable, '-m', 'pytest', *options, '-p', 'no:cacheprovider', *tests],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def check(breakage: Breakage, copy: Path) -> bool:
    """Whether the named test fails with this breakage."""
    path = copy / breakage.path
    intact = path.read_text(encoding='utf-8')
    path.write_text(breakage.applied_to(intact), encoding='utf-8')
    result = run_tests([f'tests/{breakage.test}'], copy)
    path.write_text(intact, encoding='utf-8')
    if result.returncode not in (0, 1):  # neither passed nor failed: no such test, for example
        raise RuntimeError(result.stdout + result.stderr)
    return result.returncode == 1


def make_copy(copy: Path) -> Path:
    for part in ('src', 'tests', 'config', 'docs'):
        shutil.copytree(ROOT / part, copy / part)
    for part in ('pyproject.toml', 'README.md'):
        shutil.copy(ROOT / part, copy / part)
    return copy


def main() -> int:
    with tempfile.TemporaryDirectory(prefix='breakages-', ignore_cleanup_errors=True) as directory:
        copies = [make_copy(Path(directory) / name) for name in ('copy1', 'copy2')]
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
        print('| breakage | file | caught by |\n| --- | --- | --- |')
        with ThreadPoolExecutor(len(copies)) as pool:
            for breakage, is_caught in zip(
                BREAKAGES, pool.map(check_in_a_copy, BREAKAGES), strict=True
            ):
                survived += not is_caught
                test = f'`{breakage.test_name}`' if is_caught else '**nothing**'
                print(f'| {breakage.what} | `{breakage.path.name}` | {test} |', flush=True)
    return int(survived > 0)


if __name__ == '__main__':
    sys.exit(main())
