"""Owns how the provider is found by name: its spec for market-data-core's registries, and its entry in others.

The package's entry point `market_data.providers` names the same class for whoever discovers by that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from market_data_core.errors import RegistryError
from market_data_core.registry import Capability, ProviderSpec

from ibkr_actor.core.history.resolutions import RESOLUTIONS

# Source: the group that market-data-pipeline's source registry discovers providers by.
ENTRY_POINT_GROUP: Final = "market_data.providers"

PROVIDER_SPEC: Final = ProviderSpec(
    name="ibkr",
    module="ibkr_actor.provider",
    entry="IBKRProvider",
    capabilities=[
        Capability(name="realtime_quotes"),
        Capability(name="realtime_bars", params={"resolutions": ",".join(RESOLUTIONS)}),
        Capability(name="realtime_trades"),
        Capability(name="historical_bars", params={"resolutions": ",".join(RESOLUTIONS)}),
        Capability(name="options_chain"),
    ],
)


class Providers:
    """A registry of this one provider: market-data-core's `ProviderRegistry` protocol."""

    def providers(self) -> Iterable[ProviderSpec]:
        return (PROVIDER_SPEC,)

    def get(self, name: str) -> ProviderSpec:
        """The spec of a provider.

        Raises:
            RegistryError: there is no such provider here.
        """
        if name != PROVIDER_SPEC.name:
            raise RegistryError(f"no provider {name!r}, only {PROVIDER_SPEC.name!r}")
        return PROVIDER_SPEC


def register(registry: Any, name: str = PROVIDER_SPEC.name) -> None:
    """Puts the provider into a registry that takes classes by name, as market-data-pipeline's do.

    Raises:
        RegistryError: the registry takes none.
    """
    from ibkr_actor.provider.provider import IBKRProvider

    take = getattr(registry, "register", None)
    if not callable(take):
        raise RegistryError(f"{type(registry).__name__} has no register(name, class)")
    take(name, IBKRProvider)
