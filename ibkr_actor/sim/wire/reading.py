"""Owns reading single values out of a request's bytes: text fields in order, and protobuf's first field.

Must not know any request.
"""

from __future__ import annotations

from ibkr_actor.sim.market.instruments import ContractSpec

_INT32_MIN, _INT32_MAX = -(1 << 31), (1 << 31) - 1


class BadRequest(Exception):
    """A request whose fields cannot be read; `req_id` is -1 when not even that could."""

    def __init__(self, req_id: int, cause: str) -> None:
        super().__init__(cause)
        self.req_id = req_id
        self.cause = cause


class Fields:
    """Text fields in order. Raises BadRequest with the req_id read so far when one is missing or malformed."""

    def __init__(self, body: bytes) -> None:
        self._fields = body.split(b"\0")[:-1]
        self._next = 0
        self.req_id = -1

    def text(self) -> str:
        if self._next >= len(self._fields):
            raise BadRequest(self.req_id, "Message is too short")
        value = self._fields[self._next].decode("utf-8", errors="backslashreplace")
        self._next += 1
        return value

    def integer(self) -> int:
        value = self.text()
        try:
            return int(value) if value else 0
        except ValueError:
            raise BadRequest(self.req_id, f"Unable to parse data. For input string: {value!r}") from None

    def number(self) -> float:
        value = self.text()
        try:
            return float(value) if value else 0.0
        except ValueError:
            raise BadRequest(self.req_id, f"Unable to parse data. For input string: {value!r}") from None

    def optional_number(self) -> float | None:
        """None for an empty field."""
        value = self.text()
        try:
            return float(value) if value else None
        except ValueError:
            raise BadRequest(self.req_id, f"Unable to parse data. For input string: {value!r}") from None

    def flag(self) -> bool:
        return self.text() in ("1", "true", "True")

    def own_id(self) -> int:
        """The field that is the req_id, a 32-bit number."""
        req_id = self.integer()
        if not _INT32_MIN <= req_id <= _INT32_MAX:
            raise BadRequest(-1, f"Id {req_id} is out of range")
        self.req_id = req_id
        return req_id

    def contract(self) -> ContractSpec:
        """The twelve contract fields."""
        return ContractSpec(
            con_id=self.integer(),
            symbol=self.text(),
            sec_type=self.text(),
            last_trade_date_or_contract_month=self.text(),
            strike=self.number(),
            right=self.text(),
            multiplier=self.text(),
            exchange=self.text(),
            primary_exchange=self.text(),
            currency=self.text(),
            local_symbol=self.text(),
            trading_class=self.text(),
        )


def first_varint(body: bytes) -> int:
    """The value of field 1 when it is a varint, as req_id is in nearly every request; -1 when it is not."""
    if not body or body[0] != 0x08:
        return -1
    value = 0
    for place, byte in enumerate(body[1:11]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            value = value - (1 << 64) if value >= 1 << 63 else value
            return value if _INT32_MIN <= value <= _INT32_MAX else -1
    return -1
