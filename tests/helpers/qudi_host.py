"""A qudi for tests and benchmarks: the real managers of modules and threads, without a process."""

from __future__ import annotations

import gc
import weakref

import lean_imports  # noqa: F401

# isort: split
from qudi.core.modulemanager import ModuleManager
from qudi.core.threadmanager import ThreadManager

# isort: split
# Last, since qtpy takes the Qt binding that is loaded already: the one of qudi
from qtpy import QtCore

__all__ = ['QudiHost', 'running_threads']


class QudiHost(QtCore.QObject):
    """What modules need of a running qudi: the real managers of modules and of threads."""

    remote_modules_server = None
    gui = None

    def __init__(self):
        super().__init__()
        self.time_limits = None  # of the buffers that are added from now on
        self.configuration = {'default_data_dir': None, 'daily_data_dirs': False}
        self.thread_manager = ThreadManager(parent=self)
        self.module_manager = ModuleManager(qudi_main=self, parent=self)
        # Without qudi's callback for a dying qudi, which takes one argument too few
        self.module_manager._qudi_main_ref = weakref.ref(self)

    def add(self, base, name, module_class, options=None, connect=None):
        """Add a module to the configuration."""
        configuration = {
            'module.Class': module_class,
            'options': options or {},
            'connect': connect or {},
        }
        self.module_manager.add_module(name, base, configuration)

    def load(self, configuration):
        """Add all modules of a configuration as it stands in a file."""
        for base in ('hardware', 'logic', 'gui'):
            for name, module in configuration.get(base, {}).items():
                self.module_manager.add_module(name, base, module)

    def add_buffer(self, name, streamer='streamer', **options):
        """Add a buffer on a hardware module and activate it."""
        self.add(
            'hardware',
            name,
            'instream_buffer.buffer.DataInStreamBuffer',
            {'time_limits': self.time_limits, **options},
            {'streamer': streamer},
        )
        return self.activate(name)

    def add_dummy(self, **options):
        """Add qudi's InStreamDummy as the hardware module `streamer`."""
        channels = {
            'channel_names': ['APD', 'analog 1'],
            'channel_units': ['Hz', 'V'],
            'channel_signals': ['counts', 'sine'],
        }
        dummy = 'dummy.data_instream_dummy.InStreamDummy'
        self.add('hardware', 'streamer', dummy, {**channels, **options})

    def add_toolchain(self, number, buffer_options=None, **logic_options):
        """Add bufferN, logicN on it and windowN on that."""
        self.add_buffer(f'buffer{number}', **(buffer_options or {}))
        self.add(
            'logic',
            f'logic{number}',
            'time_series_reader_logic.TimeSeriesReaderLogic',
            {'max_frame_rate': 30, **logic_options},
            {'streamer': f'buffer{number}'},
        )
        self.add(
            'gui',
            f'window{number}',
            'time_series.time_series_gui.TimeSeriesGui',
            connect={'_time_series_logic_con': f'logic{number}'},
        )

    def activate(self, name):
        """Activate a module and what it needs, return it."""
        self.module_manager.activate_module(name)
        return self[name]

    def deactivate(self, name):
        self.module_manager.deactivate_module(name)

    def __getitem__(self, name):
        return self.module_manager[name].instance

    def close(self):
        """Deactivate all modules; hardware must be idle before its turn comes."""
        modules = self.module_manager.modules
        connected = {target for m in modules.values() for target in m.connection_cfg.values()}
        devices = {n: m for n, m in modules.items() if n in connected and not m.connection_cfg}
        for name, module in modules.items():
            if name not in devices:
                module.deactivate()
        left_running = [name for name, module in devices.items() if module.is_busy]
        self.module_manager.clear()
        self.thread_manager.quit_all_threads()
        QtCore.QCoreApplication.processEvents()
        # qudi's callback for a dying module raises as well
        for module in modules.values():
            module.required_modules = module.dependent_modules = ()
        ModuleManager._instance = ThreadManager._instance = None
        assert not left_running, f'Hardware was left running: {left_running}'


def running_threads():
    """Return all threads of Qt that run, but for the caller's."""
    things = gc.get_objects()
    kinds = {kind for kind in set(map(type, things)) if issubclass(kind, QtCore.QThread)}
    threads = [thing for thing in things if type(thing) in kinds]
    main = QtCore.QThread.currentThread()
    return [thread for thread in threads if thread is not main and thread.isRunning()]
