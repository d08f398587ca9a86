from typing import TypeVar

_Value = TypeVar('_Value')

def netobtain(obj: _Value) -> _Value: ...
