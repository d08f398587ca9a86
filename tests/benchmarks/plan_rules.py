"""What each rule of PollPlan brings, on a simulated clock: no figure depends on the machine.

    python tests/benchmarks/plan_rules.py

Prints a table: how late reads get their samples without a rule and with all of them.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from statistics import mean, median

from qudi.util.instream.device.clock import SampleClock
from qudi.util.instream.device.plan import PollPlan

SECONDS, SEEDS = 10.0, 8
PROVING_TIME = 0.25  # s at the beginning in which a poll comes after two intervals at the latest
DRIFT = 30e-6  # of a device's clock, at most
JITTER = 0.2e-3  # s by which polls are late
ASKING, POLLING = 20e-6, 50e-6  # s that the device takes to answer, and a poll
RULES = ('all', 'no second try', 'no common poll', 'no skipped poll')


@dataclass(frozen=True)
class Case:
    """Programs that read blocks of `read_sizes` samples in turn, at a limit of polls."""

    name: str
    sample_rate: float
    read_sizes: tuple[int, ...]
    poll_rate: float


CASES = (
    Case('1 kS/s, reads of 10, 100 polls/s: all polls are wanted', 1e3, (10,), 100),
    Case('1 kS/s, reads of 20, 100 polls/s', 1e3, (20,), 100),
    Case('44.1 kS/s, reads of 1024, 50 polls/s', 44100, (1024,), 50),
    Case('50 kS/s, reads of 2500, 30 polls/s', 5e4, (2500,), 30),
    Case('50 kS/s, two programs that read 2500, 30 polls/s', 5e4, (2500, 2500), 30),
    Case('1 kS/s, two programs that read 50, 100 polls/s', 1e3, (50, 50), 100),
    Case('1 kS/s, two programs that read 10, 500 polls/s', 1e3, (10, 10), 500),
)


@dataclass
class Outcome:
    """What was seen of one case."""

    ages: list[float] = field(default_factory=list)  # s from a read's last sample to its end
    polls: list[float] = field(default_factory=list)  # per second, one value a seed

    def row(self) -> str:
        ages = sorted(self.ages)
        p99 = ages[int(0.99 * len(ages))]
        figures = [f'{1e3 * age:.2f}' for age in (median(ages), p99, ages[-1])]
        return ' | '.join([*figures, f'{mean(self.polls):.0f}'])


def simulate(case: Case, rule: str, seed: int, outcome: Outcome) -> None:
    rng = random.Random(seed)
    true_rate = case.sample_rate * (1 + rng.uniform(-DRIFT, DRIFT))
    began = rng.uniform(0, 1)
    now = believed = began + rng.uniform(0, 1e-3)
    clock, plan = SampleClock(case.sample_rate, believed), PollPlan()
    plan.set_pace(case.poll_rate, 1.0)
    plan.begin(now, rests_first=False)
    ends = [rng.randrange(size) + size for size in case.read_sizes]  # of the reads in progress
    polls = 0
    while now < began + SECONDS:
        is_proven = now > believed + PROVING_TIME
        latest = math.inf if is_proven else now + 2 / case.poll_rate
        wanted, latest = demand(clock, ends, latest, rule)
        now = max(now, plan.due(wanted, latest)) + abs(rng.gauss(0, JITTER))
        there = int((now - began) * true_rate)
        too_early = not clock.look(there, now, now + ASKING) and there < min(ends)
        plan.polled(wanted, latest, now, too_early and rule != 'no second try')
        polls += 1
        for program, size in enumerate(case.read_sizes):
            while ends[program] <= there:
                if now > began + 1.0:
                    outcome.ages.append(now - began - ends[program] / true_rate)
                ends[program] += size
        now += POLLING
    outcome.polls.append(polls / SECONDS)


def demand(
    clock: SampleClock, ends: list[int], latest: float, rule: str
) -> tuple[list[float], float]:
    """Return what reads wish, changed so that a rule of the plan has no effect."""
    wanted = [clock.time_of(end) for end in ends]
    if rule == 'no common poll':
        wanted = [min(wanted)]
    if rule == 'no skipped poll':
        latest = min(latest, max(wanted))  # no poll is put off past this time
    return wanted, latest


def main() -> None:
    print('| case | rules | median age (ms) | p99 (ms) | worst (ms) | polls/s |')
    print('| --- | --- | --- | --- | --- | --- |')
    for case in CASES:
        for rule in RULES:
            outcome = Outcome()
            for seed in range(SEEDS):
                simulate(case, rule, seed, outcome)
            print(f'| {case.name if rule == RULES[0] else ""} | {rule} | {outcome.row()} |')


if __name__ == '__main__':
    main()
