"""Remote uris in normalised spelling, so that the uri that is compared with the allowed prefixes is the one opened."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, unquote

SCHEMES = ("s3", "gs", "https", "http")
_DEFAULT_PORTS = {"https": 443, "http": 80}

_HTTP = re.compile(r"([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?", re.DOTALL)
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::([0-9]{1,5}))?")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
# Other spellings that resolvers take for an IPv4 address (2130706433, 127.1, 0x7f.1): the last label is a number.
_ENDS_IN_A_NUMBER = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")
# These stay as they are in a path; all other characters that are not alphanumeric are percent-encoded.
_KEPT = "%/:@!$&'()*+,;=~-._"


@dataclass(frozen=True, slots=True)
class RemoteUri:
    """`authority`: bucket, or host with its port where that is not the scheme's own. `path`: begins with a slash;
    percent-encoded for http, the plain key for s3 and gs. `query`: with its question mark, or empty."""

    scheme: str
    authority: str
    path: str
    query: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}{self.query}"

    @property
    def is_http(self) -> bool:
        return self.scheme in _DEFAULT_PORTS

    @property
    def folder(self) -> RemoteUri:
        """The folder that contains the file."""
        return RemoteUri(self.scheme, self.authority, self.path[: self.path.rindex("/") + 1])

    def is_below(self, prefix: RemoteUri) -> bool:
        """Whether this is `prefix` or inside that folder; whole names are compared, so `/ab` is not below `/a`."""
        if (self.scheme, self.authority) != (prefix.scheme, prefix.authority):
            return False
        ours, theirs = self._names(), prefix._names()
        return ours[: len(theirs)] == theirs

    def _names(self) -> list[str]:
        path = unquote(self.path) if self.is_http else self.path
        return [*path.rstrip("/").split("/")[1:]]


def parse_remote(text: str) -> RemoteUri:
    """Raises ValueError, with the reason, for a uri that is malformed or could be read in two ways."""
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in SCHEMES:
        raise ValueError(f"its scheme is not one of {', '.join(SCHEMES)}")
    if _UNSAFE.search(text):
        raise ValueError("it holds a backslash or a control character")
    return _object(scheme, rest) if scheme in ("s3", "gs") else _http(scheme, rest)


def _object(scheme: str, rest: str) -> RemoteUri:
    bucket, _, key = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(f"{bucket!r} is no name of a bucket")
    if "?versionId=" in key:
        raise ValueError("it names a version; only the current one is opened")
    _check_names(f"/{key}")
    return RemoteUri(scheme, bucket, f"/{key}")


def _http(scheme: str, rest: str) -> RemoteUri:
    match = _HTTP.fullmatch(rest)
    assert match is not None
    authority, path, query = match.group(1), match.group(2) or "/", match.group(3) or ""
    decoded = path
    for _ in range(4):
        _check_names(decoded)
        once_more = unquote(decoded)
        if once_more == decoded:
            break
        if once_more.count("/") != decoded.count("/") or _UNSAFE.search(once_more):
            raise ValueError("it hides a slash, a backslash or a control character behind percent signs")
        decoded = once_more
    else:
        raise ValueError("it is percent-encoded too many times over")
    return RemoteUri(scheme, _host_and_port(scheme, authority), quote(path, _KEPT), quote(query, f"{_KEPT}?[]"))


def _check_names(path: str) -> None:
    # Some servers read `..;x` as `..`.
    if any(name.partition(";")[0] in (".", "..") for name in path.split("/")):
        raise ValueError("it has . or .. among the names of its path")


def _host_and_port(scheme: str, authority: str) -> str:
    if "@" in authority:
        raise ValueError("it has a user name before the host")
    match = _HOST_AND_PORT.fullmatch(authority)
    if not match:
        raise ValueError(f"{authority!r} is no host")
    host, port = _host(match.group(1)), match.group(2)
    if port is None or int(port) == _DEFAULT_PORTS[scheme]:
        return host
    if not 0 < int(port) < 65536:
        raise ValueError(f"there is no port {port}")
    return f"{host}:{int(port)}"


def _host(text: str) -> str:
    if text.startswith("["):
        return f"[{IPv6Address(text[1:-1])}]"
    try:
        host = text.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        raise ValueError(f"{text!r} is no host") from None
    if _ENDS_IN_A_NUMBER.fullmatch(host):
        return str(IPv4Address(host))  # refuses every form but four decimal numbers
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise ValueError(f"{text!r} is no host")
    return host
