"""The page without a browser: what it shows and serves, and uploads."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import io
import itertools
import re
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from eaglenet_jax.data.decode import DecodeError
from eaglenet_jax.errors import UserError
from eaglenet_jax.search.index import SearchIndex
from eaglenet_jax.search.page import answers as answers_module
from eaglenet_jax.search.page.answers import Answers
from eaglenet_jax.search.page.app import make_app
from eaglenet_jax.search.page.asked import Asked, read_asked
from eaglenet_jax.search.page.views import Views
from eaglenet_jax.search.playing import copy_of_moment, picture_of, plays_in_browsers, strip_of
from tests.search.clips import COLORS, nearest_colour, write_colours
from tests.search.conftest import EVIL

pytestmark = pytest.mark.search


@pytest.fixture(scope="module")
def moments(page_index):
    return page_index[0].query("a star", top=6)


@pytest.fixture(scope="module")
def visit(answers):
    """visit(address) → (status, the page)."""
    client = TestClient(make_app(answers), base_url="http://127.0.0.1")

    def shown(address):
        answer = client.get(address)
        return answer.status_code, answer.text

    return shown


# Addresses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["/", "/?q=a+dog&depth=fast&page=3&m=abc", "/?like=1f", "/?file=x-y",
     "/?q=a&folder=%2Fv%2Fit%27s+%26&min=2&max=9.5",
     "/?q=a&from=2026-01-31&to=2026-02-01"],
)  # fmt: skip
def test_an_address_says_all_that_is_asked(address):
    from urllib.parse import parse_qsl

    asked = read_asked(dict(parse_qsl(address[2:])))
    assert asked.address() == address


def test_a_sentence_replaces_a_picture():
    assert read_asked({"q": " a  dog ", "like": "1", "file": "2"}) == Asked("a dog")


@pytest.mark.parametrize(
    "fields",
    [{"page": "0"}, {"page": "1.5"}, {"page": "9999"}, {"min": "-1"}, {"min": "nan"}, {"max": "inf"}, {"max": "x"},
     {"from": "31.1.2026"}, {"depth": "0"}, {"min": "9", "max": "1"}, {"q": "a" * 1001}],
)  # fmt: skip
def test_addresses_that_cannot_be_read(fields, visit):
    with pytest.raises(UserError):
        read_asked(fields)
    (name, value), *_ = fields.items()
    status, page = visit(f"/?{name}={value}&max={fields.get('max', 5)}")
    assert status == 422 and 'role="alert"' in page


# What it shows ------------------------------------------------------------------------------------------------------


def test_the_start_has_a_box_examples_and_facts(visit, answers):
    status, page = visit("/")
    assert status == 200 and len(re.findall(r'type="search"', page)) == 1
    chips = re.findall(r'<li><a href="/\?q=[^"]+">([^<]+)</a>', page)
    assert tuple(chips) == answers.examples and len(chips) >= 2
    assert re.search(r"6 videos, \d+ seconds, model demo \(MovingShapes\), indexed today", page)
    assert "Demo model" in page and not re.search(r"""(src|href)=["']?(https?:)?//""", page)


def test_the_start_says_when_no_example_fits(page_index, answers):
    late = Answers(page_index[0])
    client = TestClient(make_app(late), base_url="http://127.0.0.1")
    assert "Looking for sentences that fit these videos" in client.get("/").text
    late.calibration = dataclasses.replace(answers.calibration, examples=())
    start = client.get("/").text
    assert "None of the sentences that were tried clearly fits" in start and "chips" not in start.replace(
        "no-chips", ""
    )
    late.calibration, late.failed = None, UserError("no model")
    assert "no-chips" not in client.get("/").text


def test_results_work_without_a_script(visit, page_index):
    caption = page_index[1]["test_0000.mp4"]
    status, page = visit(Asked(caption).address())
    assert status == 200 and "<video" not in page and page.count("data-player") == 6
    cards = re.findall(r'<a class="card" href="([^"]+)"[^>]*aria-label="([^"]+)"', page)
    assert any("test_0000.mp4" in label for _, label in cards[:3])
    assert "strong match" in cards[0][1] or "possible match" in cards[0][1]
    status, page = visit(cards[0][0].replace("&amp;", "&"))
    assert status == 200 and page.count("<video") == 1 and "<dialog" in page and "open>" in page
    assert len(re.findall(r"data-time=", page)) >= 6 and "How much each frame counted" in page
    assert "Next moment" in page and "More like this" in page and "Open at this time" in page


def test_a_file_name_is_text(visit):
    page = visit("/?q=a+star")[1]
    assert "<img src=x" not in page and "${1+1}" in page and "&lt;img src=x" in page
    assert "<script>x" not in visit("/?q=<script>x</script>")[1]


