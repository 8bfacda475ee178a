"""An ordered mapping of weights: what a model or a file has, whatever made it."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from typing import TYPE_CHECKING, Any

from steelyard.core.vector import Plan, flatten, unflatten
from steelyard.core.weight import BLOCK, Weight
from steelyard.errors import ReadOnlyError, ShapeError, WeightNotFoundError, printable

if TYPE_CHECKING:
    from steelyard.core.graph import Graph
    from steelyard.core.renaming import Names
    from steelyard.core.vector import Order
    from steelyard.core.weight import Array

    Assign = Callable[[Mapping[str, Array]], Any]
    """Puts checked arrays into a model, and returns the model (a new one when it is immutable)."""
    MakeGraph = Callable[[], Graph | None]
    Meta = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
    """What is said of the weights as a whole, or a function that finds it out when it is asked for."""
    NamesInOrder = Callable[[], Iterable[str]]
    """Gives the names of the weights in an order that is not the listed one, and those alone that it has."""


class Weights(Mapping[str, Weight]):
    """An ordered mapping of names to weights, by the framework's own names and in its own order.

    Weights that share their numbers (`Weight.tied`) are all listed, and count once in `size`, `nbytes` and the
    vector. `orders` are those that a vector may have beside the listed one, each by its word:
    `to_vector(tensor_order=word)`.

    Examples:
        >>> import steelyard
        >>> import numpy as np
        >>> w = steelyard.weights({"fc": {"kernel": np.ones((2, 3)), "bias": np.zeros(3)}})
        >>> list(w), w.size
        (['fc.kernel', 'fc.bias'], 9)
        >>> w.select(role="bias").to_vector()
        array([0., 0., 0.])
    """

    __slots__ = ("_assign", "_graph", "_live", "_meta", "_orders", "_plan", "_remote", "_weights")

    def __init__(
        self,
        weights: Iterable[Weight],
        *,
        meta: Meta | None = None,
        assign: Assign | None = None,
        live: bool = False,
        remote: bool = False,
        graph: MakeGraph | Graph | None = None,
        orders: Mapping[str, NamesInOrder] | None = None,
    ) -> None:
        self._weights: dict[str, Weight] = {}
        for weight in weights:
            if weight.name in self._weights:
                raise ShapeError(f"two weights are called {printable(weight.name)!r}; rename one of them")
            self._weights[weight.name] = weight
        self._assign = assign
        self._graph = graph
        self._orders = orders or {}
        self._plan: Plan | None = None
        self._meta = meta if callable(meta) else dict(meta or {})
        self._live = live
        self._remote = remote

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
        return self._weights.values()  # what Mapping does itself takes a look-up for each

    def items(self) -> ItemsView[str, Weight]:
        """Return the weights with their names, in order."""
        return self._weights.items()

    def __repr__(self) -> str:
        from steelyard.core.display import weights_text

        return weights_text(self)

    def _repr_html_(self) -> str:
        from steelyard.core.display import weights_html

        return weights_html(self)

    def _distinct(self) -> Plan:
        """Plan the vector: each weight once, the first of those that are tied."""
        if self._plan is None:
            first: dict[str, Weight] = {}
            for weight in self._weights.values():
                first.setdefault(weight.tied or weight.name, weight)
            self._plan = Plan(list(first.values()))
        return self._plan

    def _ordered(self, tensor_order: str | None) -> Plan:
        """Plan the vector in another order than the listed one, each weight once, the first of those that are tied."""
        if tensor_order is None:
            return self._distinct()
        if tensor_order not in self._orders:
            raise ShapeError(
                f"tensor_order is {tensor_order!r}, which these weights do not have; leave it out for the listed order"
                + (f", or use one of {', '.join(self._orders)}" if self._orders else "")
            )
        first: dict[str, Weight] = {}
        for name in self._orders[tensor_order]():
            if name in self._weights:
                weight = self._weights[name]
                first.setdefault(weight.tied or name, weight)
        return Plan(list(first.values()))

    def distinct(self) -> Weights:
        """Return each weight once, the first of those that are tied; nothing is copied.

        Examples:
            >>> import steelyard
            >>> import numpy as np
            >>> shared = np.zeros(3)
            >>> w = steelyard.weights({"a": shared, "b": shared})
            >>> len(w), w["b"].tied, list(w.distinct())
            (2, 'a', ['a'])
        """
        listed = self._distinct().weights
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
        """Return other weights with everything else that these have: meta, graph, orders, and the way back to the model.

        `names` gives the new name of each of these weights and of their layers. `detached` weights have other numbers than
        the model, so they cannot be assigned to it; their graph does not keep it alive. `live`, `remote` and `meta` are
        those of these weights unless they are given.
        """
        graph = self.graph if detached and self._live else self._graph
        made = Weights(
            weights,
            meta=self._meta if meta is None else meta,
            assign=None if detached else self._assign,
            live=self._live if live is None else live,
            remote=self._remote if remote is None else remote,
            graph=graph,
            orders=self._orders,
        )
        if names is not None:
            from steelyard.core.renaming import renamed_assign, renamed_graph, renamed_order

            made._orders = {word: renamed_order(order, names) for word, order in self._orders.items()}
            made._assign = made._assign and renamed_assign(made._assign, self._weights, names)
            made._graph = graph and renamed_graph(graph, self._weights, made._weights, names)
        return made

    @property
    def live(self) -> bool:
        """Whether the numbers are in this process's memory; those of a model follow it as it trains, until `copy`."""
        return self._live

    @property
    def remote(self) -> bool:
        """Whether the numbers are fetched from another machine."""
        return self._remote

    @property
    def meta(self) -> dict[str, Any]:
        """What a file says of itself, such as versions and metadata; of a live Keras model, its layout in files."""
        if callable(self._meta):
            self._meta = dict(self._meta())
        return self._meta

    @property
    def size(self) -> int:
        """The number of elements; tied weights count once."""
        return self._distinct().size

    @property
    def nbytes(self) -> int:
        """The bytes of all elements in their own dtypes; tied weights count once."""
        return sum(weight.nbytes for weight in self._distinct().weights)

    @property
    def layers(self) -> dict[str, Weights]:
        """The weights of each layer by its name, in order.

        A layer that is listed as one matrix, bias and kernel together, is split (see `core.splitting`); its parts
        can be read, but not be assigned to.
        """
        groups: dict[str, list[Weight]] = {}
        for weight in self._weights.values():
            groups.setdefault(weight.layer, []).append(weight)
        return {layer: self._layer(group) for layer, group in groups.items()}

    def _layer(self, group: list[Weight]) -> Weights:
        from steelyard.core.stacked import is_joined, split

        if not any(map(is_joined, group)):
            return self.with_weights(group)
        return self.with_weights((part for weight in group for part in split(weight)), detached=True)

    @property
    def graph(self) -> Graph | None:
        """The layers of the net as its framework or its file lists them; None where nothing but the weights is known."""
        if callable(self._graph):
            self._graph = self._graph()
        return self._graph

    def select(
        self,
        pattern: str | Iterable[str] = "*",
        *,
        role: str | Iterable[str] | None = None,
        layer: str = "*",
        trainable: bool | None = None,
    ) -> Weights:
        """Return the weights that match all that is given; nothing is copied.

        `pattern` and `layer` are shell patterns ("encoder.*"); a name that holds brackets also matches
        itself. `pattern` may be several, `role` is one role or several ("kernel", ["scale", "offset"]).
        Assigning to the selection leaves the rest of the model untouched. Raises `ShapeError` for a word
        that is no role.
        """
        from steelyard.core.selection import selected

        return self.with_weights(selected(self._weights.values(), pattern, role, layer, trainable))

    def rename(self, pattern: str, replacement: str) -> Weights:
        r"""Return the same weights under other names: each whole name that `pattern` matches is rewritten.

        `pattern` is a regular expression, `replacement` its template: ``rename(r"module\.(.*)", r"\1")``
        takes a prefix off. Layers are renamed alike. Assigning still reaches the model. Raises `ShapeError`
        when two names become one.
        """
        from steelyard.core.renaming import names_by, renamed_weight

        renamed = names_by(pattern, replacement)
        return self.with_weights((renamed_weight(weight, renamed) for weight in self.values()), names=renamed)

    def arrays(self) -> dict[str, Array]:
        """Return every weight as a read-only array in its shape, by name; views where that is possible."""
        return {name: weight.numpy() for name, weight in self._weights.items()}

    def copy(self) -> Weights:
        """Return the same weights with numbers of their own: the way to keep the best epoch.

        Examples:
            >>> import steelyard
            >>> import numpy as np
            >>> model = {"w": np.zeros(2)}
            >>> best = steelyard.weights(model).copy()
            >>> model["w"][:] = 9.0
            >>> best["w"].numpy().tolist()
            [0.0, 0.0]
        """
        return self._detached({weight.name: weight.numpy().copy() for weight in self._distinct().weights})

    def blocks(self, limit: int = BLOCK) -> Iterator[tuple[Weight, Array]]:
        """Yield every weight once, in blocks of at most `limit` elements with one axis."""
        for weight in self._distinct().weights:
            for block in weight.blocks(limit):
                yield weight, block

    def to_vector(
        self, order: Order = "C", dtype: Any = None, out: Array | None = None, *, tensor_order: str | None = None
    ) -> Array:
        """Copy every weight into one vector, in the listed order; tied weights once.

        `order` is how each weight is flattened: "C" by rows, "F" by columns as R does. Without `dtype` the
        vector has the smallest type that holds all of them. `out` is filled and returned when given.
        With `tensor_order` "r-torch" the vector is that of R torch's `model$parameters`: parameters only, those
        of a module's children before its own. Live PyTorch modules and files of R torch have that order.
        Raises `ShapeError` when `out` does not fit, `LossyError` when a number does not fit into `dtype`.

        Examples:
            >>> import steelyard
            >>> steelyard.weights({"a": [[1, 2], [3, 4]]}).to_vector(order="F").tolist()
            [1, 3, 2, 4]
        """
        import numpy as np

        from steelyard.core.casting import common_dtype

        plan = self._ordered(tensor_order)
        if order not in ("C", "F"):
            raise ShapeError(f'order is {order!r}; it must be "C" (by rows) or "F" (by columns)')
        if out is None:
            out = np.empty(plan.size, common_dtype(plan.dtypes) if dtype is None else np.dtype(dtype))
        elif out.shape != (plan.size,) or dtype not in (None, out.dtype) or not out.flags.writeable:
            raise ShapeError(
                f"out has shape {out.shape} and type {out.dtype}; the vector needs a writable array of shape ({plan.size},)"
                + (f" and type {np.dtype(dtype)}" if dtype is not None else "")
            )
        flatten(plan, out, order)
        return out

    def from_vector(self, vector: Any, order: Order = "C", *, tensor_order: str | None = None) -> Weights:
        """Return weights of these names, shapes and dtypes with the numbers of `vector`, detached from any model.

        Those that a `tensor_order` leaves out keep their numbers. Raises `ShapeError` for a wrong length and
        `LossyError` for a number that a weight's type cannot hold.
        """
        import numpy as np

        from steelyard.core.assign import as_vector, pieces

        plan = self._ordered(tensor_order)
        arrays = pieces(plan, np.array(as_vector(plan, vector)), order)
        if tensor_order is None:
            return self._detached(arrays)
        by_owner = {weight.tied or weight.name: arrays[weight.name] for weight in plan.weights}
        given = {w.name: by_owner.get(w.tied or w.name) for w in self._distinct().weights}
        return self._detached({name: self[name].numpy().copy() if a is None else a for name, a in given.items()})

    def locate(self, index: int, order: Order = "C", *, tensor_order: str | None = None) -> tuple[str, tuple[int, ...]]:
        """Return the name and the place of the weight that entry `index` of the vector is.

        Examples:
            >>> import steelyard
            >>> import numpy as np
            >>> steelyard.weights({"a": np.zeros(4), "b": np.zeros((2, 3))}).locate(8)
            ('b', (1, 1))
        """
        weight, place = self._ordered(tensor_order).locate(index, order)
        return weight.name, place

    def assign(self, values: Mapping[str, Any] | Array, order: Order = "C", *, tensor_order: str | None = None) -> Any:
        """Put numbers into the model, all or nothing, and return it (a new one where models are immutable).

        `values` is a vector as `to_vector` gives it with this order and tensor_order, or a mapping of names to arrays;
        names that are left out stay as they are. No memory is shared with `values`. Raises `ShapeError` (a length, name or shape
        that does not fit), `LossyError` (a fraction for an integer, an overflow) or `ReadOnlyError` (weights
        that come from a file or were detached); nothing is written then.

        Examples:
            >>> import steelyard
            >>> import numpy as np
            >>> model = {"w": np.zeros(2)}
            >>> steelyard.weights(model).assign({"w": [1.5, 2.5]})["w"].tolist()
            [1.5, 2.5]
        """
        from steelyard.core.assign import as_vector, checked, pieces, put

        if self._assign is None:
            raise ReadOnlyError(
                "these weights belong to no model; save them with steelyard.save, or assign them to weights(model)"
            )
        if isinstance(values, Mapping):
            plan = self._distinct()
            return put(plan, checked(plan, self, values), self._assign)
        plan = self._ordered(tensor_order)
        vector = as_vector(plan, values)
        if order == "C" and unflatten(plan, vector):
            return self._assign({})
        return put(plan, pieces(plan, vector, order), self._assign)

    def _detached(self, arrays: Mapping[str, Array]) -> Weights:
        """Return weights with these facts over `arrays`, which hold the distinct ones; tied ones share."""
        from steelyard.core.readers import array_reader
        from steelyard.core.stacked import relaid

        owner = {w.tied or w.name: array_reader(arrays[w.name]) for w in self._distinct().weights}
        return self.with_weights(
            (w.replace(read=relaid(w.read, owner[w.tied or w.name])) for w in self._weights.values()),
            detached=True,
            live=True,
        )
