"""Makes orbax.tar.xz: checkpoints of one tree as Orbax 0.12 writes them, over four devices, and the arrays that it restores.

    python tests/data/make_orbax.py FOLDER && tar -C FOLDER -cJf tests/data/orbax.tar.xz .

The folders are named after the options: "ocdbt" and "zarr3" in OCDBT, "plain" and "plain3" in a folder for each array; "manager" has
two steps, "items" one step with two trees, "nnx" the state of a module of Flax NNX. "begun" is a save that was not finished.
"""

import shutil
import sys

import jax

jax.config.update("jax_num_cpu_devices", 4)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import orbax.checkpoint as ocp  # noqa: E402
from flax import nnx  # noqa: E402
from jax.sharding import Mesh, NamedSharding, PartitionSpec  # noqa: E402


def tree():
    mesh = Mesh(np.array(jax.devices()).reshape(2, 2), ("a", "b"))
    kernel = jnp.arange(48, dtype=jnp.float32).reshape(8, 6)
    params = {
        "Dense_0": {
            "kernel": jax.device_put(kernel, NamedSharding(mesh, PartitionSpec("a", "b"))),
            "bias": jnp.arange(6, dtype=jnp.bfloat16),
        },
        "parts": [np.arange(3), np.float32(2.5)],
        "a.b": {"c/d": jnp.ones(2, jnp.float8_e4m3fn)},
        "empty": {},
        "none": None,
        "text": "hello",
    }
    return {"params": params, "opt_state": [{"mu": jnp.ones(3)}, ()], "step": 5}


if __name__ == "__main__":
    root = sys.argv[1]
    options = {"ocdbt": {}, "plain": {"use_ocdbt": False}, "zarr3": {"use_zarr3": True}}
    options["plain3"] = {"use_ocdbt": False, "use_zarr3": True}
    for name, chosen in options.items():
        kept = tree()
        if not chosen.get("use_ocdbt", True):
            del kept["params"]["a.b"]  # whose "/" Orbax writes as a folder that it does not find again
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**chosen)) as writer:
            writer.save(f"{root}/{name}", kept)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        restored = reader.restore(f"{root}/ocdbt")
    leaves = jax.tree_util.tree_flatten_with_path(restored)[0]
    spelled = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    arrays = {name: np.asarray(leaf) for name, leaf in spelled.items() if not isinstance(leaf, str)}
    np.savez(f"{root}/restored.npz", **{name: np.frombuffer(array.tobytes(), "u1") for name, array in arrays.items()})
    with ocp.CheckpointManager(f"{root}/manager") as manager:
        for step in (9, 10):
            manager.save(step, args=ocp.args.StandardSave({"w": jnp.full((2, 3), step)}))
    with ocp.CheckpointManager(f"{root}/items") as manager:
        net, other = (ocp.args.StandardSave({"w": jnp.full(2, number)}) for number in (1.0, 2.0))
        manager.save(3, args=ocp.args.Composite(net=net, other=other, about=ocp.args.JsonSave({"a": 1})))
    with ocp.StandardCheckpointer() as writer:
        writer.save(f"{root}/nnx", nnx.state(nnx.Linear(2, 3, rngs=nnx.Rngs(0))))
    shutil.copytree(f"{root}/plain/step", f"{root}/begun/7.orbax-checkpoint-tmp/step")
