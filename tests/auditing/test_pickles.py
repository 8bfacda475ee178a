"""The audit of pickles: each call, name and state that weights do not need is named, with its place."""

import pickle
import random
import re

import pytest

from steelyard.auditing import audit, pickles
from steelyard.codecs.pickle.machine import Machine
from steelyard.storage.source import from_bytes

RAN = "would have run "


def findings(stream, name="a.pkl"):
    return audit(from_bytes(stream, name)).findings


def ran(stream):
    return [each.what.removeprefix(RAN) for each in findings(stream) if each.runs]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"cposix\nsystem\n(S'ls'\ntR.", ["posix.system('ls')"]),
        (b"(S'ls'\nios\nsystem\n.", ["os.system('ls')"]),
        (b"(cos\nsystem\nS'ls'\no.", ["os.system('ls')"]),
        (b"\x80\x02cos\nsystem\nU\x02ls\x85\x81.", ["os.system('ls')"]),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85}\x92.", ["os.system('ls')"]),
        (b"cos\nsystem\n0N.", ["os.system"]),
        (b"cbuiltins\neval\n(S'1'\ntR0N.", ["builtins.eval('1')"]),
        (b"cbuiltins\nmap\n(cbuiltins\neval\n](S'1'\netR.", ["builtins.map(builtins.eval, ['1'])"]),
        (
            b"cbuiltins\ngetattr\n(cos\npath\nS'x'\ntR(S'y'\ntR.",
            ["builtins.getattr(os.path, 'x')", "builtins.getattr(os.path, 'x')('y')"],
        ),
        (b"cfunctools\npartial\n(cos\nsystem\ntR.", ["functools.partial(os.system)"]),
        (b"ctorch\nload\n(S'a'\ntR.", ["torch.load('a')"]),
        (b"cos\nsystem\n(S'\\x1b[31m'\ntR.", ["os.system('\\x1b[31m')"]),
    ],
)
def test_the_calls_of_a_loader_are_shown_as_python_source(stream, expected):
    assert ran(stream) == expected


def test_a_pickle_of_weights_contains_no_suspicious_call():
    import numpy as np

    assert not audit(from_bytes(pickle.dumps({"w": np.zeros(3), "s": np.float32(1)}), "a.pkl")).findings


@pytest.mark.parametrize(
    ("opcodes", "shown"),
    [
        (b"cmod\nMSE\nVtext\nR.", "mod.MSE('text')"),  # REDUCE, with no tuple around its argument
        (b"cmod\nMSE\n(Vtext\ntR.", "mod.MSE('text')"),
        (b"(Vtext\nimod\nMSE\n.", "mod.MSE('text')"),  # INST
        (b"\x80\x02cmod\nMSE\nX\4\0\0\0text\x81.", "mod.MSE('text')"),  # NEWOBJ
        (b"\x80\x04cmod\nMSE\nX\4\0\0\0text}\x92.", "mod.MSE('text')"),  # NEWOBJ_EX
        (b"\x80\x04cmod\nMSE\nX\4\0\0\0text}X\1\0\0\0kK\1s\x92.", "mod.MSE('text', {'k': 1})"),
    ],
)
def test_an_argument_that_is_a_text_is_shown_as_one_text(opcodes, shown):
    (finding,) = findings(opcodes)
    assert (finding.rule, finding.severity) == ("pickle-unknown-class", "warning")
    assert finding.what.startswith(f"makes an object of {shown}, a class that no list knows")


EVIL = b"cos\nsystem\n(Vls\ntR."


def rules(stream, name="a.pkl"):
    return {each.rule for each in findings(stream, name)}


