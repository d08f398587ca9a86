from typing import Any

from ruamel.yaml import YAML as _YAML
from ruamel.yaml.constructor import DuplicateKeyError as DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError as MarkedYAMLError
from ruamel.yaml.error import YAMLError as YAMLError

class YAML(_YAML):
    def __init__(self, **kwargs: Any) -> None: ...

def yaml_load(file_path: str, ignore_missing: bool = ...) -> dict[str, Any]: ...
def yaml_dump(file_path: str, data: Any) -> None: ...
