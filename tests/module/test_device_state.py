"""Whether a device keeps its state is watched only as long as that is not known."""

from types import SimpleNamespace

from qudi.hardware.instream_buffer.buffer import DataInStreamBuffer
from qudi.util.instream.device.state import DeviceState


class State:
    """A module state that counts how often it is watched."""

    def __init__(self):
        self.now, self.watched = 'idle', 0
        self.sigStateChanged = self

    def __call__(self):
        return self.now

    def connect(self, *_):
        self.watched += 1

    def disconnect(self, *_):
        pass


def test_the_state_of_a_buffer_is_not_watched():
    """Its threads change the state, and PySide2 crashes if one emits meanwhile."""
    state = State()
    locks = DataInStreamBuffer.locks_module_state
    device = DeviceState(SimpleNamespace(module_state=state, locks_module_state=locks), 'lower')
    with device.starting():
        state.now = 'locked'
    assert (state.watched, device.is_running) == (0, True)


def test_a_state_is_watched_until_the_module_is_known_to_keep_it():
    state = State()
    device = DeviceState(SimpleNamespace(module_state=state), 'streamer')
    with device.starting():
        pass
    assert (state.watched, device.is_kept, device.is_running) == (1, False, True)
    for _ in range(2):
        with device.starting():
            state.now = 'locked'
    assert (state.watched, device.is_kept) == (2, True)
    state.now = 'idle'
    assert not device.is_running
