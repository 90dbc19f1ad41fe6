"""Opens HTTP clients that follow the environment's variables for proxies and certificate authorities.

It reads HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in either case, as curl and Go do: NO_PROXY may list names,
addresses and networks, and requests to a loopback address never go through a proxy. httpx itself refuses some of these
forms, and its errors name no variable.
"""

import ipaddress
from dataclasses import dataclass
from typing import Any, Final
from urllib.request import getproxies_environment

import httpx

from shared import address, trouble, trust
from shared.public_address import is_loopback
from shared.settings import SettingsWrong

SECURE: Final = "https"
ANY: Final = "all"
EVERYTHING: Final = "*"
USABLE: Final = ("http", "https")
PROXY_ADVICE: Final = "name an HTTP proxy as http://HOST:PORT, add the host that is called to NO_PROXY, or unset it"
DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """`url` may hold a password. `shown` holds none."""

    variable: str
    url: httpx.URL

    @property
    def shown(self) -> str:
        return f"{address.origin(self.url)} ({self.variable})"


def open_client(base_url: str, **options: Any) -> httpx.Client:
    """Return a client for one server, with httpx's `options`. Raises SettingsWrong, which names the variable."""
    url = httpx.URL(base_url)
    if "transport" not in options:
        options["transport"] = _transport(url)
    # The transport already follows the environment, so httpx must not read it again.
    return httpx.Client(base_url=url, trust_env=False, **options)


def explain(error: Exception, url: httpx.URL) -> str:
    """Return why `url` did not answer, as shared.trouble does. If its proxy failed, name the proxy."""
    proxy = proxy_of(url)
    if proxy is None or not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        return trouble.explain(error)
    if isinstance(error, httpx.ProxyError):
        status = str(error).partition(" ")[0]
        return f"the proxy {proxy.shown} refused{f' with {status}' if status.isdecimal() else ''}: {PROXY_ADVICE}"
    why = trouble.explain(error)
    if "TLS" in why or "certificate" in why:
        return why
    return f"the proxy {proxy.shown} cannot be reached ({why.partition(':')[0]}): {PROXY_ADVICE}"


def moved(response: httpx.Response) -> str:
    """Return what to do about a redirect. Clients do not follow it, because they would send the key along."""
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
    variables = getproxies_environment()
    if is_loopback(url.host) or _is_excepted(url, variables.get("no", "")):
        return None
    scheme = next((scheme for scheme in (url.scheme, ANY) if variables.get(scheme)), None)
    if scheme is None:
        return None
    variable, text = f"{scheme.upper()}_PROXY", variables[scheme].strip()
    try:
        parsed = address.parse(text if "://" in text else f"http://{text}")
    except ValueError as error:
        raise SettingsWrong(f"{variable}: {error}; {PROXY_ADVICE}.") from None
    if parsed.scheme not in USABLE:
        raise SettingsWrong(f"{variable}: it is not an HTTP proxy, and no other kind is supported; {PROXY_ADVICE}.")
    return Proxy(variable, parsed)


def _transport(url: httpx.URL) -> httpx.HTTPTransport:
    proxy = proxy_of(url)
    if proxy is None:
        return httpx.HTTPTransport(verify=trust.context() if url.scheme == SECURE else trust.trust_none())
    context = trust.context()
    return httpx.HTTPTransport(verify=context, proxy=httpx.Proxy(proxy.url, ssl_context=_for_proxy(proxy, context)))


def _is_excepted(url: httpx.URL, no_proxy: str) -> bool:
    entries = (entry.strip() for entry in no_proxy.split(","))
    return any(_matches(url, entry) for entry in entries if entry)


def _matches(url: httpx.URL, entry: str) -> bool:
    """Return whether an entry of NO_PROXY covers the URL. An entry in an unknown form covers nothing."""
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
    """Return the context if the proxy itself speaks TLS: httpx accepts none otherwise."""
    return context if proxy.url.scheme == SECURE else None
