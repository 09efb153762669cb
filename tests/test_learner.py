"""The fastai learner: the same training as the Trainer's, to the bit; what fastai adds to it, and what it must not do."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from PIL import Image

import colorlab
from colorlab import checkpoint, color, data, learner, metrics, photos
from colorlab.learner_data import Chroma, Grey, plain
from colorlab.machine import Machine
from colorlab.patchgan import PatchGANConfig
from colorlab.train import TrainConfig, Trainer
from colorlab.unet import UNetConfig
from colorlab.world import ColorWorld

fastai = pytest.importorskip("fastai.callback.all")
ParamScheduler, SaveModelCallback = fastai.ParamScheduler, fastai.SaveModelCallback
SMALL = TrainConfig(
    generator=UNetConfig(width=8, max_width=16, depth=2),
    discriminator=PatchGANConfig(width=8, layers=1),
    warmup_steps=0,
    gan_steps=5,
)


class World:
    """Batches of scenes, as `as_dls` takes them: batch n is always the same."""

    def __init__(self, length, seed=0, batch_size=2, size=32):
        self.world, self.length, self.batch_size = ColorWorld(size, seed), length, batch_size

    def __len__(self):
        return self.length

    def batch(self, n):
        scenes = self.world.sample(self.batch_size, start=n * self.batch_size)
        return scenes.L, scenes.ab


def learn_on(length=5, config=SMALL, **more):
    learn = learner.colorizer_learner(learner.as_dls(World(length), World(2, seed=1)), config, **more)
    learn.logger = lambda row: None
    return learn


def quietly(learn):
    return learn.no_bar()


def state(learn):
    """Every tensor that a step may change: the networks', EMA's, and both optimisers'."""
    trainer = learn.trainer
    tensors = {f"{name}.{key}": x for name, net in trainer._modules().items() for key, x in net.state_dict().items()}
    for name, optimizer in zip("gd", trainer.optimizers, strict=True):
        tensors |= checkpoint.flatten_optimizer(name, optimizer)
    return {name: x.clone() for name, x in tensors.items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Rates(fastai.Callback):
    """Both networks' rates and the generator's β1, step by step."""

    def before_fit(self):
        self.rows = []

    def after_batch(self):
        if self.training:
            g, d = self.learn.trainer.optimizers
            self.rows.append(([group["lr"] for group in g.param_groups], d.param_groups[0]["lr"], g.param_groups[0]["betas"][0]))


# The same training


@pytest.mark.parametrize("warming_up", [True, False])
def test_five_steps_leave_the_trainers_bits(warming_up):
    config = replace(SMALL, warmup_steps=5, gan_steps=0) if warming_up else SMALL
    trainer, world = Trainer(config), World(5)
    trainer.fit((world.batch(n) for n in range(5)), 5, progress=False)
    learn = learn_on(config=config)
    learn.warming_up = warming_up
    with quietly(learn):
        learn.fit(1, cbs=ParamScheduler({"lr": lambda done: config.rates(round(done * 5))[0]}))
    theirs = state(type("Learn", (), {"trainer": trainer}))
    assert len(theirs) > 60
    assert same(theirs, state(learn))
    assert learn.history == trainer.history


def test_the_discriminator_follows_at_the_configs_ratio_and_momentum_stays():
    learn, rates = learn_on(config=replace(SMALL, generator_lr=1e-4, discriminator_lr=3e-4)), Rates()
    with quietly(learn):
        learn.fit_one_cycle(2, 1e-3, cbs=rates)
    g = [row[0][-1] for row in rates.rows]
    assert len(set(g)) > 8
    assert max(g) > 5 * g[0]
    assert max(g) > 5 * g[-1]
    assert [row[1] for row in rates.rows] == pytest.approx([3 * x for x in g])
    assert {row[2] for row in rates.rows} == {0.5}


def test_no_weight_decay_and_the_same_epsilon():
    learn = learn_on()
    with quietly(learn):
        learn.fit(1, 1e-3)
    groups = [group for optimizer in learn.trainer.optimizers for group in optimizer.param_groups]
    assert {(group["weight_decay"], group["eps"], group["betas"]) for group in groups} == {(0, 1e-8, (0.5, 0.999))}


def test_looking_for_a_rate_leaves_no_trace(tmp_path):
    learn = learn_on(folder=tmp_path)
    with quietly(learn):
        learn.fit(1, 1e-3)
        before, history = state(learn), list(learn.history)
        found = learn.lr_find(num_it=20, show_plot=False)
    assert 1e-7 < found.valley < 10
    assert len(learn.recorder.lrs) > 10
    assert same(before, state(learn))
    assert learn.history == history
    assert (learn.trainer.step, learn.dls.train.position) == (5, 5)
    assert list(tmp_path.iterdir()) == []


def test_freezing_keeps_the_encoder_and_slices_give_it_a_lower_rate():
    learn, rates = learn_on(), Rates()
    before = state(learn)
    with quietly(learn):
        learn.freeze()
        learn.fit(1, 1e-2)
        after = state(learn)
        moved = {name.split(".")[1] for name in after if name[:10] == "generator." and not torch.equal(before[name], after[name])}
        learn.unfreeze()
        learn.fit(1, slice(1e-4, 1e-2), cbs=rates)
    assert moved == {"up", "head"}
    assert [tuple(row[0]) for row in rates.rows] == [(1e-4, 1e-2)] * 5
    thawed = state(learn)
    assert not torch.equal(after["generator.stem.0.weight"], thawed["generator.stem.0.weight"])


def test_a_callback_that_works_inside_fastais_step_is_refused():
    learn = learn_on()
    for callback in (fastai.GradientClip, fastai.GradientClip(0.1), fastai.MixedPrecision()):
        with pytest.raises(ValueError, match="before_step|before_backward|after_pred"):
            learn.add_cb(callback)
    learn.add_cb(fastai.ShortEpochCallback(0.5))  # one that works around it is not


# Judging, stopping, saving


def test_the_color_metric_is_the_ema_generators_mean_difference():
    learn = learn_on()
    with quietly(learn):
        learn.fit(1, 1e-2)
    batches = [World(2, seed=1).batch(n) for n in range(2)]
    with torch.no_grad():
        scores = [metrics.measure(L, learn.ema(L), ab)["delta_e2000"] for L, ab in batches]
    shown = dict(zip(list(learn.recorder.metric_names)[1:], learn.recorder.values[-1], strict=False))
    assert shown["color_error"] == pytest.approx(torch.cat(scores).mean().item(), rel=1e-5)
    assert shown["d_loss"] == pytest.approx(sum(row["d"] for row in learn.history) / 5)


def test_the_best_is_kept_and_stopping_listens_to_the_color(tmp_path):
    learn = learn_on(folder=tmp_path)
    learn.warming_up = True
    rising = ParamScheduler({"lr": lambda done: 1e-3 if done < 0.25 else 0.5})  # the first of four epochs is the only good one
    with quietly(learn):
        learn.fit(4, cbs=[SaveModelCallback("color_error"), fastai.EarlyStoppingCallback("color_error", patience=2), rising])
    errors = [dict(zip(list(learn.recorder.metric_names)[1:], row, strict=False))["color_error"] for row in learn.recorder.values]
    assert len(errors) == 3, "stopped two epochs after the best"
    assert errors.index(min(errors)) == 0
    assert learn.trainer.step == 5, "the best is loaded again"
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_run_goes_on_from_its_file_to_the_bit(tmp_path):
    def run(learn):
        with quietly(learn):
            learn.fit(1, 1e-3)

    whole = learn_on()
    run(whole)
    whole.opt.set_hypers(lr=1e-3)
    path = whole.save(tmp_path / "half")
    run(whole)
    again = learn_on()
    again.load(tmp_path / "half")
    assert path == tmp_path / "half.safetensors"
    assert again.trainer.step == 5
    run(again)
    assert same(state(whole), state(again))
    assert whole.history == again.history


@pytest.mark.parametrize(("hardware", "asked", "chosen"), [
    ("float32", "to_fp16", "float32"), ("bfloat16", "to_fp16", "bfloat16"), ("float32", "to_bf16", "float32"),
    ("bfloat16", "to_bf16", "bfloat16"), ("bfloat16", "to_fp32", "float32"),
])  # fmt: skip
def test_precision_is_what_the_machine_has_and_said_when_it_is_not(hardware, asked, chosen, monkeypatch, capsys):
    monkeypatch.setattr(Machine, "detect", lambda: Machine(precision=hardware))
    learn = learn_on()
    weights = state(learn)
    assert getattr(learn, asked)() is learn
    assert learn.trainer.config.machine.precision == chosen
    said = capsys.readouterr().out
    wanted = {"to_fp16": "float16", "to_bf16": "bfloat16", "to_fp32": "float32"}[asked]
    assert said == ("" if chosen == wanted else f"{wanted} is not for this CPU: training in {chosen} instead.\n")
    assert same(weights, state(learn))
    with quietly(learn):
        learn.fit(1, 1e-3)
    assert learn.history[-1]["g"] > 0
    assert learn.trainer.generator.head.weight.dtype == torch.float32


def test_float16_on_a_gpu_is_scaled(monkeypatch):
    learn = learn_on()
    monkeypatch.setattr(learn.trainer, "use", lambda machine: seen.append(machine))
    seen = []
    learn.trainer.config = replace(SMALL, machine=Machine("cuda"))
    learn.to_fp16()
    assert seen == [Machine("cuda", "float16")]
    learn = learn_on(config=replace(SMALL, machine=Machine(precision="float16")))  # a CPU can, slowly, if it is told to
    with quietly(learn):
        learn.fit(1, 1e-3)
    assert learn.trainer.scaler.get_scale() > 1
    assert learn.history[-1]["g"] > 0


def test_an_exported_generator_colors_as_the_learner_does(tmp_path):
    learn = learn_on()
    with quietly(learn):
        learn.fit(1, 1e-2)
    sample = photos.samples()[0]
    path = learn.export(tmp_path / "mine.safetensors")
    images = colorlab.colorize(sample, model=path), learn.predict(sample)
    shipped, here = (color.encode(photos.load_rgb(image)[None])[1] for image in images)
    assert metrics.mean_chroma(here).item() > 1
    assert (shipped - here).abs().mean().item() * color.AB_SCALE < 0.5  # half precision, and 8 bits


def test_the_recipe_warms_up_then_plays_at_the_configs_rates():
    config, rates = replace(SMALL, warmup_lr=1e-3, generator_lr=2e-4), Rates()
    learn = learn_on(config=config, cbs=[rates])
    seen = []
    rates.after_fit = lambda: seen.append(rates.rows)
    with quietly(learn):
        assert learn.fit_recipe(warmup_epochs=2, gan_epochs=1) is learn
    kinds = ["d" in row for row in learn.history]
    assert kinds == [False] * 10 + [True] * 5
    assert max(row[0][0] for row in seen[0]) == pytest.approx(1e-3, rel=0.05)
    played = [row[0][0] for row in seen[1]]
    assert played[0] == 2e-4
    assert played == sorted(played, reverse=True)
    assert played[-1] < 5e-5


# Pictures


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "valid").mkdir()
    for n, scene in enumerate(ColorWorld(48, seed=3).sample(8).rgb):
        photos.save((scene * 255).byte().permute(1, 2, 0).numpy(), tmp_path / "train" / f"{n}.png")
        photos.save((scene.flip(2) * 255).byte().permute(1, 2, 0).numpy(), tmp_path / "valid" / f"v{n}.png")
    return tmp_path


