"""Stops of a device: once, tried again if they fail, and never for another program."""

from __future__ import annotations

from functools import partial

from qudi.util.instream.device.changes import Changes
from qudi.util.instream.device.hardware import StreamHardware
from qudi.util.instream.device.members import Member
from qudi.util.instream.device.reports import with_calls

__all__ = ['DeviceStop']


class DeviceStop:
    """Stops a device when its last stream has ended. For the device's thread.

    Parameters
    ----------
    hardware : StreamHardware
        The device.
    """

    def __init__(self, hardware: StreamHardware) -> None:
        self._hardware = hardware
        # The member whose end should have stopped the hardware, if that failed
        self.failed_for: Member | None = None
        self.is_in_progress = False

    def stop(self, member: Member) -> None:
        """Stop the device, since the stream of a member was the last one.

        Raises
        ------
        Exception
            What the hardware raises in `stop_stream`.
        """
        if self.is_in_progress:  # a slot in this thread stops once more
            return
        self.failed_for, self.is_in_progress = None, True
        try:
            self._hardware.stop()
        except BaseException:
            if self._may_run():
                self.failed_for = member
            raise
        finally:
            self.is_in_progress = False

    def stop_quietly(self, member: Member, changes: Changes) -> None:
        """Stop the device where the exception that matters is on its way already."""
        try:
            self.stop(member)
        except BaseException as error:
            text = f'"{self._hardware.name}" could not be stopped:'
            changes.append(partial(member.reports.warn, with_calls(text, error)))

    def retry(self) -> None:
        """Stop the device if that has failed before."""
        if self.failed_for is not None:
            self.stop(self.failed_for)

    def _may_run(self) -> bool:
        try:
            return self._hardware.state.is_running
        except Exception:  # what cannot be asked may still run
            return True
