"""For tests with real logics."""

import pytest

# isort: split
from qtpy import QtCore


@pytest.fixture
def call(wait_until):
    """Call a slot of a logic in its own thread, as a window does; wait until it is in a state."""

    def call(logic, slot, state=None):
        QtCore.QMetaObject.invokeMethod(logic, slot, QtCore.Qt.ConnectionType.QueuedConnection)
        if state is not None:
            wait_until(lambda: logic.module_state() == state, f'{logic.module_name} became {state}')

    return call
