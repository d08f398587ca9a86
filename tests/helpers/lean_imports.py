"""Import it before qudi: a process with qudi is there in half of the time.

jsonschema, with which qudi checks configurations, builds a grammar of internationalised addresses
as it is imported, if the library for that is there, as with Jupyter. qudi's schemas have none.
"""

import sys

sys.modules['rfc3987_syntax'] = None  # as if it were not installed
