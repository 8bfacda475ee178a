"""Tar archives: a member is changed by its own kind, or a field of its header, whose checksum is repaired."""

import io
import tarfile

from mutators import fields
from mutators import mutate as mutate_any


def recognises(data):
    """Whether this is an archive."""
    return data[257:262] == b"ustar"


def mutate(data, chance):
    """Return an archive with a changed member, list of members, or field of a header."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = [(info, archive.extractfile(info).read() if info.isfile() else b"") for info in archive]
    at, what = chance.randrange(len(members)), chance.random()
    info, content = members[at]
    if what < 0.15:
        fields.pieces(chance, members)
    elif what < 0.8:
        members[at] = info, mutate_any(content, chance)
    else:
        info.name = fields.text(chance, info.name).replace("\0", "") if what < 0.9 else info.name
        info.type = chance.choice((b"0", b"1", b"2", b"5", b"L", b"x", b"3")) if what >= 0.9 else info.type
    return b"".join(map(_written, members)) + bytes(1024)


def _written(member):
    info, content = member
    info.size = len(content)
    return info.tobuf(tarfile.GNU_FORMAT, errors="surrogatepass") + content + bytes(-len(content) % 512)
