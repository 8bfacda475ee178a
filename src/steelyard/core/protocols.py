"""The protocols of plug-ins: frameworks and file formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from steelyard.codecs.plain import Config
    from steelyard.core.dense_stack import DenseLayer, DenseStack
    from steelyard.core.effective import Pieces
    from steelyard.core.graph import Graph, Run
    from steelyard.core.merging import Change
    from steelyard.core.weight import Array, Weight
    from steelyard.core.weights import Weights
    from steelyard.storage.source import Source

    MakeGraph = Callable[[], Graph | str | None]
    """Lists the layers of a net when they are needed, or returns the reason why they cannot be listed."""
    Meta = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
    """The metadata of the weights as a whole, or a function that computes them on demand."""
    NamesInOrder = Callable[[], Iterable[str] | None]
    """Gives the names of the weights in an order, and those alone that it has; None where the model does not know them."""
    Derive = Callable[[Pieces], Iterable[Weight]]
    """Makes effective weights of stored pieces; the `derivation` of each names those that it replaces."""
    Folds = Callable[[], Iterable[tuple[str, str]]]
    """Names each layer that a batch norm follows immediately, and the norm."""


class Assign(Protocol):
    """Puts checked arrays into a model, and returns the model (a new one when it is immutable)."""

    def __call__(self, arrays: Mapping[str, Array], /, *, verify: bool = True) -> Any:
        """Put them in; with `verify` read them back, and raise `ReadOnlyError` where the model holds other numbers."""


Scope = Literal["model", "all"]
"""The listed part of a file: the model's weights, or every tensor."""


class Framework(Protocol):
    """The functions of a package in `steelyard/frameworks`, or of a module under an entry point `steelyard.frameworks`.

    It is loaded when an object of its framework is passed in, so it may import that framework at module level.
    Besides `weights` and `assign` it may have the functions of `Runner`, `Builder` and `Parts`, and these:

    `meta(model)` returns the metadata of the weights as a whole.
    `is_immutable(model)` returns whether training makes a new model instead of changing this one, as in Equinox. A copy of
    the weights lists the layers of such a model immediately, since it will soon be gone; those of others on request.
    `orders(model)` returns a mapping of a word to a function that returns the names in another order than the listed one.
    `parameters(model, listed)` returns the names of those of the listed weights that training may change, also those that
    are frozen, or None where this is not known. It is an order, too; one of the same name in `orders` has precedence.
    `derive(model, pieces)` yields the effective weights that only the live model knows, as `Scheme.derive` does for stored
    pieces; it does not change the model, and runs no more of it than a forward pass would.
    `folds(model)` returns the names of each layer that a batch norm follows immediately, and of the norm.
    `update_norms(model, data)` computes the running statistics of norms anew, from runs on batches of data.
    `smaller(model, shapes, counts)` yields copies of a model in which the named weights have other shapes and arbitrary numbers,
    the likeliest first; `shapes` may name layers that give a shape, `counts` has pairs of old and new numbers of units.
    `units(model, inputs)` returns the units that must go together, as `core.coupling.Couplings`; by default they are found in the
    graph.
    `loading(model, checkpoint, versions)` returns what the framework's own way to load weights finds in a checkpoint, as
    `core.loading.Names`, or None where it has none; `versions` are those of the modules in a state dict. By default the names
    and shapes that `assign` needs are compared.
    """

    def weights(self, model: object, /) -> Iterable[Weight]:
        """List the weights in the framework's own order, with its own names."""

    def assign(self, model: object, arrays: Mapping[str, Array], /) -> Any:
        """Put arrays of the right shape and dtype into the model, and return it, or a new one if it is immutable."""


class Parts(Protocol):
    """The functions of a framework for the containers of its models and arrays; each is optional."""

    def claims(self, model: object, /) -> bool:
        """Whether an object is this framework's, although the module of its class does not say so."""

    def gathered(self, model: object, /) -> object:
        """Return a container that can be read only once as one that can be read again."""

    def own_name(self, part: object, /) -> str:
        """Return the name of a part of a list, such as the path of a variable; blank if it has none."""

    def tree_framework(self, leaf: object, /) -> str | None:
        """Return the name of the framework that lists a container of such leaves alone, as one tree."""

    def tree_graph(self, model: object, /) -> Graph | None:
        """Return the layers that the names in such a tree reveal; None if they reveal none."""

    def joined(self, members: Iterable[tuple[str, object]], listed: Sequence[Weight], /) -> Iterable[Weight]:
        """Return the weights of a container with what its members, by their names, say about each other.

        An Equinox module, for example, knows which arrays of its state are running statistics.
        """


class Runner(Protocol):
    """The functions of a framework whose models can be run; transfers need them, listing does not."""

    def graph(self, model: object, inputs: Sequence[Array] | None, /) -> Graph:
        """Return the layers of the model, named like its weights.

        With inputs (in the model's own layout, with a batch axis) the model may be run once to find the order of its layers;
        this does not change the model.
        """

    def run(self, model: object, inputs: Sequence[Array], /) -> Run:
        """Run the model in inference mode, in float64 if the framework supports it, and return its outputs and its layers'.

        The model does not change: its numbers, dtypes, mode, random state and hooks are the same afterwards.
        """


class Builder(Protocol):
    """The function of a framework that can make a model from dense layers; the framework is loaded by name."""

    def build(self, stack: DenseStack, /) -> tuple[Any, list[DenseLayer]]:
        """Return a model of this architecture with arbitrary numbers, and the layers in the form that it needs.

        Raises `ShapeError` if the framework has no such model.
        """


class Format(Protocol):
    """The functions of a module in `steelyard/formats`, or of one under an entry point `steelyard.formats`.

    A format that can write has the function of `Writer` too.
    """

    SUFFIXES: tuple[str, ...]

    def sniff(self, source: Source, /) -> bool:
        """Whether the content is in this format; never raises for other content."""

    def read(self, source: Source, scope: Scope, /) -> Weights:
        """List the weights of the model, or with scope "all" every tensor, by its full path."""


class Writer(Protocol):
    """A format that can write."""

    def write(self, weights: Weights, path: Path, /) -> None:
        """Write the weights to a file that replaces `path` when it is complete."""


class Scheme(Protocol):
    """The function of a module in `steelyard/schemes`, or of one under an entry point `steelyard.schemes`."""

    def derive(self, pieces: Pieces, /) -> Iterable[Weight]:
        """Yield the effective weights of the pieces that the scheme understands, lazily read.

        The `derivation` of each weight names its pieces, which it replaces. Pieces that are the scheme's, but cannot be
        computed, give a weight whose reader is `Refused` with the reason.
        """


class AdapterKind(Protocol):
    """The functions of a module in `steelyard/adapters`, or of one under an entry point `steelyard.adapters`."""

    def recognises(self, adapter: Pieces, config: Config, /) -> bool:
        """Whether the names of the weights, or the adapter_config.json next to them, are those of this kind."""

    def changes(self, adapter: Pieces, base: Mapping[str, Weight], config: Config, /, *, residual: bool) -> Iterable[Change]:
        """Yield what the adapter does to the weights of its base, with a refusal where this is not known.

        `residual` is whether the base is what the initialisation of the adapter left of the original one. Raises `ShapeError`
        for an adapter that does not belong to the base, or that changes no weights.
        """
