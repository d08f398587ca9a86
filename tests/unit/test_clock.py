"""SampleClock foresees the samples of devices that are not quite what they say."""

import math

import numpy as np
import pytest

from qudi.util.instream.device.clock import SampleClock
from qudi.util.instream.device.plan import PollPlan


class Device:
    """Sample k (from 1 on) is there at start + delay + k / true rate, or with the next burst."""

    def __init__(self, rate=1000.0, delay=0.0, true_rate=None, burst=0.0):
        self.started_at = 5000.0
        self.delay, self.true_rate, self.burst = delay, true_rate or rate, burst
        self.clock = SampleClock(rate, self.started_at)

    def count(self, now):
        since = now - self.started_at - self.delay
        if self.burst:
            since = since // self.burst * self.burst
        return max(0, int(np.floor(since * self.true_rate + 1e-6)))

    def age(self, now, count):
        """How late `now` is for sample `count`."""
        there_at = count / self.true_rate
        if self.burst:
            there_at = np.ceil(there_at / self.burst - 1e-9) * self.burst
        return now - (self.started_at + self.delay + there_at)

    def look(self, now):
        count = self.count(now)
        self.clock.look(count, now, now + 1e-6)
        return count

    def read(self, blocks, block=20, retry=0.005, seed=1):
        """Read blocks when they are foreseen; return the age of each, and the looks in vain."""
        scheduling = np.random.default_rng(seed).exponential(1e-4, 10 * blocks)
        now, ages, in_vain = self.started_at, [], 0
        for number in range(1, blocks + 1):
            now = max(now, self.clock.time_of(number * block)) + scheduling[2 * number]
            while self.look(now) < number * block:
                in_vain += 1
                assert in_vain < 10 * blocks, 'the samples are never foreseen'
                now = max(now + retry, self.clock.time_of(number * block))
            ages.append(self.age(now, number * block))
        return np.array(ages), in_vain


@pytest.mark.parametrize(('rate', 'block'), [(0.5, 1), (10.0, 1), (1e3, 20), (1e5, 1000)])
def test_foresees_the_samples_of_a_regular_device(rate, block):
    ages, in_vain = Device(rate).read(3000, block)
    assert (ages > -1e-5).all(), 'the test counts wrongly'
    assert np.median(ages) < 1e-3, f'typically {np.median(ages) * 1e3:.1f} ms late'
    assert in_vain < 0.15 * len(ages), f'{in_vain} of {len(ages)} polls came too early'


@pytest.mark.parametrize('drift', [-50e-6, 50e-6])
@pytest.mark.parametrize(('rate', 'block'), [(10.0, 1), (1e3, 20)])
def test_follows_a_device_whose_clock_differs(rate, block, drift):
    ages, in_vain = Device(rate, true_rate=rate * (1 + drift)).read(20_000, block)
    assert np.median(ages[10_000:]) < 1.5e-3, f'typically {np.median(ages) * 1e3:.1f} ms late'
    assert in_vain < 0.05 * len(ages), f'{in_vain} of {len(ages)} polls came too early'


@pytest.mark.parametrize('delay', [0.0003, 0.03, 2.0])
def test_finds_out_that_a_device_needs_time_to_begin(delay):
    ages, _ = Device(delay=delay).read(1000)
    late = np.percentile(ages[500:], 90)
    assert late < 0.001, f'still {late * 1e3:.1f} ms late after 10 s'


def test_a_device_that_delivers_in_bursts_is_not_read_a_burst_later():
    ages, _ = Device(burst=0.016).read(3000, block=16)
    assert np.median(ages) < 0.006, f'{np.median(ages) * 1e3:.1f} ms late'


def test_samples_that_were_there_at_the_start_are_no_riddle():
    device = Device()
    now = device.started_at + 0.01
    device.clock.look(500, now, now)
    assert 0 < device.clock.time_of(501) - now <= 0.001


