"""Makes rllib.tar.xz: a module and two modules together, as RLlib 2.60 saves them, and the arrays of their states.

    python tests/data/make_rllib.py FOLDER && tar -C FOLDER -cJf tests/data/rllib.tar.xz .

It needs gymnasium and dm-tree, which the project does not.
"""

import sys

import gymnasium
import numpy as np
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec


def spec():
    return RLModuleSpec(
        module_class=DefaultPPOTorchRLModule,
        observation_space=gymnasium.spaces.Box(-1, 1, (4,), np.float32),
        action_space=gymnasium.spaces.Discrete(2),
        model_config=DefaultModelConfig(fcnet_hiddens=[3]),
    )


if __name__ == "__main__":
    root = sys.argv[1]
    several = MultiRLModuleSpec(rl_module_specs={"left": spec(), "right": spec()}).build()
    for name, module in {"alone": spec().build(), "several": several}.items():
        module.save_to_path(f"{root}/{name}")
        state = module.get_state()
        flat = state if name == "alone" else {f"{of}/{key}": value for of, held in state.items() for key, value in held.items()}
        np.savez(f"{root}/{name}.npz", **flat)
