"""Multicoated supermasks (Okoshi et al., 2022). The variant names the network.

  python experiments/main.py --config=configs/multicoat.py:fcn

Source: the released code: nested top-k masks, added, and the gradient once for each; scores
N(0, 2 / fan_out), signed constants sqrt(2 / (fan_in density)) by the density of the widest coat,
the coats of its configuration of a ResNet50 ("linear", 0.7 pruned); else the training recipe of
edge-popup, as there. With other coats, set the constants to match:
`--config.weight_init.gain=G`, G = 1 / sqrt(densities[0]).

For edge-popup's gradient, scores and constants: `--config.method.per_coat=false`,
`--config.method.score_init.distribution=uniform --config.method.score_init.scale=he`,
`--config.method.score_init.gain=0.408248290463863`, `--config.weight_init.gain=1.0`.
"""

from ml_collections import ConfigDict

from supermask_jax.config import relu_network, score_init, weight_init

DENSITIES = (0.3, 0.0788, 0.0315)


def get_config(network: str = "fcn") -> ConfigDict:
    config = relu_network("multicoat", network)
    config.weight_init = weight_init("signed_constant", "he", DENSITIES[0] ** -0.5)
    config.method = {
        "name": "multicoat",
        "densities": DENSITIES,
        "counting": "nearest",
        "per_coat": True,
        "score_init": score_init("normal", "he_fan_out"),
    }
    return config
