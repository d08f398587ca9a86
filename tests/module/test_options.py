"""Options are checked when the module loads; a wrong one names itself and keeps it from loading."""

import re

import pytest

from qudi.util.instream.stream import BufferOptions


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        ({'allow_overwrite': 'False'}, '"allow_overwrite" of "buffer" is \'False\', but must be T'),
        ({'follow_running': 1}, '"follow_running" of "buffer" is 1, but must be True or False'),
        ({'max_poll_rate': 0}, '"max_poll_rate" of "buffer" is 0, but must be a finite number'),
        ({'max_poll_rate': float('nan')}, '"max_poll_rate" of "buffer" is nan'),
        ({'max_poll_rate': float('inf')}, '"max_poll_rate" of "buffer" is inf'),
        ({'max_poll_rate': '30'}, '"max_poll_rate" of "buffer" is \'30\''),
        (
            {'read_timeout': -1},
            '"read_timeout" of "buffer" is -1, but must be .* null for no limit',
        ),
        ({'allow_overwrit': True}, 'no option "allow_overwrit", did you mean "allow_overwrite"'),
    ],
)
def test_a_wrong_option_keeps_the_module_from_loading(bench, options, text):
    assert re.search(f'^ValueError: .*{text}', reason_not_to_load(bench, options))
    assert not bench.qudi.module_manager['buffer'].is_loaded


def reason_not_to_load(bench, options):
    # No pytest.raises: what it keeps is a reference cycle with qudi's ManagedModule in it, and
    # PySide2 deletes the main thread's QThread when it collects that
    try:
        bench.qudi.add_buffer('buffer', **options)
    except RuntimeError as error:
        return f'{type(error.__context__).__name__}: {error.__context__}'
    return pytest.fail(f'loaded with {options}')


def test_every_option_has_its_default(bench):
    assert bench.qudi.add_buffer('buffer').status.allow_overwrite is False
    options = BufferOptions.from_config('buffer', {})
    assert (options.allow_overwrite, options.max_poll_rate) == (False, 30.0)
    assert (options.follow_running, options.read_timeout) == (False, 10.0)


def test_null_is_no_read_timeout(bench):
    assert bench.qudi.add_buffer('buffer', read_timeout=None)
    assert BufferOptions.from_config('buffer', {'read_timeout': None}).read_timeout is None
