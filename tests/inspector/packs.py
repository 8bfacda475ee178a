"""Reading packs and reports in Python, as the page does in JavaScript."""

import base64
import gzip
import json
import struct
from html.parser import HTMLParser
from pathlib import Path

import numpy as np


def unpacked(data):
    """Turn the bytes of a pack into plain Python with arrays."""
    (length,) = struct.unpack("<I", data[:4])
    begin = -(-(4 + length) // 8) * 8

    def filled(value):
        if isinstance(columns := value.get("columns"), dict):
            return {**value, "columns": {word: listed(column, columns["name"]) for word, column in columns.items()}}
        if set(value) == {"$"}:
            offset, count, kind = value["$"]
            assert offset % 8 == 0
            return np.frombuffer(data, f"<{kind}", count, begin + offset)
        return value

    return json.loads(data[4 : 4 + length], object_hook=filled)


def listed(column, names):
    """Make a list of a column of an index."""
    if not isinstance(column, dict):
        return column
    if "of" in column:
        return [column["of"][nth] for nth in column["at"]]
    if "floats" in column:
        return [None if np.isnan(value) else float(value) for value in column["floats"]]
    return [name[:length] for name, length in zip(names, column["letters"], strict=True)]


class Page(HTMLParser):
    """The elements of a page with their attributes and texts."""

    def __init__(self, path):
        super().__init__()
        self.text = Path(path).read_text("utf-8")
        self.elements = []
        self.inside = False
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), ""))
        self.inside = True

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            tag, attributes, text = self.elements[-1]
            self.elements[-1] = tag, attributes, text + data

    def all(self, tag):
        return [(attributes, text) for name, attributes, text in self.elements if name == tag]

    def pack(self, name):
        (text,) = [text for attributes, text in self.all("script") if attributes.get("id") == name]
        return unpacked(gzip.decompress(base64.b64decode(text, validate=True)))

    @property
    def index(self):
        return self.pack("index-pack")

    @property
    def details(self):
        return self.pack("details-pack")["details"]
