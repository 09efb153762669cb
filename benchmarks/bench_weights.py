"""How good the weights that ship are: on the sample photographs, and on folders of your own, PHOTOS="one two" make bench."""

import os

from colorlab import data, evaluate, inference, photos


def main() -> None:
    colorizer, folders = inference.load(), os.environ.get("PHOTOS", "").split()
    print("## The weights that ship, on the sample photographs\n")
    print(evaluate.table(evaluate.evaluate(colorizer, [sample.path for sample in photos.samples()], progress=False)))
    if not folders:
        print('\nFor the model card\'s figures name its test folders: PHOTOS="flowers/test grocery/test …" make bench')
        return
    print(f"\n## … and on those of {', '.join(folders)}\n")
    print(evaluate.table(evaluate.evaluate(colorizer, data.find_pictures(folders), progress=False)))


if __name__ == "__main__":
    main()
