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
        # The members whose end stops the hardware, until it is known to be stopped
        self.owed_by: tuple[Member, ...] = ()
        self.is_in_progress = False

    def stop(self) -> None:
        """Stop the device, as its last members owe it.

        Raises
        ------
        Exception
            What the hardware raises in `stop_stream`.
        """
        if self.is_in_progress:  # a slot in this thread stops once more
            return
        self.is_in_progress = True
        try:
            self._hardware.stop()
            self.owed_by = ()
        except BaseException:
            if not self._may_run():
                self.owed_by = ()
            raise
        finally:
            self.is_in_progress = False

    def stop_quietly(self, changes: Changes) -> None:
        """Stop the device where the exception that matters is on its way already."""
        member = self.owed_by[-1]
        try:
            self.stop()
        except BaseException as error:
            text = f'"{self._hardware.name}" could not be stopped:'
            changes.append(partial(member.reports.warn, with_calls(text, error)))

    def retry(self) -> None:
        """Stop the device if that has failed before."""
        if self.owed_by:
            self.stop()

    def _may_run(self) -> bool:
        try:
            return self._hardware.state.is_running
        except Exception:  # what cannot be asked may still run
            return True
