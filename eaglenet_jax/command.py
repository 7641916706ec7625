"""Frame of every entry point: errors for the user become one line and exit code 1."""

from __future__ import annotations

import argparse
import gc
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn

from eaglenet_jax.compilation_cache import keep_compiled_programs
from eaglenet_jax.errors import Stopped, UserError, did_you_mean, first_line, nearest
from eaglenet_jax.large_pages import restart_with_large_pages

GARBAGE_THRESHOLD = 50_000  # objects made and not freed before Python looks for garbage; its own is 700 to 2,000
INTERRUPTED = 128 + signal.SIGINT
CONFIG_FIELD = "--config."  # what a field of the config begins with; its name is left as it is
IMPORT_MACHINERY = "<frozen importlib._bootstrap>"  # the file that frames of an import name


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are a `UserError`: one line, with the nearest flag where one was misspelt.

    Flags are declared with dashes and accepted with underscores as well; none can be abbreviated.

    example: Flags that work together, for the complaint about one that is missing.
    """

    def __init__(self, *args: Any, example: str = "", **settings: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **settings})
        self._example = example
        self._given: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        """Raises instead of printing the usage."""
        shown = f", for example {self._example}" if self._example and "required" in message else ""
        hint = self._choice_hint(message) or self._hint(self._given)
        raise UserError(f"{message}{shown}{hint}; --help lists the arguments")

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As argparse, but a flag that is neither known nor a field of the config is an error."""
        self._given = sys.argv[1:] if args is None else list(args)
        found, rest = super().parse_known_args([_with_dashes(word) for word in self._given], namespace)
        for word in rest:
            if not word.startswith(CONFIG_FIELD):
                given = next((one for one in self._given if _with_dashes(one) == word), word)
                raise UserError(f"unknown argument {given!r}{self._hint([given])}; --help lists the arguments")
        return found, rest

    def parse_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As argparse; a field of a config is an error, since this command reads none."""
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            raise UserError(f"unknown argument {rest[0]!r}: this command reads no config; --help lists the arguments")
        return found

    def _choice_hint(self, message: str) -> str:
        """The nearest choice, where the message is about a value that is none and lists those that there are."""
        wrong = re.search(r"invalid choice: '([^']+)' \(choose from (.*)\)", message)
        near = did_you_mean(wrong[1], re.findall(r"[\w.-]+", wrong[2])) if wrong else ""
        return near and f", {near}"

    def _hint(self, words: Sequence[str]) -> str:
        known = [flag for action in self._actions for flag in action.option_strings]
        for word in words:
            flag = _with_dashes(word.partition("=")[0])
            if flag.startswith("--") and flag not in known and not flag.startswith(CONFIG_FIELD):
                # Without the dashes, by which any two short flags are alike.
                if near := nearest(flag.lstrip("-"), (one[2:] for one in known if one.startswith("--"))):
                    return f", did you mean --{near}?"
                return f"; a field of the config is given as {CONFIG_FIELD}NAME" if "--config" in known else ""
        return ""


def _with_dashes(word: str) -> str:
    """A flag with the dashes that it is declared with; anything else as it is."""
    if not word.startswith("--") or word.startswith(CONFIG_FIELD):
        return word
    flag, equals, value = word.partition("=")
    return flag.replace("_", "-") + equals + value


def whole_numbers(text: str) -> list[int]:
    """Parse whole numbers with commas between them, each given once: the `type` of a flag.

    Raises:
        ArgumentTypeError: The text is no such list, or has a number twice.
    """
    words = text.split(",")
    if not all(word.strip().isdecimal() for word in words):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers such as 0,1,2")
    found = [int(word) for word in words]
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"{text!r} has a number twice; give each once")
    return found


def _keep_interrupts() -> None:
    """Send Ctrl-C again where Python drops it, or where a module would break.

    A `KeyboardInterrupt` that falls into a callback of the garbage collector (jax has one) or into a finalizer is
    printed and ignored, and the command would run on. One that falls into the import of a library in C++ becomes an
    ImportError or ends the process with a segmentation fault.
    """
    report = sys.unraisablehook

    def send_later() -> None:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()

    def send_again(unraisable: Any) -> None:
        if unraisable.exc_type is not None and issubclass(unraisable.exc_type, KeyboardInterrupt):
            send_later()  # at once it would fall into this function
        else:
            report(unraisable)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if _imports(frame):
            send_later()
        else:
            signal.default_int_handler(number, frame)

    sys.unraisablehook = send_again
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell starts it in the background
        signal.signal(signal.SIGINT, interrupt)


def _imports(frame: FrameType | None) -> bool:
    """Whether a frame is called by an import."""
    while frame is not None and frame.f_code.co_filename != IMPORT_MACHINERY:
        frame = frame.f_back
    return frame is not None


def run_command(main: Callable[[Sequence[str]], int | None], computes: bool = False) -> None:
    """Run main(arguments) and exit.

    A `UserError` is printed as one line with exit code 1. Ctrl-C ends without a traceback. A run that a signal stopped
    and that has saved exits with 128 + the signal's number.

    Args:
        main: Takes the command line's arguments and returns an exit code, or None for 0.
        computes: Whether the command traces programs and computes for long on large arrays. It starts with large pages
            (`large_pages`), and Python looks for garbage less often: what is traced is half a million objects that
            stay, and a training step makes no garbage.
    """
    if computes and not {"-h", "--help"} & set(sys.argv):
        restart_with_large_pages()
        gc.set_threshold(GARBAGE_THRESHOLD, *gc.get_threshold()[1:])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # keeps XLA's start-up notices off the live line
    keep_compiled_programs()
    _keep_interrupts()
    try:
        sys.exit(main(sys.argv[1:]) or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(128 + stopped.number)
    except BrokenPipeError:  # the reader of the output, as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains again when it exits
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        print(f"error: {error.filename or 'system'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt as interrupt:
        print(first_line(interrupt) if interrupt.args else "interrupted", file=sys.stderr)
        if computes:
            # Not by sys.exit: a step that was begun goes on in XLA's threads, and is unloaded under them.
            sys.stdout.flush()
            os._exit(INTERRUPTED)
        sys.exit(INTERRUPTED)
