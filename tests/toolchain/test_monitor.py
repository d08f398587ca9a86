"""The monitor: real buffers in, and what a user sees in the cells of the real window."""

import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from pyqtgraph import GraphicsView
from qudi.core.gui.gui import Gui
from qudi.core.servers import RemoteModulesServer, get_remote_module_instance

# isort: split
from qtpy import QtCore, QtGui, QtWidgets

from bench import configure
from ports import free_port
from qudi.util.instream.monitor import History
from qudi.util.instream.stream import StreamStatus

RED = QtGui.QColor('#e0504a')
COLUMNS = ('name', 'device', 'state', 'settings', 'fill', 'lost', 'rates')


@pytest.fixture
def open_monitor(qudi):
    """Add and open the monitor; return its window."""

    def open_(update_rate=20.0, **options):
        qudi.add(
            'logic',
            'monitor_logic',
            'instream_monitor_logic.InStreamMonitorLogic',
            {'update_rate': update_rate, **options},
        )
        qudi.add(
            'gui',
            'monitor',
            'instream_monitor.instream_monitor_gui.InStreamMonitorGui',
            connect={'monitor_logic': 'monitor_logic'},
        )
        qudi.activate('monitor')
        (window,) = windows()
        return window

    return open_


def windows():
    """The windows of monitors that are open."""
    return [
        widget
        for widget in QtWidgets.QApplication.topLevelWidgets()
        if type(widget).__name__ == 'MonitorWindow' and widget.isVisible()
    ]


def cells(window):
    """What the rows say: by the name of the buffer, a dictionary of texts."""
    table = window.table
    rows = {}
    for number in range(table.rowCount()):
        texts = {key: table.item(number, i).text() for i, key in enumerate(COLUMNS)}
        rows[texts['name'].split('\n')[0]] = {**texts, 'row': number}
    return rows


def colour(window, name, key):
    item = window.table.item(cells(window)[name]['row'], COLUMNS.index(key))
    brush = item.data(QtCore.Qt.ItemDataRole.ForegroundRole)
    return None if brush is None else brush.color()


def tip(window, name, key):
    return window.table.item(cells(window)[name]['row'], COLUMNS.index(key)).toolTip()


def test_rows_come_and_go_with_the_buffers(bench, open_monitor, wait_until):
    qudi = bench.qudi
    first = bench.buffer('buffer1')
    window = open_monitor()
    wait_until(lambda: list(cells(window)) == ['buffer1'], 'the active buffer is shown')
    bench.buffer('buffer2')
    wait_until(lambda: list(cells(window)) == ['buffer1', 'buffer2'], 'the new one is shown')
    qudi.deactivate('buffer1')
    wait_until(lambda: list(cells(window)) == ['buffer2'], 'the deactivated one is gone')
    qudi.activate('buffer1')
    wait_until(lambda: list(cells(window)) == ['buffer1', 'buffer2'], 'it is shown again')
    qudi.module_manager.reload_module('buffer1')
    assert qudi['buffer1'] is not first
    qudi['buffer1'].start_stream()
    wait_until(
        lambda: cells(window).get('buffer1', {}).get('state') == 'streaming',
        'the reloaded one is shown',
    )
    for name in ('buffer1', 'buffer2'):
        qudi.deactivate(name)
    wait_until(lambda: not cells(window), 'no row is left')
    assert window.hint.isVisible()
    assert 'No stream buffer is active' in window.hint.text()


