"""A live model and its own file never say two different things of a weight: what a file cannot know is blank or `other`."""

import keras
import pytest
from transfers import golden

import steelyard
from steelyard.core.weight import Role

CASES = [
    pytest.param(case, framework, id=f"{case}-{framework}")
    for case, facts in golden.CASES.items()
    for framework in facts["builders"]
    if framework != "eqx"  # its files have no names
]
TELLING = ("keras", "linen", "sklearn")
"""Frameworks whose files have the names or classes of their layers, and so know all that a live model does."""
NUMBERED = {"batchnorm_noscale", "spectralnorm_dense"}
"""Nets of which a file of Keras's weights alone has only the numbers of some variables."""


def pairs(case, framework):
    """Yield each weight of a live model with the same one of each file; a file that has names of its own has the same order."""
    keras.utils.clear_session(free_memory=False)  # models without a name are counted through the whole process
    live = steelyard.weights(golden.build(case, framework))
    for path in golden.files(case, framework):
        file = steelyard.weights(path)
        for place, (name, weight) in enumerate(live.items()):
            found = file[name] if name in file else list(file.values())[place]
            assert found.shape == weight.shape
            yield weight, found


@pytest.mark.parametrize(("case", "framework"), CASES)
def test_a_live_model_and_its_files_agree_in_roles_axes_and_layers(case, framework):
    for live, file in pairs(case, framework):
        exact = framework in TELLING and case not in NUMBERED
        assert file.role == live.role or (file.role is Role.OTHER and not exact), (live, file)
        assert file.axes == live.axes or (not file.axes and not exact), (live, file)
        assert file.layer == live.layer, (live, file)
