"""Files that R reads: new lists, and R's own files with replaced vectors."""

import gzip
import os
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import steelyard
from steelyard.codecs.compression import compression, plain
from steelyard.codecs.metadata import with_facts
from steelyard.codecs.r.stream import read_r
from steelyard.core.readers import from_array
from steelyard.core.weight import Role, Weight
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, LossyError, ShapeError
from steelyard.formats.r import writing as r_writing
from steelyard.formats.r.patching import patch
from steelyard.formats.r.writing import footer_facts, write_list
from steelyard.storage.source import from_bytes, open_path


def read(path):
    return read_r(open_path(path))


chance = np.random.default_rng(7)
ARRAYS = {
    "fc.weight": chance.normal(size=(3, 4)),
    "conv.kernel": chance.normal(size=(5, 1, 3, 2)).astype("f4"),
    "fc.bias": chance.normal(size=4).astype("f4"),
    "half": chance.normal(size=(2, 2)).astype("f2"),
    "bfloat": chance.normal(size=3).astype(ml_dtypes.bfloat16),
    "float8": np.array([[0.5, -1.75]], ml_dtypes.float8_e4m3fn),
    "int": np.array([[1, -(2**31) + 1, 3], [4, 5, 2**31 - 1]], "i4"),
    "byte": np.arange(6, dtype="u1").reshape(3, 2),
    "long": np.array([2**53, -(2**53), 1 << 60]),
    "unsigned": np.array([2**32 - 1], "u4"),
    "flag": np.array([[True, False], [False, False]]),
    "complex": np.array([[1 + 2j, -0.5j]]),
    "größe 値": np.array([np.nan, np.inf, -np.inf, -0.0]),
    "empty": np.zeros((0, 3)),
    "nothing": np.zeros(0, "f4"),
    "steps": np.float32(17),
}

SHOWN = r"""
x <- readRDS("net.rds")
cat(length(x), is.list(x), is.null(attributes(x)$class), names(attributes(x)), "\n")
for (n in names(x)) cat(n, typeof(x[[n]]), paste(if (is.null(dim(x[[n]]))) length(x[[n]]) else dim(x[[n]]), collapse = "x"), "\n")
num <- function(v) if (is.complex(v)) c(rbind(Re(v), Im(v))) else as.double(v)
writeBin(unlist(lapply(x, num), use.names = FALSE), "numbers.bin", endian = "little")
saveRDS(x, "again.rds")
cat(identical(readRDS("again.rds"), x), "\n")
"""


def columns(array):
    flat = np.asarray(array).ravel(order="F")
    return flat.view("f8") if flat.dtype.kind == "c" else flat.astype("f8")


def test_r_reads_written_files_with_every_number_unchanged(tmp_path, rscript):
    write_list(steelyard.weights(ARRAYS), tmp_path / "net.rds")
    first, *lines, last = rscript(SHOWN, tmp_path).splitlines()
    assert first.split() == ["16", "TRUE", "TRUE", "names"]
    assert last.split() == ["TRUE"]
    shown = {line.rsplit(maxsplit=2)[0]: tuple(line.rsplit(maxsplit=2)[1:]) for line in lines}
    kinds = {
        "fc.weight": ("double", "3x4"),
        "conv.kernel": ("double", "5x1x3x2"),
        "int": ("integer", "2x3"),
        "byte": ("integer", "3x2"),
    }
    kinds |= {"flag": ("logical", "2x2"), "complex": ("complex", "1x2"), "empty": ("double", "0x3"), "steps": ("double", "1")}
    assert list(shown) == list(ARRAYS)
    assert {name: shown[name] for name in kinds} == kinds
    numbers = np.fromfile(tmp_path / "numbers.bin")
    assert numbers.tobytes() == np.concatenate([columns(array) for array in ARRAYS.values()]).tobytes()


def test_written_files_are_read_again_in_the_same_shape(tmp_path):
    write_list(steelyard.weights(ARRAYS), tmp_path / "net.rds")
    found = dict(read(tmp_path / "net.rds").pairs())
    for name, array in ARRAYS.items():
        vector = found[name]
        assert vector.dim == (np.shape(array) if np.ndim(array) > 1 else None)
        assert vector.read().view("u1").tobytes() == np.asarray(array).ravel(order="F").astype(vector.dtype).tobytes(), name


