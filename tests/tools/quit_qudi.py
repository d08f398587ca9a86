"""Run qudi with streaming buffers, quit, and tell what is left. A process for test_quit.py.

python quit_qudi.py CONFIG [waiting] [logics] [windows] [hanging] ["hang for good"]
"""

import gc
import sys
import threading
import time

import lean_imports  # noqa: F401

# isort: split
from qudi.core.application import Qudi

# isort: split
from qtpy import QtCore, QtWidgets

config, *words = sys.argv[1:]
application = (QtWidgets.QApplication if 'windows' in words else QtCore.QCoreApplication)([])
qudi = Qudi(no_gui='windows' not in words, config_file=config)
reads = []
streamers = []
quit_at = []


def module(name):
    return qudi.module_manager[name].instance


def read_on(buffer):
    reads.append(buffer)
    try:
        buffer.read_data(buffer.channel_buffer_size)  # more than will come
    except RuntimeError as error:
        print(f'read ended: {error}\n', end='')  # in one piece, beside other threads


def start():
    names = [name for name in qudi.module_manager.module_names if 'buffer' in name]
    streamers.append(module('streamer'))
    for name in names:
        if 'logics' in words:
            module(name.replace('buffer', 'logic')).start_reading()
        else:
            module(name).start_stream()
        if 'waiting' in words:
            threading.Thread(target=read_on, args=(module(name),)).start()
    if 'hanging' in words:
        streamers[0].faults |= {'block in read', *words}
    QtCore.QTimer.singleShot(700, lambda: finish(names))


def finish(names):
    if 'hanging' in words and not streamers[0].blocked:
        QtCore.QTimer.singleShot(100, lambda: finish(names))  # not polled yet
        return
    states = [module(name).module_state() for name in names]
    print('streaming:', states.count('locked'), 'waiting:', len(reads))
    quit_at.append(time.perf_counter())
    qudi.quit()


QtCore.QTimer.singleShot(0, start)
try:
    qudi.run()
except SystemExit as leave:
    print('exit code:', leave.code)
print(f'quit after: {time.perf_counter() - quit_at[0]:.1f} s')
gc.collect()
things = [thing for thing in gc.get_objects() if issubclass(type(thing), QtCore.QThread)]
main = QtCore.QThread.currentThread()
if 'hanging' in words:  # a call that came back with the end of the device ends its thread now
    for thread in things:
        if thread is not main:
            thread.wait(3000)
print('running threads:', [t.objectName() for t in things if t is not main and t.isRunning()])
for thread in threading.enumerate():
    if thread is not threading.current_thread() and not thread.daemon:
        thread.join(5)
print('device:', streamers[0].module_state(), streamers[0].starts, streamers[0].stops)
# With PySide2, the last collection of a process with qudi meets a freed ThreadManager in 10 of
# 400 runs, also without any buffer
gc.freeze()
