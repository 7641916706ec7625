"""The index in an object store: an S3 server on this machine's own address."""

from __future__ import annotations

import pytest

from eaglenet_jax.errors import UserError
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


def test_several_workers_share_an_index_in_a_bucket(bucket, tmp_path):
    captions = write_shapes(tmp_path, 6)
    one, other = SearchIndex.create(bucket, "demo"), SearchIndex.create(bucket, "demo")
    first, *rest = sorted(tmp_path.iterdir())
    assert one.add(first).new == 1
    assert other.add(tmp_path).new == 5
    # What one has written, the other sees; nothing is there twice.
    assert len(one) == len(other) == 6 and one.add(tmp_path).unchanged == 6
    caption = captions[rest[0].name]
    assert one.query(caption, rerank=6) == SearchIndex.open(bucket).query(caption, rerank=6)
    rest[0].unlink()
    assert one.add(tmp_path).dropped == 1 and len(other) == 5


def test_a_bucket_without_an_index_and_one_that_is_not_there(bucket):
    with pytest.raises(UserError, match="no index"):
        SearchIndex.open("s3://moments/elsewhere")
    with pytest.raises(UserError, match="s3://nothing"):
        SearchIndex.create("s3://nothing/index", "demo")
