"""JobQueue alone: a caller that is interrupted, and a clock that goes on without it."""

import threading

import pytest

from qudi.util.instream.device.jobs import Job, JobQueue


def refuse(error):
    pytest.fail(f'{error!r} was reported, although its caller has got it')


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize('must_run', [False, True])
def test_ctrl_c_just_after_a_job_was_queued_withdraws_it_unless_it_must_run(must_run):
    queue, ran = JobQueue(interrupt, refuse, patience=5.0), []
    with pytest.raises(KeyboardInterrupt):
        queue.run(Job(lambda: ran.append(1), 'It cannot be done', must_run))
    queue.run_all()
    assert ran == [1] * must_run
    assert not len(queue)


def test_a_pause_of_the_process_is_no_hanging_call(background):
    """As after a SIGSTOP: the clock went on, and the call had no time."""
    now, is_queued, is_looked_at = 0.0, threading.Event(), threading.Event()

    def clock():
        if now:
            is_looked_at.set()
        return now

    def pause():
        nonlocal now
        now = 1000.0
        assert is_looked_at.wait(10), 'the caller does not look at the clock again'
        return 'done'

    queue = JobQueue(is_queued.set, refuse, patience=0.05, clock=clock)
    job = background(queue.run, Job(pause, 'It cannot be done'))
    assert is_queued.wait(10)
    queue.run_all()
    assert job.result(10) == 'done'
