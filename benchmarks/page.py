"""Benchmark of the search page with large videos: when its pictures are there, and whether it stays responsive.

    python -m benchmarks.page [--videos=12] [--seconds=3] [--height=2160] [--folder=DIR] [--json]

Makes H.264 files (a picture with detail at all sizes that moves; one is encoded and copied), indexes them with the
demo's model and opens the page in headless Chromium (Playwright, and `chromium` on the path). Measured are the seconds
until all pictures of the results are there and until the first preview is, with frames stored in the index and, in the
same run, without (decoded at the first request, as for indexes of earlier versions); then, with stored frames, the
longest tasks and gaps between animation frames while the page loads, while the pointer goes over all results and while
each is opened and played.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.measure import announce, machine, median
from benchmarks.scratch import temporary_folder
from eaglenet_jax.command import Parser, run_command
from eaglenet_jax.errors import UserError
from eaglenet_jax.search.index import SearchIndex

SUMMARY = "How long the search page takes with large videos, in a browser."
RATE = 24  # pictures a second
MARGIN = 128  # pixels by which the picture moves
PLAYED = 1000  # milliseconds that each video plays
PATIENCE = 1_200_000  # milliseconds that a picture may take
WATCH = """
window.tasks = []; window.gaps = [];
new PerformanceObserver(list => list.getEntries().forEach(each => tasks.push(each.duration)))
  .observe({type: "longtask"});
let last; const tick = now => { if (last) gaps.push(now - last); last = now; requestAnimationFrame(tick); };
requestAnimationFrame(tick);
"""
PICTURES = "() => [...document.querySelectorAll('.thumb img')].every(each => each.complete && each.naturalWidth)"


def write_video(file: Path, height: int, seconds: float) -> None:
    """Write a video 16:9 of a picture that moves, with as much detail at every size (1/f), as photographs have."""
    width, random = height * 16 // 9, np.random.default_rng(0)
    shape = height + MARGIN, width + MARGIN
    rows, columns = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    fall = 1 / np.maximum(np.hypot(rows, columns), 1 / shape[1])
    layers = [np.fft.irfft2(np.fft.rfft2(random.standard_normal(shape)) * fall, shape) for _ in range(3)]
    picture = np.stack([np.clip(128 + 50 * layer / layer.std(), 0, 255) for layer in layers], -1).astype(np.uint8)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "20", "g": str(2 * RATE)}
        for number in range(round(seconds * RATE)):
            x = number * 3 % MARGIN
            seen = np.ascontiguousarray(picture[x : x + height, x : x + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(seen, format="rgb24")))
        container.mux(stream.encode())


def without_previews(index: Path, copy: Path) -> Path:
    """Copy an index as earlier versions made it."""
    import lancedb

    shutil.copytree(index, copy)
    lancedb.connect(str(copy)).open_table("windows").drop_columns(["previews"])
    return copy


class Server:
    """`search serve` in a process of its own, while the block runs."""

    def __init__(self, index: Path) -> None:
        command = [sys.executable, "-m", "eaglenet_jax.search", "serve", f"--index={index}", "--port=0"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> str:
        """Return its address."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().split()[-1]

    def __exit__(self, *unused: object) -> None:
        self._process.terminate()
        self._process.communicate()


def wait_until_ready(address: str) -> None:
    """Wait until the server has its model, and its words of confidence if it measures them.

    Asked from outside, since a page is loaded again when the model is there, and what was asked in it is lost.
    """
    while True:
        with urllib.request.urlopen(f"{address}/api/status") as answer:
            status = json.load(answer)
        if status["waiting"] is None and (status["measured"] or not status["measuring"]):
            return
        time.sleep(0.5)


def opened(browser: Any, address: str) -> tuple[Any, dict[str, float]]:
    """Open results in a new tab; return it, and the seconds until its pictures and the first preview are there."""
    wait_until_ready(address)
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.add_init_script(WATCH)
    started = time.perf_counter()
    page.goto(f"{address}/?q=a+red+circle", wait_until="domcontentloaded")
    page.locator(".results .card").first.hover()
    page.locator(".preview").first.wait_for()
    preview = time.perf_counter() - started
    page.locator(".results .card").last.scroll_into_view_if_needed()
    page.wait_for_function(PICTURES)
    return page, {"first_preview_s": preview, "all_pictures_s": time.perf_counter() - started}


