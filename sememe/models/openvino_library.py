"""OpenVINO itself, imported without its telemetry.

Importing it sends an event to a server on the internet, from a forked process, unless the person has opted out. Where
a model runs on this machine nothing leaves it, so the part that sends is kept from being found.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

TELEMETRY = "openvino_telemetry"

_lock = threading.Lock()


def openvino() -> Any:
    """The module, which takes its own stub for the telemetry that it does not find. Raises ImportError without it."""
    with _lock:
        found = sys.modules.get(TELEMETRY)
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # what an import takes for "not installed"
        try:
            import openvino as library
        finally:
            del sys.modules[TELEMETRY]
            if found is not None:
                sys.modules[TELEMETRY] = found
    return library
