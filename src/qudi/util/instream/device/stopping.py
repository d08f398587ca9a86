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
        # The member whose end stops the hardware, until that has succeeded
        self.owed_by: Member | None = None
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
        self.owed_by, self.is_in_progress = member, True
        try:
            self._hardware.stop()
            self.owed_by = None
        except BaseException:
            if not self._may_run():
                self.owed_by = None
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
        if self.owed_by is not None:
            self.stop(self.owed_by)

    def _may_run(self) -> bool:
        try:
            return self._hardware.state.is_running
        except Exception:  # what cannot be asked may still run
            return True
