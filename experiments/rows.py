"""The rows of the results table, most valuable first."""

from supermask_jax.reproduce import Row

PAPER_PROTOCOL = ("--config.protocol=paper",)


def koster(name: str, accuracy: str, remaining: str, dense: str) -> list[Row]:
    """The signed supermask's rows of one network: Koster et al., 2022, table 1."""
    config = f"configs/{name}.py"
    masked = {"accuracy": accuracy, "remaining": remaining}
    return [
        Row(f"{name}-baseline", f"{config}:baseline", PAPER_PROTOCOL, {"accuracy": dense},
            "dense baseline"),
        Row(f"{name}-published", f"{config}:published", PAPER_PROTOCOL, masked,
            "signed supermask, the rule that reproduces the paper"),
        Row(f"{name}-released", f"{config}:released", PAPER_PROTOCOL, masked,
            "signed supermask, the rule of the released code"),
    ]  # fmt: skip


def on_mnist(method: str, epochs: int, about: str, paper: str = "", **options: object) -> Row:
    """A method on FCN and MNIST; `options` are entries of the method's config."""
    name = "-".join(["mnist", method, *map(str, options.values())])
    flags = [f"--config.method.{key}={value}" for key, value in options.items()]
    return Row(
        name,
        f"configs/{method}.py:fcn",
        (*PAPER_PROTOCOL, f"--config.epochs={epochs}", *flags),
        {"accuracy": paper} if paper else {},
        about,
    )


METHODS_ON_MNIST = [
    on_mnist("dense", 30, "dense baseline of the ReLU network"),
    on_mnist("bernoulli", 100, "learned supermask, rescaled, signed constants", "98.0"),
    *(on_mnist("edge_popup", 30, "edge-popup at a density", density=d) for d in (0.1, 0.3, 0.5)),
    on_mnist("biprop", 30, "biprop at a density", density=0.1),
    *(on_mnist("signed_topk", 30, "signed top-k at a density", density=d)
      for d in (0.01, 0.02, 0.05)),
    on_mnist("multicoat", 30, "multicoated supermask, coats of 0.5, 0.25, 0.1"),
]  # fmt: skip

ROWS = [
    *koster("fcn", "97.48 [97.3, 97.7]", "3.77 [3.7, 3.8]", "97.42"),
    *METHODS_ON_MNIST,
    *koster("conv2", "68.37 [67.7, 69.0]", "0.60 [0.58, 0.62]", "68.79 [68.4, 69.2]"),
    *koster("conv4", "77.40 [76.7, 78.3]", "2.91 [2.9, 3.0]", "74.50"),
    *koster("conv6", "79.17 [78.1, 80.5]", "2.36 [1.9, 2.6]", "75.91 [75.4, 76.4]"),
    *koster("conv8", "80.91 [79.9, 81.7]", "1.17 [1.1, 1.2]", "72.24 [71.4, 73.0]"),
]
