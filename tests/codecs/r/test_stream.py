"""R's serializations: every type, notation and compression, as R wrote them."""

import bz2
import contextlib
import gzip
import json
import lzma
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import carried
import numpy as np
import pytest
import zstandard

from steelyard.codecs.compression import plain
from steelyard.codecs.r.numerals import double_text
from steelyard.codecs.r.stream import holds_session, is_r, read_r
from steelyard.codecs.r.values import OPAQUE, S4, VALUES, Environment, Opaque, Pairlist, Symbol, Vector
from steelyard.errors import FormatError, MissingExtraError
from steelyard.storage.source import Source, from_bytes, open_path

ROOT = Path(__file__).parents[3]
ENV = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
NA = struct.unpack("<d", b"\xa2\x07\x00\x00\x00\x00\xf0\x7f")[0]


def read(path):
    return read_r(open_path(path))


def read_data(data):
    return read_r(from_bytes(bytes(data), "bytes.rds"))


def walk(value):
    """Yield every value below this one, at any depth, each once."""
    stack, seen = [value], set()
    while stack:
        value = stack.pop()
        if value is None or id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        stack += getattr(value, "attributes", {}).values()
        stack += getattr(value, "parts", {}).values()
        stack += [getattr(value, "enclosing", None)]
        stack += [inner for _, inner in value.pairs()] if hasattr(value, "pairs") else []


def as_json(value):
    """Write a value as the fixtures do: NA is null, arrays row by row, lists with names as objects."""
    if value is None:
        return None
    if value.kind == "character":
        return value.strings
    if value.kind == "list":
        items = [as_json(item) for item in value.items]
        return dict(zip(value.names, items, strict=True)) if value.names else items
    numbers = [as_word(n) for n in value.plain()]
    return np.array(numbers, object).reshape(value.dim, order="F").tolist() if value.dim else numbers


def as_word(number):
    if not isinstance(number, float) or math.isfinite(number):
        return number
    if math.isinf(number):
        return "Inf" if number > 0 else "-Inf"
    return "NA" if struct.pack("<d", number)[:4] == struct.pack("<d", NA)[:4] else "NaN"


def exact(value, seen=None):
    """Return a value as plain data that can be compared: numbers as bytes, opaque objects as their kind."""
    seen = {} if seen is None else seen
    if value is None or isinstance(value, Symbol):
        return value and value.name
    if id(value) in seen:
        return ("seen", seen[id(value)])
    seen[id(value)] = len(seen)
    below = [(name, exact(inner, seen)) for name, inner in value.attributes.items()]
    if isinstance(value, Vector):
        content = value.strings if value.kind == "character" else value.read().tobytes() if value.numbers else value.kind
        return (content, below, [(name, exact(inner, seen)) for name, inner in value.pairs()])
    if isinstance(value, Opaque):
        return (value.kind, value.name, below, [(name, exact(inner, seen)) for name, inner in value.parts.items()])
    return (type(value).__name__, below, [(name, exact(inner, seen)) for name, inner in value.pairs()])


# every type


def test_every_type_is_read_with_the_values_that_r_reports(fixtures):
    cases = json.loads((fixtures / "types" / "types.json").read_text())
    assert len(cases) == 58
    for name, case in cases.items():
        value = read(fixtures / "types" / case["file"])
        if case["expected"] is not None:
            assert as_json(value) == case["expected"], name
        typeof = "NULL" if value is None else getattr(value, "kind", type(value).__name__.lower())
        typeof = typeof if typeof in OPAQUE or typeof != "s4" else "S4"
        alike = {"environment": ("global environment", "base environment", "empty environment", "namespace", "package")}
        assert typeof == case["typeof"] or typeof in alike.get(case["typeof"], ()), name


def test_code_is_opaque_and_keeps_its_attributes(fixtures):
    def kinds(name):
        return {value.kind for value in walk(read(fixtures / name)) if isinstance(value, Opaque)}

    assert "promise" in kinds("types/promise_in_env.rds")
    assert "active binding" in kinds("types/active_binding.rds")
    assert "bytecode" in kinds("types/closure_bytecode.rds")
    assert "external pointer" in kinds("types/extptr_null.rds")
    assert "promise" in kinds("hostile/cve_promise_in_list.rds")
    model = read(fixtures / "keras_r" / "keras_model_saveRDS.rds")
    assert model.kind == "closure"
    assert "keras.src.models.model.Model" in model.class_, "the class of a function of R shows that it was a model of Keras"


