"""Tasks made of one data set: pixels in another order, or some of its classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from supermask_jax.data.specs import Dataset, Split, content_digest
from supermask_jax.errors import UserError


def permuted(dataset: Dataset, seed: int) -> Dataset:
    """Returns a data set whose pixels are in another order, the same in all images.

    Args:
      dataset: it.
      seed: of the order; 0 leaves the pixels where they are.
    """
    height, width, channels = dataset.train.images.shape[1:]
    order = np.arange(height * width)
    if seed:
        order = np.random.default_rng(seed).permutation(order)

    def reorder(split: Split) -> Split:
        flat = split.images.reshape(-1, height * width, channels)
        return split._replace(images=flat[:, order].reshape(split.images.shape))

    return _renamed(dataset, f"permuted:{dataset.name}:{seed}", reorder, dataset.num_classes)


def split(dataset: Dataset, classes: Sequence[int]) -> Dataset:
    """Returns the examples of some classes, whose labels are their places in `classes`.

    Raises:
      UserError: a class is there twice, or is none of the data set's.
    """
    chosen = list(classes)
    if not chosen or len(set(chosen)) < len(chosen):
        raise UserError(f"a split needs classes, each once, got {chosen}")
    if wrong := [label for label in chosen if not 0 <= label < dataset.num_classes]:
        raise UserError(
            f"{dataset.name} has classes 0 to {dataset.num_classes - 1}, not {wrong[0]}"
        )
    places = np.full(dataset.num_classes, -1, np.int32)
    places[chosen] = np.arange(len(chosen))

    def some(part: Split) -> Split:
        labels = places[part.labels]
        return Split(part.images[labels >= 0], labels[labels >= 0])

    name = f"split:{dataset.name}:{','.join(map(str, chosen))}"
    return _renamed(dataset, name, some, len(chosen))


def permuted_by(dataset: Dataset, seeds: Sequence[int]) -> Dataset:
    """Returns `permuted` of the one seed in a list, as names of data sets have it.

    Raises:
      UserError: there are more.
    """
    if len(seeds) != 1:
        raise UserError(f"permuted takes one seed, got {list(seeds)}")
    return permuted(dataset, seeds[0])


def numbers(text: str) -> list[int]:
    """Returns the whole numbers of a text such as ``0,1,5-8``.

    Raises:
      UserError: it is none.
    """
    found: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    except ValueError as error:
        raise UserError(
            f"whole numbers with commas, or ranges such as 0-4, got {text!r}"
        ) from error
    return found


def _renamed(
    dataset: Dataset, name: str, change: Callable[[Split], Split], num_classes: int
) -> Dataset:
    train, test = change(dataset.train), change(dataset.test)
    digest = content_digest(name, train, test)
    return dataset._replace(
        name=name, train=train, test=test, num_classes=num_classes, digest=digest
    )
