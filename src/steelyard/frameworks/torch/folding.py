"""The batch norms of a live net that follow a layer immediately, as `torch.fx` traces it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from torch import fx, nn

from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDED_INTO = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def folds(model: object) -> list[tuple[str, str]]:
    """Return the names of each layer whose only reader is a batch norm, and of that norm.

    Its `forward` is traced once with symbols in place of tensors, which changes nothing in the net. Raises `ShapeError` for
    a net that cannot be traced, such as one whose flow of data depends on its numbers.
    """
    if not isinstance(model, nn.Module) or not any(isinstance(module, _NORMS) for module in model.modules()):
        return []
    try:
        nodes = list(fx.Tracer().trace(model).nodes)
    except Exception as error:  # the user's own code, given symbols
        raise ShapeError(
            f"it is not known which layers feed the batch norms of the {type(model).__name__}: torch.fx cannot trace it "
            f"({type(error).__name__}: {printable(error)})"
        ) from error
    return list(_pairs(model, nodes))


def _pairs(model: nn.Module, nodes: list[fx.Node]) -> Iterator[tuple[str, str]]:
    modules = dict(model.named_modules(remove_duplicate=False))
    calls = Counter(id(modules[str(node.target)]) for node in nodes if node.op == "call_module")
    for node in nodes:
        before = node.args[0] if node.args else None
        if not _calls(node, modules, _NORMS) or not isinstance(before, fx.Node) or not _calls(before, modules, _FOLDED_INTO):
            continue
        both = modules[str(before.target)], modules[str(node.target)]
        if len(before.users) == 1 and all(calls[id(module)] == 1 for module in both):
            yield str(before.target), str(node.target)


def _calls(node: fx.Node, modules: dict[str, nn.Module], kinds: tuple[type[nn.Module], ...]) -> bool:
    return node.op == "call_module" and isinstance(modules[str(node.target)], kinds)