def test_environments_are_data(fixtures):
    cycle = read(fixtures / "types" / "env_cycle.rds")
    assert isinstance(cycle, Environment)
    assert any(value is cycle for value in cycle.frame.values())
    shared = read(fixtures / "types" / "shared_refs.rds")
    assert shared.items[0] is shared.items[1]
    assert read(fixtures / "types" / "env_locked.rds").locked
    forced = read(fixtures / "types" / "promise_forced.rds")
    promise = next(iter(forced.frame.values()))
    assert promise.kind == "promise"
    assert promise.parts["value"].plain()


def test_missing_numbers_keep_their_bits(fixtures):
    special = read(fixtures / "types" / "double_special.rds").read()
    assert special[:1].tobytes() == struct.pack("<d", NA)
    assert math.isnan(special[1])
    assert special[:1].tobytes() != special[1:2].tobytes()
    assert read(fixtures / "types" / "int_na.rds").read().tolist() == [1, -(1 << 31), -(1 << 31) + 1]


def test_texts_with_invalid_bytes_keep_them(fixtures):
    (text,) = read(fixtures / "types" / "string_bytes.rds").strings
    assert any(ord(c) >= 0x80 for c in text.encode("utf-8", "surrogateescape").decode("latin-1"))
    assert all(ord(c) < 0x80 or 0xDC80 <= ord(c) <= 0xDCFF for c in text)


def test_every_object_of_every_public_fixture_is_read(fixtures):
    count = 0
    for path in sorted(fixtures.rglob("*.*")):
        if path.parent.name == "hostile" or path.suffix == ".json" or not is_r(open_path(path)):
            continue
        if path.name == "v1.RData":
            with pytest.raises(FormatError, match=r"before 1\.4"):
                read(path)
            continue
        for value in walk(read(path)):
            assert isinstance(value, VALUES)
            if isinstance(value, Vector) and value.numbers:
                assert value.read().size == value.length
        count += 1
    assert count == 143


def test_files_of_other_kinds_are_not_recognised_as_r(fixtures):
    others = [fixtures / name for name in ("rtorch/rtorch_module_v3.pt", "nnet/nnet_mask.json", "hostile/trunc_000.rds")]
    for path in (*others, carried.folder("golden") / "dense/torch.pt"):
        assert not is_r(open_path(path)), path
    assert is_r(from_bytes(b"RDX3\nX\n\0\0\0\3"))
    for head in (b"X\n\1\0\0\3", b"B\nABCD", b"A\n9\n", b"BZh", b"\x1f\x8b\x08", b"RDX4\n", b""):
        assert not is_r(from_bytes(head)), head


# every compression


def test_one_net_is_the_same_in_every_container(fixtures):
    folder = fixtures / "nnet" / "containers"
    facts = json.loads((folder / "m.json").read_text())
    assert len(facts["files"] + facts["files_ascii16"] + facts["files_zstd"]) == 17
    for name in facts["files"] + facts["files_zstd"]:
        assert read(folder / name).get("wts").plain() == facts["wts"], name
    for name in facts["files_ascii16"]:
        assert read(folder / name).get("wts").plain() == facts["wts_ascii16"], name
    for stem in ("one", "three"):
        facts = json.loads((folder / f"{stem}.json").read_text())
        for name in facts["files"]:
            session = read(folder / name)
            assert holds_session(open_path(folder / name))
            assert session.names == list(facts["objects"]), name
            for key, wts in facts["wts"].items():
                if "ascii" not in name:
                    assert session.get(key).get("wts").plain() == wts, name
    assert not holds_session(open_path(folder / "m_v3_gzip.rds"))


