"""What the simulated device is made of: samples that say which they are, in time with a clock."""

import numpy as np
import pytest

from qudi.util.instream.simulation import SampleSource, foretold_samples


class Clock:
    def __init__(self):
        self.now = 50.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_value_says_which_sample_and_which_channel_it_is():
    samples = foretold_samples(5, 3, ['b', 'd'])
    assert samples.tolist() == [[81, 83], [97, 99], [113, 115]]


def test_a_clocked_source_makes_samples_in_time(clock):
    source = SampleSource(clocked=True, clock=clock)
    source.begin()
    clock.now += 0.25
    source.tick(rate=100.0)
    assert source.waiting == 25
    source.take(20, ['a'], np.dtype(float))
    assert (source.waiting, source.taken, source.produced) == (5, 20, 25)


def test_one_without_a_clock_makes_what_it_is_told_to(clock):
    source = SampleSource(clock=clock)
    source.begin()
    source.produce(7)
    clock.now += 1
    source.tick(rate=100.0)
    assert source.waiting == 7


@pytest.mark.parametrize(
    ('options', 'seconds', 'count'),
    [
        ({'speed': 3.0}, 0.5, 150),  # three times as fast as its rate
        ({'block_time': 0.25}, 0.24, 0),  # in bursts
        ({'block_time': 0.25}, 0.26, 25),
    ],
)
def test_a_source_may_be_faster_than_its_rate_or_show_its_samples_in_bursts(
    clock, options, seconds, count
):
    source = SampleSource(clocked=True, clock=clock, **options)
    source.begin()
    clock.now += seconds
    source.tick(rate=100.0)
    assert source.waiting == count


def test_jitter_delays_samples_and_takes_none_back(clock):
    source = SampleSource(clocked=True, jitter=0.5, clock=clock)
    source.begin()
    delays, before = [], 0
    for look in range(1, 101):
        clock.now = 50.0 + look
        source.tick(rate=100.0)
        assert source.produced >= before, 'samples were taken back'
        before = source.produced
        delays.append(look - source.produced / 100.0)
    assert 0 <= min(delays) < max(delays) <= 0.51
    assert max(delays) - min(delays) > 0.3, 'all came equally late'
    clock.now += 0.5
    source.tick(rate=100.0)
    assert source.produced >= 10_000, 'a sample was later than the jitter allows'


def test_no_more_is_delivered_than_was_made(clock):
    source = SampleSource(clock=clock)
    source.begin()
    source.produce(3)
    with pytest.raises(AssertionError, match='more was asked for than there is'):
        source.take(4, ['a'], np.dtype(float))
