from typing import Any

SSLAuthenticator: Any

class RemoteModulesServer:
    __init__: Any
