"""Pictures of frames that are stored in the index: their size, what the page serves, indexes of earlier versions."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from eaglenet_jax.search.index import SearchIndex
from eaglenet_jax.search.moments import Moment
from eaglenet_jax.search.page import media
from eaglenet_jax.search.page.answers import Answers
from eaglenet_jax.search.page.app import make_app
from eaglenet_jax.search.page.rendering import heaviest, inside
from eaglenet_jax.search.previews import MOST_BYTES, as_preview
from tests.search.clips import COLORS, nearest_colour, write_colours

pytestmark = pytest.mark.search


@pytest.fixture
def colours(tmp_path):
    """An index of one video of four plain colours, one a second, and the file."""
    file = tmp_path / "videos" / "colours.mp4"
    file.parent.mkdir()
    write_colours(file, COLORS[:4])
    index = SearchIndex.create(tmp_path / "index", "demo")
    assert index.add(file.parent).new == 1
    return index, file


def only_row(index, file):
    (row,) = index.store.rows(str(file))
    return row


def colour_of(content):
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "WEBP"
        return nearest_colour(np.asarray(image.convert("RGB")))


def shown_by(index, row):
    """Colours of the frames that the page serves, one by one and as a strip."""
    client = TestClient(make_app(Answers(index)), base_url="http://127.0.0.1")
    answers = [client.get(f"/frames/{row.id}/{number}.webp") for number in range(len(row.times))]
    strip = client.get(f"/strips/{row.id}.webp")
    assert {answer.headers["cache-control"] for answer in [*answers, strip]} == {"private, max-age=604800, immutable"}
    with Image.open(io.BytesIO(strip.content)) as image:
        tiles = np.split(np.asarray(image.convert("RGB")), len(row.times), axis=1)
    return [colour_of(answer.content) for answer in answers], list(map(nearest_colour, tiles))


def decoded(*unused):
    raise AssertionError("a video was decoded for a picture that is stored")


def test_a_page_shows_stored_frames_without_decoding(colours, monkeypatch):
    index, file = colours
    row = only_row(index, file)
    for name in ("picture_of", "strip_of"):
        monkeypatch.setattr(media, name, decoded)
    seconds = [int(time) for time in row.times]  # one colour a second
    assert shown_by(index, row) == (seconds, seconds) and len(set(seconds)) == 4


def test_a_moved_file_keeps_its_previews(colours):
    index, file = colours
    before = only_row(index, file).previews
    moved = file.rename(file.with_name("moved.mp4"))
    assert index.add(file.parent).moved == 1
    assert only_row(index, moved).previews == before != ()


def test_an_index_without_previews_is_used_as_it_is(colours):
    index, file = colours
    index.store._table.drop_columns(["previews"])
    old = SearchIndex.open(index.store.uri)
    new = file.with_name("new.mp4")
    write_colours(new, COLORS[2:6])
    assert old.add(file.parent).new == 1
    row = only_row(old, new)
    assert row.previews == () and "previews" not in old.store._table.schema.names
    assert shown_by(old, row)[0] == [int(time) + 2 for time in row.times]
    moved = new.rename(new.with_name("moved.mp4"))
    assert old.add(file.parent).moved == 1 and only_row(old, moved).times == row.times


@pytest.mark.parametrize(("width", "height"), [(256, 144), (81, 144)])
def test_a_preview_is_never_larger_than_stated(width, height):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    content = as_preview(noise)
    with Image.open(io.BytesIO(content)) as image:
        assert len(content) <= MOST_BYTES and image.width < width
        assert image.width / image.height == pytest.approx(width / height, rel=0.03)
    plain = as_preview(Image.new("RGB", (width, height)))
    with Image.open(io.BytesIO(plain)) as image:
        assert image.size == (width, height)


@pytest.mark.parametrize(
    ("start", "end", "weights", "shown", "first"),
    [(2.0, 4.0, (0.6, 0.0, 0.1, 0.2, 0.1), (2, 3), 3),  # the heaviest of all lies before the moment
     (2.0, 4.6, None, (2, 4), 3),
     (2.6, 3.4, (0.1, 0.1, 0.1, 0.5, 0.2), (0, 4), 3)],  # between two frames
)  # fmt: skip
def test_a_preview_keeps_to_the_moment(start, end, weights, shown, first):
    moment = Moment(1, 0.5, True, "1", "a.mp4", start, end, b"", (0.5, 1.5, 2.5, 3.5, 4.5), weights)
    assert (inside(moment), heaviest(moment)) == (shown, first)


def test_a_moment_without_frames_has_a_first_picture():
    moment = Moment(1, 0.5, False, "1", "a.mp4", 0.0, 1.0, b"")
    assert (inside(moment), heaviest(moment)) == ((0, 0), 0)
