"""safetensors: the header is changed as JSON, and its length repaired."""

from mutators import fields, jsons


def recognises(data):
    """Whether eight bytes of a length precede a JSON object."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") < 1 << 32


def mutate(data, chance):
    """Return a file with a changed header, or other numbers after it."""
    end = 8 + int.from_bytes(data[:8], "little")
    header, content = data[8:end], data[end:]
    if chance.random() < 0.1:
        content = fields.mutate(content, chance)
    else:
        header = jsons.mutate(header, chance)
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content
