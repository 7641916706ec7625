"""EagleNet and its siblings for text-video retrieval, in JAX and Flax."""

__version__ = "0.1.0"
