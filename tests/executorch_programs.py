"""Programs of ExecuTorch, written with the FlatBuffers library."""

import struct

import flatbuffers
import numpy as np


def table(builder, fields):
    """Write a table; `fields` has for each place in it a kind of number and a value, or an offset."""
    builder.StartObject(max(fields) // 2 - 1)
    for place, (kind, value) in fields.items():
        slot = place // 2 - 2
        if kind == "offset":
            builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        else:
            getattr(builder, f"Prepend{kind}Slot")(slot, value, 0)
    return builder.EndObject()


def offsets(builder, items):
    builder.StartVector(4, len(items), 4)
    for item in reversed(items):
        builder.PrependUOffsetTRelative(item)
    return builder.EndVector()


def tensor(builder, shape, number, order=None, kind=6, name=None):
    sizes = builder.CreateNumpyVector(np.array(shape, "i4"))
    axes = builder.CreateNumpyVector(np.array(range(len(shape)) if order is None else order, "u1"))
    more = table(builder, {6: ("offset", builder.CreateString(name))}) if name else None
    fields = {4: ("Int8", kind), 8: ("offset", sizes), 10: ("offset", axes), 14: ("Uint32", number)}
    made = table(builder, fields | ({22: ("offset", more)} if more else {}))
    return table(builder, {4: ("Uint8", 5), 6: ("offset", made)})


def program(tensors, buffers, in_segment=False):
    """Return a program with constants in its own tables, or in a segment behind it."""
    builder = flatbuffers.Builder(0)
    builder.ForceDefaults(True)
    values = offsets(builder, [tensor(builder, *facts) for facts in tensors])
    plan = table(builder, {4: ("offset", builder.CreateString("forward")), 8: ("offset", values)})
    fields = {6: ("offset", offsets(builder, [plan]))}
    if in_segment:
        starts = np.cumsum([0, *map(len, buffers[:-1])]).astype("u8")
        held = table(builder, {4: ("Uint32", 0), 6: ("offset", builder.CreateNumpyVector(starts))})
        segment = table(builder, {4: ("Uint64", 0), 6: ("Uint64", sum(map(len, buffers)))})
        fields |= {12: ("offset", offsets(builder, [segment])), 14: ("offset", held)}
    else:
        data = [table(builder, {4: ("offset", builder.CreateByteVector(buffer))}) for buffer in buffers]
        fields[8] = ("offset", offsets(builder, data))
    builder.Finish(table(builder, fields), b"ET12")
    data = bytes(builder.Output())
    if not in_segment:
        return data
    (start,) = struct.unpack_from("<I", data)
    head = struct.pack("<I4s4sIQQ", start + 24, b"ET12", b"eh00", 24, len(data) + 24, len(data) + 24)
    return head + data[8:] + b"".join(buffers)
