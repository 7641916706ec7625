from __future__ import annotations

import functools
import hashlib
import sys
from pathlib import Path

import pytest

from data_prep.assemble import assemble
from data_prep.beam_decoding import fill_cache_on_beam
from data_prep.build import build
from data_prep.cache import FrameSettings
from data_prep.fake import fake
from data_prep.prepare import Decoding
from eaglenet_jax.errors import UserError

# In this process; DirectRunner would look for a program to download.
LOCAL = "--runner=BundleBasedDirectRunner"
ON_BEAM = Decoding(allow_missing=True, fill=functools.partial(fill_cache_on_beam, options=LOCAL))


def hashes(shards: Path) -> dict[str, str]:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in shards.glob("*array_record*")}
    assert len(found) == 3
    return found


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")
def test_beam_gives_the_same_records_as_processes(tmp_path: Path) -> None:
    annotations, videos = fake("charades", tmp_path / "fake", videos=16, workers=1, progress=False)
    broken, gone = sorted(videos.iterdir())[:2]
    broken.write_bytes(b"")
    gone.unlink()
    assembly = assemble("charades", annotations, videos)
    settings = FrameSettings(1.0, 16)
    plain = build(assembly, tmp_path / "plain", settings, Decoding(workers=1, progress=False, allow_missing=True))
    beam = build(assembly, tmp_path / "beam", settings, ON_BEAM)
    assert beam == plain and len(beam["failed"]) == 2
    assert hashes(tmp_path / "beam/shards") == hashes(tmp_path / "plain/shards")
    cached = {path: path.stat().st_mtime_ns for path in (tmp_path / "beam/cache").rglob("*.frames")}
    assert len(cached) == 14 and not list((tmp_path / "beam/cache").glob("failures*"))
    assert build(assembly, tmp_path / "beam", settings, ON_BEAM) == beam
    assert cached == {path: path.stat().st_mtime_ns for path in cached}


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")
def test_a_runner_that_cannot_run_is_one_line(tmp_path: Path) -> None:
    annotations, videos = fake("charades", tmp_path / "fake", videos=16, workers=1, progress=False)
    fill = functools.partial(fill_cache_on_beam, options="--runner=NoSuchRunner")
    with pytest.raises(
        UserError, match=r"--beam='--runner=NoSuchRunner': the runner ended with: .*continues"
    ) as caught:
        build(assemble("charades", annotations, videos), tmp_path / "out", FrameSettings(1.0, 16), Decoding(fill=fill))
    assert "\n" not in str(caught.value)


def test_without_beam_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    annotations, videos = fake("charades", tmp_path / "fake", videos=16, workers=1, progress=False)
    with pytest.raises(UserError, match=r"pip install 'eaglenet_jax\[beam\]'"):
        build(assemble("charades", annotations, videos), tmp_path / "out", FrameSettings(1.0, 16), ON_BEAM)