def test_the_cells_say_what_became_of_each_buffer(bench, open_monitor, wait_until):
    """In words that need no knowledge of this program."""
    idle, running, full, forgetful = (
        bench.buffer(name, allow_overwrite=name == 'forgetful')
        for name in ('idle', 'running', 'full', 'forgetful')
    )
    for buffer, size in ((running, 2000), (full, 50), (forgetful, 50)):
        configure(buffer, size=size, rate=1000)
        buffer.start_stream()
    bench.produce(1300)
    running.read_data(1000)
    window = open_monitor()
    wait_until(lambda: len(cells(window)) == 4, 'all are shown')
    rows = cells(window)
    assert {name: row['state'].split('\n')[0] for name, row in rows.items()} == {
        'idle': 'not started',
        'running': 'streaming',
        'full': 'ended: buffer was full',
        'forgetful': 'streaming',
    }
    assert {row['device'] for row in rows.values()} == {'streamer'}
    assert rows['running']['settings'] == '2 channels, 1 kHz\n2 ksamples'
    assert rows['forgetful']['settings'].endswith('50 samples, overwrites')
    assert rows['running']['fill'] == '15.0 %, at most 65.0 %'
    assert {name: row['lost'] for name, row in rows.items()} == {
        'idle': '0',
        'running': '0',
        'full': '1\N{NO-BREAK SPACE}250',
        'forgetful': '1\N{NO-BREAK SPACE}250',
    }
    for name in rows:
        lost_is_red = colour(window, name, 'lost') == RED
        assert lost_is_red == (name in ('full', 'forgetful'))
    assert colour(window, 'full', 'state') == RED
    assert 'Its ring of 50 samples was full' in tip(window, 'full', 'state')
    assert 'Read faster' in tip(window, 'full', 'state')
    assert tip(window, 'running', 'name') == 'Streams beside: forgetful'
    bench.device.faults.add('raise in read')
    bench.device.produce(10)
    wait_until(
        lambda: cells(window)['running']['state'] == 'ended: device failed', 'the fault is shown'
    )
    assert 'simulator lost its cable' in tip(window, 'running', 'state')
    assert idle.status.state == 'idle'


def test_the_rates_are_those_of_the_device(make_bench, open_monitor, wait_until):
    bench = make_bench(channels=['a', 'b'], clocked=True)
    buffer = bench.buffer('buffer1', max_poll_rate=20)
    configure(buffer, size=100000, rate=5000)
    buffer.start_stream()
    window = open_monitor()
    wait_until(
        lambda: cells(window).get('buffer1', {}).get('rates', '').startswith('5 kS/s'),
        'the rate of the samples is shown',
    )
    wait_until(
        lambda: re.search(r'\n(18|19|20)(\.\d)? polls/s', cells(window)['buffer1']['rates']),
        'the rate of the polls is shown',
    )
    buffer.stop_stream()
    wait_until(lambda: cells(window)['buffer1']['rates'] == '0 S/s\n0 polls/s', 'the stop is shown')


def test_an_update_without_a_change_paints_nothing(bench, open_monitor, wait_until, qtbot):
    bench.buffers(3)
    window = open_monitor(history=0.5)
    wait_until(lambda: len(cells(window)) == 3, 'all are shown')
    qtbot.wait(1500)  # until the plots are full

    class Painted(QtCore.QObject):
        count = 0

        def eventFilter(self, watched, event):
            self.count += event.type() == QtCore.QEvent.Type.Paint
            return False

    painted, updates = Painted(), []
    for widget in [
        window.table.viewport(),
        *(plot.viewport() for plot in window.findChildren(GraphicsView)),
    ]:
        widget.installEventFilter(painted)
    bench.qudi['monitor_logic'].sigRowsChanged.connect(
        updates.append, QtCore.Qt.ConnectionType.DirectConnection
    )
    wait_until(lambda: len(updates) >= 8, 'some updates came')
    assert painted.count <= 1, f'{painted.count} repaints in {len(updates)} equal updates'


def test_closing_the_window_stops_nothing_and_it_can_be_shown_again(
    bench, open_monitor, wait_until
):
    buffer = bench.buffer('buffer1')
    buffer.start_stream()
    window = open_monitor()
    wait_until(lambda: cells(window), 'the buffer is shown')
    window.close()
    bench.produce(10)
    assert buffer.status.state == 'running'
    assert bench.qudi['monitor_logic'].module_state() == 'idle'
    bench.qudi.activate('monitor')  # as qudi's manager does for a module that is active already
    assert windows() == [window]
    wait_until(
        lambda: cells(window)['buffer1']['fill'].startswith('1.0 %'), 'it is up to date again'
    )
    buffer.stop_stream()


def test_the_window_remembers_its_size(qudi, open_monitor):
    window = open_monitor()
    window.resize(777, 333)
    qudi.deactivate('monitor')
    qudi.activate('monitor')
    (window,) = windows()
    assert (window.width(), window.height()) == (777, 333)


