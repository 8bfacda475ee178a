"""Flax: NNX modules, states and variables, and of linen the variables, frozen or in a train state.

Names are the paths joined by "/", `layers/0/kernel`, as Flax joins them itself, and as the pure dict of the
same module is listed. Modules of NNX are changed in place; all else is a tree, of which `assign` returns a
new one. A linen module holds no numbers: they are in the variables that its `init` returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import linen, nnx, struct
from flax.core import FrozenDict
from flax.core.meta import AxisMetadata
from flax.training.train_state import TrainState

from steelyard.core.plugins import adapter_of, load
from steelyard.core.readers import by_rows
from steelyard.core.roles import infer_roles, role_of
from steelyard.core.weight import Role, Weight
from steelyard.errors import NotFittedError, ShapeError, UnknownModelError, printable
