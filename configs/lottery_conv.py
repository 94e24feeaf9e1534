"""Lottery tickets of Conv2, Conv4 and Conv6 on CIFAR-10. The variant names the network.

  python experiments/lottery.py --config=configs/lottery_conv.py:conv2 \
      --criteria=large_final,random --mask1=rewind,reinit --mask0=zero,variant_1
  python experiments/lottery.py --config=configs/lottery_conv.py:conv2 \
      --criteria=large_final_same_sign --mask1=rewind,signed_constant --untrained

Sources: Frankle and Carbin, 2019, arXiv:1803.03635, fig. 2: Adam at 2e-4 (Conv2) or 3e-4, batches
of 60, 20,000, 25,000 and 30,000 steps; each level prunes 10 % (Conv6: 15 %) of a convolution, 20 %
of a dense layer, 10 % of the output layer. Zhou et al., 2019, arXiv:1905.01067, take the same
networks; untrained masks reach 41 % on CIFAR-10 by their abstract.

This config differs from the papers: it standardises images one by one, the networks have no biases
(--config.model.bias=true) and weights are normal; truncated normal:
--config.weight_init.distribution=truncated_normal. The former also train with dropout, at a lower
rate: --config.model.dropout=0.5.
"""

from ml_collections import ConfigDict

from supermask_jax.config import default_config, dense, lottery, use_variant, weight_init


def get_config(network: str = "conv2") -> ConfigDict:
    config = default_config()
    config.name = "lottery"
    config.data.name = "cifar10"
    config.model.activation = "relu"
    config.batch_size = 60
    config.weight_init = weight_init("normal", "xavier")
    config.method = dense()
    config.schedule = ConfigDict({"name": "constant"})

    def settings(name: str, rate: float, epochs: int, keep: float) -> dict[str, object]:
        adam = {"name": "adam", "learning_rate": rate, "eps_before_correction": False}
        keep_layers = {"conv*": keep, "dense3": 0.9}
        return {
            "model": {**config.model.to_dict(), "name": name},
            "epochs": epochs,  # of 45,000 images: 750 steps each
            "optimizer": ConfigDict(adam),
            "lottery": lottery(levels=20, keep_layers=keep_layers),
        }

    return use_variant(
        config,
        network,
        {
            "conv2": settings("conv2", 2e-4, 27, 0.9),
            "conv4": settings("conv4", 3e-4, 33, 0.9),
            "conv6": settings("conv6", 3e-4, 40, 0.85),
        },
    )
