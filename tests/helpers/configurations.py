"""Configurations for `qudi-instream check`: good ones, and ways to break them."""

BUFFER = 'instream_buffer.buffer.DataInStreamBuffer'
LOGIC = 'time_series_reader_logic.TimeSeriesReaderLogic'

# One device, two programs with a buffer each, a window, and the monitor: all as it should be
_COUNTER = """\
    counter:
        module.Class: 'dummy.data_instream_dummy.InStreamDummy'
        options:
            channel_names: ['APD']
            channel_units: ['Hz']
            channel_signals: ['counts']
"""

GOOD = f"""\
global:
    startup_modules: [gui1, logic2]
    hide_manager_window: True

gui:
    gui1:
        module.Class: 'time_series.time_series_gui.TimeSeriesGui'
        connect:
            _time_series_logic_con: 'logic1'

logic:
    logic1:
        module.Class: '{LOGIC}'
        options:
            max_frame_rate: 20
        connect:
            streamer: 'buffer1'
    logic2:
        module.Class: '{LOGIC}'
        connect:
            streamer: 'buffer2'
    monitor:
        module.Class: 'instream_monitor_logic.InStreamMonitorLogic'
        options:
            update_rate: 2.0

hardware:
{_COUNTER}    buffer1:
        module.Class: '{BUFFER}'
        options:
            max_poll_rate: 20.0
        connect:
            streamer: 'counter'
    buffer2:
        module.Class: '{BUFFER}'
        connect:
            streamer: 'counter'
"""

MONITOR_WINDOW = """\
    script:
        module.Class: 'lab.script.Script'
        connect:
            monitor: 'monitor'
    monitor:"""

SERVER = f"""\
global:
    remote_modules_server:
        address: 'localhost'
        port: 12345
    startup_modules: [shared1]

hardware:
{_COUNTER}    shared1:
        module.Class: '{BUFFER}'
        allow_remote: True
        connect:
            streamer: 'counter'
"""

CLIENT = f"""\
logic:
    logic1:
        module.Class: '{LOGIC}'
        connect:
            streamer: 'far'
hardware:
    far:
        native_module_name: 'shared1'
        address: 'localhost'
        port: 12345
"""

