"""A generator with a pretrained encoder: a ResNet of torchvision's in fastai's `DynamicUnet`. Knows both. Chapter 08.

Imported only where such a generator is made or loaded, so that the rest of colorlab needs neither.
"""

import socket
import sys
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from colorlab import color
from colorlab._fastai import DynamicUnet
from colorlab.unet import check_size

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of pictures in [0, 1]: what its weights expect


@dataclass(frozen=True)
class ResNetUNetConfig:
    """Shape of a `ResNetUNet`."""

    encoder: str = "resnet34"  # or another ResNet of torchvision's, such as "resnet18", "resnet50"


class ResNetUNet(nn.Module):
    """A ResNet (He et al. 2016) as encoder, fastai's `DynamicUnet` around it: L (B, 1, H, W) → ab (B, 2, H, W). Chapter 08.

    The encoder is shown what it was trained on: the grey picture in sRGB, three times, by ImageNet's mean and deviation.
    Its BatchNorm is frozen and the decoder has GroupNorm, so what one picture gets does not depend on the others in its
    batch. H and W must be multiples of 32, else a ValueError; so is an encoder that torchvision does not have.
    """

    stride = 32

    def __init__(self, config: ResNetUNetConfig = ResNetUNetConfig()):
        super().__init__()
        if not config.encoder.startswith("resnet") or config.encoder not in torchvision.models.list_models(torchvision.models):
            raise ValueError(f"encoder is a ResNet of torchvision's, such as 'resnet34', got {config.encoder!r}.")
        self.config = config
        resnet = torchvision.models.get_model(config.encoder, norm_layer=FrozenBatchNorm2d)
        encoder = nn.Sequential(*list(resnet.children())[:-2])  # without its pooling and its thousand classes
        self.unet = DynamicUnet(encoder, n_out=2, img_size=(64, 64))
        for module in [m for m in self.unet.modules() if isinstance(getattr(m, "bn", None), nn.BatchNorm2d)]:
            module.bn = _group_norm(module.bn)
        self.unet.layers[1] = _group_norm(self.unet.layers[1])
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.register_buffer("mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, 3, 1, 1), persistent=False)

    @classmethod
    def pretrained(cls, config: ResNetUNetConfig = ResNetUNetConfig()) -> "ResNetUNet":
        """With ImageNet's weights in its encoder, downloaded once by torchvision; random, and one line, where that fails."""
        network = cls(config)
        weights, before = torchvision.models.get_model_weights(config.encoder).DEFAULT, socket.getdefaulttimeout()
        try:
            socket.setdefaulttimeout(20)
            state = weights.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:  # no network, a full disk; bytes that are not those that were asked for
            print(f"No weights from {weights.url} ({error}): {config.encoder} starts from random ones.", file=sys.stderr)
            return network
        finally:
            socket.setdefaulttimeout(before)
        resnet = torchvision.models.get_model(config.encoder, norm_layer=FrozenBatchNorm2d)
        resnet.load_state_dict(state)
        network.unet.layers[0].load_state_dict(nn.Sequential(*list(resnet.children())[:-2]).state_dict())
        return network

    def forward(self, L: Tensor) -> Tensor:
        check_size(L, self.stride)
        grey = color.decode(L, torch.cat([torch.zeros_like(L)] * 2, dim=1)).clamp(0, 1)  # (B, 3, H, W) in [0, 1]
        ab = self.unet((grey - self.mean) / self.std).as_subclass(Tensor)  # (B, 2, H, W)
        return torch.tanh(ab.to(L.dtype))

    def __deepcopy__(self, memo: dict) -> "ResNetUNet":  # DynamicUnet's hooks hold activations, which cannot be copied
        copy = type(self)(self.config).to(self.mean)
        copy.load_state_dict(self.state_dict())
        return copy


def _group_norm(norm: nn.BatchNorm2d) -> nn.GroupNorm:
    return nn.GroupNorm(norm.num_features // 8, norm.num_features)