@pytest.mark.parametrize('first', ['monitor', 'monitor_logic', 'buffer1', 'streamer'])
def test_modules_are_deactivated_and_reloaded_in_any_order(bench, open_monitor, first, wait_until):
    """The main thread waits for the logic's, so that one must not wait for the main thread."""
    qudi = bench.qudi
    buffers = bench.buffers(2)
    window = open_monitor(update_rate=200)
    for _ in range(3):
        wait_until(lambda it=window: len(cells(it)) == 2, 'both are shown')
        for buffer in buffers:
            buffer.start_stream()
        qudi.module_manager.reload_module(first)
        qudi.deactivate(first)
        for name in ('buffer1', 'buffer2', 'monitor'):
            qudi.activate(name)
        (window,) = windows()
        buffers = [qudi[name] for name in ('buffer1', 'buffer2')]
        for buffer in buffers:
            if buffer.status.state == 'running':
                buffer.stop_stream()


@pytest.mark.parametrize('option', ['update_rate', 'history'])
@pytest.mark.parametrize('value', [0, -1, 1e9, 'often', True])
def test_a_wrong_option_is_refused_by_name(qudi, option, value):
    qudi.add(
        'logic',
        'monitor_logic',
        'instream_monitor_logic.InStreamMonitorLogic',
        {option: value},
    )
    with pytest.raises(RuntimeError) as error:
        qudi.activate('monitor_logic')
    least, most = {'update_rate': ('0.01', '1000'), 'history': ('0.1', '1e+07')}[option]
    assert str(error.value.__context__) == (
        f'Option "{option}" of "monitor_logic" is {value!r}, but must be a number from {least} '
        f'to {most}'
    )


def test_a_mistyped_option_is_refused_by_name(qudi):
    logic = 'instream_monitor_logic.InStreamMonitorLogic'
    qudi.add('logic', 'monitor_logic', logic, {'histroy': 60})
    with pytest.raises(RuntimeError) as error:
        qudi.activate('monitor_logic')
    assert str(error.value.__context__) == (
        '"monitor_logic" has no option "histroy", only update_rate and history'
    )


def test_of_two_windows_one_can_be_closed(bench, open_monitor, wait_until):
    buffer = bench.buffer('buffer1')
    window = open_monitor()
    bench.qudi.add(
        'gui',
        'second',
        'instream_monitor.instream_monitor_gui.InStreamMonitorGui',
        connect={'monitor_logic': 'monitor_logic'},
    )
    bench.qudi.activate('second')
    bench.qudi.deactivate('second')
    buffer.start_stream()
    wait_until(lambda: 'buffer1' in cells(window), 'the buffer is shown')
    wait_until(lambda: cells(window)['buffer1']['state'] == 'streaming', 'the first one goes on')
    bench.qudi.deactivate('monitor')
    assert not windows()
    buffer.stop_stream()


def test_a_class_that_only_has_the_name_is_no_buffer(bench, open_monitor, wait_until, monkeypatch):
    bench.buffer('buffer1')
    namesake = type('DataInStreamBuffer', (type(bench.device),), {})
    monkeypatch.setattr(bench.device, '__class__', namesake)
    window = open_monitor()
    wait_until(lambda: list(cells(window)) == ['buffer1'], 'the buffer is shown')


def test_a_stopped_stream_has_nothing_to_read(bench, open_monitor, wait_until):
    buffer = bench.buffer('buffer1')
    configure(buffer, size=100)
    buffer.start_stream()
    bench.produce(90)
    window = open_monitor()
    wait_until(
        lambda: cells(window).get('buffer1', {}).get('fill') == '90.0 %, at most 90.0 %', 'level'
    )
    buffer.stop_stream()
    wait_until(lambda: cells(window)['buffer1']['fill'] == '0.0 %, at most 90.0 %', 'no level')


def test_a_long_history_keeps_the_highest_of_many_levels():
    history = History(span=3600.0)
    status = StreamStatus(state='running', streamer='streamer', ring_size=100)
    for second in range(4 * 3600):
        unread = 90 if second % 600 == 0 else 5
        history.add(replace(status, samples_unread=unread), float(second))
    row = history.row('buffer1', status, 4 * 3600.0, is_remote=False)
    assert len(row.fills) <= 1001
    assert 3600 <= row.ages[0] < 3610
    assert (row.ages[:-1] > row.ages[1:]).all()
    assert (row.fills == 0.9).sum() == 6, 'a high level was forgotten'