@pytest.mark.parametrize(
    ("stream", "rule"),
    [
        (b"\x80\x04\x8c\x08torch.nn\x8c\x0cmodule.Popen\x93.", "pickle-dotted-name"),
        (b"\x80\x04\x8c\x07sklearn\x8c\x0dbase.np.Popen\x93)R.", "pickle-dotted-name"),
        (b"csklearn.datasets._covtype\nGzipFile\n(Vx\ntR.", "pickle-call"),  # a class that another module owns
        (b"csklearn.callback._transport\nClient\n)R.", "pickle-call"),
        (b"cfunctools\npartial\n(cposix\nsystem\ntR.", "pickle-argument"),
        (b"cfunctools\npartial\n(ctorch._utils\n_rebuild_tensor\ntR(NtR.", "pickle-computed-call"),
        (
            b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch.storage\n_load_from_bytes\nctorch\nTensor\n(Va\nt}tR.",
            "pickle-argument",
        ),
        (b"cnumpy.random._pickle\n__randomstate_ctor\n(Va\nctorch.storage\n_load_from_bytes\ntR.", "pickle-argument"),
        (b"cjax._src.array\n_reconstruct_array\n(ctorch.storage\n_load_from_bytes\n(Va\nt}}tR.", "pickle-argument"),
        (b"ccollections\nOrderedDict\n(Vtext\ntR.", "pickle-argument"),
        (b"ctorch.storage\n_load_from_bytes\n(C\x05helloR.", "pickle-argument"),
        (b"cbuiltins\nprint\n(Vhi\ntR.", "pickle-call"),
        (b"cscipy.stats._continuous_distns\nnorm_gen\n)\x81}b.", "pickle-call"),  # its state is source text that it runs
        (b"ccopyreg\n_reconstructor\n(cscipy.stats._continuous_distns\nnorm_gen\ncbuiltins\nobject\nNtR}b.", "pickle-argument"),
        (b"ctorch.optim.lr_scheduler\nLambdaLR\n(Nctorch.storage\n_load_from_bytes\ntR.", "pickle-call"),
        (b"ctorch.nn.modules.linear\nLinear\nN}Vforward\nctorch.nn.modules.activation\nReLU\ns\x86b.", "pickle-state"),
        (b"ctorch.nn.modules.linear\nLinear\n)\x81}V__setstate__\nctorch.storage\n_load_from_bytes\nsb.", "pickle-state"),
        (b"\x80\x02ccollections\nOrderedDict\nK\x01a.", "pickle-state"),  # a method of a class
        (b"\x80\x05\x82\x01.", "pickle-outside"),
        (b"cpandas.core.frame\nDataFrame\n)\x81.", "pickle-known-class"),
        (b"cpandas.io.common\nIOHandles\n(Vx\ntR.", "pickle-unknown-class"),
        (b"comegaconf.dictconfig\nDictConfig\n(Vx\ntR.", "pickle-constructor"),
        (b"comegaconf._utils\nrun\n(Vx\ntR.", "pickle-call"),  # a function of a known library is not a class
        (b"cmy.nets\nNet\n)\x81}b.", "pickle-unknown-class"),
        (b"c__main__\nNet\n)\x81.", "pickle-unknown-class"),
        (b"N.hello, world", "trailing-bytes"),
    ],
)
def test_each_way_to_run_something_has_its_rule(stream, rule):
    assert rule in rules(stream)


@pytest.mark.parametrize(
    "stream",
    [
        b"ctorch.nn.modules.linear\nLinear\n)\x81}Vweight\nNsb.",
        b"ccopyreg\n_reconstructor\n(csklearn.svm._classes\nSVC\nc__builtin__\nobject\nNtR}b.",
        b"cfunctools\npartial\n(ctorch.nn.functional\nrelu\ntR.",
        b"cbuiltins\ngetattr\n(ctorch.nn.modules.linear\nLinear\n)\x81Vforward\ntR.",
        b"cskorch.net\nNeuralNet\n)\x81}Vsink\ncbuiltins\nprint\nsb.",
        b"ccollections\ndefaultdict\n(cbuiltins\nlist\ntR.",
    ],
)
def test_what_weight_files_need_is_expected(stream):
    assert not findings(stream)


