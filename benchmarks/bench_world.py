"""Scenes of 64² a second that `ColorWorld` draws. Aim: 500."""

import statistics

from side_by_side import race, table

from colorlab.world import ColorWorld


def main() -> None:
    world = ColorWorld(size=64, seed=0)
    seconds = race({"sample": lambda: world.sample(128)}, rounds=9)["sample"]
    print("## ColorWorld, 64²\n")
    table(["", "scenes a second"], [["sample(128)", f"{128 / statistics.median(seconds):.0f}"]])


if __name__ == "__main__":
    main()
