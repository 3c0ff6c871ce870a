"""Whose signature a request says that it carries."""

from __future__ import annotations

import pytest
import requests

from jupyter_aisec.client.kernel import KernelAuth
from jupyter_aisec.ids import new_id
from jupyter_aisec.people.kernel_requests import ACTION_HEADER, signing_key_id
from jupyter_aisec.people.keys import SigningKey

INPUT = 'aisec=("@method" "@path");created=1;keyid="sha256:a";tag="jupyter-aisec"'


def test_the_key_of_a_request_that_our_client_signed() -> None:
    key = SigningKey.generate()
    headers = {ACTION_HEADER: new_id("action")}
    request = requests.Request("POST", "http://127.0.0.1/v1/runs", headers, json={})
    signed = KernelAuth(key)(request.prepare())
    assert signing_key_id(signed.headers["Signature-Input"]) == key.public.key_id


def test_the_key_is_read_wherever_it_stands_among_the_parameters() -> None:
    assert signing_key_id(INPUT) == "sha256:a"
    assert signing_key_id('aisec=("@method");keyid="x"') == "x"


@pytest.mark.parametrize(
    "text",
    [
        "",
        INPUT.replace("aisec=", "other="),
        f"{INPUT}, {INPUT}",
        f'other=("@method");keyid="sha256:b", {INPUT}',
        f'{INPUT};keyid="sha256:b"',
        INPUT.replace("sha256:a", 'sha256:b\\";keyid=\\"sha256:a'),
        INPUT.replace("keyid", "KeyId"),
        INPUT.replace("created=1", "created=?1"),
        INPUT + "\n",
        'aisec=("@method")',
    ],
)
def test_what_two_readers_could_take_in_two_ways_names_no_key(text: str) -> None:
    assert signing_key_id(text) is None
