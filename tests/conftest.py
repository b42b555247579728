"""One hypothesis profile for every test: the same examples in each run, no deadline, nothing kept between runs.

The same command is then the same run everywhere, however busy the machine is.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "tinyllm",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tinyllm")
