"""SampleClock foresees the samples of devices that are not quite what they say."""

import numpy as np
import pytest

from qudi.util.instream.device.clock import SampleClock


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
