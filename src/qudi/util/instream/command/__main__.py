"""The command as `python -m qudi.util.instream.command`."""

from qudi.util.instream.command.main import command

if __name__ == '__main__':
    command()
