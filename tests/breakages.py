"""Break the source on purpose, one line at a time, and see the test that is named here fail.

    python tests/breakages.py

The source and the tests are copied to a temporary folder and broken there. The table is printed as
it stands in docs/reliability.md; the exit code is 0 only if the intact copy passes all these
tests, and each breakage is caught.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLIENT = 'util/instream/client.py'
CLOCK = 'util/instream/clock.py'
CONSUMER = 'util/instream/consumer.py'
DISTRIBUTOR = 'util/instream/distributor.py'
GUARD = 'util/instream/guard.py'
HARDWARE = 'util/instream/hardware.py'
POLLER = 'util/instream/poller.py'
REGISTRY = 'util/instream/registry.py'
REPORTS = 'util/instream/reports.py'
RING = 'util/instream/ring.py'
SETTINGS = 'util/instream/settings.py'
WATCH = 'util/instream/watch.py'
MODULE = 'hardware/interfuse/instream_buffer.py'
MONITOR_LOGIC = 'logic/instream_monitor_logic.py'
MONITOR_WINDOW = 'gui/instream_monitor/monitor_window.py'


@dataclass(frozen=True)
class Breakage:
    """One line of the source, what it is turned into, and the test that must fail then."""

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


BREAKAGES = [
    Breakage(
        'registry lock removed',
        REGISTRY,
        '    with _lock:\n        if uuid not in _distributors:',
        '    if True:\n        if uuid not in _distributors:',
        'module/test_lifecycle.py::test_buffers_that_are_activated_at_once_share_one_distributor',
    ),
    Breakage(
        "the distributor's lock lets two in",
        DISTRIBUTOR,
        'self._lock = threading.Lock()',
        'self._lock = threading.Semaphore(2)',
        'module/test_lifecycle.py::test_two_first_starts_at_once_start_the_device_once',
    ),
    Breakage(
        'lock held while members are told',
        DISTRIBUTOR,
        '            self._lock.release()\n            for tell in',
        '            told = [member.tell_changed() for member in changed]\n'
        '            self._lock.release()\n            for tell in',
        'module/test_lifecycle.py::test_a_slot_may_start_a_buffer_again_that_is_being_started',
    ),
    Breakage(
        'stop waits for the lock before it wakes readers',
        DISTRIBUTOR,
        "        member.stop_stream('it was stopped')\n        with self._exclusive",
        '        with self._exclusive',
        'module/test_faults.py::test_a_hanging_read_freezes_nobody_for_long',
    ),
    Breakage(
        'waiting reads not notified of samples',
        CONSUMER,
        '                if len(self._ring) >= read.enough:',
        '                if False:',
        'unit/test_consumer.py::test_a_read_waits_until_everything_is_there_and_takes_it_at_once',
    ),
    Breakage(
        'waiting reads not notified of the end',
        CONSUMER,
        'keeps nothing of the poller alive\n        for read in self._awaited:',
        'keeps nothing of the poller alive\n        for read in ():',
        'module/test_fault_table.py::'
        'test_a_fault_of_the_device_reaches_every_consumer[1-waiting-strict-raise in read]',
    ),
    Breakage(
        'readers notified for the longest read instead of the shortest',
        CONSUMER,
        'if len(self._ring) >= read.enough:',
        'if len(self._ring) >= max(other.enough for other in self._awaited):',
        'unit/test_consumer.py::test_a_short_read_beside_a_long_one_does_not_wait_for_it',
    ),
    Breakage(
        'state check after a hardware read removed',
        HARDWARE,
        'if is_running and not self.is_running and not',
        'if False and not',
        'module/test_fault_table.py::'
        'test_a_fault_of_the_device_reaches_every_consumer[3-not waiting-strict-rubbish]',
    ),
    Breakage(
        'more asked of the device than it has',
        HARDWARE,
        'rest = int(min(available, self._buffer_size, limit))',
        'rest = int(min(available + 1, self._buffer_size, limit))',
        'module/test_sharing.py::test_every_buffer_gets_the_whole_stream_at_its_own_pace',
    ),
    Breakage(
        "timestamps staged in the data's type",
        HARDWARE,
        'np.empty(rows) if self.has_timestamps',
        'np.empty(rows, dtype=dtype) if self.has_timestamps',
        'module/test_overflow.py::test_overwriting_keeps_samples_and_timestamps_paired',
    ),
    Breakage(
        "timestamps kept in the data's type",
        RING,
        'np.empty(capacity, dtype=np.float64)',
        'np.empty(capacity, dtype=dtype)',
        'unit/test_ring.py::test_keeps_timestamps_exact_beside_integer_samples',
    ),
    Breakage(
        'a ring that wraps one sample too late',
        RING,
        'first = min(count, self.capacity - begin)',
        'first = min(count, self.capacity - begin + 1)',
        'unit/test_ring.py::test_delivers_what_a_plain_list_would',
    ),
    Breakage(
        '< for <= in the free space of a ring',
        RING,
        'if count > self.free:',
        'if count >= self.free:',
        'unit/test_ring.py::test_delivers_what_a_plain_list_would',
    ),
    Breakage(
        'overwriting drops one sample too few',
        CONSUMER,
        'self._ring.drop(min(excess, len(self._ring)))',
        'self._ring.drop(min(excess - 1, len(self._ring)))',
        'module/test_overflow.py::test_each_buffer_overflows_as_its_own_option_says',
    ),
    Breakage(
        'a chunk larger than the ring leaves its oldest samples',
        CONSUMER,
        'kept = slice(max(0, count - self._ring.capacity), None)',
        'kept = slice(0, self._ring.capacity)',
        'unit/test_consumer.py::'
        'test_overwriting_keeps_the_newest_samples_with_their_timestamps_and_counts_the_lost',
    ),
    Breakage(
        'an overflow ends nothing',
        CONSUMER,
        '        if excess > 0 and not self._allow_overwrite:',
        '        if False:',
        'module/test_overflow.py::test_a_consumer_that_never_reads_loses_only_its_own_stream',
    ),
    Breakage(
        'one overflow ends all streams',
        DISTRIBUTOR,
        '                        consumer.put(samples, timestamps)',
        '                        consumer.put(samples, timestamps)\n'
        "                        if consumer.has_ended: raise OverflowError('overflow')",
        'module/test_fault_table.py::'
        'test_what_happens_to_one_consumer_is_nothing_to_the_others'
        '[3-not waiting-strict-overflows]',
    ),
    Breakage(
        'the last one to end leaves the device running',
        DISTRIBUTOR,
        '            self._stop_hardware(ended[-1])',
        '            pass',
        'module/test_fault_table.py::'
        'test_deactivating_or_reloading_a_running_buffer_is_a_stop[3-waiting-strict-deactivate]',
    ),
    Breakage(
        'any stop stops the device',
        DISTRIBUTOR,
        '        if not self._active:\n            self._stop_hardware(',
        '        if True:\n            self._stop_hardware(',
        'module/test_sharing.py::test_the_first_start_starts_and_the_last_stop_stops_the_device',
    ),
    Breakage(
        'a device that runs already is shared',
        DISTRIBUTOR,
        '        if self._hardware.is_running:',
        '        if False:',
        'module/test_sharing.py::test_a_device_that_runs_already_is_not_shared',
    ),
    Breakage(
        'a failed start leaves the device as it is',
        DISTRIBUTOR,
        'if not is_refusal(error):',
        'if False:',
        'module/test_faults.py::test_a_device_that_runs_although_its_start_failed_is_stopped',
    ),
    Breakage(
        'a stop during a hanging start is forgotten',
        DISTRIBUTOR,
        '            if not member.is_wanted or self._members.get(name) is not member:',
        '            if False:',
        'module/test_faults.py::test_a_stop_during_a_hanging_start_is_obeyed_later',
    ),
    Breakage(
        'a buffer that was reloaded meanwhile is taken for the one that starts',
        DISTRIBUTOR,
        'if not member.is_wanted or self._members.get(name) is not member:',
        'if name not in self._members:',
        'module/test_lifecycle.py::test_a_buffer_reloaded_during_a_slow_start_leaves_no_ghost',
    ),
    Breakage(
        'a late buffer gets what waited in the device',
        DISTRIBUTOR,
        'waiting = 0 if settings.is_finite else self._hardware.available_samples',
        'waiting = 0',
        'module/test_sharing.py::test_a_late_buffer_does_not_get_what_waited_in_the_device',
    ),
    Breakage(
        'a finite acquisition is read beyond its end',
        DISTRIBUTOR,
        'limit = max(consumer.samples_missing for consumer in consumers)',
        "limit = float('inf')",
        'module/test_requests.py::'
        'test_finite_delivers_exactly_what_was_asked_for_by_a_device_that_goes_on',
    ),
    Breakage(
        'columns in the order of the device',
        DISTRIBUTOR,
        'columns=[delivered.index(channel) for channel in settings.channels]',
        'columns=sorted(delivered.index(channel) for channel in settings.channels)',
        'module/test_requests.py::'
        'test_each_buffer_has_its_own_order_of_channels_whatever_the_device_has',
    ),
    Breakage(
        'the cause in the hardware is not chained',
        DISTRIBUTOR,
        'consumer.end(StreamEnd.FAULT, message, error)',
        'consumer.end(StreamEnd.FAULT, message)',
        'module/test_fault_table.py::'
        'test_a_fault_of_the_device_reaches_every_consumer[3-waiting-overwriting-rubbish]',
    ),
    Breakage(
        'a silence counts from the start of the read only',
        CONSUMER,
        'last_sign = max(since, self._received_at)',
        'last_sign = since',
        'unit/test_consumer.py::test_silence_counts_from_the_newest_sample',
    ),
    Breakage(
        'a timer that fires too early polls',
        POLLER,
        'if rest > _NAP:',
        'if False:',
        'module/test_poller.py::test_a_timer_that_fires_too_early_does_not_poll',
    ),
    Breakage(
        'a poll that raises is the last one',
        POLLER,
        '            self._plan.polled(wishes, deadline, asked_at, too_early)\n'
        '            self._schedule()',
        '            self._plan.polled(wishes, deadline, asked_at, too_early)\n'
        '        self._schedule()',
        'module/test_poller.py::test_polls_go_on_after_one_that_raised',
    ),
    Breakage(
        'a running thread can be destroyed',
        POLLER,
        '        _running.add(self)',
        '        pass',
        'module/test_lifecycle.py::test_a_program_that_ends_without_deactivating_ends_cleanly',
    ),
    Breakage(
        'a live rate that comes back is a new request',
        DISTRIBUTOR,
        'return next(requested, rate)',
        'return rate',
        'module/test_requests.py::test_any_of_the_rates_that_were_shown_can_be_passed_back',
    ),
    Breakage(
        'a deactivation that fails keeps the distributor',
        MODULE,
        '        try:\n            distributor.detach(self.module_name)\n        finally:\n'
        '            registry.release(distributor)',
        '        distributor.detach(self.module_name)\n        registry.release(distributor)',
        'module/test_lifecycle.py::test_a_buffer_deactivated_during_a_slow_start_does_not_stream',
    ),
    Breakage(
        'threads change the state of a module that qudi deactivates',
        MODULE,
        '        self.module_state.deactivate = lambda: deactivate_alone()()',
        '        pass',
        'module/test_lifecycle.py::'
        'test_a_buffer_can_be_deactivated_while_its_stream_begins_or_ends[ends]',
    ),
    Breakage(
        'a distributor that hangs is forgotten',
        REGISTRY,
        '        elif uuid not in _users:',
        '        elif False:',
        'module/test_faults.py::test_a_device_that_hangs_past_the_deactivation_is_not_used_by_two',
    ),
    Breakage(
        'Python destroys a thread that hangs at exit',
        POLLER,
        '            poller.abandon()',
        '            pass',
        'toolchain/test_quit.py::test_qudi_quits_although_the_device_hangs[True]',
    ),
    Breakage(
        'a read that waits long keeps qudi from quitting',
        DISTRIBUTOR,
        'if member.is_quitting():',
        'if False:',
        'module/test_lifecycle.py::'
        'test_a_read_that_waits_long_does_not_keep_qudi_from_quitting[TIMESTAMP]',
    ),
    Breakage(
        'the device has the buffer of the first to start',
        DISTRIBUTOR,
        'size = max(size, other.channel_buffer_size)',
        'pass',
        'module/test_requests.py::'
        'test_the_device_gets_the_largest_buffer_that_one_of_them_asked_for',
    ),
    Breakage(
        'a stop with a complaint counts as none',
        DISTRIBUTOR,
        '                if not self._hardware.is_running:',
        '                if False:',
        'module/test_remote_device.py::test_a_stop_with_a_complaint_of_a_remote_device_is_a_stop',
    ),
    Breakage(
        'told rates are looked through while others are added',
        DISTRIBUTOR,
        'told_lately = list(self.rates_told)',
        'told_lately = self.rates_told',
        'module/test_requests.py::test_a_rate_may_be_told_while_another_thread_configures',
    ),
    Breakage(
        'calls wait for ever for a device that hangs',
        DISTRIBUTOR,
        'min(_PATIENCE, self._held_since + _PATIENCE - time.perf_counter())',
        '_PATIENCE',
        'module/test_faults.py::test_a_hanging_device_costs_its_patience_once_for_all_buffers',
    ),
    Breakage(
        'a call gives up although another one has followed',
        DISTRIBUTOR,
        'if self._patience_left == 0:',
        'if True:',
        'module/test_faults.py::'
        'test_a_stop_waits_on_when_another_call_follows_the_one_it_waited_for',
    ),
    Breakage(
        'threads start to change the state during a deactivation',
        MODULE,
        '        if self._is_leaving:',
        '        if False:',
        'module/test_lifecycle.py::test_nobody_changes_the_state_while_qudi_deactivates',
    ),
    Breakage(
        'a buffer is in a reference cycle',
        MODULE,
        'weakref.WeakMethod(self._deactivate_alone)',
        '(lambda deactivate=self._deactivate_alone: deactivate)',
        'module/test_lifecycle.py::test_a_removed_buffer_and_its_poller_are_freed_at_once',
    ),
    Breakage(
        'a closed distributor is in a reference cycle',
        DISTRIBUTOR,
        'tell_left, self._tell_left = self._tell_left, None',
        'tell_left = self._tell_left',
        'module/test_lifecycle.py::test_a_removed_buffer_and_its_poller_are_freed_at_once',
    ),
    Breakage(
        'the question whether to quit counts as quitting',
        MODULE,
        "return is_shutting_down and getattr(main, 'watchdog', None) is None",
        'return is_shutting_down',
        'module/test_lifecycle.py::'
        'test_a_read_that_waits_long_does_not_keep_qudi_from_quitting[CONSTANT]',
    ),
    Breakage(
        'streams that nobody waits for end when qudi quits',
        DISTRIBUTOR,
        'if consumer is None or consumer.longest_wait < _WAIT_WHILE_QUITTING:',
        'if consumer is None:',
        'module/test_lifecycle.py::'
        'test_a_read_that_waits_long_does_not_keep_qudi_from_quitting[CONSTANT]',
    ),
    Breakage(
        'a stop before a start has the device is forgotten',
        DISTRIBUTOR,
        "            member.stop_stream('it was started anew')",
        '            member.is_wanted = True',
        'module/test_faults.py::'
        'test_a_stop_during_a_hanging_start_is_obeyed_later[before it has the device]',
    ),
    Breakage(
        'a device that needs a moment to stop is stopped again',
        DISTRIBUTOR,
        '            raise\n        self._unstopped_by = None',
        '            raise',
        'module/test_faults.py::test_a_device_that_needs_a_moment_to_stop_is_stopped_once',
    ),
    Breakage(
        'a device that is slightly fast is followed a sample late',
        CLOCK,
        'drift = _DRIFT * (after - self._looked_at)',
        'drift = 0.0',
        'unit/test_clock.py::test_follows_a_device_whose_clock_differs',
    ),
    Breakage(
        'samples that are not there as foreseen are no lesson',
        CLOCK,
        'self._origin = min(self._origin + self._step, latest)',
        'pass',
        'unit/test_clock.py::test_finds_out_that_a_device_needs_time_to_begin',
    ),
    Breakage(
        'a late poll lets one too many into its second',
        POLLER,
        'self._polls[-most] + 1.0 if is_full else -math.inf',
        '-math.inf',
        'unit/test_poll_plan.py::test_never_polls_more_often_than_the_ceiling_allows',
    ),
    Breakage(
        'polls that were missed are made up for',
        POLLER,
        'self._planned = max(step.planned, now - self._interval / 2)',
        'self._planned = step.planned',
        'unit/test_poll_plan.py::test_polls_that_were_missed_are_not_made_up_for',
    ),
    Breakage(
        'two readers at nearly the same time need two polls',
        POLLER,
        'if w <= first + self._interval / 2',
        'if w <= first',
        'unit/test_poll_plan.py::test_readers_that_are_nearly_at_the_same_time_are_served_together',
    ),
    Breakage(
        'readers at the ceiling become later and later',
        POLLER,
        'if is_late and self._was_late and',
        'if False and',
        'unit/test_poll_plan.py::test_readers_exactly_at_the_ceiling_stay_in_time',
    ),
    Breakage(
        'a poll that came too early is tried again an interval later',
        POLLER,
        'self._is_retry = too_early and',
        'self._is_retry = False and',
        'unit/test_poll_plan.py::'
        'test_a_poll_that_came_too_early_is_tried_again_and_the_next_keeps_its_time',
    ),
    Breakage(
        'a poll that came too early for nobody is tried again',
        POLLER,
        'too_early and is_wished and',
        'too_early and',
        'unit/test_poll_plan.py::test_a_poll_that_came_too_early_for_nobody_is_not_tried_again',
    ),
    Breakage(
        'every poll that came too early is tried again',
        POLLER,
        'is_wished and not is_often',
        'is_wished',
        'unit/test_poll_plan.py::test_samples_that_are_long_in_coming_do_not_use_up_the_second',
    ),
    Breakage(
        'a poll is sat out although a ring would overflow',
        POLLER,
        'put_off <= latest and',
        'True and',
        'unit/test_poll_plan.py::test_no_poll_is_sat_out_past_a_deadline',
    ),
    Breakage(
        'a poll is sat out where none was late before',
        POLLER,
        'is_late and self._was_late and',
        'is_late and',
        'unit/test_poll_plan.py::test_readers_far_below_the_ceiling_wait_no_longer_than_it_demands',
    ),
    Breakage(
        'a wish between two looks is lost',
        POLLER,
        '        self.moved_by_wishes_before = math.inf\n',
        '',
        'module/test_poller.py::test_a_wish_that_comes_while_others_are_asked_for_is_heard',
    ),
    Breakage(
        'a read that begins to wait tells nobody',
        CONSUMER,
        'self._tell_needs(self._samples_to_skip + enough - len(self._ring))',
        'pass',
        'module/test_polling.py::test_a_read_returns_as_soon_as_its_samples_are_there',
    ),
    Breakage(
        'a device with a small buffer is polled too late',
        HARDWARE,
        'return max(1, self._buffer_size // 2)',
        'return 2**30',
        'module/test_polling.py::'
        'test_a_device_is_polled_before_more_than_half_of_its_buffer_is_filled',
    ),
    Breakage(
        'samples are noticed after the read has given up',
        DISTRIBUTOR,
        '[_LONGEST_REST] + [timeout / 2 for timeout in timeouts]',
        '[_LONGEST_REST]',
        'module/test_polling.py::test_samples_are_noticed_before_a_read_gives_up',
    ),
    Breakage(
        'a program that looks without waiting sees nothing new',
        CONSUMER,
        '            self._is_watched_until = now + _ATTENTION\n',
        '',
        'module/test_polling.py::'
        'test_a_program_that_looks_for_samples_sees_them_at_the_rate_that_is_allowed',
    ),
    Breakage(
        'one that skips samples lends its ring to the others',
        CONSUMER,
        'self._columns is None and self._samples_to_skip == 0:',
        'self._columns is None:',
        'module/test_sharing.py::test_late_buffers_beside_one_of_few_channels_get_what_came_since',
    ),
    Breakage(
        'a place in a ring is lent beyond its unread samples',
        RING,
        'place = slice(begin, begin + min(count, self.free, self.capacity - begin))',
        'place = slice(begin, begin + min(count, self.capacity - begin))',
        'unit/test_ring.py::test_delivers_what_a_plain_list_would',
    ),
    Breakage(
        'the stream of a client that died goes on',
        DISTRIBUTOR,
        'if member.client is not None and member.client.has_gone:',
        'if False:',
        'remote/test_remote_consumers.py::'
        'test_a_killed_client_frees_its_buffer_and_costs_the_others_nothing',
    ),
    Breakage(
        'an unread request hides that a client died',
        CLIENT,
        'poll.register(sock, _POLLRDHUP)',
        'poll.register(sock, 0)',
        'unit/test_client.py::test_a_client_that_died_with_an_unread_request_has_gone',
    ),
    Breakage(
        'a look whether a client is there waits for it',
        CLIENT,
        'return bool(poll.poll(0))',
        "return socket.socket.recv(sock, 1, socket.MSG_PEEK) == b''",
        'unit/test_client.py::'
        'test_looking_never_waits_for_a_request_that_another_thread_takes_meanwhile',
    ),
    Breakage(
        "a stream that a client had a logic start counts as the client's",
        CLIENT,
        'while frame is not None and _module(frame).startswith(_BETWEEN):',
        'while frame is not None:',
        'unit/test_client.py::test_a_stream_that_a_client_has_a_logic_start_is_the_logics',
    ),
    Breakage(
        'others may start the device while buffers stream',
        GUARD,
        'self._is_claimed, self.is_of_others = True, False',
        'self.is_of_others = False',
        'module/test_guard.py::test_a_second_start_of_the_device_is_refused_while_buffers_stream',
    ),
    Breakage(
        'the guard stays on the device',
        DISTRIBUTOR,
        'self._hardware.leave()',
        'pass',
        'module/test_guard.py::test_nothing_is_left_on_the_device_and_it_can_be_collected',
    ),
    Breakage(
        'two may start the device at once',
        DISTRIBUTOR,
        'with self._hardware.starting():',
        'with suppress():',
        'module/test_guard.py::test_whoever_starts_the_device_first_gets_it',
    ),
    Breakage(
        'a status waits for the device',
        DISTRIBUTOR,
        'return consumer.status(**others',
        'with self._lock: return consumer.status(**others',
        'module/test_status.py::test_a_status_comes_at_once_while_the_device_hangs',
    ),
    Breakage(
        'a lost sample counts as unread, too',
        CONSUMER,
        'samples_unread=len(self._ring),',
        'samples_unread=len(self._ring) + self._lost,',
        'module/test_model.py::test_buffers_behave_as_a_simple_model_whatever_is_called',
    ),
    Breakage(
        'the end of each stream is told at once, however many there are',
        REPORTS,
        'self._end_at = now + _SIGNAL_INTERVAL',
        'self._end_at = now',
        'module/test_status.py::test_quick_restarts_are_told_once_a_second_and_the_last_one_always',
    ),
    Breakage(
        'what is lost within a second after a signal is not told',
        REPORTS,
        'waits += [self._lost_at] if self._untold_lost else []',
        'waits += []',
        'module/test_status.py::test_all_that_is_lost_is_told_once_a_second',
    ),
    Breakage(
        'each loss is logged',
        REPORTS,
        'self._log_at = now + _LOG_INTERVAL',
        'self._log_at = now',
        'module/test_status.py::test_losses_are_logged_with_a_cure_but_not_all_the_time',
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
    Breakage(
        'the monitor tries a process that it cannot reach once only',
        WATCH,
        'with suppress(Exception):',
        'with suppress():',
        'toolchain/test_monitor.py::test_a_lost_connection_is_made_again',
    ),
    Breakage(
        'a device that goes idle with the last sample has failed',
        HARDWARE,
        'not self.is_running and not self._is_complete_with(count)',
        'not self.is_running',
        'module/test_remote_device.py::'
        'test_a_finite_acquisition_of_a_remote_buffer_is_read_to_its_end',
    ),
    Breakage(
        'a refused start stops what runs',
        DISTRIBUTOR,
        'if not is_refusal(error):',
        'if True:',
        'module/test_remote_device.py::'
        'test_a_refused_start_in_a_client_leaves_the_stream_of_the_server_alone',
    ),
    Breakage(
        'after a failed stop, whatever runs is stopped',
        HARDWARE,
        'if not is_of_others and self.is_running:',
        'if self.is_running:',
        'module/test_guard.py::test_a_stream_of_somebody_else_is_not_stopped_after_a_failed_stop',
    ),
    Breakage(
        'an interrupted start leaves the device running',
        DISTRIBUTOR,
        'except BaseException as error:',
        'except Exception as error:',
        'module/test_guard.py::test_an_interrupted_start_stops_the_device',
    ),
    Breakage(
        'the first buffer that cannot be told keeps the others in the dark',
        DISTRIBUTOR,
        'except Exception:  # it was reloaded',
        'except OSError:  # it was reloaded',
        'module/test_sharing.py::test_a_buffer_that_cannot_be_told_keeps_no_other_one_in_the_dark',
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
    if intact.count(breakage.line) != 1:
        raise ValueError(f'"{breakage.what}": its line is not, or not once, in {breakage.path}')
    path.write_text(intact.replace(breakage.line, breakage.broken), encoding='utf-8')
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
