"""colorlab: colour a grey photograph, and learn how: the library that the course builds.

`colorlab.colorize(path_or_image)` is the short way in; everything else lives in the modules, one subject each.
Importing the package imports nothing heavy: a module is loaded when it is first named.
"""

import importlib

__version__ = "0.1.0"
__all__ = ["colorize"]


def __getattr__(name: str):
    if name == "colorize":
        return importlib.import_module("colorlab.inference").colorize
    raise AttributeError(f"module 'colorlab' has no attribute {name!r}")