def test_rates_survive_what_clocks_do_to_the_last_digit():
    history = History(span=300.0)
    status = StreamStatus(state='running', streamer='streamer', ring_size=100)
    for look in range(8):
        jitter = 1e-9 * (-1) ** look
        seen = replace(
            status, samples_received=200, running_time=2.0 + 0.5 * look, age=0.5 * look + jitter
        )
        if look == 0:
            history.add(replace(seen, samples_received=100, running_time=1.0, age=0.0), 0.0)
        history.add(seen, 1.0 + look)
        assert history.row('buffer1', seen, 1.0, is_remote=False).sample_rate == pytest.approx(100)


# -------------------------------------------------------------------- buffers of other processes


class _Line:
    """A line to a server that can be cut off and put together again."""

    def __init__(self, port):
        self._target = port
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port = self._listener.getsockname()[1]
        self.works = threading.Event()
        self.works.set()
        self.connections = 0
        self._sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            there = socket.create_connection(('127.0.0.1', self._target))
            self.connections += 1
            is_qudi = self.connections == 1  # qudi's own: its main thread waits for it
            self._sockets += [here, there]
            for source, target in ((here, there), (there, here)):
                threading.Thread(
                    target=self._carry, args=(source, target, is_qudi), daemon=True
                ).start()

    def _carry(self, source, target, is_qudi):
        with suppress(OSError):
            while True:
                data = source.recv(65536)
                if not is_qudi:
                    self.works.wait()
                if not data:
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self):
        """End all connections but the first."""
        for end in self._sockets[2:]:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.works.set()
        self._listener.close()
        for end in self._sockets:
            end.close()


def load(qudi, name, background):
    """Load a module of a server in this very process.

    Not as qudi does it: the main thread would hold the lock that the server needs for its answer.
    """
    managed = qudi.module_manager[name]
    managed._instance = background(get_remote_module_instance, managed.remote_url).result(10)


def look_on(qudi, wait_until):
    """Wait until the monitor has had the time for three more tries."""
    looks = []
    qudi['monitor_logic'].sigRowsChanged.connect(
        looks.append, QtCore.Qt.ConnectionType.DirectConnection
    )
    wait_until(lambda: len(looks) > 35, 'it looked some more')


@pytest.fixture
def distant(bench, wait_until, background):
    """A buffer that is served to other processes, and seen again over a line."""
    qudi = bench.qudi
    port = free_port()
    server = RemoteModulesServer(
        parent=qudi, qudi=qudi, name='remote-modules-server', host='localhost', port=port
    )
    qudi.remote_modules_server = server
    server.start()
    wait_until(
        lambda: server.server is not None and server.server.active, 'the server of modules runs'
    )
    line = _Line(port)
    qudi.module_manager.add_module(
        'served',
        'hardware',
        {
            'module.Class': 'instream_buffer.buffer.DataInStreamBuffer',
            'options': {'max_poll_rate': 1000},
            'connect': {'streamer': 'streamer'},
            'allow_remote': True,
        },
    )
    bench.served = qudi.activate('served')
    qudi.module_manager.add_module(
        'distant',
        'hardware',
        {'native_module_name': 'served', 'address': '127.0.0.1', 'port': line.port},
    )
    load(qudi, 'distant', background)
    yield line
    qudi.module_manager['distant']._instance = None
    line.close()
    server.stop()
    wait_until(
        lambda: not [t for t in threading.enumerate() if t.name.startswith('instream-watch')],
        'nobody asks the other process any more',
        timeout=20,
    )
    qudi.remote_modules_server = None


def test_a_buffer_of_another_process_is_shown(bench, distant, open_monitor, wait_until):
    bench.served.start_stream()
    bench.produce(100)
    window = open_monitor()
    wait_until(lambda: set(cells(window)) == {'served', 'distant'}, 'both are shown')
    assert cells(window)['distant']['name'] == 'distant\nremote'
    for key in ('device', 'state', 'settings', 'fill'):
        assert cells(window)['distant'][key] == cells(window)['served'][key]
    bench.served.read_data(50)
    wait_until(
        lambda: cells(window)['distant']['fill'].startswith('5.0 %'), 'it is kept up to date'
    )
    connections = distant.connections
    bench.qudi.deactivate('served')
    wait_until(lambda: not cells(window), 'it vanishes when it is deactivated')
    look_on(bench.qudi, wait_until)
    bench.qudi.activate('served')
    wait_until(lambda: 'distant' in cells(window), 'and comes back')
    assert distant.connections == connections, 'the server logs each new connection'
    bench.qudi.deactivate('monitor_logic')


