"""Large pages for the memory that XLA takes from the C library, on a CPU anew for every step."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

VARIABLE = "GLIBC_TUNABLES"
TUNABLE = "glibc.malloc.hugetlb"
KERNEL_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
OLDEST_GLIBC = (2, 35)  # that knows the tunable


def restart_with_large_pages() -> None:
    """Start this command again, in the same process, with large pages for what the C library hands out.

    A step's temporaries, 0.8 GB in the demo, are unmapped after it and mapped for the next one, and the kernel fills in
    4 KiB at a time: a quarter of the processor time of the demo's steps. It fills in 2 MiB at a time where it is asked
    to, and glibc asks where its tunable says so, which it reads when a program starts.

    Nothing happens where that is of no use or was decided: another C library, a kernel that gives large pages always or
    never, the tunable set by the user, a program that is not `python -m eaglenet_jax.…`, a debugger.
    """
    given = os.environ.get(VARIABLE, "")
    if TUNABLE in given or sys.gettrace() or not (_is_our_command(sys.orig_argv) and _are_on_request()):
        return
    tunables = f"{given}:{TUNABLE}=1".lstrip(":")
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {VARIABLE: tunables})


def _is_our_command(words: list[str]) -> bool:
    """Whether Python was started as `python -m eaglenet_jax.…`, so that the same words start the same command."""
    modules = words[words.index("-m") + 1 :] if "-m" in words else []
    return bool(modules) and modules[0].startswith("eaglenet_jax.")


def _are_on_request() -> bool:
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < OLDEST_GLIBC:
        return False
    try:
        return "[madvise]" in KERNEL_MODE.read_text()
    except OSError:
        return False
