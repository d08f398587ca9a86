"""`qudi-instream add` gives each program its own buffer and changes nothing else."""

from pathlib import Path

import pytest
from qudi.util.yaml import YAML

from qudi.util.instream.command.add import AddError, add
from qudi.util.instream.command.configuration import Configuration
from qudi.util.instream.command.stream import read_stream

BUFFER = 'instream_buffer.buffer.DataInStreamBuffer'

CONFIG = """\
# Of the lab in the cellar
global:
    startup_modules: [window]   # opens at once

logic:
    second:   # comes first in this file
        module.Class: time_series_reader_logic.TimeSeriesReaderLogic
        connect: {streamer: "counter"}
    first:
        module.Class: 'time_series_reader_logic.TimeSeriesReaderLogic'
        options:
            max_frame_rate:     20  # Hz
        connect:
            streamer: counter  # the photon counter

hardware:

    counter:
        module.Class: "dummy.data_instream_dummy.InStreamDummy"
        options:
            channel_names: ['APD', "analog 1"]
            channel_units: ['Hz', 'V']
            channel_signals:
                - 'counts'
                - 'sine'
            # data_type: 'float64'

    # Not used at present
    laser:
        module.Class: dummy.simple_laser_dummy.SimpleLaserDummy

gui:
    window:
        module.Class: 'time_series.time_series_gui.TimeSeriesGui'
        connect:
            _time_series_logic_con: first
"""

EXPECTED = """\
         module.Class: time_series_reader_logic.TimeSeriesReaderLogic
-        connect: {streamer: "counter"}
+        connect: {streamer: "second_buffer"}
     first:
         module.Class: 'time_series_reader_logic.TimeSeriesReaderLogic'
         options:
             max_frame_rate:     20  # Hz
         connect:
-            streamer: counter  # the photon counter
+            streamer: first_buffer  # the photon counter

 hardware:

@@ -25,6 +25,16 @@
                 - 'sine'
             # data_type: 'float64'

+    second_buffer:
+        module.Class: "instream_buffer.buffer.DataInStreamBuffer"
+        connect:
+            streamer: "counter"
+
+    first_buffer:
+        module.Class: "instream_buffer.buffer.DataInStreamBuffer"
+        connect:
+            streamer: "counter"
+
     # Not used at present
     laser:
         module.Class: dummy.simple_laser_dummy.SimpleLaserDummy
"""


def added(text, device='counter'):
    return add(Configuration(Path('lab.cfg'), text), device, Path('lab_buffered.cfg'))


def stream_of(text):
    configuration = Configuration(Path('lab.cfg'), text)
    stream = read_stream([configuration])
    return {
        member.name: [source.name for source in member.reads.values()]
        for member in stream.members
        if member.reads
    }


def test_the_difference_is_the_buffers_and_the_connections_only():
    difference = added(CONFIG).difference
    lines = [line.rstrip() for line in difference.splitlines()]
    assert '\n'.join(lines).endswith(EXPECTED.rstrip()), difference
    assert lines[:2] == ['--- lab.cfg', '+++ lab_buffered.cfg']


def test_each_program_reads_a_buffer_of_its_own_afterwards():
    assert stream_of(CONFIG) == {'first': ['counter'], 'second': ['counter']}
    assert stream_of(added(CONFIG).text) == {
        'first': ['first_buffer'],
        'second': ['second_buffer'],
        'first_buffer': ['counter'],
        'second_buffer': ['counter'],
    }


def test_a_second_time_changes_nothing():
    once = added(CONFIG).text
    again = added(once)
    assert (again.text, again.buffers, again.difference) == (once, {}, '')


def test_buffers_that_exist_stay_and_their_names_are_not_used_again():
    text = CONFIG.replace('streamer: counter', 'streamer: second_buffer').replace(
        'hardware:\n',
        f'hardware:\n    second_buffer:\n        module.Class: {BUFFER}\n'
        '        connect:\n            streamer: counter\n',
    )
    addition = added(text)
    assert addition.buffers == {'second': 'second_buffer2'}
    assert stream_of(addition.text) == {
        'first': ['second_buffer'],
        'second': ['second_buffer2'],
        'second_buffer': ['counter'],
        'second_buffer2': ['counter'],
    }