def test_a_buffer_that_does_not_answer_freezes_nothing(bench, distant, open_monitor, wait_until):
    bench.served.start_stream()
    window = open_monitor()
    wait_until(lambda: set(cells(window)) == {'served', 'distant'}, 'both are shown')
    distant.works.clear()
    wait_until(
        lambda: cells(window)['distant']['state'].startswith('no answer\nfor 0:0'),
        'the silence is shown',
    )
    assert colour(window, 'distant', 'state') == RED
    assert 'does not answer' in tip(window, 'distant', 'state')
    bench.produce(100)
    wait_until(
        lambda: cells(window)['served']['fill'].startswith('10.0 %'), 'the other row goes on'
    )
    assert cells(window)['distant']['fill'].startswith('0.0 %')
    began = time.perf_counter()
    bench.qudi.deactivate('monitor_logic')
    assert time.perf_counter() - began < 5, 'the monitor waited for a dead process'
    distant.works.set()
    bench.served.stop_stream()


def test_a_lost_connection_is_made_again(bench, distant, open_monitor, wait_until):
    bench.served.start_stream()
    window = open_monitor()
    wait_until(lambda: set(cells(window)) == {'served', 'distant'}, 'both are shown')
    connections = distant.connections
    distant.cut()
    wait_until(lambda: distant.connections > connections, 'it connects again')
    bench.produce(100)
    wait_until(
        lambda: cells(window)['distant']['fill'].startswith('10.0 %'), 'it is up to date again'
    )
    bench.qudi.deactivate('monitor_logic')
    bench.served.stop_stream()


def test_a_buffer_that_is_not_shared_any_more_vanishes_without_complaints(
    bench, distant, open_monitor, wait_until, caplog
):
    """The server was started again with another configuration, for example."""
    window = open_monitor()
    wait_until(lambda: set(cells(window)) == {'served', 'distant'}, 'both are shown')
    service = bench.qudi.remote_modules_server.service
    service.remove_shared_module('served')
    connections = distant.connections
    distant.cut()
    wait_until(lambda: set(cells(window)) == {'served'}, 'it vanishes')
    look_on(bench.qudi, wait_until)
    assert set(cells(window)) == {'served'}
    assert 'that is not shared' not in caplog.text, 'the server complains about the monitor'
    service.share_module(bench.qudi.module_manager['served'])
    wait_until(lambda: 'distant' in cells(window), 'it is shown again')
    assert distant.connections == connections + 1, 'the server logs each new connection'
    bench.qudi.deactivate('monitor_logic')


def test_a_module_of_another_process_that_is_no_buffer_is_left_alone(
    bench, distant, open_monitor, wait_until, background
):
    qudi = bench.qudi
    qudi.remote_modules_server.share_module(qudi.module_manager['streamer'])
    qudi.module_manager.add_module(
        'other',
        'hardware',
        {'native_module_name': 'streamer', 'address': '127.0.0.1', 'port': distant.port},
    )
    load(qudi, 'other', background)
    window = open_monitor()
    wait_until(lambda: set(cells(window)) == {'served', 'distant'}, 'the buffers are shown')
    connections = distant.connections
    look_on(qudi, wait_until)
    assert set(cells(window)) == {'served', 'distant'}
    assert distant.connections <= connections + 1, 'the server logs each new connection'
    qudi.deactivate('monitor_logic')
    qudi.module_manager['other']._instance = None


# -------------------------------------------------------------------- the picture


class _Program(threading.Thread):
    """A program that reads now and then, and always leaves so many samples unread."""

    def __init__(self, buffer, pause, leaves=0):
        super().__init__(daemon=True)
        self._buffer, self._pause, self._leaves = buffer, pause, leaves
        self.end = threading.Event()
        self.start()

    def run(self):
        while not self.end.wait(self._pause):
            count = self._buffer.available_samples - self._leaves
            if count > 0:
                self._buffer.read_data(count)