def test_a_query_that_fits_nothing_says_so_first(visit, page_index):
    page = visit("/?q=xqzzt")[1]
    assert "Nothing here clearly fits" in page and page.index("Nothing here clearly fits") < page.index('class="card"')
    page = visit(Asked(page_index[1]["test_0000.mp4"]).address())[1]
    assert "Nothing here clearly fits" not in page and "that may show it" in page


def test_what_is_not_understood_is_said(visit):
    assert "“without” is not understood" in visit("/?q=a+star+without+a+circle")[1]
    assert "tokens are not read" in visit("/?q=" + "star+" * 90)[1]
    status, page = visit("/?q=%20%20...%20&depth=fast")  # dots are tokens: the model reads them as words
    assert status == 200 and 'class="card"' in page


def test_options_restrict_what_is_found(visit, page_index):
    lengths = {Path(path).name: video.seconds for path, video in page_index[0].library.videos.items()}
    limit = sorted(lengths.values())[2] + 1e-3
    found = re.findall(r'aria-label="(test_000\d\.\w+|&lt;img[^"]*?mp4),', visit(f"/?q=a+star&max={limit:.3f}")[1])
    assert len(found) == sum(seconds <= limit for seconds in lengths.values()) < 6
    assert "No video meets" in visit("/?q=a+star&folder=/nowhere")[1]
    assert "No video meets" in visit("/?q=a+star&from=2999-01-01")[1]
    assert "<details" in visit("/?q=a+star&max=99")[1] and re.search(
        r"<details[^>]* open", visit("/?q=a+star&max=99")[1]
    )


def test_more_like_a_moment(visit, moments):
    first = visit(f"/?like={moments[0].id}")
    assert first[0] == 200 and "look like" in first[1] and f'data-moment="{moments[0].id}"' not in first[1]
    assert first[1].count('class="card"') == 5
    assert visit("/?like=none")[0] == 422 and visit("/?q=a&m=none")[0] == 422


def test_options_of_a_search_without_words_keep_it(visit, answers, page_index, moments):
    file = answers.keep("a.png", page_index[0].like(moments[1].id))
    for name, value in {"like": moments[0].id, "file": file}.items():
        page = visit(f"/?{name}={value}")[1]
        assert re.findall(r'<input type="hidden" name="(\w+)" value="([^"]+)"', page) == [(name, value)]
        assert 'name="max"' in page and 'name="depth"' not in page  # candidates are scored again for sentences alone
        narrowed = visit(f"/?q=&folder=&min=&max=0.001&from=&to=&{name}={value}")  # as the form sends it
        assert narrowed[0] == 200 and "No video meets" in narrowed[1]
    page = visit(f"/?q=a+star&like={moments[0].id}")[1]
    assert 'type="hidden"' not in page and 'name="depth"' in page


def test_a_page_behind_the_last_is_the_last(visit, monkeypatch):
    monkeypatch.setattr(answers_module, "VIDEOS_A_PAGE", 4)
    page = visit("/?q=a+star&page=9")[1]
    assert page.count('class="card"') == 2 and "Page 2 of 2" in page
    assert 'rel="prev" href="/?q=a+star"' in page and 'rel="next"' not in page


def test_moments_of_a_video_stand_together(tmp_path, page_index):
    from eaglenet_jax.search.windows import WindowRule

    write_colours(tmp_path / "long.mp4", COLORS, seconds_each=4)
    index = SearchIndex.create(tmp_path / "index", "demo", WindowRule(4, 1))
    index.__dict__["model"] = page_index[0].model
    index.add(tmp_path / "long.mp4")
    answers = Answers(index)
    answers.waiting = None
    answer = answers.answer(Asked("a blue square"))
    (video,) = answer.videos
    assert len(video.moments) > 1 and list(video.moments) == sorted(video.moments, key=lambda m: m.start)
    assert all(one.end <= two.start for one, two in itertools.pairwise(video.moments))
    assert answers.answer(Asked("a blue square", page=2)) is answer  # kept, for all its pages
    page = TestClient(make_app(answers), base_url="http://127.0.0.1").get("/?q=a+blue+square").text
    assert page.count('class="card"') == 1 and f"{len(video.moments)} moments" in page
    assert "1 video, nearest first; how sure this is will be known in some seconds" in page  # nothing was measured


# What it serves -----------------------------------------------------------------------------------------------------


def test_files_of_the_index_are_served_in_pieces(ask, moments):
    (best, *_) = (moment for moment in moments if moment.path.endswith("0000.mp4"))
    content = Path(best.path).read_bytes()
    assert ask(f"/media/{best.id}")[2] == content
    status, _, part = ask(f"/media/{best.id}", {"Range": "bytes=10-19"})
    assert status == 206 and part == content[10:20]


