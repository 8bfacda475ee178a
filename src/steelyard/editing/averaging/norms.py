"""Compute the running statistics of norms anew, for weights that no training has fitted them to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from steelyard.core.plugins import framework_of
from steelyard.errors import UnknownModelError, printable


def update_norms(net: Any, data: Iterable[Any]) -> Any:
    """Compute the running statistics of the batch norms of a live net anew, in place, and return the net.

    The net is run on each batch of `data` as in training, without gradients: an array or a tensor, a tuple or list of which the
    first is the input, or a mapping of inputs. The statistics become the means of those of the batches, which count equally
    whatever their sizes, as by `torch.optim.swa_utils.update_bn`: in PyTorch with the unbiased variance, in Keras with the biased
    one, as its layers compute it. All other weights, and the modes of all layers, are as before; if a batch fails, so are the
    statistics. Norms that are frozen in Keras stay as they are.

    Raises `UnknownModelError` for a net that is not of PyTorch or Keras, and `ShapeError` without norms or batches.

    Examples:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.BatchNorm1d(2))
        >>> update_norms(net, [torch.tensor([[1.0, 0.0], [3.0, 0.0]])])[0].running_mean
        tensor([2., 0.])
    """
    framework = framework_of(net)
    update = getattr(framework, "update_norms", None)
    if update is None:
        raise UnknownModelError(
            f"update_norms runs live nets of PyTorch and Keras, not a {printable(type(net).__name__)}; pass the module or model "
            "that is within it, if any"
        )
    update(net, data)
    return net
