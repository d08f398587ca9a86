"""StreamSettings and BufferOptions: what is the same, what conflicts, what is valid."""

import subprocess
import sys
from enum import Enum, IntEnum
from types import SimpleNamespace

import numpy as np
import pytest

from qudi.util.instream.stream.settings import BufferOptions, StreamSettings, same_rate


class Mode(Enum):
    INVALID = -1
    CONTINUOUS = 0
    FINITE = 1


class Size:
    """As a ScalarConstraint of a channel_buffer_size."""

    @staticmethod
    def check(value):
        if not 1 <= value <= 10_000:
            raise ValueError(f'{value} samples are not allowed')


def constraints(modes=(Mode.CONTINUOUS, Mode.FINITE), timing='CONSTANT', channels='abc'):
    return SimpleNamespace(
        channel_units=dict.fromkeys(channels, 'V'),
        streaming_modes=list(modes),
        sample_timing=SimpleNamespace(name=timing),
        channel_buffer_size=Size,
        sample_rate=SimpleNamespace(bounds=(1.0, 1e6)),
    )


def any_rate(first, second):
    return True


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


def test_sizes_are_whole_numbers_and_rates_are_floats_however_written():
    written = StreamSettings(['a', 'b'], Mode.CONTINUOUS, 1000.0, 50)
    assert isinstance(written.channel_buffer_size, int)
    assert isinstance(written.sample_rate, float)


def test_other_channels_leave_the_rest_of_a_request_as_it_is():
    request = settings(['a', 'b'], Mode.FINITE, 77, 5.0)
    assert request.with_channels(['c', 'a']) == settings(['c', 'a'], Mode.FINITE, 77, 5.0)
    assert request.channels == ('a', 'b')


def test_channel_order_is_no_conflict():
    assert settings(['a', 'b']).conflicts_with(settings(['b', 'a']), same_rate) == []


