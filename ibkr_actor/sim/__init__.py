"""Owns the gateway simulator: a TWS on a TCP socket for tests and benchmarks, as text and as protobuf.

Must not be imported by the sidecar's own path; it needs ibapi for its protobuf classes only.
"""

from ibkr_actor.sim.replay import ReplayError as ReplayError
from ibkr_actor.sim.rules import Rule as Rule
from ibkr_actor.sim.server import Simulator as Simulator
from ibkr_actor.sim.server import run_simulator as run_simulator
from ibkr_actor.sim.settings import BlastSettings as BlastSettings
from ibkr_actor.sim.settings import SimulatorSettings as SimulatorSettings
from ibkr_actor.sim.sync import SyncSimulator as SyncSimulator
from ibkr_actor.sim.sync import simulator as simulator

__all__ = [
    "BlastSettings",
    "ReplayError",
    "Rule",
    "Simulator",
    "SimulatorSettings",
    "SyncSimulator",
    "run_simulator",
    "simulator",
]