@pytest.mark.parametrize('retry', [0.001, 0.005, 0.017])
def test_narrows_down_when_slow_samples_come(retry):
    ages, in_vain = Device(rate=10.0, delay=0.06).read(60, block=1, retry=retry)
    late = np.median(ages[20:])
    assert late < 0.002, f'still {late * 1e3:.1f} ms late after 2 s'
    assert in_vain < 30, f'{in_vain} of {len(ages)} polls came too early'


@pytest.mark.parametrize('factor', [0.1, 0.5, 0.97, 1.03, 3.0, 10.0])
@pytest.mark.parametrize('burst', [0.0, 0.02])
def test_learns_the_rate_of_a_device_that_is_faster_or_slower_than_it_says(factor, burst):
    device = Device(rate=1000.0, true_rate=1000.0 * factor, burst=burst)
    ages, _ = device.read(1000, block=int(200 * factor))  # five blocks a second
    late = np.median(ages[500:])
    assert late < 0.006 + burst / 2, f'still {late * 1e3:.0f} ms late after 100 s'
    foreseen = device.clock.time_of(20_000) - device.clock.time_of(10_000)
    assert foreseen == pytest.approx(10 / factor, rel=2e-3)


def test_a_pause_of_the_device_does_not_change_the_rate():
    device = Device()
    device.read(100)
    now = device.started_at + 2.0
    device.delay += 1.5
    for step in range(300):
        device.look(now + 0.01 * step)
    assert device.clock.time_of(2000) - device.clock.time_of(1000) == pytest.approx(1.0, rel=1e-3)


# -------------------------------------------------------------------- its steps, one by one


def foreseen_after(rate, looks, count=0):
    """The time foreseen for `count` samples, after each of these looks, begun at time 0."""
    clock = SampleClock(rate, 0.0)
    times = []
    for found, at in looks:
        clock.look(found, at, at)
        times.append(clock.time_of(count))
    return times


def test_it_tells_whether_the_samples_were_there():
    clock = SampleClock(10.0, 0.0)
    assert clock.look(1, 0.1, 0.1)
    assert not clock.look(1, 0.45, 0.45), 'the third one was there to be expected'
    assert clock.look(5, 0.46, 0.46)


@pytest.mark.parametrize(('rate', 'first_step'), [(1000.0, 0.0005), (10.0, 0.001)])
def test_the_first_samples_may_be_late_by_half_a_period_or_a_millisecond(rate, first_step):
    (foreseen,) = foreseen_after(rate, [(0, 3.5 / rate)])
    assert foreseen == pytest.approx(first_step, abs=3e-5)


def test_looks_in_vain_are_made_up_for_in_steps_that_double_up_to_ten_milliseconds():
    looks = [(0, 0.2 + 0.01 * number) for number in range(6)]
    steps = np.diff([0.0, *foreseen_after(10.0, looks)])
    assert steps == pytest.approx([0.001, 0.002, 0.004, 0.008, 0.01, 0.01], abs=3e-5)


@pytest.mark.parametrize(('rate', 'pause', 'step'), [(10.0, 0.1, 0.000316), (1000.0, 10.0, 0.0005)])
def test_the_longer_ago_the_last_samples_were_found_the_larger_is_the_step(rate, pause, step):
    """It is the drift that may have come since, and half a period at most."""
    there = round(pause * rate)
    looks = [(there, pause), (there, pause + 2.5 / rate)]
    before, after = foreseen_after(rate, looks)
    assert after - before == pytest.approx(step, abs=2e-5)


def test_after_looks_in_vain_it_takes_the_middle_of_what_is_possible():
    # None at 0.16 s: they come 60 ms late at least. One at 0.19 s: 90 ms late at most. The middle,
    # and half of what is uncertain then
    in_vain = [(0, 0.11 + 0.01 * number) for number in range(6)]
    foreseen = foreseen_after(10.0, [*in_vain, (1, 0.19)])[-1]
    assert foreseen == pytest.approx(0.0677, abs=0.0005)


