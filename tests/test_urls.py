"""Where sealed files may lie."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec.errors import MalformedError
from jupyter_aisec.urls import MAX_LENGTH, check_store_url

ALLOWED = [
    "/srv/sealed/dataset/x/seal_1",
    "/srv/names with spaces/é",
    "file:///srv/sealed",
    "s3://bucket/x",
    "gs://bucket.with-dots/x/y/",
    "abfs://container/x",
    "memory://store/x",
    "s3://bucket/%2e%2e/x",  # fsspec does not decode it: a name like any other
    "/" + "x" * (MAX_LENGTH - 1),
]
REFUSED = {
    "nothing": "",
    "a relative path": "srv/sealed",
    "a step to the home": "~/sealed",
    "http": "http://127.0.0.1/x",
    "https": "https://store.example/x",
    "another protocol": "webhdfs://127.0.0.1:80/x",
    "an index": "reference:///x",
    "a chain": "s3://bucket/x::file:///etc/passwd",
    "a chain in a name": "file:///srv/x::y",
    "a cache": "filecache::s3://bucket/x",
    "capital letters": "FILE:///srv",
    "a file on a host": "file://host/srv",
    "a file without an authority": "file:/srv",
    "a bucket without a path": "s3://bucket",
    "no bucket": "s3:///x",
    "a bucket that is a step": "s3://../x",
    "a user": "s3://key:secret@bucket/x",
    "a port": "s3://bucket:80/x",
    "a query": "s3://bucket/x?versionId=1",
    "a fragment": "s3://bucket/x#y",
    "a pattern": "s3://bucket/*",
    "a choice": "s3://bucket/{a,b}",
    "a class": "s3://bucket/[ab]",
    "a backslash": "file:///srv\\x",
    "a step upwards": "file:///srv/../etc",
    "a step upwards at the end": "s3://bucket/x/..",
    "a step on the spot": "/srv/./x",
    "an empty step": "s3://bucket//x",
    "two slashes at the start": "//host/x",
    "a new line": "/srv/x\n",
    "a zero": "/srv/x\0",
    "text that runs backwards": "/srv/\u202ex",
    "too long a name": "/" + "x" * MAX_LENGTH,
}


@pytest.mark.parametrize("url", ALLOWED)
def test_a_plain_place_is_allowed(url: str) -> None:
    assert check_store_url(url) == url


@pytest.mark.parametrize("fault", REFUSED)
def test_anything_else_is_refused(fault: str) -> None:
    with pytest.raises(MalformedError) as caught:
        check_store_url(REFUSED[fault])
    assert caught.value.code == "url-refused"


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("s3:/.a@?#* \n"), max_size=20))
def test_what_is_allowed_is_one_plain_place(text: str) -> None:
    try:
        check_store_url(text)
    except MalformedError:
        return
    scheme, _, path = text.rpartition("://")
    assert (scheme == "s3" and not path.startswith("/")) or (not scheme and text[0] == "/")
    assert ".." not in path.split("/")
    assert not set("@?#*\n") & set(text.removeprefix("s3://").partition("/")[0])
