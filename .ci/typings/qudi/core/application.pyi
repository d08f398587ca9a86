from typing import Any

class Qudi:
    module_manager: Any
    thread_manager: Any
    def __init__(
        self,
        no_gui: bool = ...,
        debug: bool = ...,
        log_dir: str = ...,
        config_file: str | None = ...,
    ) -> None: ...
    def run(self) -> None: ...
    def quit(self) -> None: ...
