"""The generator with a ResNet for an encoder: what it is shown, what is frozen, where its weights come from, how it is kept."""

import copy
import functools
import hashlib
import http.server
import threading
from unittest import mock

import pytest
import torch
import torchvision
from test_learner import SMALL, World

import colorlab
from colorlab import checkpoint, color, inference, learner, metrics, photos
from colorlab.resnet import ResNetUNet, ResNetUNetConfig
from colorlab.world import ColorWorld

CONFIG = ResNetUNetConfig("resnet18")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return ResNetUNet(CONFIG)


def scenes(n=2, size=32, seed=0):
    batch = ColorWorld(size, seed).sample(n)
    return batch.L, batch.ab


def test_any_multiple_of_32_gives_chroma_of_that_size(network):
    L = torch.rand(2, 1, 64, 96) * 2 - 1
    with torch.no_grad():
        ab = network(L)
    assert type(ab) is torch.Tensor
    assert (ab.shape, ab.dtype) == ((2, 2, 64, 96), torch.float32)
    assert ab.abs().max() < 1
    with pytest.raises(ValueError, match="multiples of 32"):
        network(torch.zeros(1, 1, 40, 64))


def test_the_encoder_sees_grey_srgb_by_imagenets_mean_and_deviation(network):
    seen = []
    handle = network.unet.layers[0][0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    L, ab = scenes()
    with torch.no_grad():
        network(L)
    handle.remove()
    grey = color.decode(L, torch.zeros_like(ab)).clamp(0, 1)
    theirs = torchvision.transforms.functional.normalize(grey, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert torch.allclose(seen[0], theirs, atol=1e-6)


def test_no_picture_depends_on_its_neighbors_and_no_statistic_moves(network):
    network.train()
    before = {name: x.clone() for name, x in network.named_buffers()}
    L, _ = scenes(3)
    together, alone = network(L)[:1], network(L[:1])
    together.sum().backward()
    network.zero_grad()
    assert len(before) >= 4 * 20  # mean, deviation, weight and bias of the encoder's twenty norms
    assert all(torch.equal(x, before[name]) for name, x in network.named_buffers())
    assert (together - alone).abs().max() < 1e-4
    assert not [m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]


def test_a_copy_is_a_network_of_its_own(network):
    L, _ = scenes()
    network(L)  # fastai's hooks now hold activations
    twin = copy.deepcopy(network)
    with torch.no_grad():
        before = network(L)
        assert torch.equal(twin(L), before)
        for p in twin.parameters():
            p.add_(0.1)
        assert torch.equal(network(L), before)


def test_an_encoder_that_there_is_not_says_so():
    for name in ("resnet7", "vgg16", "resnet"):
        with pytest.raises(ValueError, match=f"resnet34.*{name}"):
            ResNetUNet(ResNetUNetConfig(name))


# Weights over the network


class Weights:
    """What torchvision knows of a set of weights: an address, and how to get them from there."""

    def __init__(self, url):
        self.url = url

    def get_state_dict(self, **more):
        return torch.hub.load_state_dict_from_url(self.url, **more)


@pytest.fixture
def served(tmp_path):
    """A server on loopback, with a ResNet's weights under a name that holds their checksum, as torchvision's do."""
    torch.manual_seed(1)
    resnet = torchvision.models.resnet18()
    torch.save(resnet.state_dict(), tmp_path / "weights.pth")
    digest = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()[:8]
    (tmp_path / "weights.pth").rename(tmp_path / f"resnet18-{digest}.pth")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    handler.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with mock.patch.object(http.server.SimpleHTTPRequestHandler, "log_message"):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield resnet, f"http://127.0.0.1:{server.server_port}/resnet18-{digest}.pth"
        server.shutdown()
        thread.join()
        server.server_close()


def fetch(url, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda name: mock.Mock(DEFAULT=Weights(url)))
    return ResNetUNet.pretrained(CONFIG)


def test_pretrained_weights_arrive_whole(served, tmp_path, monkeypatch, capsys):
    resnet, url = served
    network = fetch(url, tmp_path, monkeypatch)
    encoder = network.unet.layers[0]
    assert torch.equal(encoder[0].weight, resnet.conv1.weight)
    assert torch.equal(encoder[7][1].conv2.weight, resnet.layer4[1].conv2.weight)
    assert capsys.readouterr().err == ""
    with torch.no_grad():
        L, _ = scenes()
        x = (color.decode(L, torch.zeros(2, 2, 32, 32)).clamp(0, 1) - network.mean) / network.std
        features = torch.nn.Sequential(*list(resnet.eval().children())[:-2])(x)
        assert torch.allclose(encoder(x), features, atol=1e-4)


def test_without_a_network_one_line_says_so_and_weights_are_random(tmp_path, monkeypatch, capsys):
    network = fetch("http://127.0.0.1:9/resnet18-00000000.pth", tmp_path, monkeypatch)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "http://127.0.0.1:9/resnet18-00000000.pth" in said
    assert "random" in said
    assert network(scenes()[0]).isfinite().all()


def test_weights_that_were_altered_on_the_way_are_not_taken(served, tmp_path, monkeypatch, capsys):
    _, url = served
    path = next(tmp_path.glob("resnet18-*.pth"))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    network = fetch(url, tmp_path, monkeypatch)
    assert "invalid hash value" in capsys.readouterr().err
    assert network(scenes()[0]).isfinite().all()


# In a run


def test_the_recipe_trains_it_and_colorize_takes_what_it_exports(tmp_path):
    dls = learner.as_dls(World(4), World(1, seed=1))
    learn = learner.colorizer_learner(dls, SMALL, ResNetUNet(CONFIG), folder=tmp_path / "run")
    learn.logger = lambda row: None
    encoders, rates = [], []

    class Watch(learner.Callback):
        def after_batch(self):
            if self.training:
                encoders.append(self.learn.model.unet.layers[0][0].weight.clone())
                rates.append([group["lr"] for group in self.learn.opt.opt.param_groups])

    start = learn.model.unet.layers[0][0].weight.clone()
    with learn.no_bar():
        learn.add_cb(Watch())
        learn.fit_recipe(warmup_epochs=1, gan_epochs=1, frozen_epochs=1)
    assert [torch.equal(x, start) for x in encoders[:5]] == [True] * 4 + [False]
    assert all(encoder == pytest.approx(decoder / 10) for encoder, decoder in rates[4:])
    assert ["d" in row for row in learn.history] == [False] * 8 + [True] * 4
    path, sample = learn.export(tmp_path / "resnet.safetensors", size=64), photos.samples()[0]
    loaded = inference.load(path)
    assert loaded.generator.config == CONFIG
    L, _ = scenes()
    with torch.no_grad():
        assert (loaded.generator(L) - learn.ema(L)).abs().max() < 0.01
    assert metrics.mean_chroma(color.encode(photos.load_rgb(colorlab.colorize(sample, model=path))[None])[1]) > 1
    whole = inference.load(learn.save("last"))  # a run's checkpoint too: its EMA, in full precision
    with torch.no_grad():
        assert torch.equal(whole.generator(L), learn.ema(L))


def test_without_fastai_its_checkpoint_says_what_is_missing(network, tmp_path):
    path = tmp_path / "resnet.safetensors"
    inference.save_generator(path, network, "resnet", 64)
    absent = mock.patch.dict("sys.modules", {"colorlab.resnet": None})
    with absent, pytest.raises(checkpoint.CheckpointError, match="needs fastai"):
        inference.load(path)
