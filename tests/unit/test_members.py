"""Member alone: its settings, and which request a rate stands for that was told and comes back."""

from qudi.interface.data_instream_interface import StreamingMode

from qudi.util.instream.device.members import Member
from qudi.util.instream.stream import BufferedStream, BufferOptions, SampleRing, StreamSettings


def test_settings_are_those_before_or_after_a_configure_in_another_thread():
    before, after = (StreamSettings(('a',), StreamingMode.CONTINUOUS, 10, r) for r in (50.0, 200.0))

    class Racing(Member):
        """It is configured between two looks at it."""

        is_armed = False

        def __getattribute__(self, name):
            value = super().__getattribute__(name)
            if name in ('stream', 'request') and super().__getattribute__('is_armed'):
                self.is_armed = False
                self.request, self.stream = after, None
            return value

    member = Racing(BufferOptions('buffer1'), reports=None, is_quitting=lambda: False)
    member.stream = BufferedStream('buffer1', SampleRing(10, 1, float), settings=before)
    assert member.settings == before
    member.is_armed = True
    assert member.settings in (before, after)


def test_a_rate_may_be_told_while_another_thread_configures():
    member = Member(BufferOptions('buffer1'), reports=None, is_quitting=lambda: False)

    class Rate:
        """Another one is told while this one is compared."""

        def __float__(self):
            member.rates_told.append((30.0, 30.0))
            return 7.0

    member.rates_told.append((Rate(), 7.0))
    assert member.requested_rate(20.0) == 20.0
    assert member.requested_rate(7.0) == 7.0
