"""Zip archives: a member is changed by its own kind, or a field of the directory, and CRC and lengths are repaired."""

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass, replace

from mutators import fields
from mutators import mutate as mutate_any

LOCAL = (("version", "H"), ("flags", "H"), ("method", "H"), ("time", "L"), ("crc", "L"), ("packed", "L"), ("size", "L"))


@dataclass(frozen=True)
class Member:
    """A member: its name, its content, and fields that do not fit to these."""

    name: bytes
    content: bytes
    method: int = 0
    extra: bytes = b""
    lies: tuple = ()  # (whether in the directory, field, value)


def recognises(data):
    """Whether this is an archive."""
    return data.startswith(b"PK\3\4")


def mutate(data, chance):
    """Return an archive with a changed member, list of members, or field."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [
            Member(info.filename.encode("utf-8", "surrogateescape"), archive.read(info), info.compress_type)
            for info in archive.infolist()
        ]
    what = chance.random()
    if what < 0.15:
        fields.pieces(chance, members)
    else:
        at = chance.randrange(len(members))
        members[at] = _changed(members[at], chance, what)
    written = write(members)
    if chance.random() < 0.03:
        written = b"x" * chance.choice((1, 16)) + written
    return written


def _changed(member, chance, what):
    if what < 0.75:
        return replace(member, content=mutate_any(member.content, chance))
    if what < 0.85:
        name = fields.text(chance, member.name.decode("utf-8", "replace"))
        return replace(member, name=name.encode("utf-8", "surrogatepass")[:60000])
    if what < 0.9:
        return replace(member, method=chance.choice((0, 8, 12, 14, 99)))
    if what < 0.93:
        extra = struct.pack("<HH", chance.choice((1, 0x4246, 0x7075)), chance.choice((0, 8, 24, 65535)))
        return replace(member, extra=extra + chance.randbytes(chance.choice((0, 8, 24))))
    field, width = chance.choice((*LOCAL, ("offset", "L")))
    bits = 8 * struct.calcsize(width)
    value = fields.number(chance, chance.choice((0, len(member.content))), bits)
    return replace(member, lies=((chance.random() < 0.5, field, value), *((True, field, value),) * (chance.random() < 0.5)))


def _packed(member):
    if member.method != zipfile.ZIP_DEFLATED:
        return member.content
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(member.content) + packer.flush()


def write(members):
    """Return an archive of these members, with true CRCs and lengths but for their lies."""
    out, directory = b"", b""
    for member in members:
        packed = _packed(member)
        true = {"version": 20, "flags": 0x800, "method": member.method, "time": 0, "crc": zlib.crc32(member.content)}
        true |= {"packed": len(packed), "size": len(member.content), "offset": len(out)}
        local, central = (
            true | {field: value for where, field, value in member.lies if where is entry} for entry in (False, True)
        )
        lengths = struct.pack("<2H", len(member.name), len(member.extra))
        directory += b"PK\1\2" + struct.pack("<H", 20) + _fields(central) + lengths
        directory += struct.pack("<3H2L", 0, 0, 0, 0, central["offset"]) + member.name + member.extra
        out += b"PK\3\4" + _fields(local) + lengths + member.name + member.extra + packed
    count = min(len(members), 65535)
    return out + directory + b"PK\5\6" + struct.pack("<4H2LH", 0, 0, count, count, len(directory), len(out), 0)


def _fields(values):
    return b"".join(struct.pack(f"<{width}", values[field]) for field, width in LOCAL)
