"""Answers to every exercise, chapter by chapter: RIGHT and WRONG, each wrong one with a word that names its misconception."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class late:
    """An answer that takes long to compute: a function of nothing, called when its test runs."""

    value: Callable[[], object]
