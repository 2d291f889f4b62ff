"""Keep keys and tokens out of everything that is written down."""

import re
from typing import Any

_SECRET_NAME = re.compile(r"(^|[_.\-])(api_?key|token|password|passwd|secret|credentials?)($|[_.\-=])", re.IGNORECASE)
_URL_USER = re.compile(r"(\w+://)[^/@\s]+@")


def redact(value: Any) -> Any:
    """A copy of plain data in which secrets are replaced by ``***``: by the name of their key, or as a URL's user.

    >>> redact({"api_key": "abc", "url": "https://me:pw@host/x"})
    {'api_key': '***', 'url': 'https://***@host/x'}
    """
    if isinstance(value, dict):
        return {k: "***" if _SECRET_NAME.search(str(k)) and v is not None else redact(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return _redact_list(list(value))
    if isinstance(value, str):
        return _URL_USER.sub(r"\1***@", value)
    return value


def _redact_list(values: list[Any]) -> list[Any]:
    redacted: list[Any] = []
    hide_next = False
    for value in values:
        name, equals, _ = value.partition("=") if isinstance(value, str) else ("", "", "")
        if hide_next:
            redacted.append("***")
        elif equals and name.startswith("--") and _SECRET_NAME.search(name):
            redacted.append(f"{name}=***")
        else:
            redacted.append(redact(value))
        hide_next = not equals and name.startswith("--") and bool(_SECRET_NAME.search(name))
    return redacted
