"""Packaging of eaglenet_jax. Tools (ruff, mypy, pytest) are configured in pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
# Read, not imported: the dependencies are not there while the package is being built.
VERSION = re.search(r'^__version__ = "([^"]+)"', (ROOT / "eaglenet_jax/__init__.py").read_text(), re.MULTILINE)[1]

setup(
    name="eaglenet_jax",
    version=VERSION,
    description="EagleNet and its siblings for text-video retrieval, in JAX and Flax",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(
        include=["eaglenet_jax", "eaglenet_jax.*", "configs", "configs.*", "data_prep", "data_prep.*"]
    ),
    package_data={
        "": ["py.typed", "*.html", "*.css", "*.js", "*.svg"],
        "eaglenet_jax": ["shipped/*/*"],
    },
    install_requires=[
        "absl-py>=2.1,<3",
        "array_record>=0.8.1,<0.9",
        "av>=18,<19",
        "filelock>=3.20,<5",
        "flatbuffers>=24.3,<27",  # jax.export writes its functions with it
        "flax>=0.12,<0.13",
        "ftfy>=6.2,<7",
        "grain>=0.2.15,<0.3",
        "huggingface-hub>=1.0,<3",
        "importlib_resources>=6.4,<8",  # tensorflow-datasets imports it without asking for it
        "instant-clip-tokenizer>=0.1.1,<0.2",
        "jax>=0.10,<0.13",
        "jaxtyping>=0.3,<0.4",
        "jinja2>=3.1,<4",
        "markupsafe>=3,<4",
        "ml_collections>=1.0,<2",
        "ml_dtypes>=0.5,<1",  # bfloat16 in NumPy
        "numpy>=2.0,<3",
        "optax>=0.2.5,<0.3",
        "orbax-checkpoint>=0.12,<1",
        "pillow>=11,<14",
        "pyarrow>=18,<27",  # tables: Parquet and CSV
        "rich>=13.9,<16",
        "safetensors>=0.5,<1",
        "scipy>=1.14,<2",
        "simplejpeg>=1.9,<2",
        "tensorboardX>=2.6.2,<3",
        "tensorflow-datasets>=4.9.8,<5",
        "transformers>=5.0,<6",
    ],
    extras_require={
        "cuda12": ["jax[cuda12]>=0.10,<0.13"],
        "test": [
            "beartype>=0.20,<1",
            "hypothesis>=6.100,<7",
            "mypy>=2.0,<3",
            "pytest>=9,<10",
            "pytest-xdist>=3.6,<4",
            "ruff==0.17.*",
            "starlette>=1,<2",  # every module is imported, those of the search page too
        ],
        "benchmark": ["opencv-python-headless>=4.10,<6"],
        "parity": ["torch>=2.13,<3"],
        "browser": ["axe-playwright-python>=0.1.4,<0.2", "playwright>=1.50,<2"],
        "docs": [
            "latex2mathml>=3.81,<4",
            "mkdocs>=1.6,<2",
            "mkdocs-material>=9.7,<10",
            "mkdocstrings>=1.0,<2",
            "mkdocstrings-python>=2.0,<3",
            "pymdown-extensions>=10.16,<14",
            "ruff==0.17.*",  # formats the signatures of the API reference
        ],
        "notebook": ["ipykernel>=6.29,<8"],
        "search": ["lancedb>=0.30,<1"],
        # What the tests of search and of the notebooks need besides `search`, `app`, `mcp`, `notebook` and `browser`.
        "search_test": [
            "httpx2>=2,<3",
            "moto[server]>=5,<6",
            "nbclient>=0.10,<1",
            "nbformat>=5.10,<6",
            "schemathesis>=4.32,<5",
        ],
        "app": ["python-multipart>=0.0.20,<0.1", "starlette>=1,<2", "uvicorn>=0.34,<1"],
        "mcp": ["mcp>=2.3,<3"],
        "syntax": ["spacy>=3.8,<4"],
        "beam": ["apache-beam>=2.65,<3"],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
