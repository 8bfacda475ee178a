"""The golden cases: one net's weights give the reference outputs in every framework, within the case's tolerance."""

import pytest
from transfers import golden

from steelyard.errors import AmbiguityError
from steelyard.transfers.transfer import transfer

GRAPHS = ("onnx", "tflite")
"""Sources with files but no pairs in the index; they are transferred to all targets of PyTorch's or Keras's net."""


def pairs_of(case):
    asked = [tuple(pair.split("->")) for pair in golden.CASES[case]["pairs"]]
    reached = dict.fromkeys(target for source, target in asked if source in ("torch", "keras"))
    return asked + [(source, target) for source in GRAPHS if source in golden.CASES[case]["files"] for target in reached]


PAIRS = [pytest.param(case, *pair, id=f"{case}-{pair[0]}-{pair[1]}") for case in golden.CASES for pair in pairs_of(case)]


@pytest.mark.parametrize(("case", "source", "target"), PAIRS)
def test_every_file_of_a_case_gives_the_reference_outputs_in_every_other_framework(case, source, target):
    """An ambiguous file is refused, and then replaced by the live model that wrote it."""
    tolerance = golden.CASES[case]["tolerance"]
    for file in golden.files(case, source):
        origin = golden.trained(case, source) if source == "eqx" else str(file)
        try:
            assert golden.transferred(case, source, target, origin) <= tolerance
        except AmbiguityError:
            assert (case, source) in golden.UNTOLD
            assert golden.transferred(case, source, target, golden.trained(case, source)) <= tolerance


def test_every_pair_of_the_index_is_tested():
    assert len({param.values for param in PAIRS}) == len(PAIRS) == 650 + 268


@pytest.mark.parametrize("target", ["torch", "keras", "linen"])
def test_a_live_model_of_every_case_gives_the_reference_outputs_and_its_proof(target):
    for case, facts in golden.CASES.items():
        for source in ("torch", "keras", "linen"):
            if f"{source}->{target}" not in facts["pairs"] or (case, source) in golden.HANDWRITTEN:
                continue
            origin, model = golden.trained(case, source), golden.build(case, target)
            probe = {"source": golden.inputs(case, source)[0], "into": golden.inputs(case, target)[0]}
            made = transfer(origin, into=model, probe=probe)
            assert made.proof.proven, (case, source, target, made.proof)
            assert made.proof.max_rel <= facts["tolerance"], (case, source, target)
