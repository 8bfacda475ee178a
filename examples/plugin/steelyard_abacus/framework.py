"""The weights of a net of abacus: two functions, whose arguments are its own objects."""

from steelyard.core.readers import from_array
from steelyard.core.weight import Role


def weights(net):
    """List the weights, in the net's own order, with its own names; no number is copied."""
    for place, (kernel, bias) in enumerate(zip(net.kernels, net.biases, strict=True)):
        yield from_array(f"kernels.{place}", kernel, role=Role.KERNEL, axes="in out", layer=str(place))
        yield from_array(f"biases.{place}", bias, role=Role.BIAS, axes="out", layer=str(place))


def assign(net, arrays):
    """Put arrays, whose names, shapes and types are checked already, into the net."""
    for name, array in arrays.items():
        part, _, place = name.partition(".")
        getattr(net, part)[int(place)][...] = array
    return net
