"""Tests that need more than the extra `test` are collected only where it is installed: an environment of their own."""

from __future__ import annotations

from importlib.util import find_spec

NEEDS = {
    "test_benchmark.py": ("lancedb",),
    "test_index.py": ("lancedb",),
    "test_notebooks.py": ("lancedb", "nbclient", "nbformat"),
    "test_object_store.py": ("lancedb", "moto"),
    "test_presence.py": ("lancedb",),
    "test_page.py": ("lancedb", "gradio", "playwright"),
}
collect_ignore = [file for file, packages in NEEDS.items() if not all(map(find_spec, packages))]
