"""The weights that ship keep what the model card says of them, measured on the sample photographs, which they never saw."""

import pytest
import torch

from colorlab import evaluate, inference, metrics, photos


@pytest.fixture(scope="module")
def scores():
    return evaluate.evaluate(inference.load(), [sample.path for sample in photos.samples()], progress=False)


def mean(scores, name, measure):
    return scores[name][measure].mean().item()


def test_they_are_nearer_to_the_truth_than_the_controls(scores):
    """Floors somewhat below what was measured; mean ab and lookup are fitted to these seven pictures themselves."""
    assert mean(scores, "grey", "delta_e2000") - mean(scores, "model", "delta_e2000") > 2.0
    assert mean(scores, "model", "psnr") - mean(scores, "grey", "psnr") > 1.5


def test_they_are_more_colourful_than_their_first_stage_and_not_more_than_the_truth(scores):
    def colourful(pictures):  # whole photographs, so that both stages are judged alike
        return torch.cat([metrics.colorfulness(photos.load_rgb(picture)[None]) for picture in pictures]).mean().item()

    first = colourful(inference.sepia(sample.name) for sample in photos.samples())
    assert colourful(inference.colorize(sample) for sample in photos.samples()) > first + 1
    assert 0.3 < mean(scores, "model", "chroma") / mean(scores, "truth", "chroma") < 1.1