def taken(page: Any) -> dict[str, float]:
    """Return the longest task and the gaps between animation frames since the last call, milliseconds."""
    found = page.evaluate("() => ({tasks: tasks.splice(0), gaps: gaps.splice(0)})")
    longest = max(found["tasks"], default=0.0)  # a task counts from 50 ms on
    return {"longest_task": longest, "longest_gap": max(found["gaps"]), "median_gap": median(found["gaps"])}


def visit(page: Any) -> dict[str, dict[str, float]]:
    """Go over all results, then open and play each; return what was measured in each part."""
    report = {"load": taken(page)}
    cards = page.locator(".results .card")
    for number in range(cards.count()):
        cards.nth(number).hover()
        cards.nth(number).locator(".preview").wait_for()
    report["pointer over all"] = taken(page)
    for number in range(cards.count()):
        cards.nth(number).click()
        page.wait_for_function("() => document.querySelector('dialog video')?.currentTime > 0")
        page.wait_for_timeout(PLAYED)
        page.keyboard.press("Escape")
        page.locator("dialog video").wait_for(state="detached")
    report["each opened and played"] = taken(page)
    return report


def browser_here() -> tuple[Any, str]:
    """Return Playwright's entry and the path of chromium.

    Raises:
        UserError: One of them is not installed.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise UserError("the page is measured in a browser: pip install -e '.[search,app,browser]'") from error
    chromium = shutil.which("chromium")
    if chromium is None:
        raise UserError("no chromium is on the PATH: install it (Debian: apt-get install chromium)")
    return sync_playwright, chromium


def measure(folder: Path, count: int, seconds: float, height: int) -> dict[str, Any]:
    """Make videos and index, and measure the page."""
    sync_playwright, chromium = browser_here()
    announce(f"encoding a video of {seconds:g} s, {height} pixels high")
    videos = folder / "videos"
    videos.mkdir()
    first = videos / "0.mp4"
    write_video(first, height, seconds)
    for number in range(1, count):
        shutil.copy(first, videos / f"{number}.mp4")
    announce(f"indexing {count} copies of it, {first.stat().st_size / 1e6:.0f} MB each")
    index = SearchIndex.create(folder / "index", "demo")
    started = time.perf_counter()
    added = index.add(videos, progress=True)
    spent = time.perf_counter() - started
    row = index.store.rows(str(first))[0]
    report: dict[str, Any] = {
        "file_mb": first.stat().st_size / 1e6,
        "windows": added.windows,
        "index_s": spent,
        "preview_bytes": sum(map(len, row.previews)) / len(row.previews),
    }
    places = {"stored": folder / "index", "decoded": without_previews(folder / "index", folder / "old")}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, place in places.items():
            announce(f"opening the page, frames {name}")
            with Server(place) as address:
                page, report[name] = opened(browser, address)
                if name == "stored":
                    report["page_ms"] = visit(page)
                page.close()
        browser.close()
    report["ratio"] = report["decoded"]["first_preview_s"] / report["stored"]["first_preview_s"]
    return report


def as_text(report: dict[str, Any]) -> str:
    """Format the report."""
    lines = [
        f"{report['machine']}",
        f"{report['windows']} windows of files of {report['file_mb']:.0f} MB, indexed in {report['index_s']:.0f} s, "
        f"{report['preview_bytes']:.0f} bytes a stored frame",
    ]
    for name in ("stored", "decoded"):
        seconds = report[name]
        lines.append(
            f"frames {name}: first preview after {seconds['first_preview_s']:.2f} s, "
            f"all pictures after {seconds['all_pictures_s']:.2f} s"
        )
    lines.append(f"first preview {report['ratio']:.0f} times sooner")
    for part, found in report["page_ms"].items():
        lines.append(f"{part}: " + ", ".join(f"{name.replace('_', ' ')} {ms:.0f} ms" for name, ms in found.items()))
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Print the report."""
    parser = Parser(prog="python -m benchmarks.page", description=SUMMARY)
    parser.add_argument("--videos", type=int, default=12, help="files, default %(default)s")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each, default %(default)s")
    parser.add_argument("--height", type=int, default=2160, help="of the pictures in pixels, default %(default)s")
    parser.add_argument("--folder", type=Path, help="where the videos are made, by default a temporary folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    report: dict[str, Any] = {"machine": machine()}
    with temporary_folder(given.folder) as folder:
        report |= measure(Path(folder), given.videos, given.seconds, given.height)
    print(json.dumps(report, indent=1) if given.json else as_text(report))


if __name__ == "__main__":
    run_command(main)
