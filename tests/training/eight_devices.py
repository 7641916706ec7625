"""Tests that need eight devices are skipped on fewer; test_on_eight_devices.py runs them where there are eight."""

from __future__ import annotations

import jax
import pytest

needs_eight_devices = pytest.mark.skipif(jax.device_count() < 8, reason="run by test_on_eight_devices.py")