def test_batches_are_the_loaders_typed_and_go_on(folder):
    machine = Machine()
    dls = learner.colorizer_dls(folder / "train", size=32, bs=3, valid=folder / "valid", seed=7, machine=machine)
    pictures = data.Pictures.read(data.find_pictures(folder / "train"), 64, progress=False)
    loader = data.Loader(pictures, 3, 32, seed=7)
    dls.train.one_batch()  # looking moves nothing
    seen = [batch for _ in range(2) for batch in dls.train]
    assert len(seen) == 2 * len(dls.train) == 4
    for n, (L, ab) in enumerate(seen):
        assert (type(L), type(ab)) == (Grey, Chroma)
        assert all(torch.equal(plain(mine), theirs) for mine, theirs in zip((L, ab), loader.batch(n), strict=True))
    assert sum(len(L) for L, _ in dls.valid) == 8
    again = [L for L, _ in dls.train.new(shuffle=False)]
    assert sum(map(len, again)) == 8, "not shuffled: each picture once"


def test_one_of_several_processes_is_sent_elsewhere(monkeypatch):
    monkeypatch.setattr(colorlab.parallel, "size", lambda: 2)
    with pytest.raises(ValueError, match="colorlab train"):
        learn_on()


def test_too_few_pictures_say_so(folder):
    with pytest.raises(ValueError, match=r"valid=FOLDER"):
        learner.colorizer_dls(folder / "train", valid=folder / "train")
    with pytest.raises(ValueError, match="is not a folder"):
        learner.colorizer_dls(folder / "nowhere")


