"""The index in an object store: an S3 server on this machine's own address."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from eaglenet_jax.errors import UserError
from eaglenet_jax.search import claims, indexing
from eaglenet_jax.search.index import SearchIndex
from tests.search.clips import write_shapes

pytestmark = pytest.mark.search


@pytest.fixture
def bucket(monkeypatch):
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    # All that a user sets: LanceDB reads its storage options from the environment.
    for name, value in {
        "AWS_ENDPOINT": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="moments")
    yield "s3://moments/shared"
    server.stop()


@pytest.fixture
def side_by_side(monkeypatch):
    """Whoever indexes takes a file at a time, and waits with its first until the other has one too."""
    met, both = set(), threading.Barrier(2)
    encode = indexing._Writing.encode

    def wait_and_encode(writing, batch):
        if id(writing) not in met:
            met.add(id(writing))
            both.wait(120)
        encode(writing, batch)

    monkeypatch.setattr(indexing._Writing, "encode", wait_and_encode)
    monkeypatch.setattr(indexing, "BATCH", 1)
    monkeypatch.setattr(indexing, "readers", lambda: 1)
    monkeypatch.setattr(claims, "FIRST_BYTES", 0)
    monkeypatch.setattr(claims, "POLL_SECONDS", 0.1)


def test_two_workers_at_once_share_an_index_in_a_bucket(bucket, tmp_path, side_by_side):
    captions = write_shapes(tmp_path, 3)
    one, other = SearchIndex.create(bucket, "demo"), SearchIndex.create(bucket, "demo")
    with ThreadPoolExecutor(2) as pool:
        added = [each.result() for each in [pool.submit(index.add, tmp_path) for index in (one, other)]]
    assert sorted(each.new + each.elsewhere for each in added) == [3, 3]
    assert sum(each.new for each in added) == 3 and all(each.new for each in added)
    # What one has written, the other sees; nothing is there twice.
    assert len(one) == len(other) == 3 and one.add(tmp_path).unchanged == 3
    first = sorted(tmp_path.iterdir())[0]
    caption = captions[first.name]
    assert one.query(caption, rerank=3) == SearchIndex.open(bucket).query(caption, rerank=3)
    first.unlink()
    assert one.add(tmp_path).dropped == 1 and len(other) == 2


def test_a_bucket_without_an_index_and_one_that_is_not_there(bucket):
    with pytest.raises(UserError, match="no index"):
        SearchIndex.open("s3://moments/elsewhere")
    with pytest.raises(UserError, match="s3://nothing"):
        SearchIndex.create("s3://nothing/index", "demo")
