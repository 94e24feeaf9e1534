"""A method of one's own, a sign for every weight and nothing hidden: `python own_method.py`."""

import tempfile
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from training import Found, train

import supermask_jax as sm
from supermask_jax.core import initializers

ROOT = Path(__file__).resolve().parent.parent

# --8<-- [start:method]
# Forward: -w where s < 0, else w, exactly. Backward: dL/ds = dL/dw_eff * w, for every entry.
flipped = sm.straight_through(lambda w, s: jnp.where(s < 0, -w, w), lambda s: s)


def flip(*, gain: float = 1.0, label_fn=sm.mask_kernels) -> sm.Method:
    """Keeps every weight and learns which ones to invert."""
    return sm.supermask(
        weights_fn=lambda weights, scores, context: flipped(weights, scores),
        mask_fn=lambda scores, context: jnp.where(scores < 0, -1, 1).astype(jnp.int8),
        score_init=initializers.uniform("xavier", gain),
        label_fn=label_fn,
    )


# --8<-- [end:method]
def main(steps: int = 200) -> Found:
    # --8<-- [start:own-loop]
    model = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(128), nn.relu, nn.Dense(10)])
    params = model.init(jax.random.key(0), jnp.ones((1, 8, 8, 1)))["params"]
    return train(
        apply_fn=lambda params, images: model.apply({"params": params}, images),
        params=params,
        method=flip(),
        tx=optax.adam(1e-2),
        steps=steps,
    )
    # --8<-- [end:own-loop]


def from_config(workdir: str, epochs: int = 20) -> dict:
    # --8<-- [start:config]
    sm.METHODS["flip"] = flip
    config = sm.load_config(str(ROOT / "configs" / "quickstart.py"))
    config.method = {"name": "flip", "gain": 0.5}
    config.epochs = epochs
    summary = sm.run(config, workdir)  # with checkpoints, metrics and a ticket, as any method
    # --8<-- [end:config]
    return summary


if __name__ == "__main__":
    main()
    with tempfile.TemporaryDirectory() as folder:
        print(f"test accuracy {from_config(folder)['test_accuracy']:.1%}")