def test_pictures_are_shown_in_color_and_in_order(folder):
    import matplotlib.pyplot as plt

    dls = learner.colorizer_dls(folder / "train", size=32, bs=4, valid=folder / "valid", machine=Machine())
    learn = learner.colorizer_learner(dls, SMALL)
    try:
        dls.show_batch(max_n=2)
        titles = [ax.get_title() for ax in plt.gcf().axes]
        assert [title.split(",")[0] for title in titles] == ["grey", "true"] * 2
        with quietly(learn):
            learn.show_results(max_n=3)
        axes = plt.gcf().axes
        assert [ax.get_title().split(",")[0] for ax in axes] == ["grey", "predicted", "true"] * 3
        L, ab = dls.valid.dataset.batch(0)
        wanted = (torch.zeros_like(ab), learn.ema(L).detach(), ab)
        for column, chroma in enumerate(wanted):
            shown = torch.from_numpy(axes[column].images[0].get_array().copy()).permute(2, 0, 1)
            true = color.decode(L, color.fit_gamut(L, chroma)[0]).clamp(0, 1)[0]
            assert (shown - true).abs().max() < 1e-5
    finally:
        plt.close("all")


def test_several_epochs_take_up_where_the_last_one_stopped():
    learn = learn_on(length=3)
    with quietly(learn):
        learn.fit(2, 1e-3)
    assert learn.dls.train.position == learn.trainer.step == 6


# Without fastai


def test_without_fastai_only_the_learner_is_missing(tmp_path):
    picture = tmp_path / "grey.png"
    Image.new("L", (40, 40), 120).save(picture)
    code = f"""
import sys
sys.modules["fastai"] = sys.modules["torchvision"] = None
import colorlab, pkgutil, importlib
missing = []
for module in pkgutil.walk_packages(colorlab.__path__, "colorlab."):
    if module.name == "colorlab.__main__":
        continue
    try:
        importlib.import_module(module.name)
    except ImportError:
        missing.append(module.name)
print(missing)
print(colorlab.colorize({str(picture)!r}).size)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    missing = [f"colorlab.{name}" for name in ("_fastai", "learner", "learner_data", "resnet")]
    assert done.stdout.splitlines() == [str(missing), "(40, 40)"]
