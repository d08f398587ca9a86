"""PollPlan alone, with a clock that the test sets."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qudi.util.instream.device.plan import PollPlan, interval_of

START = 5000.0


def plan_at(rate, longest_rest=1.0, rests_first=True):
    plan = PollPlan()
    plan.set_pace(rate, longest_rest)
    plan.begin(START, rests_first)
    return plan


def poll_at_demand(plan, wishes, lateness):
    """Poll as the plan says, each time so much later; return the times of the polls.

    `wishes` gives the wishes at a time.
    """
    now, polls = START, []
    for late in lateness:
        wished = wishes(now)
        now = max(now, plan.due(wished)) + late
        plan.polled(wished, math.inf, now)
        polls.append(now)
    return np.array(polls)


def repeatedly(period):
    """The wishes of a reader that waits for samples which come every `period` seconds."""
    return lambda now: [START + period * (math.floor((now - START) / period + 1e-6) + 1)]


@given(
    rate=st.floats(0.1, 300),
    steps=st.lists(
        st.tuples(
            st.sampled_from([-math.inf, 0.0, 0.004, 0.03, math.inf]),
            st.floats(0, 0.1),
            st.booleans(),
        ),
        min_size=2,
        max_size=400,
    ),
)
@example(rate=10, steps=[(-math.inf, 0.04, False)] + 30 * [(-math.inf, 0.0, False)])
@example(rate=10, steps=30 * [(-math.inf, 0.0, True)])
def test_never_polls_more_often_than_the_ceiling_allows(rate, steps):
    plan = plan_at(rate)
    now, polls = START, []
    for wish, late, too_early in steps:
        now = max(now, plan.due([now + wish])) + late
        plan.polled([now + wish], math.inf, now, too_early)
        polls.append(now)
    times = np.array(polls)
    in_a_second = np.searchsorted(times, times + 1.0 - 1e-9) - np.arange(len(times))
    assert in_a_second.max() <= max(1, int(rate)), 'too many polls in one second'
    whole_rate = rate if rate < 1 else math.floor(rate)
    assert np.diff(times).min() > 0.5 / whole_rate - 1e-9, 'two polls too close to each other'


def test_a_poll_comes_when_it_is_wished_and_the_ceiling_allows():
    plan = plan_at(100)
    assert plan.due([START + 0.05]) == START + 0.05
    assert plan.due([START + 0.002]) == pytest.approx(START + 0.01, abs=1e-9)
    assert plan.due([-math.inf]) == pytest.approx(START + 0.01, abs=1e-9)


def test_without_a_wish_it_polls_after_the_longest_rest():
    assert plan_at(100).due([]) == START + 1.0
    assert plan_at(100).due([math.inf, START + 30.0]) == START + 1.0
    assert plan_at(100, longest_rest=0.25).due([]) == START + 0.25
    assert plan_at(0.1).due([]) == START + 10.0, 'the ceiling counts'


def test_after_a_late_poll_the_next_one_keeps_its_time():
    plan = plan_at(100)
    plan.polled([START + 0.02], math.inf, START + 0.024)
    assert plan.due([START + 0.03]) == pytest.approx(START + 0.03, abs=1e-9)
    plan.polled([START + 0.03], math.inf, START + 0.039)
    assert plan.due([-math.inf]) == pytest.approx(START + 0.044, abs=1e-9), (
        'half an interval must be between them'
    )


def test_polls_that_were_missed_are_not_made_up_for():
    plan = plan_at(100)
    plan.polled([START + 0.02], math.inf, START + 0.1)
    assert plan.due([-math.inf]) == pytest.approx(START + 0.105, abs=1e-9)
    plan.polled([-math.inf], math.inf, START + 0.105)
    assert plan.due([-math.inf]) == pytest.approx(START + 0.115, abs=1e-9)


def test_a_poll_that_came_too_early_is_tried_again_and_the_next_keeps_its_time():
    plan = plan_at(100)
    plan.polled([START + 0.05], math.inf, START + 0.05, too_early=True)
    assert plan.due([START + 0.0501]) == pytest.approx(START + 0.055, abs=1e-9)
    plan.polled([START + 0.0501], math.inf, START + 0.055)
    assert plan.due([START + 0.0601]) == pytest.approx(START + 0.0601, abs=1e-9)


@pytest.mark.parametrize('rate', [10, 100, 1000])
def test_samples_that_are_long_in_coming_do_not_use_up_the_second(rate):
    plan = plan_at(rate)
    now, polls = START, []
    while now < START + 5:
        wish = now + 1e-4
        now = plan.due([wish])
        plan.polled([wish], math.inf, now, too_early=True)
        polls.append(now)
    longest = np.diff(polls).max()
    assert longest < max(2.1 / rate, 0.06), f'for {longest * 1e3:.0f} ms no poll was allowed'


def test_a_poll_that_came_too_early_for_nobody_is_not_tried_again():
    for wishes in ([], [math.inf], [START + 1.2]):
        plan = plan_at(100)
        plan.polled(wishes, math.inf, START + 1.0, too_early=True)
        assert plan.due([START + 1.001]) == pytest.approx(START + 1.01, abs=1e-9)


def test_readers_that_are_nearly_at_the_same_time_are_served_together():
    plan = plan_at(100)
    assert plan.due([START + 0.053, START + 0.05, START + 0.07]) == START + 0.053
    assert plan.due([START + 0.053, -math.inf]) == pytest.approx(START + 0.01, abs=1e-9)


def test_a_deadline_is_kept_whatever_readers_wish():
    plan = plan_at(100)
    assert plan.due([START + 0.05], START + 0.03) == START + 0.03
    assert plan.due([START + 0.05, START + 0.053], START + 0.052) == START + 0.052
    assert plan.due([], START + 0.002) == pytest.approx(START + 0.01, abs=1e-9)


def test_a_deadline_makes_no_reader_wait():
    assert plan_at(100).due([START + 0.05], START + 0.053) == START + 0.05


def test_no_poll_is_sat_out_past_a_deadline():
    plan = plan_at(10)
    for number in range(1, 4):
        now = START + 0.1 * number
        wish = now - 0.03
        assert plan.due([wish], now) == pytest.approx(now, abs=1e-9)
        plan.polled([wish], now, now)


def test_readers_far_below_the_ceiling_wait_no_longer_than_it_demands():
    plan = plan_at(10, longest_rest=10.0)
    assert plan.due([START + 0.05]) == pytest.approx(START + 0.1, abs=1e-9), 'the first read'
    for number in range(1, 5):
        first = START + 1.2 * number
        plan.polled([first, first + 0.06], math.inf, first)
        assert plan.due([first + 0.06]) == pytest.approx(first + 0.1, abs=1e-9)
        plan.polled([first + 0.06], math.inf, first + 0.1)


def test_no_more_than_1000_polls_a_second():
    plan = plan_at(1e6)
    plan.polled([-math.inf], math.inf, START + 0.001)
    assert plan.due([-math.inf]) == pytest.approx(START + 0.002, abs=1e-9)


@pytest.mark.parametrize('rate', [30, 100])
def test_readers_exactly_at_the_ceiling_stay_in_time(rate):
    rng = np.random.default_rng(1)
    lateness = rng.exponential(1e-4, 600 * rate)
    hiccups = rng.random(len(lateness)) < 0.003
    lateness[hiccups] += rng.uniform(0.001, 0.008, hiccups.sum())
    polls = poll_at_demand(plan_at(rate), repeatedly(1 / rate), lateness) - START
    age = polls - np.floor(polls * rate + 1e-6) / rate
    assert np.median(age) < 0.1 / rate, f'typically {np.median(age) * 1e3:.1f} ms late'
    assert len(polls) / polls[-1] > 0.98 * rate


def test_a_changed_rate_counts_at_once():
    plan = plan_at(2)
    plan.polled([-math.inf], math.inf, START + 0.5)
    plan.set_pace(200, 1.0)
    assert plan.due([-math.inf]) == pytest.approx(START + 0.505, abs=1e-9)
    plan.set_pace(2, 1.0)
    assert plan.due([-math.inf]) == pytest.approx(START + 1.0, abs=1e-9)


def test_the_first_poll_comes_when_it_is_wanted_unless_it_rests_first():
    for rests_first, first in ((False, START), (True, START + 0.1)):
        plan = plan_at(10, rests_first=rests_first)
        assert plan.due([-math.inf]) == pytest.approx(first, abs=1e-9)
        assert plan.due([START + 0.02]) == pytest.approx(max(first, START + 0.02), abs=1e-9)
        assert plan.due([START + 0.3]) == pytest.approx(START + 0.3, abs=1e-9)


@pytest.mark.parametrize('rests_first', [False, True])
def test_beginning_anew_again_and_again_is_no_way_past_the_ceiling(rests_first):
    plan = plan_at(10, rests_first=rests_first)
    now, polls = START, []
    while now < START + 3.0:  # starts and stops 50 times a second, each with a poll if it may
        plan.begin(now, rests_first)
        if plan.due([-math.inf]) <= now:
            plan.polled([-math.inf], math.inf, now)
            polls.append(now)
        now += 0.02
    times = np.array(polls)
    in_a_second = np.searchsorted(times, times + 1.0 - 1e-9) - np.arange(len(times))
    assert not len(times) or in_a_second.max() <= 10, 'too many polls in one second'
    assert rests_first or np.diff(times).max() < 0.13, 'frames of 20 ms wait for long'


# -------------------------------------------------------------------- its rules, one by one


def test_until_it_has_a_pace_it_polls_once_a_second():
    plan = PollPlan()
    plan.begin(START, rests_first=True)
    assert plan.due([-math.inf]) == START + 1.0
    assert plan.due([]) == START + 1.0


def test_readers_within_half_an_interval_are_served_together_and_no_others():
    plan = plan_at(100)
    assert plan.due([START + 0.05, START + 0.0549]) == START + 0.0549
    assert plan.due([START + 0.05, START + 0.0551]) == START + 0.05


def test_a_twentieth_of_the_polls_of_a_second_may_be_tried_again():
    plan = plan_at(100)

    def may_be_tried_again(at):
        plan.polled([at], math.inf, at, too_early=True)
        return plan.due([at]) < at + 0.009

    assert [may_be_tried_again(START + 0.1 * n) for n in range(1, 7)] == 5 * [True] + [False]
    assert may_be_tried_again(START + 1.15), 'more than a second after the first one'


@pytest.mark.parametrize('rate', [0.1, 0.5, 0.9])
def test_a_limit_below_one_poll_a_second_is_kept_while_no_sample_comes(rate):
    plan = plan_at(rate)
    now, polls = START, 0
    while now < START + 100 / rate:
        now = max(now, plan.due([START + 0.05])) + 1e-4
        plan.polled([START + 0.05], math.inf, now, too_early=True)
        polls += 1
    assert polls <= 1.06 * 100, f'{polls} polls where 100 are allowed'


def test_the_second_of_two_late_polls_waits_for_its_samples_once_a_second():
    plan = plan_at(10)
    now, late, waited_at = START, [], []
    for _ in range(40):
        wanted = now + 0.05  # in the middle of an interval, so that each poll comes late
        now = plan.due([wanted])
        plan.polled([wanted], math.inf, now)
        late.append(round(now - wanted, 6))
        if late[-1] == 0.1:
            waited_at.append(now)
    assert late[:3] == [0.05, 0.1, 0.05]
    assert set(late) == {0.05, 0.1}
    between = np.diff(waited_at)
    assert between.min() > 1.0
    assert between.max() < 1.25


def test_each_late_poll_may_wait_where_polls_are_more_than_a_second_apart():
    plan = plan_at(0.5, longest_rest=100.0)
    for wanted, due in ((1.0, 2.0), (3.0, 5.0), (6.0, 8.0)):
        assert plan.due([START + wanted]) == pytest.approx(START + due, abs=1e-9)
        plan.polled([START + wanted], math.inf, START + due)


@pytest.mark.parametrize(
    ('rate', 'interval'),
    [(0.1, 10.0), (0.9, 1 / 0.9), (1.0, 1.0), (1.9, 1.0), (2.0, 0.5), (30.5, 1 / 30)],
)
def test_a_full_second_has_whole_polls_only(rate, interval):
    assert interval_of(rate) == pytest.approx(interval)
