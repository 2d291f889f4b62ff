"""Keys and tokens stay out of what is written down."""

from typing import Any

import pytest
import torch

from zoo.redact import MASK, is_secret, redact

TOKEN = "0123456789abcdef0123456789abcdef01234567"

KEPT: list[Any] = [
    1, 0.5, None, True, "plain", "https://host/path", "me@host.org", {"tokens": 5}, {"monkey": 1},
    {"max_tokens": 4}, {"secretary": "x"}, {"password": None}, ["--model.width", "8"], ["--tokenizer", "bpe"],
]  # fmt: skip
HIDDEN: list[tuple[Any, Any]] = [
    ({"api_key": "abc"}, {"api_key": "***"}),
    ({"apikey": "abc", "API_KEY": "abc"}, {"apikey": "***", "API_KEY": "***"}),
    ({"token": 7, "hf_token": "t"}, {"token": "***", "hf_token": "***"}),
    ({"credentials": {"user": "me"}}, {"credentials": "***"}),
    ({"logger": [{"a": {"password": "x", "name": "n"}}]}, {"logger": [{"a": {"password": "***", "name": "n"}}]}),
    ("https://me:pw@host/x", "https://***@host/x"),
    ("see s3://key@bucket and ftp://u:p@h/f", "see s3://***@bucket and ftp://***@h/f"),
    ({"url": "https://me@host"}, {"url": "https://***@host"}),
    (["--logger.api_key", "abc", "--lr", "1"], ["--logger.api_key", "***", "--lr", "1"]),
    (["--logger.api_key=abc", "--lr=1"], ["--logger.api_key=***", "--lr=1"]),
    (("--token", "a", "b"), ("--token", "***", "b")),
    (["--data.root=https://me:pw@host"], ["--data.root=https://***@host"]),
]  # fmt: skip


@pytest.mark.parametrize("value", KEPT, ids=repr)
def test_what_is_no_secret_stays(value: Any) -> None:
    assert redact(value) == value


@pytest.mark.parametrize(("value", "expected"), HIDDEN, ids=[repr(value) for value, _ in HIDDEN])
def test_secrets_go(value: Any, expected: Any) -> None:
    kept = repr(value)
    assert redact(value) == expected
    assert repr(value) == kept  # a copy is changed, never what the run works with


@pytest.mark.parametrize(
    "name", ["token", "key", "data.api_key", "hubToken", "DB_PASSWORD", "aws-secret", "passphrase"]
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name", ["num_tokens", "tokenizer", "pad_token", "monkey", "key_dim", "keys", "max_key_length"]
)
def test_names_that_only_look_like_secrets(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [{"password": 1234}]}, {"a": [{"password": MASK}]}),
        ({"token": {"user": "u"}}, {"token": MASK}),
        (["fit", "--data.key", "abc", "-c", "x"], ["fit", "--data.key", MASK, "-c", "x"]),
        (["--data.key=abc=", "--lr=0.1"], [f"--data.key={MASK}", "--lr=0.1"]),
        (["--password=two words"], [f"--password={MASK}"]),
        (["--data", '{"api_key": "abc", "size": 8}'], ["--data", f'{{"api_key": "{MASK}", "size": 8}}']),
        ("see https://u:p@host/a and s3://k@b", f"see https://{MASK}@host/a and s3://{MASK}@b"),
        ("https://host/a?sort=up&api_key=abc#top", f"https://host/a?sort=up&api_key={MASK}#top"),
    ],
)
def test_secrets_are_masked(value: Any, expected: Any) -> None:
    masked = redact(value)
    assert masked == expected
    assert redact(masked) is masked


def test_values_of_secret_variables_are_masked_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_TOKEN", TOKEN)
    monkeypatch.setenv("PWD", "/home/me/projects")
    assert redact("/home/me/projects/data") == "/home/me/projects/data"
    assert redact({"note": f"fetched with {TOKEN}"}) == {"note": f"fetched with {MASK}"}


def test_what_holds_no_secret_is_left_as_it_is() -> None:
    config = {"a": [1, "user@example.org", {"key": None, "token": ""}], "b": (torch.zeros(1), 2.5, True)}
    assert redact(config) is config
