"""DyNet's texts: the numbers are those of its own arrays, and gradients are in scope "all"."""

import carried
import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError

GOLDEN = carried.folder("words")


def test_parameters_are_those_of_the_library():
    w = steelyard.weights(GOLDEN / "dynet.model")
    with np.load(GOLDEN / "expected.npz") as expected:
        held = {name.partition(":")[2]: expected[name] for name in expected if name.startswith("dynet.model")}
    assert {*w} == {*held}
    for name, weight in w.items():
        assert weight.shape == held[name].shape
        assert np.allclose(weight.numpy(), held[name], rtol=1e-7, atol=0)
    assert (str(w["/_2"].role), w["/_2"].axes) == ("embedding", "vocab out")
    assert w["/encoder/_0"].layer == "/encoder"


def text(numbers, gradient="", name="/w", shape="{2,3}", kind="Parameter"):
    lines = f"{numbers}\n" + (f"{gradient}\n" if gradient else "")
    return f"#{kind}# {name} {shape} {len(lines)} {'FULL' if gradient else 'ZERO'}_GRAD\n{lines}"


FIXED = "".join(f"{number:+.8e} " for number in range(6))
SHORT = "0 1 2.5 3 4 5e0 "


def read(folder, data, scope="model"):
    (folder / "net.model").write_text(data)
    return steelyard.weights(folder / "net.model", scope=scope)


@pytest.mark.parametrize("numbers", [FIXED, SHORT.replace("2.5", "2")])
def test_a_gradient_follows_the_numbers(numbers, tmp_path):
    data = text(numbers, numbers.replace("5", "7")) + text(numbers, name="/v")
    assert [*read(tmp_path, data)] == ["/w", "/v"]
    w = read(tmp_path, data, "all")
    assert [*w] == ["/w", "/w.grad", "/v"]
    assert w["/w"].numpy().tolist() == [[0, 2, 4], [1, 3, 5]]
    assert w["/w.grad"].numpy().tolist() == [[0, 2, 4], [1, 3, 7]]
    assert w["/v"].read(2, 4).tolist() == [4, 1]


HOSTILE = {
    "a shape": (text(SHORT, shape="{999999999,999999999}"), "more than the file has or too few"),
    "a length": (text(SHORT).replace(" 17 ", " 999999 "), "partial download"),
    "numbers": (text("0 1 2 3 4 five"), "'/w' has a line without 6 numbers"),
    "too many": (text(SHORT + "6"), "'/w' has a line without 6 numbers"),
    "two of a name": (text(SHORT) + text(SHORT), "two parameters with the name '/w'"),
    "more": (text(SHORT) + "more", "where the facts of a parameter are expected"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_text_that_lies_is_refused_in_one_line(case, tmp_path):
    data, what = HOSTILE[case]
    with pytest.raises(FormatError, match=what):
        [weight.numpy() for weight in read(tmp_path, data).values()]
