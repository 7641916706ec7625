from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from data_prep.assemble import assemble
from data_prep.build import build
from data_prep.fake import fake
from eaglenet_jax.errors import UserError

# In this process; DirectRunner would look for a program to download.
LOCAL = "--runner=BundleBasedDirectRunner"


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
    plain = build(assembly, tmp_path / "plain", size=16, workers=1, progress=False)
    beam = build(assembly, tmp_path / "beam", size=16, beam=LOCAL)
    assert beam == plain and len(beam["failed"]) == 2
    assert hashes(tmp_path / "beam/shards") == hashes(tmp_path / "plain/shards")
    cached = {path: path.stat().st_mtime_ns for path in (tmp_path / "beam/cache").rglob("*.frames")}
    assert len(cached) == 14 and not list((tmp_path / "beam/cache").glob("failures*"))
    assert build(assembly, tmp_path / "beam", size=16, beam=LOCAL) == beam
    assert cached == {path: path.stat().st_mtime_ns for path in cached}


def test_without_beam_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    annotations, videos = fake("charades", tmp_path / "fake", videos=16, workers=1, progress=False)
    with pytest.raises(UserError, match=r"pip install 'eaglenet_jax\[beam\]'"):
        build(assemble("charades", annotations, videos), tmp_path / "out", beam=LOCAL)
