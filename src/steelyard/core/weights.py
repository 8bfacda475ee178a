"""An ordered mapping of the weights of a model or a file."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from typing import TYPE_CHECKING, Any, Literal

from steelyard.core import operators
from steelyard.core.lazy_graph import LazyGraph
from steelyard.core.net_facts import NetFacts
from steelyard.core.vector import VectorLayout, checked_order, flatten, layout_of
from steelyard.core.weight import Refused, Weight, by_name, bytes_of
from steelyard.errors import WeightNotFoundError, way_below

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from steelyard.auditing import Audit
    from steelyard.core.assign import Match
    from steelyard.core.graph import Graph
    from steelyard.core.protocols import Assign, MakeGraph, Meta, NamesInOrder
    from steelyard.core.renaming import Names
    from steelyard.core.selection import Counts, Pattern
    from steelyard.core.vector import Order
    from steelyard.core.weight import Array


class Weights(Mapping[str, Weight]):
    """An ordered mapping of names to weights, with the framework's own names and order.

    Tied weights, which share their numbers, are all listed, but count once in `size`, `nbytes` and the vector.

    Examples:
        >>> import steelyard, numpy as np
        >>> w = steelyard.weights({"fc": {"kernel": np.ones((2, 3)), "bias": np.zeros(3)}})
        >>> list(w), w.size, w.select(role="bias").to_vector()
        (['fc.kernel', 'fc.bias'], 9, array([0., 0., 0.]))
    """

    __slots__ = ("_layout", "_live", "_meta", "_net", "_remote", "_weights")
    __array_ufunc__ = None  # so that numbers of NumPy leave `number * weights` to the operators
    __add__ = __radd__ = operators.add
    __sub__ = operators.subtract
    __mul__ = __rmul__ = operators.multiply
    __truediv__ = operators.divide
    __rtruediv__ = operators.refuse_divisor
    __neg__ = operators.negate
    map = operators.map
    combine = operators.combine

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
        self._weights = by_name(weights)
        self._net = NetFacts(assign, orders or {}, graph if isinstance(graph, LazyGraph) else LazyGraph(graph))
        self._layout: VectorLayout | None = None
        self._meta = meta if callable(meta) else dict(meta or {})
        self._live, self._remote = live, remote

    @staticmethod
    def from_arrays(arrays: Mapping[str, object], *, axes: Mapping[str, str] | None = None) -> Weights:
        """Make weights from arrays by name, without a copy; their names imply layers and roles, `axes` has known axes.

        Raises `UnknownModelError` for arrays without numbers.

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
            raise WeightNotFoundError(name, self, way=way_below(name, self)) from None

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
        self._layout = self._layout or layout_of(self._weights.values())
        return self._layout

    def distinct(self) -> Weights:
        """Return each weight once, the first of tied ones; nothing is copied."""
        return self if len(listed := self._in_vector().weights) == len(self) else self.with_weights(listed)

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
        """Return other weights with the meta, the graph, the orders and the model of these, or else what is given.

        `names` returns the new name of each of these weights and of their layers. `detached` weights have numbers of their
        own, so they cannot be assigned to the model, and do not keep it alive.
        """
        net = self._net.detached(live=self.live) if detached else self._net
        live, remote = self._live if live is None else live, self._remote if remote is None else remote
        made = Weights(weights, meta=self._meta if meta is None else meta, live=live, remote=remote)
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
        """Whether `assign` reaches a model, which weights of a file and detached ones do not."""
        return self._net.assign is not None

    @property
    def orders(self) -> Mapping[str, NamesInOrder]:
        """The orders of `in_order` by their words; each is a function that lists the names."""
        return self._net.orders

    @property
    def meta(self) -> dict[str, Any]:
        """The file's metadata, such as versions; for a live Keras model, its layout in files."""
        self._meta = dict(self._meta()) if callable(self._meta) else self._meta
        return self._meta

    @property
    def size(self) -> int:
        """The number of elements; tied weights count once."""
        return self._in_vector().size

    @property
    def counts(self) -> Counts:
        """The number of elements in parameters, in buffers, and in weights that may be either; tied ones count once."""
        from steelyard.core.selection import counts

        return counts(self, self.orders.get("parameters"))

    @property
    def nbytes(self) -> int:
        """The size of all elements in their own dtypes, in bytes; tied weights count once."""
        return bytes_of(self._in_vector().weights)

    @property
    def audit(self) -> Audit | None:
        """What loading the file would run, as `steelyard.audit` finds it, on first access; None for weights of no file."""
        return self._net.audit.answer() if self._net.audit else None

    @property
    def unreadable(self) -> dict[str, str]:
        """The weights whose numbers cannot be given, as far as the listing shows, each with the reason."""
        return {each.name: str(each.read.error) for each in self._weights.values() if isinstance(each.read, Refused)}

    @property
    def layers(self) -> dict[str, Weights]:
        """The weights of each layer by its name, in order; their names are relative to the layer.

        Assigning to a layer changes the model, but not to one that is split, since it is stored as one matrix (`core.stacked`).
        """
        from steelyard.core.grouping import layers_of

        return layers_of(self)

    def layer(self, name: str) -> Weights:
        """Return the weights of one layer, as in `layers`. Raises `WeightNotFoundError` if there is no such layer."""
        from steelyard.core.grouping import layer_of

        return layer_of(self, name)

    @property
    def parameters(self) -> Weights:
        """The weights that training may change, also frozen ones; raises `ShapeError`, which names any that may be buffers."""
        return self._of_kind(parameters=True)

    @property
    def buffers(self) -> Weights:
        """The running statistics, counters and other state that the optimizer does not change; raises as `parameters` does."""
        return self._of_kind(parameters=False)

    def _of_kind(self, *, parameters: bool) -> Weights:
        from steelyard.core.selection import of_kind

        return self.with_weights(of_kind(self, self.orders.get("parameters"), parameters=parameters))

    @property
    def graph(self) -> Graph | None:
        """The layers of the net as its framework or file lists them, on first access; None if only the weights are known."""
        return None if isinstance(answer := self._net.graph.answer(), str) else answer

    @property
    def why_no_graph(self) -> str:
        """The reason why `graph` is None, if known: layers that cannot be listed, or a model that was freed before."""
        return answer if isinstance(answer := self._net.graph.answer(), str) else ""

    def select(
        self,
        pattern: Pattern = "*",
        *,
        role: str | Iterable[str] | None = None,
        layer: str = "*",
        trainable: bool | None = None,
        missing_ok: bool = False,
    ) -> Weights:
        """Return the weights that match all given criteria; nothing is copied.

        `pattern` and `layer` are shell patterns ("encoder.*"); a name with brackets also matches itself. `pattern` and `role`
        may be several, and `pattern` a function: `w.select(lambda weight: weight.ndim == 2)`. Assigning leaves the rest alone.
        Warns with `EmptySelectionWarning` where nothing matches, unless `missing_ok`. Raises `ShapeError` for an unknown role.
        """
        from steelyard.core.selection import selected

        return self.with_weights(selected(self, pattern, role, layer, trainable, missing_ok=missing_ok))

    def rename(self, pattern: str, replacement: str) -> Weights:
        r"""Return the same weights under other names: each name that `pattern` matches completely is rewritten.

        `pattern` is a regular expression, `replacement` its template: ``rename(r"module\.(.*)", r"\1")`` removes a prefix.
        Layers and the graph are renamed alike. Assigning still changes the model. Raises `ShapeError` if two become equal.
        """
        from steelyard.core.renaming import names_by, renamed_weight

        renamed = names_by(pattern, replacement)
        return self.with_weights((renamed_weight(weight, renamed) for weight in self.values()), names=renamed)

    def in_order(self, word: str) -> Weights:
        """Return the weights in another order than the listed one; weights that this order does not include are left out.

        "r-torch" is the order of R torch's `model$parameters`, which live PyTorch modules and files of R torch have: parameters
        only, those of a module's children first, each once. Live models also have "parameters". Raises `ShapeError` for others.
        """
        from steelyard.core.selection import names_in_order

        return self.with_weights(self._weights[name] for name in names_in_order(self.orders, word) if name in self._weights)

    def astype(self, dtype: str) -> Weights:
        """Return the same weights with all floating-point ones cast to another dtype, such as "float16", when they are read.

        Integers and booleans are not cast. Assigning still changes the model, in its own dtypes. Raises `ShapeError` for a dtype
        that is not floating-point, and reading a number that does not fit raises `LossyError`.

        Examples:
            >>> import steelyard, numpy as np
            >>> steelyard.weights({"w": np.array([1.0, 1 / 3])}).astype("float16")["w"].numpy()
            array([1.    , 0.3333], dtype=float16)
        """
        from steelyard.core.casting import cast

        made = self.with_weights([cast(weight, dtype) for weight in self._weights.values()])
        made._net = self._net.with_assign(self.assign if self.has_model else None)  # this casts back to the model's dtypes
        return made

    def effective(self, fold: Literal["norms"] | None = None) -> Weights:
        """Return the weights that the net computes with, under the names of plain layers: dequantised, masked, normalised.

        Each is made of the stored weights that its `derivation` names, when it is read; all others stay as they are. Pieces
        of a known scheme that cannot be computed give an `unreadable` weight, with the reason. With `fold` "norms", layers take
        in the batch norm after them; raises `ShapeError` where it is not known which.

        Examples:
            >>> import steelyard
            >>> w = steelyard.weights({"fc.weight_orig": [1.0, 2.0], "fc.weight_mask": [0.0, 1.0]})
            >>> w.effective()["fc.weight"].numpy().tolist()
            [0.0, 2.0]
        """
        from steelyard.core.folding import effective

        return effective(self, fold)

    def arrays(self) -> dict[str, Array]:
        """Return every weight as a read-only array in its shape, by name; views if possible."""
        return {name: weight.numpy() for name, weight in self._weights.items()}

    def copy(self) -> Weights:
        """Return the same weights with copies of the numbers, for example to keep the best epoch."""
        from steelyard.core.assign import detached

        return detached(self, {weight.name: weight.numpy().copy() for weight in self._in_vector().weights})

    def blocks(self, limit: int | None = None) -> Iterator[tuple[Weight, Array]]:
        """Yield every weight once, in blocks of at most `limit` elements with one axis."""
        return ((weight, block) for weight in self._in_vector().weights for block in weight.blocks(limit))

    def to_vector(
        self,
        order: Order = "C",
        dtype: DTypeLike | None = None,
        out: Array | None = None,
        *,
        like: Literal["torch"] | None = None,
        skip_unreadable: bool = False,
    ) -> Any:
        """Copy every weight into one vector, in the listed order; tied weights once.

        `order` is how each weight is flattened: "C" by rows, "F" by columns as R does. Without `dtype` it has the smallest type
        that holds all of them, with a `MixedDtypeWarning` where an integer, such as a counter, makes floats longer, which
        `w.parameters.to_vector()` leaves out. `out` is filled and returned; with `like` "torch" it is a tensor. Raises
        `ShapeError` when `out` does not fit, `LossyError` when a number does not fit, and `UnreadableError` for weights that
        cannot be read, unless `skip_unreadable`.

        Examples:
            >>> import steelyard
            >>> steelyard.weights({"a": [[1, 2], [3, 4]]}).to_vector("F").tolist()
            [1, 3, 2, 4]
        """
        if like is not None:
            from steelyard.core.tensors import vector_like

            return vector_like(self, like, order, dtype, out, skip_unreadable=skip_unreadable)
        layout = self._in_vector()
        if skip_unreadable or layout.refused:
            from steelyard.core.selection import readable

            layout = readable(self, skip_unreadable=skip_unreadable)._in_vector()
        return flatten(layout, checked_order(order), dtype, out)

    def from_vector(self, vector: object, order: Order = "C") -> Weights:
        """Return weights of these names, shapes and dtypes with the numbers of `vector`, detached from any model.

        It may be of any framework, also a list of arrays or a mapping with all names. Raises as `assign` does.
        """
        from steelyard.core.assign import detached, own_pieces

        return detached(self, own_pieces(self._in_vector(), self._weights, vector, checked_order(order)))

    def locate(self, index: int, order: Order = "C") -> tuple[str, tuple[int, ...]]:
        """Return the weight's name and the element's index for entry `index` of the vector.

        Examples:
            >>> import steelyard, numpy as np
            >>> steelyard.weights({"a": np.zeros(4), "b": np.zeros((2, 3))}).locate(8)
            ('b', (1, 1))
        """
        weight, place = self._in_vector().locate(index, checked_order(order))
        return weight.name, place

    def assign(self, values: object, order: Order = "C", *, match: Match = "name", verify: bool = True) -> Any:
        """Put numbers into the model, all or nothing, and return it (a new one where models are immutable).

        `values` is a vector as `to_vector` gives it in this order, a list of one array for each distinct weight, or a mapping of
        names to arrays, whose absent weights stay as they are; arrays may be of any framework. Weights, or the path of a file,
        that were saved from such a model go by their places where names differ (`core.places`); with `match` "suffix" names are
        paired without a wrapper's prefix, as in `diff`. No memory is shared with it. What a framework puts into the model is
        read back, unless `verify` is False. Raises `ShapeError` (a length, name or shape that does not fit, values that differ
        where weights share memory), `LossyError` (a fraction for an integer, an overflow) or `ReadOnlyError` (a file's, detached
        ones, a model that holds other numbers afterwards); the model has its old numbers then.

        Examples:
            >>> import steelyard, numpy as np
            >>> steelyard.weights({"w": np.zeros(2)}).assign({"w": [1.5, 2.5]})["w"].tolist()
            [1.5, 2.5]
        """
        from steelyard.core.assign import put_any

        return put_any(self._in_vector(), self, values, checked_order(order), self._net.assign, match=match, verify=verify)
