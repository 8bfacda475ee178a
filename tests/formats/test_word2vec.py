"""Word vectors and models of gensim and fastText: the numbers are those of the libraries that wrote the files."""

import struct

import carried
import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError

GOLDEN = carried.folder("words")
with np.load(GOLDEN / "expected.npz") as held:
    EXPECTED = dict(held)
BY_FILE = sorted(key for key in EXPECTED if not key.startswith("dynet"))


@pytest.mark.parametrize("key", BY_FILE)
def test_the_numbers_are_those_of_the_library(key):
    file, _, name = key.partition(":")
    weight = steelyard.weights(GOLDEN / file)[name]
    assert weight.dtype == "float32"
    assert np.array_equal(weight.numpy(), EXPECTED[key])


def test_facts_of_the_settings_are_kept():
    w = steelyard.weights(GOLDEN / "labels.ftz")
    assert [*w] == ["input", "output"]
    assert (w.meta["model"], w.meta["loss"], w.meta["labels"], w.meta["dim"]) == ("supervised", "softmax", 3, 5)
    assert [(str(weight.role), weight.axes) for weight in w.values()] == [("embedding", "vocab out"), ("kernel", "out in")]


ROWS = np.arange(3000 * 5, dtype="<f4").reshape(3000, 5)


def binary(rows, end=b"\n"):
    lines = [f"w{number}".encode() + b" " + row.tobytes() + end for number, row in enumerate(rows)]
    return f"{len(rows)} {rows.shape[1]}\n".encode() + b"".join(lines)


def text(rows, end=" \n"):
    lines = [f"w{number} " + " ".join(map(str, row)) + end for number, row in enumerate(rows)]
    return f"{len(rows)} {rows.shape[1]}\n" + "".join(lines)


def read(folder, data, name="words.bin"):
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return steelyard.weights(folder / name)


FORMS = {"newlines": binary(ROWS), "no newlines": binary(ROWS, b""), "text": text(ROWS), "windows": text(ROWS, "\r\n")}


@pytest.mark.parametrize("form", FORMS)
def test_any_part_is_read_in_any_order(form, tmp_path, monkeypatch):
    from steelyard.formats import word2vec

    monkeypatch.setattr(word2vec, "_STRIDE", 64)
    monkeypatch.setattr(word2vec, "_PAGE", 1000)
    weight = read(tmp_path, FORMS[form])["vectors"]
    flat = ROWS.ravel()
    for start, stop in ((14_000, 14_003), (0, 7), (700, 5000), (14_990, 15_000), (3, 3)):
        assert np.array_equal(weight.read(start, stop), flat[start:stop])
    assert np.array_equal(weight.numpy(), ROWS)


def test_a_vector_that_ends_with_the_byte_of_a_newline_is_whole(tmp_path):
    rows = np.array([[1, 2], [3, 4]], "<f4")
    rows.view("u1")[:, -1] = 10
    assert np.array_equal(read(tmp_path, binary(rows))["vectors"].numpy(), rows)


HOSTILE = {
    "a count": (b"9999999999 300\n" + binary(ROWS)[7:], "claims 9,999,999,999 words"),
    "a width": (b"3 999999\n" + binary(ROWS)[7:], "claims 3 words of 999,999 numbers"),
    "a cut": (binary(ROWS, b"")[:-900], "partial download"),
    "a cut text": (text(ROWS)[:-20], "word 2,999 without 5 numbers"),
    "more": (binary(ROWS) + b"more", "has 4 bytes after the last of its 3,000 words"),
    "no numbers": (text(ROWS).replace("w2000 ", "w2000 x"), "word 2,000 without 5 numbers"),
    "a long word": (b"2 2\na " + b"\xff" * 8 + b"b" * 3_000_000, "bytes in which word 1 does not end"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_vectors_that_lie_are_refused_in_one_line(case, tmp_path):
    data, what = HOSTILE[case]
    with pytest.raises(FormatError, match=what):
        read(tmp_path, data)["vectors"].numpy()


@pytest.mark.parametrize(
    "data", [b"3 4\nhello world, this is a text\n", b"3 2\nshort\n", "2 3\ngr\u00fc\u00dfe \u4f60\u597d \u4e16\u754c\n".encode()]
)
def test_a_text_that_begins_with_two_numbers_is_none(data, tmp_path):
    with pytest.raises(FormatError, match="a text that begins with"):
        read(tmp_path, data)


def changed(name, at, layout, *values):
    data = bytearray((GOLDEN / name).read_bytes())
    struct.pack_into(layout, data, at % len(data), *values)
    return bytes(data)


PLAIN = (GOLDEN / "labels.bin").read_bytes()
LIES = {
    "a version": (changed("labels.bin", 4, "<i", 9), "of version 9"),
    "words": (changed("labels.bin", 64, "<i", 1 << 30), "claims 1,073,741,824 words"),
    "words below zero": (changed("labels.bin", 64, "<i", -5), "claims -5 words"),
    "pruned": (changed("labels.bin", 84, "<q", 1 << 60), "bytes where"),
    "rows": (changed("labels.bin", -76, "<q", 1 << 60), "impossible shape|bytes where"),
    "a cut": (PLAIN[:-1], "partial download"),
    "more": (PLAIN + b"\0", "has 1 bytes after its output"),
    "no end of a word": (PLAIN[:92] + b"a" * 5000, "does not end"),
}


@pytest.mark.parametrize("case", LIES)
def test_a_model_of_fasttext_that_lies_is_refused_in_one_line(case, tmp_path):
    data, what = LIES[case]
    with pytest.raises(FormatError, match=what):
        read(tmp_path, data)


def test_norms_that_are_infinite_give_numbers_without_a_warning(tmp_path):
    data = (GOLDEN / "labels.ftz").read_bytes()
    output = 1 + 16 + 4 * 3 * 5  # the output is not quantised; before it are the centroids of the norms
    broken = data[: -output - 1024] + np.full(256, np.inf, "<f4").tobytes() + data[-output:]
    found = read(tmp_path, broken, "labels.ftz")["input"].numpy()
    assert not np.isfinite(found).any()


def test_a_model_from_before_fasttext_had_a_magic_number_has_the_same_numbers(tmp_path):
    """Three such files of gensim's own tests were compared with what gensim reads once, by hand."""
    now = steelyard.weights(GOLDEN / "vectors.bin")
    data = (GOLDEN / "vectors.bin").read_bytes()
    output, both = (sum(16 + 4 * now[name].size + 1 for name in names) for names in (("output",), ("input", "output")))
    old = data[8:84] + data[92:-both] + data[1 - both : -output] + data[1 - output :]
    found = read(tmp_path, old)
    assert [*found] == [*now]
    assert all(np.array_equal(found[name].numpy(), weight.numpy()) for name, weight in now.items())
    assert found.meta == now.meta
    with pytest.raises(FormatError, match="partial download"):
        read(tmp_path, old[:-1])
    with pytest.raises(FormatError, match="not a known weight file"):
        read(tmp_path, old[:56] + struct.pack("<i", 5) + old[60:])