def test_as_long_as_samples_are_there_they_are_foreseen_earlier_by_half_of_what_is_uncertain():
    # They were there at once, but may have been for nearly a period
    looks = [(number, number / 10) for number in range(1, 5)]
    since = [foreseen + 0.1 for foreseen in foreseen_after(10.0, looks)]
    assert since == pytest.approx([0.05, 0.025, 0.0127, 0.0065], abs=0.0003)


def test_where_the_time_is_roughly_known_it_moves_by_an_eighth_only():
    (foreseen,) = foreseen_after(1000.0, [(1, 0.001)])
    assert foreseen == pytest.approx(-0.000121, abs=5e-6)


def test_without_looks_samples_are_foreseen_ever_earlier_as_a_faster_clock_has_them():
    before, after = foreseen_after(1000.0, [(1, 0.001), (4001, 4.001)])
    assert before - after > 4 * 50e-6, 'a clock that is 50 ppm faster would be read too late'


def test_what_a_look_in_vain_has_shown_is_less_certain_the_longer_ago_it_was():
    # In vain at 15 s: the first sample came after 5 s. That was 1000 s ago, 50 ms of drift
    foreseen = foreseen_after(0.1, [(0, 15.0), (101, 1015.0)])[-1]
    narrowed = foreseen_after(0.1, [(0, 15.0), (1, 15.5)])[-1]
    assert 5.0 < narrowed < 5.5
    assert foreseen < 5.0


def periods_after(clock, looks):
    """The sample period that a clock counts with, after each of these looks."""
    periods = []
    for count, at in looks:
        clock.look(count, at, at)
        periods.append(clock.time_of(2) - clock.time_of(1))
    return np.array(periods)


def test_the_time_until_the_first_sample_says_nothing_about_the_rate():
    looks = [(0, 0.1), *((number, 5 + number / 10) for number in range(1, 30))]
    looks += [(29 + number, 13 + number / 10) for number in range(1, 30)]  # one pause of 5 s
    assert periods_after(SampleClock(10.0, 0.0), looks) == pytest.approx(0.1, rel=1e-3)


def test_another_rate_is_believed_once_it_is_no_block_of_samples_for_sure():
    clock = SampleClock(1.0, 0.0)
    # Three samples a second
    periods = periods_after(clock, [(count, count / 3) for count in range(1, 31)])
    learned = 1 + int(np.flatnonzero(periods < 0.9)[0])
    assert periods[-1] == pytest.approx(1 / 3, rel=0.01)
    assert 6 < learned < 9, 'a block and two of these periods either way are possible until 2.2 s'


def test_one_pause_does_not_change_a_rate_that_was_learned():
    clock = SampleClock(10.0, 0.0)
    periods_after(clock, [(count, count / 30) for count in range(1, 61)])
    learned = clock.time_of(2) - clock.time_of(1)
    assert learned == pytest.approx(1 / 30, rel=0.05)
    periods = periods_after(clock, [(count, 3.0 + count / 30) for count in range(61, 200)])
    assert periods == pytest.approx(learned, rel=0.05)


def test_one_pause_after_a_long_time_at_the_right_rate_does_not_change_it():
    looks = [(count, count / 10) for count in range(1, 350)]
    looks += [(count, 15.0 + count / 10) for count in range(350, 400)]
    assert periods_after(SampleClock(10.0, 0.0), looks) == pytest.approx(0.1, rel=1e-3)


def ages_of_reads(device, last, block=100):
    """The ages of reads until this time, at 30 polls a second and one a second at least."""
    plan = PollPlan()
    plan.set_pace(30.0, longest_rest=1.0)
    plan.begin(device.started_at, rests_first=False)
    now, wanted, ages = device.started_at, block, []
    scheduling = np.random.default_rng(1)
    while now < device.started_at + last:
        demand = [device.clock.time_of(wanted)]
        now = max(now, plan.due(demand)) + scheduling.exponential(1e-4)
        count = device.count(now)
        too_early = not device.clock.look(count, now, now + 1e-5) and count < wanted
        plan.polled(demand, math.inf, now, too_early)
        while wanted <= count:
            ages.append(device.age(now, wanted))
            wanted += block
    return np.array(ages)


