"""Names of the classes of the data sets that have others than numbers."""

from __future__ import annotations

_NAMES = {
    "cifar10": "airplane automobile bird cat deer dog frog horse ship truck",
    "fashion_mnist": "top trouser pullover dress coat sandal shirt sneaker bag boot",
}


def class_names(dataset: str, count: int) -> list[str]:
    """Returns a name for each class, their numbers where the data set names none."""
    names = _NAMES.get(dataset, "").split()
    return names if len(names) == count else [str(i) for i in range(count)]
