"""The demo as `python -m qudi.util.instream.demo`."""

from qudi.util.instream.demo.command import command

if __name__ == '__main__':
    command()
