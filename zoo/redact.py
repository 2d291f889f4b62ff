"""Keep keys, tokens and passwords out of everything that is written down or sent away. A leaf module."""

import os
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

MASK = "***"

_SECRET = re.compile(
    r"(^|[_.-])(api_?keys?|key|token|pass(word|wd|phrase)?s?|pwd|secrets?|credentials?|authorization|signature)$"
)
# Words of a vocabulary, which are no secrets: pad_token, mask_token, ...
_VOCABULARY = re.compile(r"(^|[_.-])(pad|mask|unk|bos|eos|cls|sep|start|end|class)_token$")
_URL_USER = re.compile(r"(?<=://)[^/\s@]+@")
# name=value and "name": "value" within a text: parameters of a URL, JSON or YAML typed on the command line.
_ASSIGNMENT = re.compile(r"""([\w.-]+)(["']?\s*[:=]\s*["']?)[^\s,;&#"'{}\[\]]+""")
_OPTION = re.compile(r"--?([\w.-]+)(?:=(.*))?", re.DOTALL)
_LONG = 16  # shorter values of the environment may well be ordinary words


def is_secret(name: str) -> bool:
    """Whether an option of this name holds a secret: its last word is key, token, password, secret or alike.

    >>> [is_secret(name) for name in ("data.api_key", "hubToken", "num_tokens", "pad_token")]
    [True, True, False, False]
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return bool(_SECRET.search(words)) and not _VOCABULARY.search(words)


def redact(value: Any) -> Any:
    """Mask what must not leave the machine, in plain data.

    Masked are values under a secret's name (``is_secret``), also within a text (``name=value``, ``"name": "value"``)
    or a list of arguments, the user part of a URL, and the value of a secret environment variable wherever it stands.
    Tensors, None and empty values stay.

    Returns:
        The same object where nothing was masked, so that ``redact(x) is x`` tells that ``x`` holds no secret.
    """
    # PWD is the current folder, not a password.
    return _redact(value, [v for k, v in os.environ.items() if len(v) >= _LONG and is_secret(k) and k != "PWD"])


def _redact(value: Any, known: list[str]) -> Any:
    if isinstance(value, str):
        return _redact_text(value, known)
    if isinstance(value, Mapping):
        masked = {k: _mask(v) if is_secret(str(k)) else _redact(v, known) for k, v in value.items()}
        return masked if any(masked[k] is not value[k] for k in masked) else value
    if type(value) in (list, tuple):
        items = _redact_arguments([_redact(item, known) for item in value])
        return type(value)(items) if any(a is not b for a, b in zip(items, value, strict=True)) else value
    return value


def _mask(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | Tensor) or value in ("", MASK) else MASK


def _redact_text(text: str, known: list[str]) -> str:
    masked = _URL_USER.sub(f"{MASK}@", text)
    masked = _ASSIGNMENT.sub(lambda m: f"{m[1]}{m[2]}{MASK}" if is_secret(m[1]) else m[0], masked)
    for secret in known:
        masked = masked.replace(secret, MASK)
    return text if masked == text else masked


def _redact_arguments(items: list[Any]) -> list[Any]:
    """Mask ``--api_key=x`` and the item after ``--api_key``."""
    masked: list[Any] = []
    expecting = False
    for item in items:
        option = _OPTION.fullmatch(item) if isinstance(item, str) else None
        if option and is_secret(option[1]) and option[2]:
            item = f"{item.partition('=')[0]}={MASK}" if option[2] != MASK else item
        elif expecting and not option:
            item = _mask(item)
        expecting = bool(option and is_secret(option[1]) and option[2] is None)
        masked.append(item)
    return masked
