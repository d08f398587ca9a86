"""Member alone: which request a rate stands for that was told and comes back."""

from qudi.util.instream.device.members import Member
from qudi.util.instream.stream import BufferOptions


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
