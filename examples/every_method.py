"""Every method by name, on one small network: `python every_method.py`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from training import Found, train

import supermask_jax as sm


def made() -> dict[str, sm.Method]:
    """Returns the methods as their pages make them."""
    methods = {}
    # --8<-- [start:signed]
    method = sm.signed(threshold=sm.absolute(0.01))  # the density emerges
    method = sm.signed(density=0.2)  # set, and reached at half time
    # --8<-- [end:signed]
    methods["signed"] = method
    # --8<-- [start:signed_topk]
    method = sm.signed_topk(density=0.02)  # of all weights: layers compete
    method = sm.signed_topk(density=0.3, scope="layer", anneal=0.0)  # of each layer
    # --8<-- [end:signed_topk]
    methods["signed_topk"] = method
    # --8<-- [start:bernoulli]
    method = sm.bernoulli(rescale=True)  # dynamic weight rescaling
    # --8<-- [end:bernoulli]
    methods["bernoulli"] = method
    # --8<-- [start:edge_popup]
    method = sm.edge_popup(density=0.3)
    # --8<-- [end:edge_popup]
    methods["edge_popup"] = method
    # --8<-- [start:biprop]
    method = sm.biprop(density=0.3)
    # --8<-- [end:biprop]
    methods["biprop"] = method
    # --8<-- [start:multicoat]
    method = sm.multicoat(densities=(0.5, 0.25, 0.1))
    # --8<-- [end:multicoat]
    methods["multicoat"] = method
    # --8<-- [start:continuous_sparsification]
    method = sm.continuous_sparsification(penalty=8.0)  # the density emerges
    method = sm.continuous_sparsification(penalty=0.0, density=0.1)  # set, with no penalty
    # --8<-- [end:continuous_sparsification]
    methods["continuous_sparsification"] = method
    # --8<-- [start:hard_concrete]
    method = sm.hard_concrete(penalty=3.0)
    # --8<-- [end:hard_concrete]
    methods["hard_concrete"] = method
    # --8<-- [start:gaussian_gates]
    method = sm.gaussian_gates(penalty=1.0)
    # --8<-- [end:gaussian_gates]
    methods["gaussian_gates"] = method
    # --8<-- [start:signed_gates]
    method = sm.signed_gates(penalty=2.0)  # the density emerges
    method = sm.signed_gates(density=0.1)  # set, and reached at half time
    # --8<-- [end:signed_gates]
    methods["signed_gates"] = method
    # --8<-- [start:signed_continuous]
    method = sm.signed_continuous(penalty=16.0)  # the density emerges
    method = sm.signed_continuous(penalty=0.0, density=0.1)  # set, with no penalty
    # --8<-- [end:signed_continuous]
    methods["signed_continuous"] = method
    # --8<-- [start:piggyback]
    method = sm.piggyback()  # over the weights of a trained network: the mask starts full
    # --8<-- [end:piggyback]
    methods["piggyback"] = method
    # --8<-- [start:probmask]
    method = sm.probmask(density=0.2)  # bounds the mean probability
    # --8<-- [end:probmask]
    methods["probmask"] = method
    # --8<-- [start:gem_miner]
    method = sm.gem_miner(density=0.1)
    # --8<-- [end:gem_miner]
    methods["gem_miner"] = method
    # --8<-- [start:dense]
    method = sm.dense()
    # --8<-- [end:dense]
    methods["dense"] = method
    return methods


# --8<-- [start:restricted]
def restricted() -> list[sm.Method]:
    """Edge-popup on a sparse source, and on a partially frozen one."""
    # 30 % of all weights are there, spread over layers by ERK; 10 % of each layer are kept.
    sparse = sm.restricted(sm.edge_popup(density=0.1), rule="erk", density=0.3)
    # A quarter of each layer pruned at random, a quarter locked: half of it is searched.
    frozen = sm.restricted(sm.edge_popup(density=0.25), density=0.75, lock=0.25)
    return [sparse, frozen]


# --8<-- [end:restricted]
# --8<-- [start:lottery]
def first_ticket(start: dict, trained: dict) -> sm.Method:
    """Keeps the 80 % of each layer with the largest trained weights, rewound to their start.

    Both are {path: array} of the prunable weights: before training, and after.
    """
    recipe = sm.Recipe(criterion="large_final", mask1="rewind", mask0="zero", keep=0.8)
    level = sm.next_level(recipe, start, sm.unpruned(start), trained, level=1, seed=0)
    return sm.lottery_ticket(level.masks, level.values)


# --8<-- [end:lottery]
def network() -> tuple[nn.Module, dict]:
    """Returns a small network, and its parameters."""
    model = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(64), nn.relu, nn.Dense(10)])
    return model, jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 8, 8, 1)))["params"]


def main(name: str, steps: int = 200) -> Found:
    model, params = network()
    # The originals train learned masks at rates of 100 and more: Adam needs less.
    rate = {"bernoulli": 0.3, "dense": 3e-3}.get(name, 1e-2)
    return train(
        apply_fn=lambda params, images: model.apply({"params": params}, images),
        params=params,
        method=made()[name],
        tx=optax.adam(rate),
        steps=steps,
    )


if __name__ == "__main__":
    for name in made():
        print(f"-- {name}")
        main(name)
