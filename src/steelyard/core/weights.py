"""An ordered mapping of the weights of a model or a file."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from typing import TYPE_CHECKING, Any

from steelyard.core.lazy_graph import LazyGraph
from steelyard.core.net_facts import NetFacts
from steelyard.core.vector import VectorLayout, checked_order, flatten
from steelyard.core.weight import Weight
from steelyard.errors import ReadOnlyError, ShapeError, WeightNotFoundError, printable

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from steelyard.core.graph import Graph
    from steelyard.core.protocols import Assign, MakeGraph, Meta, NamesInOrder
    from steelyard.core.renaming import Names
    from steelyard.core.vector import Order
    from steelyard.core.weight import Array


class Weights(Mapping[str, Weight]):
    """An ordered mapping of names to weights, with the framework's own names and order.

    Weights that share their numbers (`Weight.tied`) are all listed, but count once in `size`, `nbytes` and the
    vector.

    Examples:
        >>> import steelyard
        >>> import numpy as np
        >>> w = steelyard.weights({"fc": {"kernel": np.ones((2, 3)), "bias": np.zeros(3)}})
        >>> list(w), w.size
        (['fc.kernel', 'fc.bias'], 9)
        >>> w.select(role="bias").to_vector()
        array([0., 0., 0.])
    """

    __slots__ = ("_layout", "_live", "_meta", "_net", "_remote", "_weights")

    def __init__(
        self,
        weights: Iterable[Weight],
        *,
        meta: Meta | None = None,
        assign: Assign | None = None,
        live: bool = False,
        remote: bool = False,
        graph: LazyGraph | MakeGraph | Graph | None = None,
        orders: Mapping[str, NamesInOrder] | None = None,
    ) -> None:
        self._weights: dict[str, Weight] = {}
        for weight in weights:
            if weight.name in self._weights:
                raise ShapeError(f"two weights are named {printable(weight.name)!r}; rename one of them")
            self._weights[weight.name] = weight
        self._net = NetFacts(assign, orders or {}, graph if isinstance(graph, LazyGraph) else LazyGraph(graph))
        self._layout: VectorLayout | None = None
        self._meta = meta if callable(meta) else dict(meta or {})
        self._live = live
        self._remote = remote

    @staticmethod
    def from_arrays(arrays: Mapping[str, object], *, axes: Mapping[str, str] | None = None) -> Weights:
        """Make weights from arrays by name, without a copy.

        The part of a name before its last dot or slash is the layer, and the rest implies the role, as for a file with names
        only. `axes` has the axes of weights by name, as far as they are known. Raises `UnknownModelError` for arrays that are
        not numeric.

        Examples:
            >>> import numpy as np
            >>> w = Weights.from_arrays({"fc.weight": np.ones((3, 2))}, axes={"fc.weight": "out in"})
            >>> w["fc.weight"]
            Weight('fc.weight', (3, 2), float64, kernel, axes='out in')
        """
        from steelyard.core.members import weights_of_arrays

        return Weights(weights_of_arrays(arrays, axes or {}), live=True)

    def __getitem__(self, name: str) -> Weight:
        try:
            return self._weights[name]
        except KeyError:
            raise WeightNotFoundError(name, self._weights) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    def __contains__(self, name: object) -> bool:
        return name in self._weights

    def values(self) -> ValuesView[Weight]:
        """Return the weights, in order."""
        return self._weights.values()  # faster than Mapping.values, which looks up every name

    def items(self) -> ItemsView[str, Weight]:
        """Return the weights with their names, in order."""
        return self._weights.items()

    def __repr__(self) -> str:
        from steelyard.core.display import weights_text

        return weights_text(self)

    def _repr_html_(self) -> str:
        from steelyard.core.display import weights_html

        return weights_html(self)

    def _in_vector(self) -> VectorLayout:
        """Return the layout of the vector, in which tied weights are once, as the first that is listed."""
        if self._layout is None:
            first: dict[str, Weight] = {}
            for weight in self._weights.values():
                first.setdefault(weight.tied or weight.name, weight)
            self._layout = VectorLayout(list(first.values()))
        return self._layout

    def distinct(self) -> Weights:
        """Return each weight once, the first of tied ones; nothing is copied."""
        listed = self._in_vector().weights
        return self if len(listed) == len(self) else self.with_weights(listed)

    def with_weights(
        self,
        weights: Iterable[Weight],
        *,
        names: Names | None = None,
        detached: bool = False,
        live: bool | None = None,
        remote: bool | None = None,
        meta: Meta | None = None,
    ) -> Weights:
        """Return other weights with the meta, the graph, the orders and the model of these.

        `names` returns the new name of each of these weights and of their layers. `detached` weights have numbers of their
        own, so they cannot be assigned to the model, and do not keep it alive. `live`, `remote` and `meta` default to those
        of these weights.
        """
        net = self._net.detached(live=self._live) if detached else self._net
        made = Weights(
            weights,
            meta=self._meta if meta is None else meta,
            live=self._live if live is None else live,
            remote=self._remote if remote is None else remote,
        )
        made._net = net if names is None else net.renamed(self._weights, made._weights, names)
        return made

    @property
    def live(self) -> bool:
        """Whether the numbers are in this process's memory; those of a model follow its training, unless copied by `copy`."""
        return self._live

    @property
    def remote(self) -> bool:
        """Whether the numbers are fetched from another machine."""
        return self._remote

    @property
    def has_model(self) -> bool:
        """Whether `assign` reaches a model; false for weights of a file and for detached ones."""
        return self._net.assign is not None

    @property
    def orders(self) -> Mapping[str, NamesInOrder]:
        """The orders that `in_order` accepts, by their words; each is a function that lists the names."""
        return self._net.orders

    @property
    def meta(self) -> dict[str, Any]:
        """The file's metadata, such as versions; for a live Keras model, its layout in files."""
        if callable(self._meta):
            self._meta = dict(self._meta())
        return self._meta

    @property
    def size(self) -> int:
        """The number of elements; tied weights count once."""
        return self._in_vector().size

    @property
    def nbytes(self) -> int:
        """The size of all elements in their own dtypes, in bytes; tied weights count once."""
        return sum(weight.nbytes for weight in self._in_vector().weights)

    @property
    def layers(self) -> dict[str, Weights]:
        """The weights of each layer by its name, in order; their names are relative to the layer.

        Assigning to a layer changes the model. A layer that is stored as one matrix of bias and kernel is split
        (see `core.stacked`); its parts can be read, but not assigned.

        Examples:
            >>> import steelyard
            >>> import numpy as np
            >>> w = steelyard.weights({"fc1": {"weight": np.ones((2, 3)), "bias": np.zeros(2)}})
            >>> list(w.layers), list(w.layers["fc1"])
            (['fc1'], ['weight', 'bias'])
        """
        from steelyard.core.grouping import layers_of

        return layers_of(self)

    def layer(self, name: str) -> Weights:
        """Return the weights of one layer, as in `layers`. Raises `WeightNotFoundError` if there is no such layer."""
        from steelyard.core.grouping import layer_of

        return layer_of(self, name)

    @property
    def parameters(self) -> Weights:
        """The weights that training may change, including frozen ones: all except `buffers`.

        The framework's own distinction takes precedence. Raises `ShapeError` with the names of weights that may be either;
        use `select` to choose weights by name.
        """
        from steelyard.core.selection import are_parameters

        return self.with_weights(w for w, is_one in are_parameters(self, self.orders.get("parameters")) if is_one)

    @property
    def buffers(self) -> Weights:
        """The running statistics, counters and other state that the optimizer does not change; raises as `parameters` does."""
        from steelyard.core.selection import are_parameters

        return self.with_weights(w for w, is_one in are_parameters(self, self.orders.get("parameters")) if not is_one)

    @property
    def graph(self) -> Graph | None:
        """The layers of the net as its framework or file lists them, on first access; None if only the weights are known."""
        found = self._net.graph.answer()
        return None if isinstance(found, str) else found

    @property
    def why_no_graph(self) -> str:
        """The reason why `graph` is None, if known: layers that cannot be listed, or a model that was freed before."""
        found = self._net.graph.answer()
        return found if isinstance(found, str) else ""

    def select(
        self,
        pattern: str | Iterable[str] = "*",
        *,
        role: str | Iterable[str] | None = None,
        layer: str = "*",
        trainable: bool | None = None,
    ) -> Weights:
        """Return the weights that match all given criteria; nothing is copied.

        `pattern` and `layer` are shell patterns ("encoder.*"); a name with brackets also matches itself.
        `pattern` is one pattern or several, `role` one role or several ("kernel", ["scale", "offset"]).
        Assigning to the selection leaves the rest of the model unchanged. Raises `ShapeError` for an
        unknown role.
        """
        from steelyard.core.selection import selected

        return self.with_weights(selected(self._weights.values(), pattern, role, layer, trainable))

    def rename(self, pattern: str, replacement: str) -> Weights:
        r"""Return the same weights under other names: each name that `pattern` matches completely is rewritten.

        `pattern` is a regular expression, `replacement` its template: ``rename(r"module\.(.*)", r"\1")``
        removes a prefix. Layers are renamed alike, in the graph too. Assigning still changes the model. Raises
        `ShapeError` if two weights get the same name.
        """
        from steelyard.core.renaming import names_by, renamed_weight

        renamed = names_by(pattern, replacement)
        return self.with_weights((renamed_weight(weight, renamed) for weight in self.values()), names=renamed)

    def in_order(self, word: str) -> Weights:
        """Return the weights in another order than the listed one; weights that this order does not include are left out.

        "r-torch" is the order of R torch's `model$parameters`: parameters only, those of a module's children before its
        own, each once. Live PyTorch modules and files of R torch have it. Live models also have "parameters", which for
        PyTorch is the order of `model.parameters()`. Raises `ShapeError` for an order that these weights do not have.
        """
        names = self.orders[word]() if word in self.orders else None
        if names is None:
            known = f", or use one of {', '.join(self.orders)}" if self.orders else ""
            raise ShapeError(f"these weights have no order {printable(word)!r}; leave it out for the listed order{known}")
        return self.with_weights(self._weights[name] for name in names if name in self._weights)

    def astype(self, dtype: str) -> Weights:
        """Return the same weights with all floating-point ones cast to another dtype, such as "float16", when they are read.

        Integers, which count or index, and booleans are not cast. Assigning still changes the model, in the model's own
        dtypes. Raises `ShapeError` for a dtype that is not floating-point. Reading a number that the dtype cannot represent
        raises `LossyError`; rounding is allowed.

        Examples:
            >>> import steelyard
            >>> import numpy as np
            >>> steelyard.weights({"w": np.array([1.0, 1 / 3])}).astype("float16")["w"].numpy()
            array([1.    , 0.3333], dtype=float16)
        """
        from steelyard.core.casting import cast

        made = self.with_weights([cast(weight, dtype) for weight in self._weights.values()])
        made._net = self._net.with_assign(self.assign if self.has_model else None)  # this casts back to the model's dtypes
        return made

    def arrays(self) -> dict[str, Array]:
        """Return every weight as a read-only array in its shape, by name; views if possible."""
        return {name: weight.numpy() for name, weight in self._weights.items()}

    def copy(self) -> Weights:
        """Return the same weights with copies of the numbers, for example to keep the best epoch.

        Examples:
            >>> import steelyard
            >>> import numpy as np
            >>> model = {"w": np.zeros(2)}
            >>> best = steelyard.weights(model).copy()
            >>> model["w"][:] = 9.0
            >>> best["w"].numpy().tolist()
            [0.0, 0.0]
        """
        return self._detached({weight.name: weight.numpy().copy() for weight in self._in_vector().weights})

    def blocks(self, limit: int | None = None) -> Iterator[tuple[Weight, Array]]:
        """Yield every weight once, in blocks of at most `limit` elements with one axis."""
        for weight in self._in_vector().weights:
            for block in weight.blocks(limit):
                yield weight, block

    def to_vector(self, order: Order = "C", dtype: DTypeLike | None = None, out: Array | None = None) -> Array:
        """Copy every weight into one vector, in the listed order; tied weights once.

        `order` is the order in which each weight is flattened: "C" by rows, "F" by columns as in R. `dtype` defaults to the
        smallest dtype that represents all weights exactly. `out`, if given, is filled and returned.
        Raises `ShapeError` if `out` does not fit, `LossyError` if a number does not fit into `dtype`.

        Examples:
            >>> import steelyard
            >>> steelyard.weights({"a": [[1, 2], [3, 4]]}).to_vector(order="F").tolist()
            [1, 3, 2, 4]
        """
        return flatten(self._in_vector(), checked_order(order), dtype, out)

    def from_vector(self, vector: ArrayLike, order: Order = "C") -> Weights:
        """Return weights of these names, shapes and dtypes with the numbers of `vector`, detached from any model.

        Raises `ShapeError` for a wrong length, and `LossyError` for a number that a weight's dtype cannot represent.
        """
        import numpy as np

        from steelyard.core.assign import as_vector, pieces

        layout = self._in_vector()
        return self._detached(pieces(layout, np.array(as_vector(layout, vector)), checked_order(order)))

    def locate(self, index: int, order: Order = "C") -> tuple[str, tuple[int, ...]]:
        """Return the weight's name and the element's index for entry `index` of the vector.

        Examples:
            >>> import steelyard
            >>> import numpy as np
            >>> steelyard.weights({"a": np.zeros(4), "b": np.zeros((2, 3))}).locate(8)
            ('b', (1, 1))
        """
        weight, place = self._in_vector().locate(index, checked_order(order))
        return weight.name, place

    def assign(self, values: Mapping[str, object] | Array, order: Order = "C") -> Any:
        """Put numbers into the model, all or nothing, and return it (a new model if models are immutable).

        `values` is a vector as `to_vector` returns it in this order, or a mapping of names to arrays; weights that are not
        in it stay unchanged. No memory is shared with `values`. Raises `ShapeError` (a length, name or shape that
        does not fit), `LossyError` (a fraction for an integer, an overflow) or `ReadOnlyError` (weights from a file, or
        detached); in these cases nothing is written.

        Examples:
            >>> import steelyard
            >>> import numpy as np
            >>> model = {"w": np.zeros(2)}
            >>> steelyard.weights(model).assign({"w": [1.5, 2.5]})["w"].tolist()
            [1.5, 2.5]
        """
        from steelyard.core.assign import put, put_vector

        if self._net.assign is None:
            raise ReadOnlyError(
                "these weights belong to no model; save them with steelyard.save, or assign them to weights(model)"
            )
        if isinstance(values, Mapping):
            return put(self._in_vector(), self, values, self._net.assign)
        return put_vector(self._in_vector(), values, checked_order(order), self._net.assign)

    def _detached(self, arrays: Mapping[str, Array]) -> Weights:
        """Return weights with these facts and the numbers of `arrays`, which have the distinct weights; tied ones share."""
        from steelyard.core.assign import over

        return self.with_weights(over(self._in_vector(), self._weights, arrays), detached=True, live=True)
