"""Package metadata. Tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
# Read and not imported: what the package needs is not installed yet.
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "supermask_jax/__init__.py").read_text())[1]

# Where it lives. The badges of the README and the notebook name the same place: a test compares.
URL = "https://github.com/OWNER/supermask_jax"

# What one command needs and training does not; the tests need them all.
EXTRAS = {
    "report": [  # supermask report, front and the figures of tasks
        "altair>=6,<7",  # of the major version of Vega-Lite that vl-convert draws
        "jinja2>=3",
        "vl-convert-python>=1.9",
    ],
    "stablehlo": ["flatbuffers>=23"],  # jax.export's
    "completion": ["shtab>=1.13"],
}

setup(
    name="supermask-jax",
    url=URL,
    version=VERSION,
    description="Supermasks in JAX: networks that learn by keeping, hiding or inverting random "
    "weights that never change.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["supermask_jax", "supermask_jax.*"]),
        "supermask_jax.configs",
        "supermask_jax.shipped",
    ],
    # Configs and tickets stand at the top of the repository, and in the package once installed.
    package_dir={"supermask_jax.configs": "configs", "supermask_jax.shipped": "tickets"},
    package_data={
        "supermask_jax": ["py.typed"],
        "supermask_jax.shipped": ["*.safetensors"],
        "supermask_jax.analysis.report": ["report.html"],
    },
    entry_points={"console_scripts": ["supermask = supermask_jax.cli:script"]},
    # What training needs, from any source of data, and tickets.
    install_requires=[
        "absl-py>=2.0",
        "array_record>=0.5",  # with tensorflow-datasets: reads what TFDS prepared
        "flax>=0.10",
        "jax>=0.10",
        "jaxlib>=0.10",
        "ml-collections>=1.0",
        "ml_dtypes>=0.4",  # bfloat16 in tickets, which NumPy lacks; JAX brings it
        "numpy>=2.0",
        "optax>=0.2.4",
        # 1.0 replaces the API used here.
        "orbax-checkpoint>=0.11,<1",
        "pillow>=10",  # reads images of one's own, and writes pictures
        "rich>=13",  # the live view and the spinner
        "safetensors>=0.4",  # the container of tickets
        "scikit-learn>=1.5",  # for its digits, the data of the quick start
        "scipy>=1.13",  # intervals, and sparse inference without JAX
        "tensorflow-datasets>=4.9.7",
    ],
    extras_require={
        **EXTRAS,
        "test": [
            *(need for name in EXTRAS for need in EXTRAS[name]),
            "dm-haiku>=0.0.13",
            "equinox>=0.11.10",
            "hypothesis>=6.100",
            "matplotlib>=3.8",
            "mypy>=1.13",
            "pytest>=8",
            "pytest-randomly>=3.15",
            "pytest-xdist>=3.6",
            "ruff>=0.8",
            "setuptools>=68",  # builds the package, whose files are looked at
            "tensorboardX>=2.6",
            "threadpoolctl>=3",  # of examples/time_tickets.py
        ],
        "docs": [
            "ipykernel>=6",  # this and nbclient for the notebook's test
            "latex2mathml>=3.77",
            "mkdocs>=1.6,<2",
            "mkdocs-material>=9.5",
            "mkdocstrings[python]>=0.27",
            "nbclient>=0.10",
        ],
        "hf": ["datasets>=2.19"],
        "hub": ["huggingface_hub>=0.25"],
        "fuzz": ["atheris>=2.3"],
        # jax2onnx 0.17 fails with JAX 0.12.
        "mlflow": ["mlflow>=2.10"],
        "onnx": ["jax<0.12", "jax2onnx>=0.17,<0.18", "onnxruntime>=1.20"],
        "optuna": ["optuna>=3.5"],
        "peer": ["torch>=2.5"],
        "tensorboard": ["tensorboardX>=2.6"],
        # importlib_resources: TFDS needs it to prepare, and does not install it.
        "wandb": ["wandb>=0.17"],
        "tfds": ["tensorflow>=2.18", "importlib_resources>=6"],
    },
    classifiers=[
        "Intended Audience :: Science/Research",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
)
