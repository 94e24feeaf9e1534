"""Parameter trees: names of leaves, and splitting a tree into parts of the same structure.

A part holds `None` where a leaf belongs to another part. `jax.tree` skips `None`, so optimisers,
Orbax and `jax.grad` see only the leaves that are there.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from supermask_jax.errors import unknown_name

PyTree = Any
Label = Literal["mask", "train", "freeze"]
LabelFn = Callable[[str, jax.Array], Label]

LABELS: tuple[Label, ...] = ("mask", "train", "freeze")


def path_name(path: tuple[Any, ...]) -> str:
    """Returns the slash-separated name of a tree path, e.g. ``conv1/kernel``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def named_leaves(tree: PyTree) -> dict[str, Any]:
    """Returns {name: leaf} in tree order; `None` leaves are left out.

    >>> named_leaves({"dense": {"kernel": 1, "bias": None}})
    {'dense/kernel': 1}
    """
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def array_name(name: str) -> str:
    """Returns a leaf's name without the ``value`` that an `nnx.Param` puts behind its own.

    >>> array_name("dense/kernel/value")
    'dense/kernel'
    """
    return name.removesuffix("/value")


def mask_named(*names: str) -> LabelFn:
    """Builds a label rule: leaves of these names are masked, all others are trained.

    A leaf's name is the last part of its path: ``kernel`` in Flax, ``weight`` in Equinox, ``w`` in
    Haiku. An `nnx.Param` puts ``value`` behind its own name; that part does not count.

    >>> label = mask_named("weight")
    >>> label("dense/weight", None), label("dense/bias", None)
    ('mask', 'train')
    """

    def label(name: str, leaf: jax.Array) -> Label:
        del leaf
        return "mask" if array_name(name).rsplit("/", 1)[-1] in names else "train"

    return label


def mask_kernels(name: str, leaf: jax.Array) -> Label:
    """The default label rule: every leaf called ``kernel`` is masked, every other one trained.

    >>> mask_kernels("dense1/kernel", None), mask_kernels("dense1/bias", None)
    ('mask', 'train')
    """
    return mask_named("kernel")(name, leaf)


_WORDS: dict[str, Label] = {"masked": "mask", "trained": "train", "frozen": "freeze"}


def label_patterns(patterns: Mapping[str, str]) -> LabelFn:
    """Builds a label rule from globs: ``{"dense3/*": "trained", "*/bias": "frozen"}``.

    Of the globs that match the name of a leaf the longest decides; where none does, the rule is
    `mask_kernels`.

    Raises:
      UserError: a word is none of masked, trained and frozen.

    >>> label = label_patterns({"dense3/*": "trained", "*/bias": "frozen"})
    >>> [label(name, None) for name in ("dense1/kernel", "dense1/bias", "dense3/kernel")]
    ['mask', 'freeze', 'train']
    """
    for word in patterns.values():
        if word not in _WORDS:
            raise unknown_name("word for layers", word, _WORDS)
    found = sorted(patterns, key=lambda pattern: (len(pattern), pattern), reverse=True)

    def label(name: str, leaf: jax.Array) -> Label:
        for pattern in found:
            if fnmatch.fnmatchcase(name, pattern):
                return _WORDS[patterns[pattern]]
        return mask_kernels(name, leaf)

    return label


def partition(params: PyTree, label_fn: LabelFn) -> dict[Label, PyTree]:
    """Splits a parameter tree by label.

    Args:
      params: tree of arrays.
      label_fn: (name, leaf) -> "mask", "train" or "freeze".

    Returns:
      {label: tree of the structure of `params` with `None` where a leaf has another label}.

    Raises:
      ValueError: no leaf is labelled "mask", or a label is none of the three.

    >>> parts = partition({"kernel": np.ones(2), "bias": np.zeros(1)}, mask_kernels)
    >>> parts["mask"], parts["train"]
    ({'bias': None, 'kernel': array([1., 1.])}, {'bias': array([0.]), 'kernel': None})
    """
    labels: PyTree = jax.tree.map_with_path(lambda p, leaf: label_fn(path_name(p), leaf), params)
    found: set[Label] = set(jax.tree.leaves(labels))
    if not found <= set(LABELS):
        raise ValueError(f"labels must be among {LABELS}, got {sorted(found - set(LABELS))}")
    if "mask" not in found:
        names = ", ".join(named_leaves(params)) or "no leaf at all"
        raise ValueError(f"the label rule masks no leaf of: {names}")

    def part(label: Label) -> PyTree:
        return jax.tree.map(lambda own, leaf: leaf if own == label else None, labels, params)

    return {label: part(label) for label in LABELS}


def merge(*parts: PyTree) -> PyTree:
    """Puts parts of one structure back together.

    What no part fills stays `None`: `equinox.partition` and others leave `None` in their trees.

    Raises:
      ValueError: a leaf is filled in two parts.

    >>> merge({"a": 1, "b": None}, {"a": None, "b": 2})
    {'a': 1, 'b': 2}
    """

    def pick(path: tuple[Any, ...], *leaves: Any) -> Any:
        filled = [leaf for leaf in leaves if leaf is not None]
        if len(filled) > 1:
            raise ValueError(f"leaf {path_name(path)!r} is filled in {len(filled)} parts, not in 1")
        return filled[0] if filled else None

    return jax.tree.map_with_path(pick, *parts, is_leaf=lambda leaf: leaf is None)


def split_key_like(key: jax.Array, tree: PyTree) -> PyTree:
    """Returns a tree of independent keys, one for each leaf of `tree`.

    >>> keys = split_key_like(jax.random.key(0), {"a": 1, "b": 2})
    >>> bool(keys["a"] == keys["b"])
    False
    """
    leaves, treedef = jax.tree.flatten(tree)
    if not leaves:
        return tree
    return jax.tree.unflatten(treedef, jax.random.split(key, len(leaves)))


def num_params(tree: PyTree) -> int:
    """Returns the number of array elements in a tree (arrays or shape structs).

    >>> num_params({"kernel": np.ones((3, 4)), "bias": np.ones(4)})
    16
    """
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def tree_mean(tree: PyTree) -> jax.Array:
    """Returns the mean over all entries of a tree of arrays, at least one: float32 [].

    >>> float(tree_mean({"a": jnp.array([1.0, 2.0]), "b": jnp.array([6.0])}))
    3.0
    """
    sums = [jnp.sum(leaf, dtype=jnp.float32) for leaf in jax.tree.leaves(tree)]
    return sum(sums, jnp.float32(0)) / num_params(tree)


def digest(tree: PyTree) -> str:
    """Returns the SHA-256 of a tree's names, dtypes, shapes and values, as hexadecimal digits.

    Typed PRNG keys count by their key data. Two trees have one digest only if they are equal bit
    for bit.

    >>> digest({"a": np.zeros(2)}) == digest({"a": np.zeros(2)}) != digest({"b": np.zeros(2)})
    True
    """
    sha = hashlib.sha256()
    for name, leaf in named_leaves(tree).items():
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.ascontiguousarray(jax.device_get(leaf))
        sha.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        sha.update(array.reshape(-1).view(np.uint8).data)
    return sha.hexdigest()
