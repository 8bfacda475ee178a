"""HDF5: fields of structures, addresses of other structures; the checksums of changed structures are repaired."""

from mutators import fields, recorded
from steelyard.codecs.hdf5.checksum import lookup3


def recognises(data):
    """Whether this is a file of HDF5 without a user block."""
    return data.startswith(b"\x89HDF\r\n\x1a\n")


def mutate(data, chance):
    """Return a file in which one to four fields of its structures are changed."""
    structures, checked = recorded.hdf5(data)
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 4))):
        start, length = chance.choice(structures)
        width = chance.choice((1, 1, 2, 4, 8))
        at = start + chance.randrange(length) // width * width
        what = chance.random()
        if what < 0.65:
            out[:] = fields.in_place(chance, bytes(out), [(at, width)])
        elif what < 0.8:  # an address
            at = start + chance.randrange(max(length // 8, 1)) * 8
            out[at : at + 8] = chance.choice(structures)[0].to_bytes(8, "little")
        elif what < 0.95:  # a piece of another structure
            other, _ = chance.choice(structures)
            size = min(chance.choice((2, 8, 16, 40)), length)
            out[at : at + size] = out[other : other + size]
        else:
            out[at : at + 1] = bytes((out[at] ^ 1 << chance.randrange(8),)) if at < len(out) else b""
    if chance.random() < 0.9:
        for start, length in sorted(checked, key=lambda span: span[1]):
            end = start + length
            if end <= len(out):
                out[end - 4 : end] = lookup3(bytes(out[start : end - 4])).to_bytes(4, "little")
    return bytes(out) if chance.random() < 0.98 else bytes(out[: chance.randrange(len(out))])
