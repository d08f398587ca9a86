"""The process in which the demo's qudi runs, seen from outside and from inside.

It is a process of its own, which Ctrl-C does not reach: whatever qudi does at that moment, the
command decides how it ends. The end of the process's standard input asks it to quit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import IO, Any

__all__ = ['QuitRequest', 'SessionProcess', 'main']


class SessionProcess:
    """The process, and what it prints.

    Parameters
    ----------
    options : dict
        The arguments of `qudi.util.instream.demo.session.run`, for JSON.
    environment : dict
        The environment variables of the process.
    """

    def __init__(self, options: dict[str, Any], environment: dict[str, str]) -> None:
        self.has_begun = threading.Event()  # it has printed something, so Qt works
        self.output_is_closed = threading.Event()  # as by `| head`: nobody reads it any more
        self.complaints: list[bytes] = []  # lines of its standard error that were not shown yet
        self._process = subprocess.Popen(
            [sys.executable, '-u', '-m', __name__, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            # Ctrl-C reaches a whole process group: the first is for POSIX, the second for Windows
            start_new_session=True,
            creationflags=getattr(subprocess, 'CREATE_NEW_PROCESS_GROUP', 0),
        )
        self._threads = [
            threading.Thread(target=forward, args=(pipe,), daemon=True)
            for forward, pipe in (
                (self._forward_output, self._process.stdout),
                (self._forward_errors, self._process.stderr),
            )
        ]
        for thread in self._threads:
            thread.start()

    def ends_within(self, seconds: float) -> bool:
        """Wait for the end of the process, and of what it prints."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        for thread in self._threads:
            thread.join(1.0)
        return True

    @property
    def exit_code(self) -> int:
        """The exit code of the process, which has ended."""
        return self._process.returncode

    def ask_to_quit(self) -> None:
        """Ask qudi to quit. While it still loads modules, the process ends at once."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def kill(self) -> None:
        """End the process without asking."""
        self._process.kill()

    def show(self, text: bytes, error: bool = False) -> None:
        """Print something of the process or about it."""
        stream = sys.stderr if error else sys.stdout
        try:
            stream.buffer.write(text)
            stream.flush()
        except OSError:
            self.output_is_closed.set()

    def _forward_output(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self.has_begun.set()
            self.show(line)

    def _forward_errors(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self.complaints.append(line)
            if self.has_begun.is_set():
                self.show(b''.join(self.complaints), error=True)
                self.complaints.clear()


class QuitRequest:
    """Inside of the process: whether its standard input has ended."""

    _PATIENCE = 10.0  # seconds that qudi may take to quit

    def __init__(self) -> None:
        self._is_made = threading.Event()
        self._is_running = False
        self._lock = threading.Lock()  # guards the change from loading to running
        threading.Thread(target=self._wait, daemon=True).start()

    @property
    def is_made(self) -> bool:
        """Whether qudi is to quit."""
        return self._is_made.is_set()

    def begin(self) -> None:
        """From now on qudi runs: it sees the request by itself, and quits in order."""
        with self._lock:
            self._is_running = True

    def _wait(self) -> None:
        # Not through sys.stdin, whose lock would trouble the end of the interpreter
        while os.read(0, 1024):
            pass
        with self._lock:
            if not self._is_running:
                os._exit(130)
            self._is_made.set()
        time.sleep(self._PATIENCE)
        os._exit(130)


def main() -> None:
    """Run qudi with the options of the command line."""
    request = QuitRequest()
    try:
        from qudi.util.instream.demo.session import run
    except ImportError as error:
        sys.exit(str(error))
    code = run(**json.loads(sys.argv[1]), request=request)
    sys.stdout.flush()
    sys.stderr.flush()
    # All is done. PySide2 crashes now and then while Python takes its modules apart
    os._exit(code)


if __name__ == '__main__':
    main()