MAKE = r"""
set.seed(1)
lat <- "gr\xf6\xdf"; Encoding(lat) <- "latin1"
env <- new.env(); env$self <- env; env$w <- rnorm(3)
compiled <- compiler::cmpfun(function(x, ...) { for (i in x) { y <- switch(i, a = 1, b = c(x = 2)); if (i > 1) sum(x) else quote(a + b) }; f <- function(z) z; f })
x <- list(d = c(1.5, NA, NaN, Inf, -Inf, pi, -0, 5e-324, 1/3), i = c(1L, NA, -5L), l = c(TRUE, NA, FALSE), z = c(1+2i, NA), r = as.raw(0:255),
  s = c("a", NA, "", "tab\tnl\n\"q\"\\ \001\177 '?8\\9\r\f\v\a\b", "gr\u00f6\u00df \u5024", lat, strrep("long \n", 20000)), big = rnorm(20000),
  many = paste0("name", 1:30000), m = matrix(rnorm(6), 2, dimnames = list(NULL, c("a", "b", "c"))), f = factor(c("u", "v")), e = NULL, deep = list(list(list(1))),
  env = env, again = env, fn = function(x = 1) x + 1, compiled = compiled, formula = y ~ x, seq = 1:1e5, down = 10:1, reals = as.numeric(1:100) + 0,
  sorted = sort(runif(100)), text = as.character(1:100), p = as.pairlist(list(a = 1, 2)), u8 = "\u00fc", name = as.name("\u00fc"), call = quote(f(x, y = 2)),
  sourced = compiler::cmpfun(eval(parse(text = "function(x) { y <- quote({ a; b }); if (x > 1) { y } else function(z) { z } }", keep.source = TRUE))),
  builtin = sum, special = quote, ns = asNamespace("stats"), empty = list(), none = character(0), date = Sys.Date(), expr = expression(a, b + 1))
for (v in 2:3) {
  con <- file(sprintf("native_%d.rds", v), "wb"); writeBin(serialize(x, NULL, xdr = FALSE, version = v), con); close(con)
  for (z in c("gzip", "bzip2", "xz")) saveRDS(x, sprintf("%s_%d.rds", z, v), compress = z, version = v)
  saveRDS(x, sprintf("none_%d.rds", v), compress = FALSE, version = v)
  saveRDS(x, sprintf("hex_%d.rds", v), ascii = NA, version = v); saveRDS(x, sprintf("lossy_%d.rds", v), ascii = TRUE, version = v)
  save(x, env, file = sprintf("session_%d.RData", v), version = v); save(x, env, file = sprintf("ascii_%d.RData", v), ascii = TRUE, version = v)
}
writeBin(c(x$d, x$big, x$m), "doubles.bin", endian = "little")
v <- c(0.1, 1/3, 100000, 123456, 1e5 + 0.1, 1e15, 1e-5, 0.0001, 1e-300, 1e300, -2.5, 0, 1e22, 123456789012, NA, NaN, Inf, -Inf, (1:500) / 8, 10^runif(1500, -20, 20), 10^(-20:20), signif(runif(500) * 10^(0:4), 3))
con <- file("numerals.txt", "w", encoding = "UTF-8"); writeLines(vapply(v, as.character, ""), con); close(con)
writeBin(v, "numerals.bin", endian = "little")
saveRDS(as.character(v), "numerals.rds"); options(scipen = 5); saveRDS(as.character(v), "numerals5.rds"); writeLines(vapply(v, as.character, ""), "numerals5.txt")
"""


@pytest.fixture(scope="session")
def made(tmp_path_factory, rscript):
    """Files that the R of this machine wrote."""
    folder = tmp_path_factory.mktemp("r")
    rscript(MAKE, folder)
    return folder


def test_every_object_that_r_writes_is_equal_in_every_notation_and_compression(made):
    first = read(made / "none_3.rds")
    doubles = b"".join(first.get(name).read().tobytes() for name in ("d", "big", "m"))
    assert doubles == (made / "doubles.bin").read_bytes()
    assert first.get("s").strings[3:6] == ['tab\tnl\n"q"\\ \x01\x7f \'?8\\9\r\f\v\a\b', "größ 値", "größ"]
    assert first.get("s").strings[6] == "long \n" * 20000
    assert first.get("seq").read(99_998, 100_000).tolist() == [99_999, 100_000]
    assert first.get("down").plain() == list(range(10, 0, -1))
    assert first.get("again") is first.get("env")
    assert read(made / "hex_3.rds").get("d").offset is None
    assert first.get("d").offset is not None
    # version 3 keeps some vectors in another form, and what R compiled meanwhile differs; so each version against itself
    for version in (2, 3):
        wanted = exact(read(made / f"none_{version}.rds"))
        for name in ("native", "gzip", "bzip2", "xz", "hex"):
            assert exact(read(made / f"{name}_{version}.rds")) == wanted, name
        for name in ("session", "ascii"):
            session = read(made / f"{name}_{version}.RData")
            assert session.names == ["x", "env"]
            assert session.items[1] is session.get("x").get("env"), "references go on from one object of a session to the next"
        lossy = read(made / f"lossy_{version}.rds").get("big").read()
        assert np.allclose(lossy, first.get("big").read(), rtol=1e-15, atol=0)
    assert exact(read(made / "none_2.rds").get("sorted"))[0] == exact(first.get("sorted"))[0]


