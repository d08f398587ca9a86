"""StreamSettings and BufferOptions: what is the same, what conflicts, what is valid."""

import subprocess
import sys
from enum import Enum

import numpy as np
import pytest

from qudi.util.instream.settings import BufferOptions, StreamSettings, same_rate


class Mode(Enum):
    CONTINUOUS = 0
    FINITE = 1


def settings(channels=('a', 'b'), mode=Mode.CONTINUOUS, size=1000, rate=50.0):
    return StreamSettings(channels, mode, size, rate)


def options(**changed):
    defaults = {
        'allow_overwrite': False,
        'max_poll_rate': 30.0,
        'follow_running': False,
        'read_timeout': 10.0,
    }
    return BufferOptions('buffer1', **{**defaults, **changed})


def test_requests_that_mean_the_same_are_equal_however_written():
    written = StreamSettings(['a', 'b'], Mode.CONTINUOUS, np.int64(1000), 50)
    assert written == StreamSettings(('a', 'b'), Mode.CONTINUOUS, 1000.0, np.float32(50))


def test_channel_order_is_no_difference_to_the_hardware():
    assert settings(['a', 'b']).is_same_as(settings(['b', 'a']))
    assert settings(['a', 'b']).conflicts_with(settings(['b', 'a']), rate_is_hint=False) == []


@pytest.mark.parametrize(
    'other',
    [settings(['a']), settings(mode=Mode.FINITE), settings(size=1001), settings(rate=50.001)],
)
def test_each_setting_makes_a_difference_to_the_hardware(other):
    assert not settings().is_same_as(other)


def test_a_rate_that_is_a_hint_can_be_left_out_of_the_comparison():
    assert settings().is_same_as(settings(rate=51), rate_is_hint=True)


def test_rates_are_equal_within_one_part_in_a_million():
    assert same_rate(1e5, 1e5 + 0.09)
    assert not same_rate(1e5, 1e5 + 0.11)


def test_a_subset_of_channels_with_another_ring_size_can_be_served():
    running = settings(['a', 'b', 'c'], size=1000)
    assert settings(['c', 'a'], size=7).conflicts_with(running, rate_is_hint=False) == []


def test_a_conflict_names_each_setting_with_both_values():
    request = settings(['a', 'x'], Mode.FINITE, rate=100)
    channels, mode, rate = request.conflicts_with(settings(), rate_is_hint=False)
    assert channels == "channels: ['a', 'x'] requested, ['a', 'b'] running"
    assert mode == 'streaming mode: FINITE requested, CONTINUOUS running'
    assert rate == 'sample rate: 100 Hz requested, 50 Hz running'


def test_a_rate_that_is_a_hint_is_no_conflict():
    assert settings(rate=100).conflicts_with(settings(), rate_is_hint=True) == []


def test_a_finite_acquisition_serves_no_more_samples_than_it_takes():
    running = settings(mode=Mode.FINITE, size=1000)
    assert settings(mode=Mode.FINITE, size=999).conflicts_with(running, False) == []
    (conflict,) = settings(mode=Mode.FINITE, size=1001).conflicts_with(running, False)
    assert conflict == 'samples to acquire: 1001 requested, 1000 running'


def test_following_adopts_rate_and_mode_and_keeps_the_rest():
    running = settings(['a', 'b', 'c'], Mode.FINITE, 1000, 200)
    followed = settings(['b'], Mode.CONTINUOUS, 500, 100).following(running)
    assert followed == settings(['b'], Mode.FINITE, 500, 200)


@pytest.mark.parametrize(
    ('channels', 'error', 'text'),
    [
        ([], ValueError, 'is empty'),
        (['a', 'a'], ValueError, 'names a channel twice'),
        ('ab', TypeError, "got the text 'ab'"),
    ],
)
def test_channels_that_make_no_sense_are_refused(channels, error, text):
    with pytest.raises(error, match=text):
        settings(channels).check_channels()


@pytest.mark.parametrize(
    'value', [0, -1, float('inf'), float('nan'), '30', True, None, [30], 10**400]
)
def test_max_poll_rate_must_be_a_finite_positive_number(value):
    with pytest.raises(ValueError, match=r'"max_poll_rate" of "buffer1" is .* must be a finite'):
        options(max_poll_rate=value)


@pytest.mark.parametrize('value', [0, -1, float('inf'), float('nan'), '10', False])
def test_read_timeout_must_be_a_finite_positive_number_or_null(value):
    with pytest.raises(ValueError, match=r'"read_timeout" of "buffer1" is .* or null'):
        options(read_timeout=value)


@pytest.mark.parametrize('option', ['allow_overwrite', 'follow_running'])
@pytest.mark.parametrize('value', ['False', 0, 1, None])
def test_a_bool_must_be_a_bool(option, value):
    with pytest.raises(ValueError, match=f'"{option}" of "buffer1" is {value!r}, but must be True'):
        options(**{option: value})


def test_valid_options_are_taken_as_they_are():
    assert options(max_poll_rate=5, read_timeout=None).read_timeout is None


def test_a_mistyped_option_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match='no option "alow_overwrite", did you mean "allow_overwr'):
        BufferOptions.from_config('buffer1', {'alow_overwrite': True})
    with pytest.raises(ValueError, match='it knows allow_overwrite, max_poll_rate, follow_runn'):
        BufferOptions.from_config('buffer1', {'colour': 'red'})
    assert BufferOptions.from_config('buffer1', {'max_poll_rate': 5}).max_poll_rate == 5


def test_ring_consumer_and_settings_need_neither_qt_nor_qudi():
    code = (
        'import sys\n'
        'import qudi.util.instream.consumer, qudi.util.instream.settings\n'
        'loaded = [m for m in sys.modules if m.split(".")[0] in ("qtpy", "PySide2", "PySide6")'
        ' or m.startswith(("qudi.core", "qudi.interface"))]\n'
        'sys.exit(f"they load {loaded}" if loaded else 0)\n'
    )
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_a_buffer_size_is_a_whole_number():
    with pytest.raises(ValueError, match=r'whole number of samples, got 100\.5'):
        settings(size=100.5)


def test_following_a_finite_acquisition_takes_no_more_than_it_has():
    running = settings(mode=Mode.FINITE, size=100)
    followed = settings(size=1000, rate=7).following(running)
    assert followed.channel_buffer_size == 100
    assert followed.conflicts_with(running, rate_is_hint=False) == []