def test_pictures_are_small_and_kept_by_the_browser(ask, moments):
    best = moments[0]
    for path, count in {"/thumbs/{}.webp": 1, "/frames/{}/0.webp": 1, "/strips/{}.webp": len(best.times)}.items():
        status, headers, content = ask(path.format(best.id))
        assert status == 200 and headers["content-type"] == "image/webp" and "immutable" in headers["cache-control"]
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.width <= 256 * count and picture.height <= 144 and len(content) < 20_000 * count


def test_no_other_file_is_served(ask, page_index, moments):
    secret, (some, *_) = page_index[2] / "secret.mp4", moments
    tricks = [
        f"/media/{secret}",
        f"/media/..%2f..%2f{str(secret).strip('/').replace('/', '%2f')}",
        "/media/..%2fsecret.mp4",
        "/media/%2e%2e/%2e%2e/etc/passwd",
        "/media/../../../../../../etc/passwd",
        "/media/'%20OR%20path%20!=%20'",
        f"/media/{some.id}/../../secret.mp4",
        f"/media/{some.id}%00",
        f"/moments/{secret}",
        f"/moments/{some.id}?start=x&end=y",
        f"/frames/{some.id}/99.webp",
        f"/frames/{some.id}/-1.webp",
        f"/strips/{secret}.webp",
        "/thumbs/..%2f..%2fetc%2fpasswd.webp",
        "/page/../../setup.py",
        "/style.css/../views.py",
        "/views.py",
        "/page.html",
        f"/?m={secret}",
        "/?m=../../etc/passwd",
        "/?like='%20OR%20path%20!=%20'",
        f"/file={secret}",
        "/static/..%2f..%2f..%2f..%2f..%2fetc/passwd",
    ]
    for path in tricks:
        status, _, content = ask(path)
        assert status in (400, 403, 404, 422), (path, status)
        assert b"not of the index" not in content and b"root:" not in content


def test_another_name_for_this_machine_is_refused(ask):
    assert ask("/", {"Host": "evil.example"})[0] == 400
    assert ask("/")[0] == 200


def test_moments_that_browsers_do_not_play_are_copied(ask, moments):
    (avi,) = (moment for moment in moments if moment.path.endswith(".avi"))
    _, headers, content = ask(f"/moments/{avi.id}")
    assert headers["content-type"] == "video/mp4" and b"ftyp" in content[:16]


def test_a_merged_moment_is_copied_as_far_as_it_reaches(ask, moments):
    (avi,) = (moment for moment in moments if moment.path.endswith(".avi"))
    whole = seconds_of(ask(f"/moments/{avi.id}")[2])
    assert seconds_of(ask(f"/moments/{avi.id}?start=0.5&end=1.0")[2]) == pytest.approx(0.5, abs=0.2)
    assert whole > 1
    for far in ("start=-9e9&end=9e9", "start=nan&end=inf"):
        assert seconds_of(ask(f"/moments/{avi.id}?{far}")[2]) == pytest.approx(whole)
    assert ask(f"/moments/{avi.id}?start=3e5&end=4e5")[0] == 404


def seconds_of(video):
    with av.open(io.BytesIO(video)) as container:
        return container.duration / av.time_base


def test_copies_are_of_the_file_as_it_is_now(tmp_path):
    file = tmp_path / "colours.mp4"
    write_colours(file, COLORS[:2])
    assert plays_in_browsers(str(file)) and (first := copy_of_moment(str(file), 0, 1))
    write_colours(file, COLORS[2:4])
    assert copy_of_moment(str(file), 0, 1) != first
    file.write_bytes(b"no video any more")
    assert not plays_in_browsers(str(file))
    for show in (
        lambda: copy_of_moment(str(file), 0, 1),
        lambda: picture_of(str(file), 0.0),
        lambda: strip_of(str(file), [0.0]),
    ):
        with pytest.raises(DecodeError):
            show()


def test_a_strip_shows_the_frames_in_order(tmp_path):
    file = tmp_path / "colours.mp4"
    write_colours(file, COLORS[:4])
    with Image.open(io.BytesIO(strip_of(str(file), [0.5, 1.5, 3.5, 99.0]))) as strip:
        assert strip.size == (4 * 64, 48)
        shown = [strip.crop((64 * k, 0, 64 * k + 64, 48)) for k in range(4)]
    import numpy as np

    assert [nearest_colour(np.asarray(tile)) for tile in shown] == [0, 1, 3, 3]