@pytest.mark.parametrize(
    'other',
    [
        settings(['a']),
        settings(['b', 'a']),
        settings(mode=Mode.FINITE),
        settings(size=1001),
        settings(rate=50.001),
    ],
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
    assert settings(['c', 'a'], size=7).conflicts_with(running, same_rate) == []


def test_a_conflict_names_each_setting_with_both_values():
    request = settings(['a', 'x'], Mode.FINITE, rate=100)
    channels, mode, rate = request.conflicts_with(settings(), same_rate)
    assert channels == "channels: ['a', 'x'] requested, ['a', 'b'] running"
    assert mode == 'streaming mode: FINITE requested, CONTINUOUS running'
    assert rate == 'sample rate: 100 Hz requested, 50 Hz running'


def test_a_rate_that_the_device_turns_into_the_running_one_is_no_conflict():
    assert settings(rate=100).conflicts_with(settings(), any_rate) == []


def test_a_finite_acquisition_serves_no_more_samples_than_it_takes():
    running = settings(mode=Mode.FINITE, size=1000)
    assert settings(mode=Mode.FINITE, size=999).conflicts_with(running, same_rate) == []
    (conflict,) = settings(mode=Mode.FINITE, size=1001).conflicts_with(running, same_rate)
    assert conflict == 'samples to acquire: 1001 requested, 1000 running'


def test_following_adopts_rate_and_mode_and_keeps_the_rest():
    running = settings(['a', 'b', 'c'], Mode.FINITE, 1000, 200)
    followed = settings(['b'], Mode.CONTINUOUS, 500, 100).following(running)
    assert followed == settings(['b'], Mode.FINITE, 500, 200)


@pytest.mark.parametrize(
    ('channels', 'error', 'text'),
    [
        ([], ValueError, '^active_channels is empty, at least one channel is needed$'),
        (['a', 'a'], ValueError, 'names a channel twice'),
        ('ab', TypeError, "got the text 'ab'"),
    ],
)
def test_channels_that_make_no_sense_are_refused(channels, error, text):
    with pytest.raises(error, match=text):
        settings(channels).check_channels()


@pytest.mark.parametrize('keys', [(1, 2), (1.5, True), ('1', 1)])
def test_channels_are_the_keys_of_the_device_and_not_their_texts(keys):
    request = settings(keys)
    assert [type(channel) for channel in request.channels] == [type(key) for key in keys]
    request.check_channels()
    request.check_against(constraints(channels=keys))
    with pytest.raises(ValueError, match='are unknown, there are'):
        request.check_against(constraints(channels=['x', 'y']))


@pytest.mark.parametrize(
    ('request_', 'text'),
    [
        (settings(['a', 'x']), r"active_channels \['x'\] are unknown, there are \['a', 'b', 'c'\]"),
        (settings(size=10_001), '10001 samples are not allowed'),
        (settings(rate=0.5), '0.5 Hz is not allowed, the device takes 1 to 1000000 Hz'),
        (settings(rate=0), 'must be a positive number of Hz'),
        (settings(rate=float('nan')), 'must be a positive number of Hz'),
        (settings(rate=float('inf')), 'must be a positive number of Hz'),
    ],
)
def test_a_request_that_the_constraints_do_not_allow_is_refused(request_, text):
    with pytest.raises(ValueError, match=text):
        request_.check_against(constraints())


def test_the_rates_at_the_ends_of_the_constraints_are_allowed():
    for rate in (1.0, 1e6):
        settings(rate=rate).check_against(constraints())


def test_a_rate_that_is_a_hint_may_be_outside_of_the_constraints():
    for timing in ('TIMESTAMP', 'RANDOM'):
        settings(rate=0.5).check_against(constraints(timing=timing))
        with pytest.raises(ValueError, match='must be a positive number of Hz'):
            settings(rate=-1).check_against(constraints(timing=timing))


def test_a_mode_that_the_constraints_do_not_allow_is_refused():
    text = 'streaming_mode FINITE is not allowed, the device takes CONTINUOUS, INVALID$'
    for check in (settings(mode=Mode.FINITE).check_mode, settings(mode=Mode.FINITE).check_against):
        with pytest.raises(ValueError, match=text):
            check(constraints(modes=[Mode.CONTINUOUS, Mode.INVALID]))


class TheirMode(IntEnum):
    """Of a device that brings its own class, with other values."""

    FINITE = 0
    CONTINUOUS = 1


# Some devices have names of their own
OtherMode = Enum('OtherMode', {'ENDLESS': 0, 'COUNTED': 1})


@pytest.mark.parametrize('mode', [Mode.FINITE, TheirMode.FINITE, OtherMode.COUNTED, 1])
def test_a_mode_is_known_by_its_name_or_its_number(mode):
    assert settings().updated(Mode, None, mode, None, None).streaming_mode is Mode.FINITE


def test_a_mode_of_another_class_is_allowed_by_its_name():
    settings(mode=Mode.FINITE).check_mode(constraints(modes=[TheirMode.FINITE]))


def test_none_means_as_it_is():
    request = settings(['a'], Mode.FINITE, 77, 5.0)
    assert request.updated(Mode, None, None, None, None) == request
    assert request.updated(Mode, ['b'], 0, 8, 6) == settings(['b'], Mode.CONTINUOUS, 8, 6.0)


@pytest.mark.parametrize(
    'value', [0, -1, float('inf'), float('nan'), '30', True, None, [30], 10**400]
)
def test_max_poll_rate_must_be_a_finite_positive_number(value):
    with pytest.raises(ValueError, match=r'"max_poll_rate" of "buffer1" is .* must be a finite'):
        options(max_poll_rate=value)


@pytest.mark.parametrize('value', [0, -1, float('inf'), float('nan'), '10', False])
def test_read_timeout_must_be_a_finite_positive_number_or_null(value):
    text = r'"read_timeout" of "buffer1" is .*, but must be a finite .* or null for no limit$'
    with pytest.raises(ValueError, match=text):
        options(read_timeout=value)


@pytest.mark.parametrize('option', ['allow_overwrite', 'follow_running'])
@pytest.mark.parametrize('value', ['False', 0, 1, None])
def test_a_bool_must_be_a_bool(option, value):
    with pytest.raises(ValueError, match=f'"{option}" of "buffer1" is {value!r}, but must be True'):
        options(**{option: value})


def test_valid_options_are_taken_as_they_are():
    assert options(max_poll_rate=5, read_timeout=None).read_timeout is None
    assert options(max_poll_rate=0.5, read_timeout=0.25).read_timeout == 0.25


def test_time_limits_are_seconds_by_their_names():
    limits = {'patience': 2, 'watching': 0.5}
    assert options(time_limits=limits).time_limits == limits
    assert options(time_limits=None).time_limits is None


@pytest.mark.parametrize(
    'limits', [{'patience': 0}, {'patience': '5'}, {'patience': 1, 'colour': 2.0}, [5.0], 3.0, 'x']
)
def test_time_limits_that_are_none_are_refused(limits):
    text = (
        r'^Option "time_limits" of "buffer1" is .*, but must be seconds above 0 for some of '
        r'patience, longest_rest, \w+'
    )
    with pytest.raises(ValueError, match=text):
        options(time_limits=limits)


def test_a_mistyped_option_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match='no option "alow_overwrite", did you mean "allow_overwr'):
        BufferOptions.from_config('buffer1', {'alow_overwrite': True})
    with pytest.raises(ValueError, match='it knows allow_overwrite, max_poll_rate, follow_runn'):
        BufferOptions.from_config('buffer1', {'colour': 'red'})
    assert BufferOptions.from_config('buffer1', {'max_poll_rate': 5}) == options(max_poll_rate=5)


def test_what_one_buffer_has_needs_neither_qt_nor_qudi():
    code = (
        'import sys\n'
        'import qudi.util.instream.stream\n'
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
    assert followed.conflicts_with(running, same_rate) == []
