"""stub"""

from steelyard.codecs.hdf5 import open_tree, find_signature
from steelyard.core.weights import Weights

SUFFIXES = (".h5", ".hdf5")


def sniff(source):
    return find_signature(source) is not None


def read(source, part):
    return Weights(open_tree(source).tensors.values())