def test_deferred_strings_are_converted_as_r_does(made):
    values = np.fromfile(made / "numerals.bin")
    for suffix, scipen in (("", 0), ("5", 5)):
        wanted = [None if line == "NA" else line for line in (made / f"numerals{suffix}.txt").read_text().splitlines()]
        assert len(wanted) > 2500
        assert [double_text(x, scipen) for x in values] == wanted
        assert read(made / f"numerals{suffix}.rds").strings == wanted


@pytest.mark.parametrize(
    ("kind", "pack"),
    [("gzip", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("zstd", zstandard.ZstdCompressor().compress)],
)
def test_several_streams_are_read_as_one_and_checksums_are_compared(made, kind, pack):
    data = (made / "none_3.rds").read_bytes()
    wanted = exact(read_data(data))
    several = pack(data[:1000]) + pack(data[1000:1001]) + pack(data[1001:])
    assert exact(read_data(several)) == wanted
    assert plain(from_bytes(several)).read(0, len(data)) == data
    assert exact(read_data(several + b"garbage behind the end")) == wanted
    with pytest.raises(FormatError, match="is cut"):
        read_data(pack(data)[:-3])
    small = pack(struct.pack(">2s5id", b"X\n", 2, 0, 0, 14, 1, 1.5))
    assert read_data(small).plain() == [1.5]
    refused = 0
    for at in range(len(small) - 12, len(small)):
        with contextlib.suppress(FormatError):
            read_data(small[:at] + bytes([small[at] ^ 0x10]) + small[at + 1 :])
            continue
        refused += 1
    assert refused >= (8 if kind in ("gzip", "xz") else 1 if kind == "zstd" else 4), "a flipped bit at the end went unseen"


def test_without_the_zstd_library_the_error_names_the_extra_to_install(fixtures, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    source = open_path(fixtures / "nnet" / "containers" / "m_v3_zstd.rds")
    assert is_r(source)
    with pytest.raises(MissingExtraError, match=r"steelyard\[zstd\]"):
        read_r(source)


def test_a_big_endian_machine_may_have_written_its_own_order():
    for order in "<>":
        data = b"B\n" + struct.pack(f"{order}5i2d", 2, 0, 0, 14, 2, 1.5, -2.0)
        assert read_data(data).plain() == [1.5, -2.0]
        assert read_data(data).read().tolist() == [1.5, -2.0]


def test_texts_of_other_sessions_are_decoded_by_the_encoding_in_the_file():
    def text(encoding, data, flags=0):
        head = b"X\n" + struct.pack(">4i", 3, 0, 0, len(encoding)) + encoding
        return read_data(head + struct.pack(">4i", 16, 1, 9 | flags << 12, len(data)) + data).strings[0]

    assert text(b"CP1252", b"\x80 \xfc") == "€ \xfc"
    assert text(b"ISO-8859-15", b"\xa4") == "€"
    assert text(b"EUC-JP", "\u5024".encode("euc-jp")) == "\u5024"
    assert text(b"UTF-8", b"\xfc") == "\udcfc", "bytes that are not valid in their encoding are kept"
    assert text(b"rot13", b"abc\xc3\xbc") == "abc\xfc", "an encoding that R does not have is never looked up"
    assert text(b"CP1252", "\xfc".encode(), flags=8) == "\xfc"
    assert text(b"UTF-8", b"\xfc", flags=4) == "\xfc"


def test_pointers_weak_references_and_names_keep_their_contents():
    attributes = [1026, 1, 9, 1, ord("k") << 24, 13, 1, 7, 254]

    def value(*words):
        data = b"".join(struct.pack(">i", word) if word != ord("k") << 24 else b"k" for word in words)
        return read_data(b"X\n" + struct.pack(">3i", 2, 0, 0) + data)

    for code, below in ((22, [254, 254]), (23, [])):
        found = value(code | 512, *below, *attributes)
        assert found.attributes["k"].plain() == [7]
    assert value(1, 9, -1).name == "NA"
    assert value(8, 1, ord("k") << 24).name == "k"
    assert value(2, 1, 9, 1, ord("k") << 24, 13, 1, 5).values[1].plain() == [5], "a pair that ends in no list"
    for found in (value(4, 0, 242, 254, 254, 254), value(25), value(2, 254, 254), value(13, 0), value(1, 9, 0), value(251)):
        assert repr(found).startswith("<R ")
        assert getattr(found, "class_", ()) == ()


def test_a_serialization_inside_a_raw_vector_is_read_like_a_file(fixtures):
    inner = read(fixtures / "rtorch" / "rtorch_module_v2.pt").get("state_dict").items[0]
    assert inner.kind == "raw"
    assert is_r(from_bytes(inner.read().tobytes()))
    assert read_data(inner.read().tobytes()).get("values").kind == "raw"


# little is read


def test_numbers_of_an_uncompressed_file_are_read_on_request(tmp_path):
    numbers = np.arange(5_000_000, dtype=">f8")
    path = tmp_path / "large.rds"
    path.write_bytes(
        struct.pack(">2s7i", b"X\n", 2, 0, 0, 19, 2, 14, len(numbers)) + numbers.tobytes() + struct.pack(">4i", 13, 2, 7, 8)
    )
    source, touched = open_path(path), []
    watched = Source(
        source.name, source.size, lambda at, buffer: (touched.append(len(buffer)), source.fill(at, buffer))[1], source.beside
    )
    large, small = read_r(watched).items
    assert sum(touched) < 1 << 18
    assert small.plain() == [7, 8]
    assert large.read(4_999_998).tolist() == [4_999_998.0, 4_999_999.0]
    assert sum(touched) < 1 << 18


def test_listing_does_not_import_numpy(fixtures):
    code = (
        "import sys\nfrom steelyard.codecs.r.stream import read_r\nfrom steelyard.storage.source import open_path\n"
        "for path in sys.argv[1:]: assert read_r(open_path(path)).get('wts').plain()\nassert 'numpy' not in sys.modules"
    )
    containers = fixtures / "nnet" / "containers"
    files = [containers / f"m_v3_{name}.rds" for name in ("none", "gzip", "ascii", "native_le")]
    subprocess.run([sys.executable, "-c", code, *map(str, files)], check=True, env=ENV)


def test_a_sequence_takes_no_memory_and_one_that_takes_long_to_read_is_refused(fixtures):
    content = (fixtures / "hostile" / "altrep_seq_1e9.rds").read_bytes()
    sequence = read_data(content.replace(struct.pack(">d", 1e9), struct.pack(">d", 1e8)))
    assert sequence.length == 10**8
    assert sequence.read(10**8 - 2, 10**8).tolist() == [10**8 - 1, 10**8]
    with pytest.raises(FormatError, match="too many for a file of 134 bytes"):
        read_data(content)


def test_members_of_lists_attributes_and_slots_are_found_by_name(fixtures):
    weights = read(fixtures / "types" / "plain_weights.rds")
    kernel = weights.get("dense").get("kernel")
    assert (kernel.dim, kernel.kind, kernel.dtype) == ((2, 3), "double", "float64")
    assert weights.get("nothing") is None
    pairs = read(fixtures / "types" / "pairlist.rds")
    assert isinstance(pairs, Pairlist)
    assert [name for name, _ in pairs.pairs()] == pairs.names
    s4 = read(fixtures / "types" / "s4.rds")
    assert isinstance(s4, S4)
    assert s4.get("class") is s4.slots["class"]
    with pytest.raises(FormatError, match="characters where numbers"):
        read(fixtures / "types" / "strings.rds").read()
