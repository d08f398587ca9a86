"""Selection: which of the samples of a device go into a stream."""

import numpy as np
import pytest

from qudi.util.instream.stream import Selection

SAMPLES = np.arange(24.0).reshape(6, 4)


@pytest.mark.parametrize('columns', [[0], [1, 2], [2, 3], [0, 1, 2, 3]])
def test_neighbouring_channels_cost_no_copy(columns):
    selected, _ = Selection(columns).apply(SAMPLES, None, np.inf)
    assert (selected == SAMPLES[:, columns]).all()
    assert np.shares_memory(selected, SAMPLES)


@pytest.mark.parametrize('columns', [[1, 0], [0, 2], [3, 1, 0], [0, 2, 1, 3]])
def test_any_other_channels_come_in_the_order_that_was_asked_for(columns):
    selected, _ = Selection(columns).apply(SAMPLES, None, np.inf)
    assert (selected == SAMPLES[:, columns]).all()


def test_all_samples_are_handed_on_as_they_are():
    times = np.arange(6.0)
    selected = Selection().apply(SAMPLES, times, np.inf)
    assert selected[0] is SAMPLES
    assert selected[1] is times
    assert Selection().apply(SAMPLES, None, 6)[0] is SAMPLES


@pytest.mark.parametrize(
    'options', [{'columns': [0]}, {'samples_to_skip': 1}, {'timestamp_offset': 0.5}]
)
def test_it_says_whether_it_changes_anything(options):
    assert Selection().is_all
    assert not Selection(**options).is_all


def test_older_samples_are_skipped_with_their_timestamps_until_none_is_left_to_skip():
    selection = Selection(samples_to_skip=8)
    times = np.arange(6.0)
    for skipped, left in ((6, 2), (2, 0), (0, 0)):
        samples, timestamps = selection.apply(SAMPLES, times, np.inf)
        assert (samples == SAMPLES[skipped:]).all()
        assert (timestamps == times[skipped:]).all()
        assert selection.samples_to_skip == left
    assert Selection(samples_to_skip=2).apply(SAMPLES, None, np.inf)[1] is None


def test_no_more_is_taken_than_the_stream_wants():
    times = np.arange(6.0)
    for skipped in (0, 2):
        samples, timestamps = Selection(samples_to_skip=skipped).apply(SAMPLES, times, 3)
        assert (samples == SAMPLES[skipped : skipped + 3]).all()
        assert (timestamps == times[skipped : skipped + 3]).all()


def test_only_the_first_timestamp_of_a_stream_may_lower_its_offset():
    selection = Selection(timestamp_offset=5.0)
    assert selection.apply(SAMPLES[:0], np.empty(0), np.inf)[1].size == 0
    assert selection.apply(SAMPLES[:2], np.array([4.5, 5.5]), np.inf)[1].tolist() == [0.0, 1.0]
    assert selection.timestamp_offset == 4.5
    assert selection.apply(SAMPLES[:1], np.array([4.0]), np.inf)[1].tolist() == [-0.5]
    assert selection.timestamp_offset == 4.5
