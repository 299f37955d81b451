"""fsspec's http with checks: of the address of every connection, the uri of every redirect, and every byte range."""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import aiohttp

from fuseid.core.config import SourceConfig
from fuseid.core.errors import FetchFailed, NotAllowed
from fuseid.core.installed import fuseid_version
from fuseid.pipelines.files.access import allowed_prefixes, check_remote
from fuseid.pipelines.files.remote_uri import RemoteUri, parse_remote
from fuseid.pipelines.files.web_files import WebFiles, can_decode, content_coding

_REDIRECTS = (301, 302, 303, 307, 308)
_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]+)")
# Networks that translate IPv6 into IPv4 (RFC 6052): the last 32 bits are the address that is reached.
_NAT64 = IPv6Network("64:ff9b::/96")
# Where clouds serve a machine's credentials, besides link-local addresses; and "this network" (RFC 1122).
_NEVER = (IPv4Network("192.0.0.0/24"), IPv6Network("fd00:ec2::/32"), IPv4Network("0.0.0.0/8"))


class AddressRefused(OSError):
    """The host's address is private or reserved."""


def is_allowed_address(text: str, private: bool) -> bool:
    """Whether http may connect to an address: a global unicast one, and if `private` is set a private or loopback one.

    Never allowed: link-local and other addresses where clouds serve a machine's credentials, and multicast, reserved or
    unspecified ones. An IPv6 address that contains an IPv4 one (mapped, NAT64) is judged by the IPv4 address; 6to4 and
    Teredo are refused.
    """
    address: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address in _NAT64:
            address = IPv4Address(int(address) & 0xFFFFFFFF)
        elif address.sixtofour is not None or address.teredo is not None or address.is_site_local:
            return False
    if address.is_loopback:
        return private
    if any(address in network for network in _NEVER):
        return False
    if address.is_link_local or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    return address.is_global or (private and address.is_private)


def own_user_agent() -> str:
    return f"fuseid/{fuseid_version()}"


class GuardedHTTP:
    """`filesystem` is fsspec's with the checks. A caller keeps a uri in `requested` while it fetches it: a request for
    any other uri comes from a redirect, and must be below an allowed prefix."""

    def __init__(self, config: SourceConfig) -> None:
        self._config = config
        self._prefixes = allowed_prefixes(config)
        self.requested: Counter[RemoteUri] = Counter()
        # No proxies, no .netrc (trust_env), no cookies. A proxy would resolve host names itself, unchecked.
        self.filesystem: Any = WebFiles(
            get_client=self._client, encoded=True, max_redirects=4, skip_instance_cache=True,
            headers={"Accept-Encoding": "identity", "User-Agent": config.user_agent or own_user_agent()},
        )  # fmt: skip

    async def _client(self, loop: Any = None) -> aiohttp.ClientSession:
        seconds = self._config.timeout_seconds
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                socket_factory=_socket_factory(self._config.private_hosts), limit=64, limit_per_host=16
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=seconds),
            middlewares=[self._guard],
            auto_decompress=False,
            trust_env=False,
        )

    async def _guard(self, request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        """Checks every request of the session, also those that follow a redirect, and every response."""
        try:
            uri = parse_remote(str(request.url))
        except ValueError as error:
            raise NotAllowed(f"redirected to {str(request.url)!r}: {error}") from None
        if "Authorization" in request.headers:  # aiohttp makes this header from a user name in a redirect
            raise NotAllowed(f"redirected to '{uri}' with a user name")
        if uri not in self.requested:
            check_remote(uri, self._prefixes, self._config)
        response = await handler(request)
        if response.status >= 400:
            # Closed at once: fsspec reads some error responses to their end, which may never come.
            response.close()
            raise aiohttp.ClientResponseError(
                request.request_info,
                (),
                status=response.status,
                message=response.reason or "",
                headers=response.headers,
            )
        problem = _problem(request, response)
        if problem:
            response.close()
            raise FetchFailed(f"{uri.authority} {problem}")
        return response


def _problem(request: aiohttp.ClientRequest, response: aiohttp.ClientResponse) -> str | None:
    """Why a response may not be what was requested; None if it is."""
    status, headers = response.status, response.headers
    if status in _REDIRECTS:
        return None if headers.get("Location") else f"redirects ({status}) to nowhere"
    wanted = _RANGE.fullmatch(request.headers.get("Range", ""))
    coding = content_coding(response)
    if coding is not None and (wanted is not None or not can_decode(coding)):
        return f"compresses ({coding}) what was requested uncompressed"
    if wanted is None:
        return None if status == 200 else f"answers {status}"
    # A range is held in memory, so the response must not be longer than the range that was requested.
    first, last = map(int, wanted.groups())
    got = re.fullmatch(r"bytes ([0-9]+)-([0-9]+)/.*", headers.get("Content-Range", ""))
    if status != 206 or got is None or int(got[1]) != first or not first <= int(got[2]) <= last:
        return "does not serve ranges of bytes"
    if response.content_length != int(got[2]) - first + 1:
        return "does not say how long its range is"
    return None


def _socket_factory(private: bool) -> Callable[[Any], socket.socket]:
    def connectable(address: Any) -> socket.socket:
        family, kind, protocol, _, where = address
        if not is_allowed_address(where[0], private):
            raise AddressRefused("its address is private or reserved")
        return socket.socket(family, kind, protocol)

    return connectable