def test_the_facts_of_the_weights_are_in_a_footer_that_r_ignores(tmp_path, rscript):
    path = tmp_path / "net.rds"
    owned = from_array("emb", np.eye(2, dtype="f4"), role=Role.EMBEDDING, layer="emb", axes="vocab out", trainable=False)
    weights = Weights([owned, owned.replace(name="head", tied="emb"), from_array("steps", np.int64(3), role=Role.COUNT)])
    write_list(weights, path)
    facts, scalars = footer_facts(open_path(path))
    assert scalars == {"steps"}
    back = with_facts([weight.replace(role=Role.OTHER, layer="", axes="", tied=None) for weight in weights.values()], facts)
    assert [repr(weight) for weight in back] == [repr(weight) for weight in weights.values()]
    rscript(
        'x <- readRDS("net.rds"); stopifnot(identical(x, list(emb = diag(2), head = diag(2), steps = 3))); saveRDS(x, "net.rds", compress = FALSE)',
        tmp_path,
    )
    assert footer_facts(open_path(path)) == (None, frozenset()), "R writes a file anew without them"
    for data in (
        b"",
        b"STEELYRD",
        bytes(8) + b"STEELYRD",
        b"{}" + (2).to_bytes(8, "big") + b"STEELYRD",
        b"\xff" * 8 + b"STEELYRD",
    ):
        assert footer_facts(from_bytes(data)) == (None, frozenset())