class PausingDevice(Device):
    """A device whose clock stands still during each pause: when it begins, and for how long."""

    def __init__(self, rate, *pauses):
        super().__init__(rate)
        self.pauses = pauses

    def count(self, now):
        since = now - self.started_at
        stood = sum(min(max(0, since - begin), duration) for begin, duration in self.pauses)
        return int(np.floor((since - stood) * self.true_rate + 1e-6))

    def age(self, now, count):
        there_at = count / self.true_rate
        for begin, duration in self.pauses:
            there_at += duration if there_at > begin else 0.0
        return now - self.started_at - there_at


@pytest.mark.parametrize('pause', [0.15, 0.3, 0.6, 3.0, 9.0, 600.0])
@pytest.mark.parametrize(('rate', 'block'), [(10.0, 1), (1000.0, 100), (50_000.0, 2500)])
def test_after_a_pause_of_its_clock_a_device_is_read_as_before(rate, block, pause):
    device = PausingDevice(rate, (20.05, pause))
    ages = ages_of_reads(device, 60 + pause, block)
    assert max(ages) < 0.1, f'a read came {max(ages):.2f} s late, and a small ring is full by then'
    late = np.median(ages[-100:])
    assert late < 0.002, f'reads are still {late * 1e3:.0f} ms late, 40 s after a pause'


def test_a_device_that_pauses_again_and_again_is_read_in_time():
    pauses = [(begin, 4.0) for begin in np.arange(0.55, 200.0, 4.5)]  # and 0.5 s without
    ages = ages_of_reads(PausingDevice(1000.0, *pauses), 200.0)
    assert max(ages) < 0.1, f'a read came {max(ages):.2f} s late'


@pytest.mark.parametrize(
    ('rate', 'silence', 'gained', 'is_pause'),
    [
        (1000.0, 0.099, 1, False),
        (1000.0, 0.101, 1, True),
        (1000.0, 0.27, 85, True),
        (1000.0, 0.101, 90, False),  # a block
        (10.0, 0.29, 1, False),
        (10.0, 0.31, 1, True),
        (1.0, 2.9, 1, False),
        (1.0, 3.1, 1, True),
    ],
)
def test_a_silence_is_a_pause_if_a_third_of_it_would_do(rate, silence, gained, is_pause):
    clock = SampleClock(rate, 0.0)
    periods_after(clock, [(count, count / rate) for count in range(1, 21)])
    now, count = 20 / rate + silence, 20 + gained
    for part in (0.3, 0.6):  # looks in vain
        clock.look(20, 20 / rate + part * silence, 20 / rate + part * silence)
    clock.look(count, now, now)
    foreseen = clock.time_of(count + 2)
    assert (now < foreseen < now + 2.1 / rate) == is_pause, f'{foreseen - now:.3f} s from now'
    assert clock.time_of(2) - clock.time_of(1) == pytest.approx(1 / rate), 'it has no other rate'


def test_after_another_rate_was_learned_the_time_is_narrowed_down_again():
    clock = SampleClock(20.0, 0.0)
    count = 0
    while clock.time_of(2) - clock.time_of(1) < 0.09:  # ten a second, read 40 ms late
        count += 1
        clock.look(count, count / 10 + 0.04, count / 10 + 0.04)
    for late in range(8):
        at = (count + late) / 10 + 0.04
        clock.look(count + late, at, at)
    after = clock.time_of(count + 8) - (count + 8) / 10
    assert after < 0.01, f'samples are still foreseen {after * 1e3:.0f} ms late'
