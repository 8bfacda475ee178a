"""What an export writes, refuses and states; that compilers read the same numbers is in test_languages.py."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from carried import SHARED

import steelyard
from steelyard.cli import main
from steelyard.core.effective import Derivation, derived
from steelyard.core.net_facts import with_derive
from steelyard.core.readers import from_array
from steelyard.core.weight import Refused, Weight
from steelyard.device import export as exporting
from steelyard.device.symbols import Symbols
from steelyard.dtypes import numpy_dtype
from steelyard.errors import (
    FormatError,
    LeftOutWarning,
    LossyError,
    NonFiniteWarning,
    ShapeError,
    UnreadableError,
)

NET = {"fc.weight": np.arange(6, dtype="f4").reshape(2, 3) / 7, "fc.bias": np.array([0.5, -1], "f4")}
ODD = np.array([0x7FC00001, 0x7F800000, 0x80000000], "uint32").view("float32")


def numbers(text, symbol):
    """Return the words between the braces of an array."""
    return re.search(rf"\b{symbol}\[\d+\][^=]*= \{{(.*?)\}};", text, re.DOTALL)[1].replace(",", " ").split()


def test_the_same_weights_give_the_same_bytes_without_a_date_or_a_path(tmp_path):
    texts = []
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        steelyard.save(NET, tmp_path / folder / "net.npz")
        for name in ("net.c", "net.rs", "net.py", "net.bin", "net.json", "net.csv"):
            steelyard.export(tmp_path / folder / "net.npz", tmp_path / folder / name, names=True)
        (tmp_path / folder / "net.npz").unlink()
        texts.append({path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()})
    assert texts[0] == texts[1]
    assert sorted(texts[0]) == ["net.bin", "net.bin.json", "net.c", "net.csv", "net.h", "net.json", "net.py", "net.rs"]
    assert not [name for name, text in texts[0].items() if str(tmp_path).encode() in text or b"2026" in text]


def test_the_header_has_the_digest_of_the_weights_before_the_cast_and_the_loss_of_the_worst(tmp_path, capsys):
    values = {"a": np.array([1.0, 1 / 3, 1e-50]), "b": np.array([1024.0, 2e-46]), "c": np.array([1, 2])}
    steelyard.save(values, tmp_path / "net.npz")
    made = steelyard.export(tmp_path / "net.npz", tmp_path / "net.h", dtype="float32")
    off = float(np.abs(values["a"] - values["a"].astype("f4")).max())
    assert made.tables[0].loss.largest == off
    assert made.tables[0].loss.relative == off
    stated = (
        f"cast: float64 to float32, off by at most {off:.2g}, {off:.2g} of the largest number, 2 numbers became 0 (most in a)"
    )
    assert made.notes == (stated,)
    text = (tmp_path / "net.h").read_text()
    assert steelyard.digest(tmp_path / "net.npz").whole in text
    assert stated in text
    assert "/* c: int64 (2) */" in text
    assert stated in repr(made)
    assert main(["export", str(tmp_path / "net.npz"), "-o", str(tmp_path / "net.h"), "--dtype", "float32"]) == 0
    assert stated in capsys.readouterr().out


def test_a_cast_that_loses_nothing_says_so_and_one_that_overflows_writes_nothing(tmp_path):
    made = steelyard.export({"w": np.array([0.5, 65504.0])}, tmp_path / "net.h", dtype="float16")
    assert made.notes == ("cast: float64 to float16, exactly", "float16 is written as its bits, in uint16")
    with pytest.raises(LossyError, match=r"w: 65520.0 at \[1\] does not fit into float16"):
        steelyard.export({"w": np.array([0.5, 65520.0])}, tmp_path / "other.h", dtype="float16")
    assert [path.name for path in tmp_path.iterdir()] == ["net.h"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_short_floats_are_written_as_equal_float32_or_as_their_bits_where_they_are_asked_for(dtype, tmp_path):
    short = steelyard.weights({"w": np.array([0.1, -3e-5, 7.0], "f4")}).astype(dtype)
    bits = [f"{each:d}" for each in short["w"].numpy().view("uint16")]
    steelyard.export(short, tmp_path / "net.h")
    assert [np.float32(word[:-1]) for word in numbers((tmp_path / "net.h").read_text(), "net_w")] == short["w"].numpy().tolist()
    for options in ({"dtype": dtype}, {"text": "bits"}):
        steelyard.export(short, tmp_path / "net.h", **options)
        assert numbers((tmp_path / "net.h").read_text(), "net_w") == bits


def test_kernels_of_pytorch_and_keras_have_one_order_of_channels(tmp_path):
    conv, dense = torch.nn.Conv2d(3, 4, (5, 2)), torch.nn.Linear(6, 2)
    kernel, matrix = conv.weight.detach().numpy(), dense.weight.detach().numpy()
    axes = {"conv.kernel": "kh kw in out", "dense.kernel": "in out", "depth.kernel": "kh kw in mult"}
    keras = {"conv.kernel": kernel.transpose(2, 3, 1, 0), "dense.kernel": matrix.T, "depth.kernel": kernel.transpose(2, 3, 0, 1)}
    orders = {"first": [kernel, matrix, kernel], "last": [kernel.transpose(0, 2, 3, 1), matrix, kernel.transpose(2, 3, 0, 1)]}
    for channels, expected in orders.items():
        from_keras = steelyard.export(steelyard.Weights.from_arrays(keras, axes=axes), tmp_path / "k.bin", channels=channels)
        from_torch = steelyard.export(torch.nn.ModuleDict({"conv": conv, "dense": dense}), tmp_path / "t.bin", channels=channels)
        kernels = [table for table in from_torch.tables if len(table.plain.shape) > 1]
        found = [table.plain.numpy() for table in [*from_keras.tables, *kernels]]
        for one, other in zip(found, [*expected, *expected[:2]], strict=True):
            assert np.array_equal(one, other)
        assert (tmp_path / "k.bin").read_bytes() == b"".join(np.ascontiguousarray(each).tobytes() for each in expected)
    assert from_keras.tables[0].plain.axes == "out kh kw in"


def test_an_order_of_channels_is_refused_where_the_axes_are_not_known(tmp_path):
    with pytest.raises(ShapeError, match=r"the axes of a, \(2, 2\), are not known, so channels='last' cannot order them"):
        steelyard.export({"a": np.eye(2)}, tmp_path / "net.h", channels="last")


def test_tied_weights_are_written_once_under_both_names(tmp_path):
    tied = torch.nn.ModuleDict({"wte": torch.nn.Embedding(5, 3), "head": torch.nn.Linear(3, 5, bias=False)})
    tied["head"].weight = tied["wte"].weight
    made = steelyard.export(tied, tmp_path / "net.h")
    assert made.size == 15
    assert {symbol: table.symbol for symbol, table in made.ties.items()} == {"net_head_weight": "net_wte_weight"}
    assert "\n#define net_head_weight net_wte_weight\n" in (tmp_path / "net.h").read_text()
    for suffix in ("json", "bin"):
        steelyard.export(tied, tmp_path / f"net.{suffix}")
        listed = json.loads((tmp_path / {"json": "net.json", "bin": "net.bin.json"}[suffix]).read_text())["weights"]
        assert listed[1] == {"name": "head.weight", "symbol": "net_head_weight", "tied": "wte.weight"}


def test_arrays_for_avr_are_in_program_memory_and_none_is_longer_than_its_compiler_takes(tmp_path):
    rows = np.arange(10_000, dtype="f4").reshape(1000, 10)
    made = steelyard.export({"big": rows, "small": np.ones(2, "f4")}, tmp_path / "net.ino")
    text = (tmp_path / "net.ino").read_text()
    assert [table.symbol for table in made.tables] == ["net_big_0", "net_big_819", "net_small"]
    assert [table.part for table in made.tables] == ["rows 0 to 818 of 1000", "rows 819 to 999 of 1000", ""]
    words = [*numbers(text, "net_big_0"), *numbers(text, "net_big_819")]
    assert [float(word[:-1]) for word in words] == rows.reshape(-1).tolist()
    assert text.count(" PROGMEM = {") == 3
    assert max(table.nbytes for table in made.tables) <= 32767
    with pytest.raises(ShapeError, match="a row of big has 36,000 bytes, and avr-gcc refuses arrays above 32,767"):
        steelyard.export({"big": rows.reshape(1, -1)[:, :9000]}, tmp_path / "net.h", progmem=True)


def test_weights_that_cannot_be_read_are_refused_by_name_or_left_out(tmp_path):
    refused = Weight(name="packed", shape=(2,), dtype="float32", read=Refused(FormatError("net.pt", "is packed")))
    listed = steelyard.Weights([refused, *steelyard.weights(NET).values()])
    with pytest.raises(UnreadableError, match="'packed'"):
        steelyard.export(listed, tmp_path / "net.h")
    with pytest.warns(LeftOutWarning, match="packed"):
        assert len(steelyard.export(listed, tmp_path / "net.h", skip_unreadable=True).tables) == 2


def test_packed_weights_are_their_codes_and_scales_and_the_header_says_so(tmp_path):
    int8 = {"fc.weight": np.array([[1, -2, 3]], "int8"), "fc.SCB": np.array([2.0], "f4")}
    made = steelyard.export(int8, tmp_path / "net.h")
    assert [table.plain.dtype for table in made.tables] == ["int8", "float32"]
    assert made.notes[0].startswith("1 weight is packed by bitsandbytes int8")
    assert numbers((tmp_path / "net.h").read_text(), "net_fc_weight") == ["1", "-2", "3"]
    assert steelyard.export(steelyard.effective(int8), tmp_path / "net.h").tables[0].plain.dtype == "float32"


def test_codes_whose_scales_are_not_weights_are_refused_and_their_numbers_are_exported(tmp_path):
    codes = steelyard.weights({"w": np.array([1, -2], "int8")})
    numbers_of = derived(
        "w", (2,), lambda start, stop: codes["w"].read(start, stop) * np.float32(0.5), Derivation("int8", ("w",))
    )
    with_scales = with_derive(codes, lambda pieces: iter([numbers_of] if "w" in list(pieces) else []))
    with pytest.raises(ShapeError, match="w: codes whose scales are not weights of the file"):
        steelyard.export(with_scales, tmp_path / "net.h")
    assert steelyard.export(steelyard.effective(with_scales), tmp_path / "net.h").tables[0].plain.numpy().tolist() == [0.5, -1]


@pytest.mark.shared
def test_the_int8_net_of_tensorflow_lite_keeps_its_scales_in_the_file(tmp_path, capsys):
    path = str(SHARED / "embedded" / "golden" / "q01_int8.tflite")
    assert main(["export", path, "-o", str(tmp_path / "net.h")]) == 2
    assert "--effective" in capsys.readouterr().err
    assert main(["export", path, "-o", str(tmp_path / "net.h"), "--effective"]) == 0


def test_many_numbers_have_a_file_of_their_own_unless_a_form_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "BIN_THRESHOLD", 7)
    assert steelyard.export(NET, tmp_path / "net.h").files == (str(tmp_path / "net.h"), str(tmp_path / "net.bin"))
    assert (tmp_path / "net.bin").read_bytes() == NET["fc.weight"].tobytes() + NET["fc.bias"].tobytes()
    assert steelyard.export(NET, tmp_path / "net.rs", text="decimal").files == (str(tmp_path / "net.rs"),)
    assert steelyard.export(NET, tmp_path / "net.json").options.text == "decimal"


def test_a_file_of_numbers_has_each_weight_at_a_multiple_of_its_size_and_a_manifest(tmp_path):
    values = {"a": np.arange(3, dtype="uint8"), "b": np.array([1 / 3, 2]), "h": np.ones(2, "float16")}
    for align, offsets in ((None, [0, 8, 24]), (16, [0, 16, 32])):
        steelyard.export(values, tmp_path / "net.bin", align=align)
        facts, data = json.loads((tmp_path / "net.bin.json").read_text()), (tmp_path / "net.bin").read_bytes()
        assert [weight["offset"] for weight in facts["weights"]] == offsets
        assert facts["bytes"] == len(data)
        for weight, own in zip(facts["weights"], values.values(), strict=True):
            read = np.frombuffer(data, weight["dtype"], int(np.prod(weight["shape"])), weight["offset"])
            assert read.tobytes() == own.tobytes()


def test_csv_and_json_read_back_to_the_same_bits(tmp_path):
    values = NET | {'odd,"name"\n': ODD, "d": np.array([1 / 3, 5e-324]), "i": np.array([-(2**63)]), "none": np.zeros((0, 2))}
    with pytest.warns(NonFiniteWarning):
        steelyard.export(values, tmp_path / "net.csv")
    with open(tmp_path / "net.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for name, value in values.items():
        own = [row for row in rows if row["name"] == name]
        assert [int(row["place"]) for row in own] == list(range(value.size))
        assert np.array([int(row["bits"], 16) for row in own], f"u{value.itemsize}").tobytes() == value.tobytes()
        assert (
            np.array([row["value"] for row in own]).astype(value.dtype).tobytes()[:4] == value.tobytes()[:4] or name[:3] == "odd"
        )
    assert [row["value"] for row in rows if row["name"][:3] == "odd"] == ["NaN", "Inf", "-0.0"]
    with pytest.warns(NonFiniteWarning):
        steelyard.export(values, tmp_path / "net.json")
    for weight in json.loads((tmp_path / "net.json").read_text())["weights"]:
        value, bits = values[weight["name"]], weight.get("bits")
        read = (
            np.array([int(word, 16) for word in bits], f"u{value.itemsize}") if bits else np.array(weight["values"], value.dtype)
        )
        assert read.tobytes() == value.tobytes()
        assert weight["shape"] == list(value.shape)


def test_arrays_have_the_section_and_the_alignment_that_are_asked_for(tmp_path):
    for name in ("net.h", "net.rs"):
        steelyard.export(NET, tmp_path / name, section=".flash", align=16)
    assert '#define NET_PLACE __attribute__((section(".flash"), aligned(16)))' in (tmp_path / "net.h").read_text()
    assert (tmp_path / "net.h").read_text().count("] NET_PLACE = {") == 2
    # in this form since Rust 1.82, as the edition of 2024 wants it
    assert (tmp_path / "net.rs").read_text().count('#[unsafe(link_section = ".flash")]') == 2
    assert "#[repr(C, align(16))]" in (tmp_path / "net.rs").read_text()


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("net.pt", {}, "has the suffix '.pt', which is none of .h, .c, "),
        ("net.h", {"name": "1net"}, "name is '1net'; it must be a letter"),
        ("net.h", {"name": "n__t"}, "name is 'n__t'"),
        ("net.rs", {"text": "hex"}, "text is 'hex'; for .rs it may be decimal, bits, bin"),
        ("net.h", {"dtype": "int8"}, "floats cannot be cast to 'int8'"),
        ("net.h", {"channels": "middle"}, "channels is 'middle'; it must be first or last"),
        ("net.py", {"align": 4}, "section and align have no meaning in .py"),
        ("net.h", {"align": 12}, "align is 12; it must be a power of 2"),
        ("net.h", {"section": '.x")))'}, "section is '.x\")))'; it must be a name"),
        ("net.rs", {"progmem": True}, "progmem is for tables of numbers in C"),
        ("net.h", {"select": "none.*"}, "there are no weights to export"),
        ('n"et.c', {}, "cannot be the name of a file that C includes"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_written(path, options, message, tmp_path):
    with pytest.raises((ShapeError, FormatError), match=re.escape(message)):
        steelyard.export(NET, tmp_path / path, **options)
    assert not list(tmp_path.iterdir())


def test_the_file_that_is_read_is_not_replaced(tmp_path):
    torch.save({"w": torch.ones(3)}, tmp_path / "net.bin")
    before = (tmp_path / "net.bin").read_bytes()
    for out in ("net.bin", "net.h"):
        with pytest.raises(FormatError, match="is the file that is read; export it under another name"):
            steelyard.export(tmp_path / "net.bin", tmp_path / out, text="bin")
    assert [path.name for path in tmp_path.iterdir()] == ["net.bin"]
    assert (tmp_path / "net.bin").read_bytes() == before


def test_the_command_prints_the_table_and_with_dry_run_writes_nothing(tmp_path, capsys):
    steelyard.save(NET, tmp_path / "net.npz")
    out = tmp_path / "net.h"
    assert main(["export", str(tmp_path / "net.npz"), "-o", str(out), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"net_fc_weight +fc.weight +float32 +2×3 +24\n", shown)
    assert f"{out}: 2 arrays, 8 numbers, 32 bytes; nothing was written" in shown
    assert not out.exists()
    arguments = ["--json", "--select", "*.bias", "--name", "iris", "--text", "bits"]
    assert main(["export", str(tmp_path / "net.npz"), "-o", str(out), *arguments]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["written"], record["files"], record["bytes"]) == (True, [str(out)], 8)
    assert record["arrays"][0]["symbol"] == "iris_fc_bias"
    assert "uint32_t u[2]" in out.read_text()


def test_names_are_short_and_unique_for_linkers_and_macros():
    symbols = Symbols("net", 31, ("names",))
    endings = ["_size", "_dim0"]
    names = [
        "names",
        "Names",
        "a.size",
        "a",
        "A",
        "x" * 99,
        "y" + "x" * 98,
        *(f"layers.{n}.self_attn.q_proj.weight" for n in range(300)),
    ]
    made = [symbols.of(name, endings) for name in names]
    assert max(map(len, made)) <= 31
    words = [f"{symbol}{ending}".lower() for symbol in made for ending in ("", *endings)]
    assert len(set(words)) == len(words)
    assert made[:5] == ["net_names_2", "net_Names_3", "net_a_size", "net_a_2", "net_A_3"]
    assert made[7] == "net_0_self_attn_q_proj_weight"
    assert made[7 + 299] == "net_299_self_attn_q_proj_weight"


@pytest.mark.parametrize(
    ("dtype", "written", "bits"),
    [
        *(("float8_e4m3fn", "float32", "uint8"), ("float8_e5m2", "float32", "uint8"), ("float4_e2m1fn", "float32", "uint8")),
        *(
            ("int4", "int8", "int8"),
            ("uint2", "uint8", "uint8"),
            ("complex128", "float64", "float64"),
            ("bool", "uint8", "uint8"),
        ),
    ],
)
def test_types_that_no_language_has_are_written_as_equal_numbers_of_another(dtype, written, bits, tmp_path):
    values = np.array([0, 1, 1, 0, 1]).astype(numpy_dtype(dtype))
    weight = from_array("w", values)
    tables = [steelyard.export(steelyard.Weights([weight]), tmp_path / name).tables[0] for name in ("net.h", "net.bin")]
    assert [table.plain.dtype for table in tables] == [written, bits]
    parts = [0, 0, 1, 0, 1, 0, 0, 0, 1, 0] if dtype == "complex128" else [0, 1, 1, 0, 1]
    assert tables[0].plain.numpy().reshape(-1).tolist() == parts
    assert tables[0].plain.read(1, 4).tolist() == parts[1:4]
    assert (tmp_path / "net.bin").read_bytes() == values.tobytes()


def test_a_type_of_one_machine_is_refused_unless_it_is_cast(tmp_path):
    wide = {"w": np.ones(2, np.longdouble)}
    with pytest.raises(ShapeError, match="w is float128, which other machines do not have"):
        steelyard.export(wide, tmp_path / "net.h")
    assert steelyard.export(wide, tmp_path / "net.h", dtype="float64").tables[0].plain.dtype == "float64"


def test_thousands_of_equal_names_get_symbols_of_their_own(tmp_path):
    one = np.ones(1, "f4")
    listed = steelyard.Weights(from_array("x" * 40 + "/" * nth, one.copy()) for nth in range(3000))
    made = steelyard.export(listed, tmp_path / "net.c", text="bin")
    assert [made.tables[-1].symbol, len({table.symbol for table in made.tables})] == ["net_xxxxxxxxxxxxxxxxxxxxxx_3000", 3000]
