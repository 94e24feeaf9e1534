"""Lottery tickets of the FCN (784-300-100-10, 266,200 weights) on MNIST.

  python experiments/lottery.py --config=configs/lottery_fcn.py \
      --criteria=large_final,magnitude_increase,random --mask1=rewind --mask0=zero,variant_1
  python experiments/lottery.py --config=configs/lottery_fcn.py \
      --criteria=large_final_same_sign --mask1=rewind,signed_constant --untrained

For a short try of three levels add --config.epochs=3 --config.lottery.levels=3.

Sources: Zhou et al., 2019, arXiv:1905.01067, fig. 2-5; Frankle and Carbin, 2019, arXiv:1803.03635,
fig. 3-4. Expected: large_final with rewinding stays at or above the dense accuracy (about 98 %)
down to a few per cent of the weights, random does not; untrained masks of large_final_same_sign
reach about 80 %, with signed constants about 86 %.

This config differs from the papers: it standardises images one by one (they divide by 255, or by
the L2 norm), and the network has no biases (--config.model.bias=true). Truncated normal weights, as
theirs: --config.weight_init.distribution=truncated_normal.

Variants (`--config=configs/lottery_fcn.py:frankle`):
  zhou     Adam, batches of 60, 55 epochs, 5,000 images for validation, 24 levels. The default.
           Their Adam is TensorFlow's: --config.optimizer.eps_before_correction=true.
  frankle  SGD at 0.1, batches of 64, 50,000 steps, 30 levels. Their code prunes one weight more a
           layer and level: --config.lottery.counting=frankle.
  global   As zhou, but all layers are ranked together, as in open_lth.
"""

from ml_collections import ConfigDict

from supermask_jax.config import default_config, dense, lottery, use_variant, weight_init


def get_config(variant: str = "zhou") -> ConfigDict:
    config = default_config()
    config.name = "lottery_fcn"
    config.validation_fraction = 1 / 12
    config.model.activation = "relu"
    config.weight_init = weight_init("normal", "xavier")
    config.method = dense()
    config.schedule = ConfigDict({"name": "constant"})
    adam = ConfigDict({"name": "adam", "learning_rate": 1.2e-3, "eps_before_correction": False})
    # The papers prune the output layer half as fast.
    last_layer = {"dense3": 0.9}
    return use_variant(
        config,
        variant,
        {
            "zhou": {
                "epochs": 55,
                "batch_size": 60,
                "optimizer": adam,
                "lottery": lottery(levels=24, keep_layers=last_layer),
            },
            "frankle": {
                "epochs": 58,  # 50,000 steps
                "batch_size": 64,
                "optimizer": ConfigDict({"name": "sgd", "learning_rate": 0.1, "momentum": 0.0}),
                "lottery": lottery(levels=30, keep_layers=last_layer),
            },
            "global": {
                "epochs": 55,
                "batch_size": 60,
                "optimizer": adam,
                "lottery": lottery(levels=24, scope="global"),
            },
        },
    )