def test_files_that_are_others_now_are_not_found(ask, moments):
    moment = next(moment for moment in moments if moment.path.endswith("0003.mp4"))
    file, nosniff = Path(moment.path), ask(f"/media/{moment.id}")[1]["X-Content-Type-Options"]
    content = file.read_bytes()
    paths = [f"/media/{moment.id}", f"/moments/{moment.id}", f"/frames/{moment.id}/0.webp", f"/strips/{moment.id}.webp"]
    try:
        file.write_bytes(bytes(len(content)))  # of the same size, and nothing in it
        assert [ask(path)[0] for path in paths] == [200, 404, 200, 200]  # frames are stored
        file.write_bytes(b"something else")
        assert [ask(path)[0] for path in paths] == [404, 404, 404, 404]
    finally:
        file.write_bytes(content)
    assert nosniff == "nosniff" and [ask(path)[0] for path in paths] == [200, 200, 200, 200]


def test_files_under_no_name_of_videos_are_not_served(page_index, ask):
    searched, _, folder = page_index
    secret = folder / "notes.txt"
    secret.write_bytes((folder / "videos" / "test_0000.mp4").read_bytes())
    searched.add(secret)
    (identifier,) = (moment.id for moment in searched.query("a star", top=20) if moment.path == str(secret))
    assert ask(f"/media/{identifier}")[0] == 404 and ask(f"/moments/{identifier}")[0] == 200
    searched.store.drop([str(secret)])


# A picture or clip as the query -------------------------------------------------------------------------------------


def upload(client, name, content, kind):
    return client.post("/upload", files={"file": (name, content, kind)}, follow_redirects=False)


def test_a_picture_and_a_clip_as_the_query(answers, page_index, moments):
    client = TestClient(make_app(answers), base_url="http://127.0.0.1")
    clip = next(Path(moment.path) for moment in moments if moment.path.endswith("0004.mp4"))
    answer = upload(client, "../../my clip.mp4", clip.read_bytes(), "video/mp4")
    assert answer.status_code == 303
    page = client.get(answer.headers["location"]).text
    assert "look like my clip.mp4" in page
    assert 'placeholder="Describe a scene"' in page  # an example would look like the query
    (asked,) = re.findall(r'<img class="asked" src="data:image/webp;base64,([^"]+)"', page)
    with Image.open(io.BytesIO(base64.b64decode(asked))) as shown:
        assert shown.size == (48, 48) and np.ptp(np.asarray(shown)) > 50  # of the clip, not one colour
    assert re.findall(r'<a class="card"[^>]*aria-label="([^,"]+),', page)[0] == "test_0004.mp4"
    assert client.get(answer.headers["location"]).status_code == 200  # reload
    picture = io.BytesIO()
    Image.new("RGB", (80, 60), (200, 30, 30)).save(picture, "PNG")
    assert upload(client, "image.png", picture.getvalue(), "image/png").status_code == 303
    for name, kind in {"a.mp4": "video/mp4", "a.png": "image/png", "a.svg": "image/svg+xml", "a": ""}.items():
        refused = upload(client, name, b"<svg/>", kind)
        assert refused.status_code == 422 and name in refused.text and "/tmp" not in refused.text.partition("<main")[2]
    assert client.get("/?file=gone").status_code == 422
    assert client.post("/upload", data={"file": "no file"}, follow_redirects=False).status_code == 303


def test_results_of_a_file_stay_as_long_as_they_are_kept(page_index, answers, monkeypatch):
    monkeypatch.setattr(answers_module, "KEPT_FILES", 1)
    client = TestClient(make_app(answers), base_url="http://127.0.0.1")
    picture = io.BytesIO()
    Image.new("RGB", (80, 60), (200, 30, 30)).save(picture, "PNG")
    first = upload(client, "first.png", picture.getvalue(), "image/png").headers["location"]
    page = client.get(first).text
    assert "look like first.png" in page
    second = upload(client, "second.png", picture.getvalue(), "image/png").headers["location"]
    reloaded = client.get(first)
    assert reloaded.status_code == 200 and reloaded.text.partition("<main")[2] == page.partition("<main")[2]
    upload(client, "third.png", picture.getvalue(), "image/png")
    forgotten = client.get(second)  # which nobody has seen
    assert forgotten.status_code == 422 and "not kept any more" in forgotten.text


def test_an_upload_that_is_refused_does_not_hold_up_others(answers, monkeypatch):
    running, values = [], Views._values

    def seen(views, *arguments):
        with contextlib.suppress(RuntimeError):
            running.append(asyncio.get_running_loop())
        return values(views, *arguments)

    monkeypatch.setattr(Views, "_values", seen)
    client = TestClient(make_app(answers), base_url="http://127.0.0.1")
    assert upload(client, "a.png", b"no picture", "image/png").status_code == 422
    assert not running  # the index was read in another thread than that of all connections


def test_the_malicious_name_is_in_the_index(page_index):
    assert any(path.endswith(EVIL) for path in page_index[0].library.videos)
