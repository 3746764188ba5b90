"""The name of a hosted model: PROVIDER:MODEL[,option=value…][@URL].

    openai:text-embedding-3-large,dimensions=256
    openai:bge-m3,tokens=8192@http://localhost:8080/v1     (any server that speaks OpenAI's wire)
    tei:bge-m3@http://localhost:8080

A name is stored with the vectors, so that it has to hold all that is needed to reach the model again but the key.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from sememe.errors import InputError, NotFound
from sememe.models.providers.catalogue import MODELS, PROVIDERS, HostedModel, Provider
from sememe.models.providers.wire import Access
from sememe.settings import Hosted

_NAME = re.compile(r"(?P<provider>[a-z]+):(?P<model>[^,@\s]+)(?P<options>(?:,[^,@\s]*)*)(?:@(?P<url>https?://\S+))?")
_BY_NAME = {provider.name: provider for provider in PROVIDERS}


@dataclass(frozen=True, slots=True)
class Hosting:
    """A name, taken apart: the model with what is known of it, its provider, and the address if one was given."""

    name: str
    model: HostedModel
    provider: Provider
    dimensions: int | None = None
    url: str | None = None


def is_hosted(name: str) -> bool:
    """Whether a model's name begins with that of a provider."""
    provider, colon, _ = name.partition(":")
    return bool(colon) and provider in _BY_NAME


def parse(name: str, *, rerank: bool = False) -> Hosting:
    """Take a name apart. Raises InputError for what cannot be a name, and for dimensions the model does not have."""
    found = _NAME.fullmatch(name.strip())
    if found is None or found["provider"] not in _BY_NAME:
        raise InputError(
            f"{name!r} is no name of a hosted model; write PROVIDER:MODEL, with options like ,dimensions=256 and an "
            f"address like @http://localhost:8080/v1 behind it; providers: {', '.join(_BY_NAME)}"
        )
    provider = _BY_NAME[found["provider"]]
    model = _known(provider, found["model"], rerank=rerank)
    options = _options(name, found["options"])
    if "tokens" in options:
        model = replace(model, tokens=_number(name, "tokens", options["tokens"]))
    if "task" in options:
        if provider.name != "jina":
            raise InputError(f"{name!r} names a task, and only models of jina have tasks; leave it out")
        model = replace(model, task=options["task"])
    dimensions = _number(name, "dimensions", options["dimensions"]) if "dimensions" in options else None
    _check_dimensions(name, model, dimensions)
    return Hosting(name.strip(), model, provider, dimensions, _checked_url(name, found["url"]))


def access(hosting: Hosting, hosted: Hosted) -> Access:
    """The address and the key of a provider, from what the environment said.

    A provider's key goes to the provider's own address or to one that the environment names, never to an address
    that came with a model's name: that one may be somebody else's. Raises InputError when a key is missing.
    """
    environ, provider = hosted.environ, hosting.provider
    names = provider.keys if hosting.url is None else (key_name(hosting.url),)
    key = next((environ[name] for name in names if environ.get(name)), "")
    if not key and hosting.url is None and not provider.open:
        raise InputError(f"{hosting.name} needs a key; set {' or '.join(names)} in the environment")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise InputError(f"the key in {names[0]} has characters that no key has; copy it again, without a line break")
    url = hosting.url or environ.get(provider.url_name) or provider.url
    if url and "://" not in url:
        url = f"http://{url}"
    if url and not _has_host(url):
        raise InputError(f"{provider.url_name} is {url!r}, which is no address; write it like http://localhost:8080/v1")
    return Access(key, url.rstrip("/") if url else None, hosted.timeout)


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def key_name(url: str) -> str:
    """The environment name of the key for an address: SEMEME_KEY_ and its host and port."""
    return "SEMEME_KEY_" + re.sub(r"[^A-Z0-9]", "_", urlsplit(url).netloc.upper())


def key_names(hosting: Hosting) -> str:
    """The environment names in which a key of this model is looked for, for a message."""
    return key_name(hosting.url) if hosting.url else " or ".join(hosting.provider.keys)


def close_names(hosting: Hosting) -> str:
    """Names of the provider's models that are spelled much like this one, for a message; empty if there is none."""
    names = [
        model.name for model in MODELS if model.provider == hosting.provider.name and model.name != hosting.model.name
    ]
    close = difflib.get_close_matches(hosting.model.name, names, n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(f'{hosting.provider.name}:{name}' for name in close)}?)" if close else ""


def _known(provider: Provider, name: str, *, rerank: bool) -> HostedModel:
    for model in MODELS:
        if (model.provider, model.name) == (provider.name, name):
            if (model.kind == "rerank") != rerank:
                what = "ranks documents and makes no vectors" if model.kind == "rerank" else "makes vectors"
                raise NotFound(f"{provider.name}:{name} {what}; see what there is with: sememe hosted")
            return model
    return HostedModel(provider.name, name, kind="rerank" if rerank else "embed", known=False)


def _options(name: str, text: str) -> dict[str, str]:
    options = {}
    for part in filter(None, text.split(",")):
        option, equals, value = part.partition("=")
        if option not in ("dimensions", "tokens", "task") or not equals or not value or option in options:
            raise InputError(f"{name!r} has the option {part!r}; use dimensions=N, tokens=N or task=NAME, once each")
        options[option] = value
    return options


def _number(name: str, option: str, value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise InputError(f"{name!r} says {option}={value}; give a whole number from 1")
    return int(value)


def _check_dimensions(name: str, model: HostedModel, dimensions: int | None) -> None:
    if dimensions is None or not model.dims or dimensions in model.dims:
        return
    if model.smallest is not None and model.smallest <= dimensions <= max(model.dims):
        return
    had = f"{model.smallest} to {max(model.dims)}" if model.smallest else ", ".join(map(str, sorted(model.dims)))
    raise InputError(f"{name!r} asks for {dimensions} dimensions; {model.name} has {had}")


def _checked_url(name: str, url: str | None) -> str | None:
    if url is None:
        return None
    if not _has_host(url):
        raise InputError(f"{name!r} ends with no address that can be used; write it like @http://localhost:8080/v1")
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query or parts.fragment or not parts.hostname:
        raise InputError(
            f"the address of {name.partition('@')[0]!r} holds more than host, port and path; names are stored, so "
            f"leave out keys and passwords, and set a key as {key_name(url.split('@')[-1])} in the environment"
        )
    return url.rstrip("/")
