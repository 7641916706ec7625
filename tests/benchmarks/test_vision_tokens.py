"""The benchmark of BLIP-2's vision encoder, at a tiny size."""

from __future__ import annotations

import json

from benchmarks import vision_tokens


def test_hours_and_size_follow_from_the_rate(capsys):
    vision_tokens.main(["--tiny", "--frames=3", "--clips=500", "--rounds=2", "--dtype=float32", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["encoder"]["dtype"] == "float32" and found["frames_per_second"] == 3 / found["seconds"]
    assert abs(found["hours"] * 3600 * found["frames_per_second"] / (500 * 12) - 1) < 1e-9
    assert found["gigabytes"] == 500 * 12 * 5 * 16 * 2 / 1e9
    vision_tokens.main(["--tiny", "--frames=1"])
    said = capsys.readouterr().out
    assert "1 blocks of 16 in bfloat16" in said and "10,000 clips of 12 frames, by that rate" in said