def test_code_before_a_break_is_named_then_the_damage():
    for rest in (b"0X\2\0\0\0\xff\xfe.", b"0\xff", b"0"):
        found = findings(EVIL[:-1] + rest)
        assert [each.rule for each in found] == ["pickle-call", "pickle-damaged"]
        assert found[0].place == "a.pkl, byte 17"


def test_names_after_a_break_that_another_loader_reads_over_are_named():
    assert "pickle-name" in rules(b"\x80\x02I0x10\n0" + EVIL)  # Python's own unpickler takes this number


def test_second_pickles_and_bytes_after_the_end_are_looked_into():
    for between in (b"", b"N.", b"junk" * 10):
        found = findings(pickle.dumps({"a": 1}) + between + b"\x80\x02" + EVIL)
        assert any("os.system('ls')" in each.what for each in found), between


def test_nested_pickles_and_archives_are_looked_into_and_have_a_place():
    import io
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", EVIL)
    for inner in (b"\x80\x02" + EVIL + bytes(20), file.getvalue()):
        for protocol in (2, 4):  # the bytes are a text in the first
            (finding, *_) = [each for each in findings(pickle.dumps([inner], protocol)) if each.runs]
            assert finding.what == "would have run os.system('ls')"
            assert " in a.pkl, byte " in finding.place


def test_the_bytes_of_an_array_of_joblib_are_opcodes_to_another_loader():
    import io

    import joblib
    import numpy as np

    file = io.BytesIO()
    joblib.dump(np.frombuffer((b"N0" + EVIL).ljust(32, b" "), np.uint8), file)
    begin, mark, numbers = file.getvalue().partition(b"N0" + EVIL)
    unaligned = begin.rstrip(b"\xff")[:-1].replace(b"alignment_bytes", b"alignment_bytez")
    assert any("os.system" in each.what for each in findings(unaligned + mark + numbers, "a.joblib"))
    assert not findings(unaligned + b"N" * len(mark) + numbers, "a.joblib")


def test_a_flood_of_harmless_findings_hides_no_call():
    many = b"".join(b"cmy.nets\nNet%d\n)R0" % number for number in range(300))
    found = findings(many + EVIL)
    assert any(each.runs and "os.system('ls')" in each.what for each in found)
    assert any("200 more findings" in each.what for each in found)


@pytest.mark.parametrize("texts", [b"U\2ab2", b"T\2\0\0\0abU\2ab", b"S'ab'\n2", b"S'ab'\nX\2\0\0\0ab"])
def test_names_of_texts_of_python_2_and_of_copies_are_found_behind_an_extension_code(texts):
    found = findings(b"\x80\x04\x82\x01" + texts + b"\x93.")
    assert any(each.runs and "ab.ab" in each.what for each in found)


def test_random_streams_hide_no_name():
    import random

    from random_pickles import missed, stream

    chance = random.Random(0)
    for _ in range(2000):
        data = stream(chance)
        assert not missed(data), data


def test_short_bytes_that_cannot_end_as_a_pickle_or_name_anything_are_not_run(monkeypatch):
    rng, machines = random.Random(0), []
    init = Machine.__init__
    monkeypatch.setattr(Machine, "__init__", lambda self, *given, **options: machines.append(1) or init(self, *given, **options))
    parts = [bytes(rng.choices(b"NK(]})0ae\x88\x94.cC", k=rng.randrange(1, 12))) for _ in range(2000)]
    quick = [pickles._may_be(from_bytes(part)) for part in parts]
    run = len(machines)
    monkeypatch.setattr(pickles, "_MAY_END", re.compile(b""))
    assert quick == [pickles._may_be(from_bytes(part)) for part in parts]
    assert 100 < run < 0.8 * (len(machines) - run)
    assert 10 < sum(quick) < 1000
