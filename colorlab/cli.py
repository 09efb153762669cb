"""The command line: `colorlab colorize | train | evaluate | check | doctor`. Imports what a command needs when it runs."""

import argparse
import glob
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from colorlab import __version__

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130  # exit statuses: all done; something failed; wrong words; Ctrl-C
_ERRORS = (ValueError, OSError, RuntimeError, MemoryError)  # what a file, a disk, torch and a small machine may answer


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Errors of ours are one sentence on standard error, never a traceback."""
    for stream in (sys.stdout, sys.stderr):  # a console or file that cannot hold λ, or a name's odd bytes, gets an escape
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(argv)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("Stopped. What was finished is whole; the same command goes on from there.", file=sys.stderr)
        return INTERRUPTED
    except _ERRORS as error:
        print(f"colorlab: {_reason(error)}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("colorlab", description="Colour grey photographs, train colorizers and judge them.")
    parser.add_argument("--version", action="version", version=f"colorlab {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], summary: str, more: str = "") -> Callable:
        about = f"{summary[0].upper()}{summary[1:]}. {more}"
        sub = commands.add_parser(name, help=summary, description=about)
        sub.set_defaults(run=run)
        return sub.add_argument

    add = command(
        "colorize",
        _colorize,
        "colour photographs, at their own size",
        "Pictures that are already there are left alone, so an interrupted folder is finished by the same command. "
        "Exit status: 0 all done, 1 some failed, 2 wrong arguments, 130 interrupted.",
    )
    add("inputs", nargs="+", metavar="IN", help="photographs, folders of them (searched recursively) or patterns such as '*.jpg'")
    add("-o", "--out", required=True, type=Path, metavar="OUT", help="a folder; for one photograph also a file name")
    add("--model", default="photo", help="the name of a model that ships, or a checkpoint's path (default: %(default)s)")
    add("--size", type=_at_least(1), metavar="N", help="short side at which the network sees a picture (default: its own)")
    add("--overwrite", action="store_true", help="replace pictures that are already there")

    add = command(
        "train",
        _train,
        "train a colorizer on folders of photographs",
        "First the generator alone in L1, then against the discriminator. The run lives in OUT: last.safetensors, from which the "
        "same command goes on, and generator.safetensors, which `colorize --model` takes. On several GPUs, torchrun "
        "--nproc-per-node 2 -m colorlab train … does what one process would, each GPU with its share of every batch.",
    )
    add("folders", nargs="+", metavar="FOLDER", help="photographs to learn from, searched recursively")
    add("-o", "--out", required=True, type=Path, metavar="OUT", help="the run's folder, such as runs/mine")
    add("--valid", nargs="+", metavar="FOLDER", help="photographs to judge by (default: a twentieth of the others)")
    add("--start", metavar="MODEL", help="begin with this model's weights: a name that ships or a checkpoint's path")
    add("--small", action="store_true", help="the chapters' network, which learns in minutes, not the one that ships")
    add("--warmup", type=_at_least(0), default=5000, metavar="STEPS", help="steps of L1 alone (default: %(default)s)")
    add("--gan", type=_at_least(0), default=5000, metavar="STEPS", help="adversarial steps after them (default: %(default)s)")
    add("--size", type=_at_least(24), default=64, metavar="N", help="side of the training squares (default: %(default)s pixels)")
    add("--batch", type=_at_least(1), default=32, metavar="N", help="pictures a step, all GPUs together (default: %(default)s)")
    add("--l1-weight", type=_at_least(0.0), default=50.0, metavar="λ", help="weight of L1 (default: %(default)s)")
    add("--seed", type=_at_least(0), default=0, metavar="N", help="of weights and shuffles (default: %(default)s)")

    add = command(
        "evaluate",
        _evaluate,
        "judge a model on photographs, beside the controls",
        "Prints a Markdown table: the model, grey, mean ab, the luminance lookup and the truth, with intervals.",
    )
    add("model", metavar="MODEL", help="the name of a model that ships, or a checkpoint's path")
    add("folders", nargs="+", metavar="FOLDER", help="photographs that the model has not seen")
    add("--size", type=_at_least(1), metavar="N", help="short side at which the network sees a picture (default: its own)")

    add = command(
        "check",
        _check,
        "say whether a model and photographs are sound",
        "The model is asked on a few photographs, and every file is read: does it see colour that it should not, are its answers "
        "sound, what spoils the data? Exit status: 0 all passed, warnings included, 1 something failed, 2 wrong arguments.",
    )
    add("model", metavar="MODEL", help="the name of a model that ships, or a checkpoint's path")
    add("folders", nargs="+", metavar="FOLDER", help="photographs, searched recursively")

    command("doctor", _doctor, "say what this machine has, and what is missing")
    return parser


def _at_least(least: float) -> Callable[[str], float]:
    """A number of `least`'s own type, for argparse."""

    def number(text: str) -> float:
        if not (value := type(least)(text)) >= least or value == float("inf"):  # nor nan
            raise argparse.ArgumentTypeError(f"expected at least {least}, got {text}")
        return value

    return number


