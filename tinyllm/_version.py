"""The one place that holds the version; `tinyllm.__version__` and the build read it."""

__version__ = "0.1.0"