# What is broken: the text that is replaced, by what, and the line and the words of the finding
BROKEN = {
    'two programs on the device': [
        ("streamer: 'buffer1'", "streamer: 'counter'"),
        ("streamer: 'buffer2'", "streamer: 'counter'"),
        (GOOD[GOOD.index('    buffer1:\n        mod') :], ''),
        (21, 'The programs "logic1" and "logic2" read "counter" directly'),
    ],
    'a program beside the buffers': [
        ("streamer: 'buffer1'", "streamer: 'counter'"),
        (17, '"logic1" reads "counter" directly, beside the buffers "buffer1" and "buffer2"'),
    ],
    'two programs on one buffer': [
        ("streamer: 'buffer2'", "streamer: 'buffer1'"),
        (21, '"logic1" and "logic2" read the same buffer "buffer1"'),
    ],
    'an option of a buffer with a slip': [
        ('max_poll_rate', 'max_pol_rate'),
        (37, '"buffer1" has no option "max_pol_rate", did you mean "max_poll_rate"?'),
    ],
    'a value that is none': [
        ('20.0', "'fast'"),
        (37, 'Option "max_poll_rate" of "buffer1" is \'fast\', but must be a finite number'),
    ],
    'an option of the monitor with a slip': [
        ('update_rate', 'updte_rate'),
        (25, '"monitor" has no option "updte_rate"'),
    ],
    'a value of the monitor that is none': [
        ('update_rate: 2.0', 'update_rate: 0'),
        (25, 'Option "update_rate" of "monitor" is 0, but must be a number from 0.01 to 1000'),
    ],
    'an option of another module with a slip': [
        ('max_frame_rate', 'max_frame_rat'),
        (15, '"logic1" has no option "max_frame_rat", did you mean "max_frame_rate"?'),
    ],
    'an option that a device needs': [
        ("            channel_units: ['Hz']\n", ''),
        (28, '"counter" has no option "channel_units", which it needs'),
    ],
    'a connector that names nothing': [
        ("streamer: 'buffer1'", "streamer: 'bufer1'"),
        (17, '"logic1" is connected to "bufer1", which is no module of this file, did you mean'),
    ],
    'a device that is not there': [
        ("streamer: 'counter'", "streamer: 'wavemeter'"),
        (39, '"buffer1" is connected to "wavemeter", which is no module of this file'),
    ],
    'a connector with a slip': [
        ("streamer: 'buffer1'", "streamr: 'buffer1'"),
        (17, '"logic1" has no connector "streamr", did you mean "streamer"?'),
    ],
    'a buffer without a connection': [
        ("        connect:\n            streamer: 'counter'\n    buffer2", '    buffer2'),
        (34, 'The connector "streamer" of "buffer1" is connected to nothing'),
    ],
    'a program on something that does not stream': [
        ("streamer: 'buffer1'", "streamer: 'monitor'"),
        (17, '"logic1" cannot be connected to "monitor": its connector "streamer" needs a DataInS'),
    ],
    'a buffer on itself': [
        ("streamer: 'counter'\n    buffer2", "streamer: 'buffer1'\n    buffer2"),
        (39, '"buffer1" is connected to itself'),
    ],
    'two buffers on each other': [
        ("streamer: 'counter'\n    buffer2", "streamer: 'buffer2'\n    buffer2"),
        (f"{BUFFER}'\n        connect:\n            streamer: 'counter'\n", '@'),
        ('@', f"{BUFFER}'\n        connect:\n            streamer: 'buffer1'\n"),
        (39, '"buffer1" is connected to itself through "buffer2"'),
    ],
    'a class with a slip': [
        ('DataInStreamBuffer', 'DataInstreamBuffer'),
        (35, 'qudi cannot load "buffer1": there is no class "DataInstreamBuffer" in'),
    ],
    'a path with a slip': [
        ('instream_buffer.buffer', 'instream_buffers.buffer'),
        (35, 'there is no module "qudi.hardware.instream_buffers.buffer", did you mean "instream_'),
    ],
    'a buffer for others without a server': [
        ('        options:\n            max_poll_rate: 20.0\n', '        allow_remote: True\n'),
        (36, '"buffer1" is for other processes, but this qudi has no remote_modules_server'),
    ],
    'a startup module that is not there': [
        ('[gui1, logic2]', '[gui, logic2]'),
        (2, 'The startup module "gui" is no module of this file, did you mean "gui1"?'),
    ],
    'a name in two sections': [
        ('    monitor:', '    counter:'),
        (28, '"counter" stands in "logic" already (line 22)'),
    ],
    'a name twice in one section': [
        ('    buffer2:', '    buffer1:'),
        (40, '"buffer1" stands in this section a second time'),
    ],
    'an option in the wrong place': [
        ('        options:\n            max_poll_rate: 20.0\n', '        max_poll_rate: 20.0\n'),
        (36, '"buffer1" has an entry "max_poll_rate", which qudi does not know'),
    ],
    'an entry with a slip': [
        (
            "        connect:\n            streamer: 'buffer1'",
            '        conect: {}',
        ),
        (16, '"logic1" has an entry "conect", which qudi does not know, did you mean "connect"?'),
    ],
    'a section that is none': [
        ('hardware:', 'hardwares:'),
        (27, 'The file has an entry "hardwares", which qudi does not know'),
    ],
    'an entry without a class': [
        ("        module.Class: 'instream_monitor_logic.InStreamMonitorLogic'\n", ''),
        (22, '"monitor" has no entry module.Class'),
    ],
    'a connector without a value': [
        ("streamer: 'buffer1'", 'streamer:'),
        (17, '"streamer" is empty. Give it a value or delete the line'),
    ],
    'a name with a space': [
        ('    monitor:', '    my monitor:'),
        (22, '"my monitor" is no name for qudi'),
    ],
    'a list as a text': [
        ('[gui1, logic2]', "'gui1'"),
        (2, '"startup_modules" is \'gui1\', but must be a list'),
    ],
    'a port that is none': [
        ('hide_manager_window: True', 'namespace_server_port: 99999'),
        (3, '"namespace_server_port": 99999 is greater than the maximum of 65535'),
    ],
    'a startup module twice': [
        ('[gui1, logic2]', '[gui1, gui1]'),
        (2, '"startup_modules" names something twice'),
    ],
    'a truth in quotes': [
        ('hide_manager_window: True', "hide_manager_window: 'True'"),
        (3, '"hide_manager_window" is \'True\', but must be True or False, without quotes'),
    ],
}


def replaced(text, changes):
    for old, new in changes:
        assert old in text, f'{old!r} is not in the good configuration'
        text = text.replace(old, new, 1)
    return text
