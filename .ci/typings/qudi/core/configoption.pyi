from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

_Value = TypeVar('_Value')

class ConfigOption(Generic[_Value]):
    @overload
    def __init__(self, name: str | None = ..., default: _Value = ...) -> None: ...
    @overload
    def __init__(self, name: str | None = ..., *, missing: str) -> None: ...
    @overload
    def __init__(
        self, name: str | None = ..., default: Any = ..., *, constructor: Callable[[Any], _Value]
    ) -> None: ...
    # A module has the value in its place
    def __get__(self, module: object, owner: type | None = ...) -> _Value: ...
