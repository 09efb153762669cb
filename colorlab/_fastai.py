"""What colorlab takes from fastai, imported without the warnings that its own imports raise. Chapter 08."""

import warnings

with warnings.catch_warnings():  # fastai calls things of torch and pandas that those call out of date
    warnings.simplefilter("ignore")
    from fastai.basics import DataLoaders, Learner, Metric, OptimWrapper, ValueMetric, dispatch, show_image, subplots
    from fastai.callback.all import Callback, ParamScheduler, SchedCos
    from fastai.data.core import TfmdDL, explode_types
    from fastai.torch_core import TensorImageBase
    from fastai.vision.models.unet import DynamicUnet

__all__ = [
    "Callback", "DataLoaders", "DynamicUnet", "Learner", "Metric", "OptimWrapper", "ParamScheduler", "SchedCos",
    "TensorImageBase", "TfmdDL", "ValueMetric", "dispatch", "explode_types", "show_image", "subplots",
]  # fmt: skip