def test_numbers_that_r_cannot_hold_are_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "net.rds"
    path.write_bytes(b"old")
    for array in (np.array([1, 2**53 + 1]), np.array([2**64 - 1], "u8"), np.array([-(2**31)], "i4")):
        with pytest.raises(LossyError, match="w: "):
            write_list(steelyard.weights({"w": array}), path)
    for name, dtype in (("w", "object"), ("w", "float128"), ("a\0b", "float32")):
        weight = Weight(name=name, shape=(1,), dtype=dtype, read=lambda start, stop: np.zeros(stop - start, "f4"))
        with pytest.raises(FormatError, match=r"net\.rds"):
            write_list(Weights([weight]), path)
    with pytest.raises(FormatError, match="extent"):
        write_list(Weights([Weight(name="w", shape=(0, 1 << 31), dtype="float32", read=lambda start, stop: np.zeros(0))]), path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["net.rds"]


@pytest.mark.parametrize("limit", [1, 5, 7, 24, 60, 1000])
@pytest.mark.parametrize("shape", [(), (7,), (1, 7), (3, 5), (4, 1, 5, 3), (2, 3, 4, 5), (60, 2), (2, 60), (0, 4), (1, 1)])
def test_the_column_major_order_does_not_depend_on_the_memory(monkeypatch, shape, limit):
    monkeypatch.setattr(r_writing, "LIMIT", limit)
    array = np.arange(np.prod(shape, dtype=int), dtype="i4").reshape(shape)
    runs = list(r_writing._by_columns(from_array("w", array), np.dtype("f8")))
    assert np.concatenate([np.zeros(0), *runs]).tolist() == array.ravel(order="F").tolist()
    widest = max([1, *shape[:1]]) if shape[:1] != (1,) else 7
    assert all(run.size <= max(limit, widest) for run in runs)


def test_a_long_vector_is_written_with_two_words_for_its_length():
    assert r_writing._length((1 << 31) - 1) == b"\x7f\xff\xff\xff"
    assert r_writing._length(1 << 32) == struct.pack(">3i", -1, 1, 0)


# replacing vectors in R's own files

FILES = [f"m_v{version}_{kind}.rds" for version in (2, 3) for kind in ("none", "gzip", "bzip2", "xz", "native_le")]
SESSIONS = [f"three_v{version}_{kind}.RData" for version in (2, 3) for kind in ("none", "gzip", "bzip2", "xz")]

OTHERS = r"""
args <- commandArgs(TRUE)
load_any <- function(f) if (grepl("RData$", f)) { e <- new.env(); load(f, e); as.list(e, sorted = TRUE) } else list(alpha = readRDS(f))
strip <- function(x) { x$alpha$wts <- NULL; x }
for (f in readLines("files.txt")) {
  old <- load_any(file.path("old", f)); new <- load_any(file.path("new", f))
  stopifnot(identical(2 * old$alpha$wts, new$alpha$wts), !identical(old, new))
  stopifnot(isTRUE(all.equal(strip(old), strip(new))), identical(strip(old)$alpha[c("fitted.values", "conn", "call", "n")], strip(new)$alpha[c("fitted.values", "conn", "call", "n")]))
  cat(f, "\n")
}
"""


def weights_of(value):
    return (value.get("alpha") or value).get("wts")


def test_r_reads_patched_files_with_the_new_numbers_and_all_else_unchanged(fixtures, tmp_path, rscript):
    folder = fixtures / "nnet" / "containers"
    (tmp_path / "new").mkdir()
    (tmp_path / "old").symlink_to(folder)
    for name in FILES + SESSIONS:
        source = open_path(folder / name)
        wts = weights_of(read_r(source))
        patch(source, tmp_path / "new" / name, [(wts, 2 * wts.read())])
        old, new = plain(source), plain(open_path(tmp_path / "new" / name))
        before, after = (bytearray(content.read(0, content.size)) for content in (old, new))
        assert compression(open_path(tmp_path / "new" / name)) == compression(source)
        end = wts.offset + 8 * wts.length
        assert after[wts.offset : end] == (2 * wts.read()).astype(f"{wts.byteorder}f8").tobytes()
        after[wts.offset : end] = before[wts.offset : end]
        assert after == before, name
    (tmp_path / "files.txt").write_text("\n".join(FILES + SESSIONS) + "\n")
    assert rscript(OTHERS, tmp_path).split() == FILES + SESSIONS


def test_a_zstandard_file_is_patched_and_stays_zstandard(fixtures, tmp_path):
    source = open_path(fixtures / "nnet" / "containers" / "m_v3_zstd.rds")
    wts = read_r(source).get("wts")
    patch(source, tmp_path / "m.rds", [(wts, np.arange(wts.length))])
    assert compression(open_path(tmp_path / "m.rds")) == "zstd"
    assert read(tmp_path / "m.rds").get("wts").plain() == list(range(wts.length))


def test_several_vectors_of_a_file_may_be_patched_in_place(tmp_path, rscript):
    path = tmp_path / "net.rds"
    rscript(
        'saveRDS(list(a = c(1, 2, 3), i = c(4L, 5L), z = 1i, b = matrix(1:4 + 0.5, 2)), "net.rds"); cat("garbage", file = "net.rds", append = TRUE)',
        tmp_path,
    )
    source = open_path(path)
    found = read_r(source)
    patch(
        source,
        path,
        [(found.get("b"), np.zeros((2, 2))), (found.get("i"), [7.0, 8.0]), (found.get("a"), [9, 8, 7]), (found.get("z"), [2.0])],
    )
    rscript(
        'stopifnot(identical(readRDS("net.rds"), list(a = c(9, 8, 7), i = c(7L, 8L), z = 2+0i, b = matrix(0, 2, 2))))', tmp_path
    )
    assert os.listdir(tmp_path) == ["net.rds"]


def test_numbers_that_cannot_be_replaced_are_refused_with_the_reason(fixtures, tmp_path, rscript):
    folder = fixtures / "nnet" / "containers"
    out = tmp_path / "out.rds"
    for name in ("m_v3_ascii.rds", "m_v3_ascii_gz.rds", "m_v3_asciihex.rds", "three_ascii.rda"):
        source = open_path(folder / name)
        wts = weights_of(read_r(source))
        with pytest.raises(FormatError, match="ASCII file"):
            patch(source, out, [(wts, wts.read())])
    rscript('saveRDS(list(a = c(1, 2), i = c(1L, NA), s = 1:100, o = sort(runif(100)), l = TRUE), "net.rds")', tmp_path)
    source = open_path(tmp_path / "net.rds")
    found = read_r(source)
    a, i = found.get("a"), found.get("i")
    for change, error, words in (
        ((a, [1.0]), ShapeError, "1 numbers cannot replace a vector of length 2"),
        ((i, [1.5, 2.0]), LossyError, "does not fit"),
        ((i, [0.0, -(2.0**31)]), LossyError, "means NA"),
        ((found.get("s"), np.arange(100)), FormatError, "sequence"),
        ((found.get("o"), np.zeros(100)), FormatError, "sorted"),
        ((found.get("l"), [1]), FormatError, "logical"),
        ((read(folder / "m_v3_none.rds").get("wts"), np.zeros(9)), FormatError, "read it from this file"),
    ):
        with pytest.raises(error, match=words):
            patch(source, out, [change])
    with pytest.raises(ShapeError, match="twice"):
        patch(source, out, [(a, [1.0, 2.0]), (a, [3.0, 4.0])])
    assert sorted(os.listdir(tmp_path)) == ["net.rds"]


def test_an_integer_that_was_missing_stays_missing(tmp_path, rscript):
    rscript('saveRDS(c(1L, NA), "net.rds")', tmp_path)
    source = open_path(tmp_path / "net.rds")
    found = read_r(source)
    patch(source, tmp_path / "net.rds", [(found, found.read())])
    assert read(tmp_path / "net.rds").plain() == [1, None]
    assert gzip.decompress(Path(tmp_path / "net.rds").read_bytes()) == plain(source).read(0, plain(source).size)