def _doctor(options: argparse.Namespace) -> int:
    from colorlab import doctor

    return doctor.main()


def _colorize(options: argparse.Namespace) -> int:
    from tqdm.auto import tqdm

    from colorlab import inference, photos

    jobs, failed = _jobs(options.inputs, options.out)
    todo = [(source, target) for source, target in jobs if options.overwrite or not os.path.exists(target)]
    colorizer, done = inference.load(options.model, options.size), 0
    for source, target in tqdm(todo, "colorizing", disable=len(todo) < 2):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            photos.save(colorizer(source), target, note=colorizer.note, overwrite=options.overwrite)
            done += 1
        except _ERRORS as error:
            failed.append(_reason(error) if isinstance(error, photos.PhotoError) else f"{source}: {_reason(error)}")
    for why in failed:
        print(f"failed: {why}", file=sys.stderr)
    skipped = f", {len(jobs) - len(todo)} already there (--overwrite replaces them)" if len(todo) < len(jobs) else ""
    print(f"{done} coloured{skipped}, {len(failed)} failed{': ' + failed[0] if failed else ''}")
    return FAILED if failed else OK


def _jobs(inputs: list[str], out: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """(input, output) for every picture, and why a folder gave none; a folder keeps its shape below `out`.

    What lies in `out` is no input unless it is named. ValueError when two would become one, or an original be replaced.
    """
    from colorlab import photos
    from colorlab.data import find_pictures

    jobs, failed, end = [], [], os.path.realpath(out)
    paths = [Path(name) for text in inputs for name in _names(text, end)]
    for path in [p for p in paths if os.path.isfile(p) or os.path.realpath(p) != end] or paths:  # * -o out, the second time
        if not os.path.isdir(path):  # unlike path.is_dir, it takes any name
            jobs.append((path, _target(out / path.name)))
            continue
        try:
            found = find_pictures(path)
        except ValueError as error:
            failed.append(str(error))
            continue
        fresh = [p for p in found if not _within(p, end)] if _within(end, path) else found
        jobs += [(p, _target(out / p.relative_to(path))) for p in fresh]
    if out.suffix.lower() in photos.SUFFIXES and not os.path.isdir(out):
        if len(jobs) > 1:
            raise ValueError(f"{len(jobs)} pictures cannot go into one file, {out}. Give a folder.")
        jobs = [(source, out) for source, _ in jobs]
    elif out.suffix and not os.path.exists(out) and len(paths) == 1 and os.path.isfile(paths[0]):
        known = ", ".join(sorted(photos.SUFFIXES))
        raise ValueError(
            f"{out}: {out.suffix} is no format that colorlab knows ({known}). For a folder of that name, make it first."
        )
    originals, taken = {os.path.realpath(source) for source, _ in jobs}, {}
    for source, target in jobs:
        if os.path.realpath(target) in originals:
            raise ValueError(f"{target}, an original, would be replaced by a colouring. Give another folder with -o.")
        if os.path.realpath(taken.setdefault(target, source)) != os.path.realpath(source):
            raise ValueError(f"{taken[target]} and {source} would both become {target}. Rename one, or use two folders.")
    return [(source, target) for target, source in taken.items()], failed


def _names(text: str, end: str) -> list[str]:
    """What an argument stands for: itself, or what matches it where no shell has expanded the pattern."""
    if os.path.exists(text):
        return [text]
    return [name for name in sorted(glob.glob(text, recursive=True)) if not _within(name, end)] or [text]


def _within(path: str | Path, folder: str | Path) -> bool:
    return Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents


def _target(path: Path) -> Path:
    """Where a picture goes: its own name, but a GIF, which holds only 256 colours, becomes a PNG."""
    return path.with_suffix(".png") if path.suffix.lower() == ".gif" else path


def _train(options: argparse.Namespace) -> int:
    if "TORCHELASTIC_RUN_ID" in os.environ:  # each process would repeat what PyTorch has to say about `parallel.wrap`
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from colorlab import parallel

    with parallel.joined():
        return _train_here(options, say=print if parallel.rank() == 0 else lambda text: None)


def _train_here(options: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Train in this process, alone or together with others; the first of them reads options, speaks, writes and judges."""
    from colorlab import evaluate, inference, parallel
    from colorlab.data import Loader, Pictures, find_pictures, learn_and_judge
    from colorlab.machine import Machine
    from colorlab.patchgan import PatchGANConfig
    from colorlab.train import TrainConfig, Trainer
    from colorlab.unet import FULL, UNetConfig

    machine = Machine.detect()
    config = TrainConfig(
        generator=UNetConfig() if options.small else FULL,
        discriminator=PatchGANConfig(width=48, layers=3),  # patches of 70 pixels: larger than what it trains on
        machine=machine,
        warmup_steps=options.warmup,
        gan_steps=options.gan,
        l1_weight=options.l1_weight,
        seed=options.seed,
    )
    trainer = Trainer(config, folder=options.out)
    generator = trainer.path.with_name("generator.safetensors")
    if options.size % trainer.generator.stride:
        raise ValueError(f"--size must be a multiple of {trainer.generator.stride} for this network, got {options.size}.")
    if options.batch % parallel.size():
        raise ValueError(f"--batch must be a multiple of {parallel.size()}, the number of processes, got {options.batch}.")
    if parallel.rank() == 0:
        _keep(trainer.path, {"size": options.size, "batch": options.batch})
    if trainer.path.exists():
        trainer.resume()
        say(f"going on from step {trainer.step} of {trainer.path}")
    elif options.start:
        start = inference.load(options.start).generator
        if start.config != config.generator:
            raise ValueError(f"{options.start} is a {start.config}, but this run needs a {config.generator} (--small).")
        trainer.start_from(start)
    if trainer.step >= config.steps and generator.exists():
        say(f"{generator} is finished; colorlab colorize --model takes it, and train --start another run of yours")
        return OK
    valid = find_pictures(options.valid) if options.valid else []
    paths = [p for p in find_pictures(options.folders) if not _within(p, options.out)]  # its samples.png is none
    learnt, judged = learn_and_judge(paths, valid, "Give more, or other ones with --valid FOLDER.")
    watch = evaluate.watch(judged, options.size) if parallel.rank() == 0 else None
    pictures = Pictures.read(learnt, short_side=2 * options.size, progress=parallel.rank() == 0)
    say(f"{pictures.report()}; on {machine.device} in {machine.precision}")
    loader = Loader(pictures, options.batch, options.size, options.seed, machine=machine)
    trainer.hooks["save"] = [watch]
    trainer.fit(loader, max(0, config.steps - trainer.step))
    if watch and not generator.exists():  # killed between the last checkpoint and its hook, or nothing was to be learnt
        watch(trainer)
    say(f"wrote {generator}; colorlab colorize --model takes it")
    return OK


def _keep(run: Path, options: dict[str, int]) -> None:
    """Options that decide a run, but that no network knows, go into a file beside it; ValueError if it began with others."""
    path = run.with_name("options.json")
    if not run.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(options), encoding="utf-8")
    elif path.exists() and options != (before := json.loads(path.read_text(encoding="utf-8"))):
        differing = "; ".join(f"{name}: {before[name]} there, {x} here" for name, x in options.items() if before[name] != x)
        raise ValueError(f"{run} belongs to a run with other options ({differing}). Give those, or another folder with -o.")


def _evaluate(options: argparse.Namespace) -> int:
    from colorlab import data, evaluate, inference

    _model_first(options.model, "evaluate")
    scores = evaluate.evaluate(inference.load(options.model, options.size), data.find_pictures(options.folders))
    print(evaluate.table(scores))
    return OK


def _check(options: argparse.Namespace) -> int:
    from colorlab import check, data, inference

    _model_first(options.model, "check")
    results = check.check(inference.load(options.model), data.find_pictures(options.folders))
    print(check.report(results))
    return FAILED if any(result.status == check.FAILED for result in results) else OK


def _model_first(model: str, command: str) -> None:
    if os.path.isdir(model):
        raise ValueError(f"{model} is a folder; the model comes first, as in: colorlab {command} photo {model}")


def _reason(error: BaseException) -> str:
    return str(error) or "out of memory"


if __name__ == "__main__":
    sys.exit(main())
