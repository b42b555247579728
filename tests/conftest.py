"""One hypothesis profile for every test: the same examples in each run, no deadline, nothing kept between runs.

The same command is then the same run everywhere, however busy the machine is. And no network: an address that is
looked up or connected to is an error (processes of one machine may talk, which is how Python starts some of them).
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from hypothesis import HealthCheck, settings

settings.register_profile(
    "tinyllm",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tinyllm")


def no_network(event: str, args: tuple[Any, ...]) -> None:
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        raise RuntimeError(f"a test looks up {args[0]!r}: nothing here may use the network")
    if event == "socket.connect" and args[0].family != socket.AF_UNIX:
        raise RuntimeError(f"a test connects to {args[1]!r}: nothing here may use the network")


sys.addaudithook(no_network)
