"""Time several ways of doing one thing in turn, A B C A B C …, so that a machine whose speed drifts is fair to all."""

import statistics
import time
from collections.abc import Callable


def race(ways: dict[str, Callable[[], object]], rounds: int = 7) -> dict[str, list[float]]:
    """Seconds of each way in each round, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: dict[str, list[float]], of: str, over: str) -> float:
    """How many times faster `of` is than `over`: the median of the rounds' ratios."""
    return statistics.median(b / a for a, b in zip(seconds[of], seconds[over], strict=True))


def table(head: list[str], rows: list[list[str]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)
