"""The HTTP client of every part that calls a server: it heeds the variables for proxies and certificate authorities.

HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in either case, as curl and Go read them: NO_PROXY may list names,
addresses and networks, and a loopback address is never asked for through a proxy. httpx itself refuses some of these
forms while a client is made, and names no variable.
"""

import ipaddress
from dataclasses import dataclass
from typing import Any, Final
from urllib.request import getproxies_environment

import httpx

from shared import address, trouble, trust
from shared.settings import SettingsWrong

SECURE: Final = "https"
ANY: Final = "all"
EVERYTHING: Final = "*"
USABLE: Final = ("http", "https")
HOW: Final = "name an HTTP proxy as http://HOST:PORT, add the host that is called to NO_PROXY, or unset it"
DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """`url` may hold a password; `shown` does not."""

    variable: str
    url: httpx.URL

    @property
    def shown(self) -> str:
        return f"{address.origin(self.url)} ({self.variable})"


def open_client(base_url: str, **options: Any) -> httpx.Client:
    """Return a client for one server; `options` are httpx's. Raises SettingsWrong, which names the variable."""
    url = httpx.URL(base_url)
    if "transport" not in options:
        options["transport"] = _transport(url)
    # What the environment says is in the transport: httpx is to read none of it.
    return httpx.Client(base_url=url, trust_env=False, **options)


def explain(error: Exception, url: httpx.URL) -> str:
    """Return what kept `url` from answering, in words; a proxy that failed is named. See shared.trouble."""
    proxy = proxy_of(url)
    if proxy is None or not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        return trouble.explain(error)
    if isinstance(error, httpx.ProxyError):
        status = str(error).partition(" ")[0]
        return f"the proxy {proxy.shown} refused{f' with {status}' if status.isdecimal() else ''}: {HOW}"
    why = trouble.explain(error)
    if "TLS" in why or "certificate" in why:
        return why
    return f"the proxy {proxy.shown} is not reached ({why.partition(':')[0]}): {HOW}"


def moved(response: httpx.Response) -> str:
    """Return what to do about a redirect. It is not followed: the key would go along."""
    asked = response.url
    try:
        target = asked.join(response.headers.get("location", ""))
        there = f"{address.origin(target)}{target.path.removesuffix(asked.path)}".rstrip("/")
    except httpx.InvalidURL:
        there = address.origin(asked)
    if there == address.origin(asked):
        return f"{there} redirects elsewhere ({response.status_code}): check the address, something else answers there."
    return f"{address.origin(asked)} redirects to {there} ({response.status_code}): give that address instead."


def proxy_of(url: httpx.URL) -> Proxy | None:
    """Return the proxy that requests to `url` go through. Raises SettingsWrong."""
    told = getproxies_environment()
    if address.is_loopback(url.host) or _is_excepted(url, told.get("no", "")):
        return None
    scheme = next((scheme for scheme in (url.scheme, ANY) if told.get(scheme)), None)
    if scheme is None:
        return None
    variable, text = f"{scheme.upper()}_PROXY", told[scheme].strip()
    try:
        parsed = address.parse(text if "://" in text else f"http://{text}")
    except ValueError as error:
        raise SettingsWrong(f"{variable}: {error}; {HOW}.") from None
    if parsed.scheme not in USABLE:
        raise SettingsWrong(f"{variable}: it is not an HTTP proxy, and no other kind is supported; {HOW}.")
    return Proxy(variable, parsed)


def _transport(url: httpx.URL) -> httpx.HTTPTransport:
    proxy = proxy_of(url)
    if proxy is None:
        return httpx.HTTPTransport(verify=trust.context() if url.scheme == SECURE else trust.nobody())
    context = trust.context()
    return httpx.HTTPTransport(verify=context, proxy=httpx.Proxy(proxy.url, ssl_context=_for_proxy(proxy, context)))


def _is_excepted(url: httpx.URL, no_proxy: str) -> bool:
    entries = (entry.strip() for entry in no_proxy.split(","))
    return any(_matches(url, entry) for entry in entries if entry)


def _matches(url: httpx.URL, entry: str) -> bool:
    """An entry of no form that is known matches nothing."""
    if entry == EVERYTHING:
        return True
    try:
        named: ipaddress.IPv4Network | ipaddress.IPv6Network = ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        name, _, port = entry.lower().rpartition(":") if ":" in entry else (entry.lower(), "", "")
        if port and port != str(url.port or DEFAULT_PORTS.get(url.scheme)):
            return False
        bare = name.strip("[]").lstrip("*").lstrip(".")
        return bool(bare) and (url.host == bare or url.host.endswith(f".{bare}"))
    try:
        return ipaddress.ip_address(url.host) in named
    except ValueError:
        return False


def _for_proxy(proxy: Proxy, context: Any) -> Any:
    """httpx takes a context only for a proxy that speaks TLS itself."""
    return context if proxy.url.scheme == SECURE else None