@pytest.mark.parametrize('style', ['', 'qdark.qss'])
def test_the_picture_shows_a_healthy_a_nearly_full_and_an_overflown_buffer(
    qudi, open_monitor, wait_until, request, style, tmp_path
):
    pictures = request.config.getoption('--pictures')
    application = QtWidgets.QApplication.instance()
    if style:
        Gui.set_style_sheet(style)
    programs = []
    try:
        qudi.add(
            'hardware',
            'photon_counter',
            'instream_buffer.simulator.InStreamSimulator',
            {'channels': ['a', 'b'], 'clocked': True},
        )
        qudi.activate('photon_counter')
        sizes = {'live_view': 50000, 'recorder': 30000, 'fit': 12000, 'spectrum': 12000}
        for name, size in sizes.items():
            qudi.add(
                'hardware',
                name,
                'instream_buffer.buffer.DataInStreamBuffer',
                {'allow_overwrite': name == 'spectrum'},
                {'streamer': 'photon_counter'},
            )
            configure(qudi.activate(name), size=size, rate=10000)
        seconds = 60 if pictures and style else 3
        window = open_monitor(update_rate=10, history=seconds)
        for name in sizes:
            qudi[name].start_stream()
        programs.append(_Program(qudi['live_view'], max(0.5, seconds / 20)))
        programs.append(_Program(qudi['recorder'], 0.3, leaves=25000))
        programs.append(_Program(qudi['spectrum'], 2.5))
        wait_until(lambda: len(cells(window)) == 4, 'all are shown')
        wait_until(
            lambda: cells(window)['fit']['state'] == 'ended: buffer was full', 'one overflows'
        )
        wait_until(lambda: float(cells(window)['recorder']['fill'].split()[0]) > 80, 'one fills')
        wait_until(lambda: cells(window)['spectrum']['lost'] != '0', 'one loses samples')
        if pictures:
            wait_until(lambda: qudi['live_view'].status.running_time > seconds - 2, 'some time', 60)
        wait_until(lambda: 2 < float(cells(window)['live_view']['fill'].split()[0]) < 40, 'low')
        rows = cells(window)
        states = {name: row['state'] for name, row in rows.items()}
        assert states['live_view'] == states['recorder'] == states['spectrum'] == 'streaming'
        assert rows['live_view']['lost'] == rows['recorder']['lost'] == '0'
        assert rows['fit']['lost'] != '0'
        assert colour(window, 'fit', 'lost') == colour(window, 'fit', 'state') == RED
        assert colour(window, 'live_view', 'lost') is None
        table = window.table
        window.resize(
            window.width(), table.horizontalHeader().height() + table.rowHeight(0) * 4 + 8
        )
        image = window.grab().toImage()
        assert _has(image, _bar(window, 'live_view'), '#3d8ec9'), 'a healthy bar is blue'
        assert _has(image, _bar(window, 'recorder'), '#d9822b'), 'a nearly full bar is orange'
        _assert_nothing_is_cut_off(window)
        path = (Path(pictures) if pictures and style else tmp_path) / 'monitor.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        assert image.save(str(path), quality=0)  # packed as tightly as can be
        assert path.stat().st_size < 80_000
    finally:
        for program in programs:
            program.end.set()
            program.join(10)
        application.setStyleSheet('')
        for name in ('live_view', 'recorder', 'fit', 'spectrum'):
            qudi[name].stop_stream()


def _bar(window, name):
    """The place of a bar in the picture of the window."""
    table = window.table
    rect = table.visualItemRect(table.item(cells(window)[name]['row'], COLUMNS.index('fill')))
    return QtCore.QRect(table.viewport().mapTo(window, rect.topLeft()), rect.size())


def _has(image, rect, code):
    wanted = QtGui.QColor(code).rgb()
    points = (
        (x, y) for x in range(rect.left(), rect.right()) for y in range(rect.top(), rect.bottom())
    )
    return any(image.pixel(x, y) == wanted for x, y in points)


def _assert_nothing_is_cut_off(window):
    """Each text fits into its cell, and all columns into a window of this size."""
    table = window.table
    for column in range(table.columnCount()):
        header = table.horizontalHeaderItem(column).text()
        assert table.columnWidth(column) >= table.fontMetrics().horizontalAdvance(header)
        for row in range(table.rowCount()):
            item = table.item(row, column)
            for line in item.text().split('\n'):
                width = table.fontMetrics().horizontalAdvance(line)
                assert width <= table.columnWidth(column) - 4, f'"{line}" is cut off'
    assert table.horizontalHeader().length() <= table.viewport().width() + 1
