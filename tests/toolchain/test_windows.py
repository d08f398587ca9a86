"""The real time series windows: a click on the start button, and the curve moves."""

import numpy as np
import pytest

# isort: split
from qtpy import QtCore, QtWidgets


@pytest.fixture
def windows(qudi):
    """Two windows, each on a logic on a buffer on the same dummy."""
    qudi.add_dummy()
    for number in (1, 2):
        qudi.add_toolchain(number)
    windows = [qudi.activate(name) for name in ('window1', 'window2')]
    QtCore.QCoreApplication.processEvents()  # what their logics told them while they opened
    return windows


def start_button(window):
    toolbar = next(
        bar
        for bar in window._mw.findChildren(QtWidgets.QToolBar)
        if bar.widgetForAction(window._mw.toggle_trace_action)
    )
    return toolbar.widgetForAction(window._mw.toggle_trace_action)


def curve(window, channel='APD'):
    return np.array(window.curves[channel].getData()[1])


def click(qtbot, window):
    qtbot.mouseClick(start_button(window), QtCore.Qt.MouseButton.LeftButton)


def test_a_click_starts_each_window_and_its_curve_moves(qudi, windows, qtbot, wait_until):
    first, second = windows
    click(qtbot, first)
    wait_until(lambda: np.ptp(curve(first)) > 0, 'the first curve shows samples')
    assert np.ptp(curve(second)) == 0, 'a window that was not started shows samples'
    click(qtbot, second)
    for window in windows:
        wait_until(lambda w=window: np.ptp(curve(w)) > 0, 'the curve shows samples')
        before = curve(window)
        wait_until(lambda w=window, b=before: (curve(w) != b).any(), 'the curve moves on')
    click(qtbot, first)
    button = start_button(first)
    # Told behind the last frame, which may still be on its way when the logic is idle
    wait_until(lambda: button.isEnabled() and not button.isChecked(), 'the window shows the stop')
    stopped, before = curve(first), curve(second)
    wait_until(lambda: (curve(second) != before).any(), 'the second curve moves on alone')
    assert (curve(first) == stopped).all(), 'a stopped curve moves'
    click(qtbot, second)
    wait_until(lambda: qudi['streamer'].module_state() == 'idle', 'the device stopped')


def test_both_windows_show_the_same_samples(qudi, windows, qtbot, wait_until):
    for window in windows:
        click(qtbot, window)
    for window in windows:
        wait_until(lambda w=window: (curve(w) != 0).sum() > 100, 'the curve is 2 s long')
    shown = [set(curve(window)[curve(window) != 0]) for window in windows]
    common = shown[0] & shown[1]
    assert len(common) > 0.8 * min(map(len, shown)), 'the windows show different samples'
    for window in windows:
        click(qtbot, window)
    wait_until(lambda: qudi['streamer'].module_state() == 'idle', 'the device stopped')


def test_a_data_rate_typed_into_one_window_is_its_own(qudi, windows, qtbot, wait_until):
    first, second = windows
    spinbox = first._mw.settings_dockwidget.data_rate_spinbox
    spinbox.setValue(200)
    spinbox.editingFinished.emit()
    wait_until(lambda: qudi['logic1'].data_rate == 200, 'the rate arrived in the logic')
    # A field that loses the focus is sent again, also with a value that the logic told it before
    wait_until(lambda: spinbox.value() == 200, 'the window shows the rate')
    assert qudi['logic2'].data_rate == 50
    click(qtbot, second)
    wait_until(lambda: np.ptp(curve(second)) > 0, 'the second curve shows samples')
    assert qudi['streamer'].sample_rate == 50
    click(qtbot, second)
    wait_until(lambda: qudi['logic2'].module_state() == 'idle', 'the second trace stopped')
    click(qtbot, first)
    wait_until(lambda: np.ptp(curve(first)) > 0, 'the first curve shows samples')
    assert qudi['streamer'].sample_rate == 200
    click(qtbot, first)
    wait_until(lambda: qudi['streamer'].module_state() == 'idle', 'the device stopped')
