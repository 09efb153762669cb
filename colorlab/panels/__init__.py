"""The chapters' sliders: every panel of the course, registered under its chapter and name.

A panel's builder needs no argument, so that tests, book and playground can build it as the chapter shows it; where it
can show the reader's own photograph, it takes that.

>>> list(panels())[:1]
['00.before_after']
"""

import importlib
import pkgutil
from collections.abc import Callable

from colorlab.widgets import Panel

_PANELS: dict[str, Callable[[], Panel]] = {}  # "01.lab_slice" → its builder


def panel(name: str) -> Callable:
    """Register the function below, which builds a `Panel` and needs no argument, as panel `name`: "chapter.name"."""

    def register(builder: Callable[..., Panel]) -> Callable[..., Panel]:
        _PANELS[name] = builder
        return builder

    return register


def panels() -> dict[str, Callable[[], Panel]]:
    """Every panel's builder by its name, in the order of the chapters."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_PANELS.items(), key=lambda item: item[0].split(".")[0]))
