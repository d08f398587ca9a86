"""The demo as a command: `qudi-instream-demo` or `python -m qudi.util.instream.demo`."""

import signal

__all__ = ['command']


def command() -> None:
    """Run the demo and exit. Ctrl-C ends it without a traceback also while its modules load."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from qudi.util.instream.demo.command import command as load_and_run

    load_and_run()


if __name__ == '__main__':
    command()