@pytest.mark.parametrize(
    ('change', 'what'),
    [
        (lambda text: text.replace('\n', '\r\n'), 'the line ends of Windows'),
        (lambda text: text.rstrip('\n'), 'no line end at the end'),
        (lambda text: text[: text.index('    # Not used')], 'the device at the end'),
        (lambda text: text[: text.index('\n    # Not used')].rstrip(), 'the end in a comment'),
        (lambda text: text.replace('    ', '  '), 'two spaces a level'),
        (lambda text: text.replace('the lab', 'd\u00fcsseldorf, 5 \u00b5m \u2713'), 'all letters'),
        (lambda text: '\ufeff' + text, 'a mark for the order of bytes'),
        (lambda text: text.replace('hardware:\n\n', 'hardware:\n'), 'no empty line'),
        (lambda text: text.replace('laser:', 'laser:  # of 532 nm'), 'a comment beside a name'),
        (lambda text: text.replace("- 'sine'\n", '- >\n                    sine\n'), 'a block'),
        (lambda text: text + '\n\n# the end\n', 'a comment at the end'),
        (lambda text: text[: text.index('\n            # data_type')], 'the end in a value'),
        (
            lambda text: (
                text[: text.index('    counter:')]
                + '    counter: {module.Class: dummy.data_instream_dummy.InStreamDummy}\n'
            ),
            'an entry in one line',
        ),
    ],
)
def test_it_works_however_the_file_is_written(change, what):
    text = change(CONFIG)
    addition = added(text)
    assert set(addition.buffers) == {'first', 'second'}, what
    kept = [line for line in addition.text.splitlines() if '_buffer' not in line]
    for line in text.splitlines():
        if 'streamer' not in line:
            assert line in kept, f'{what}: lost {line!r}'
    assert addition.text.count('\r\n') in (0, addition.text.count('\n')), what
    hardware = YAML().load(addition.text.removeprefix('\ufeff'))['hardware']
    for buffer in addition.buffers.values():
        assert hardware[buffer] == {'module.Class': BUFFER, 'connect': {'streamer': 'counter'}}


def test_a_device_among_the_logics_gets_its_buffers_in_the_hardware():
    text = CONFIG.replace('hardware:\n\n    counter', 'gone:\n\n    counter')
    text = text[: text.index('gone:')] + (
        '    counter:\n        module.Class: dummy.data_instream_dummy.InStreamDummy\n'
    )
    addition = added(text)
    assert list(YAML().load(addition.text)['hardware']) == ['second_buffer', 'first_buffer']


@pytest.mark.parametrize(
    ('text', 'device', 'words'),
    [
        (CONFIG, 'conter', 'has no module "conter", did you mean "counter"?'),
        (CONFIG, 'xyz', 'has no module "xyz"; it has "counter"'),
        (CONFIG, 'laser', '"laser" is no streaming device'),
        (CONFIG, 'window', '"window" is no streaming device'),
        (added(CONFIG).text, 'first_buffer', '"first_buffer" is a buffer'),
        (
            CONFIG.replace('"counter"', '&device "counter"').replace(
                'streamer: counter', 'streamer: *device'
            ),
            'counter',
            'by hand',
        ),
        (
            CONFIG.replace('connect: {', 'connect: &both {').replace(
                'connect:\n            streamer: counter', 'connect: *both'
            ),
            'counter',
            'cannot change safely',
        ),
        (
            CONFIG[: CONFIG.index('hardware:')]
            + "hardware: {counter: {module.Class: 'dummy.data_instream_dummy.InStreamDummy'}}\n",
            'counter',
            'this section is written in one line',
        ),
    ],
)
def test_what_cannot_be_done_is_said(text, device, words):
    with pytest.raises(AddError) as error:
        added(text, device)
    assert words in str(error.value)


def test_of_a_program_that_reads_two_devices_only_one_connection_moves(tmp_path):
    logic = tmp_path / 'qudi' / 'logic' / 'correlator.py'
    logic.parent.mkdir(parents=True)
    logic.write_text(
        'from qudi.core import Connector, LogicBase\n'
        'class Correlator(LogicBase):\n'
        "    left = Connector(interface='DataInStreamInterface')\n"
        "    right = Connector(interface='DataInStreamInterface')\n"
        "    _light: object = Connector('SimpleLaserInterface', 'light', True)\n",
        encoding='utf-8',
    )
    dummy = "module.Class: 'dummy.data_instream_dummy.InStreamDummy'"
    text = f"""\
global:
    extension_paths: ['{tmp_path.as_posix()}']
hardware:
    one:
        {dummy}
    other:
        {dummy}
logic:
    both:
        module.Class: correlator.Correlator
        connect:
            left: one
            right: other
"""
    addition = added(text, 'other')
    assert addition.buffers == {'both': 'both_buffer'}
    connections = YAML().load(addition.text)['logic']['both']['connect']
    assert connections == {'left': 'one', 'right': 'both_buffer'}
