"""Owns the form of market-data-core's event envelope: JSON in field `data`, and which schema id means which model.

Pure: it is given models and bytes. The hash is over the very form that core's own codec checks it against.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any, Final

import market_data_core
from market_data_core import telemetry
from pydantic import BaseModel, ValidationError

from ibkr_actor.errors import Error
from ibkr_actor.provider.models import IBKRBar, IBKRQuote, IBKRTrade

FIELD: Final = "data"
# Classes that are read back as what core calls them, ours with what they have more.
_OURS: Final[dict[str, type[BaseModel]]] = {"Quote": IBKRQuote, "Bar": IBKRBar, "Trade": IBKRTrade}


class BadEnvelope(Error):
    """Bytes that are no envelope, or whose payload is not what its schema id says."""


class Envelope:
    """One event: `payload` is a model of market-data-core, `id` that of its entry, `ts` when it was published.

    `deliveries` counts how often the group was given it, this time included.
    """

    def __init__(
        self,
        *,
        id: str,
        key: str | None,
        ts: float,
        schema_id: str,
        track: str,
        payload: BaseModel,
        deliveries: int = 1,
    ) -> None:
        self.id = id
        self.key = key
        self.ts = ts
        self.schema_id = schema_id
        self.track = track
        self.payload = payload
        self.deliveries = deliveries

    def __repr__(self) -> str:
        return f"Envelope(id={self.id!r}, key={self.key!r}, payload={self.payload!r})"


def _models() -> dict[str, type[BaseModel]]:
    """Every model that core publishes, by the id its own bus would give it, and by shorter ones that mean the same."""
    found: dict[str, type[BaseModel]] = {}
    for module in (market_data_core, telemetry):
        for name in dir(module):
            model = getattr(module, name)
            if isinstance(model, type) and issubclass(model, BaseModel):
                home = model.__module__.removeprefix("market_data_core.")
                for schema_id in (f"{home}.{name}", f"{home.split('.')[0]}.{name}", f"models.{name}"):
                    found.setdefault(schema_id, _OURS.get(name, model))
    return found


MODELS: Final = _models()
# What our classes are called for others: by core's class, whose fields they have.
_ID_OF: Final = {ours: f"_models.{name}" for name, ours in _OURS.items()}


def resolve_model(schema_id: str) -> type[BaseModel]:
    """The model of a schema id.

    Raises:
        ValueError: nobody knows it.
    """
    model = MODELS.get(schema_id)
    if model is None:
        raise ValueError(f"unknown schema_id: {schema_id}")
    return model


def schema_id_of(value: BaseModel) -> str:
    """The id under which core's own bus would publish the model."""
    known = _ID_OF.get(type(value)) or getattr(value, "__schema_id__", None)
    if isinstance(known, str):
        return known
    home = type(value).__module__.removeprefix("market_data_core.")
    home = home.split(".")[0] if home.startswith("telemetry.") else home
    return f"{home}.{type(value).__name__}"


def encode(value: BaseModel, *, key: str | None = None, track: str = "v1", ts: float | None = None) -> bytes:
    """The bytes of an envelope."""
    payload = value.model_dump(mode="json")
    meta = {"schema_id": schema_id_of(value), "track": track, "headers": {}, "hash": hash_of(payload)}
    body = {"ts": time.time() if ts is None else ts, "key": key, "meta": meta, "payload": payload}
    return json.dumps(body).encode()


def decode(data: bytes, *, id: str = "", deliveries: int = 1) -> Envelope:
    """The envelope of these bytes.

    Raises:
        BadEnvelope: not JSON, not an envelope, an unknown model, or a payload that was changed on the way.
    """
    try:
        raw = json.loads(data)
        meta = raw["meta"]
        payload = resolve_model(meta["schema_id"]).model_validate(raw["payload"])
        expected = meta.get("hash")
        # Core's own publisher hashes another form than its reader checks; its events are taken by either.
        if expected and expected not in (hash_of(raw["payload"]), _hash(payload.model_dump_json())):
            raise BadEnvelope("the payload is not what its hash was made of")
        return Envelope(
            id=id, key=raw.get("key"), ts=float(raw["ts"]), schema_id=meta["schema_id"],
            track=meta.get("track", "v1"), payload=payload, deliveries=deliveries,
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise BadEnvelope(f"{type(error).__name__}: {error}") from error


def hash_of(payload: Any) -> str:
    """SHA-256 over the payload's JSON with sorted keys: what core's `JsonCodec.decode` computes."""
    return _hash(json.dumps(payload, sort_keys=True))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
