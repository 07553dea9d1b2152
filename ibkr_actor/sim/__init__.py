"""Owns the gateway simulator: a TWS on a TCP socket for tests and benchmarks, as text and as protobuf.

Must not be imported by the sidecar's own path; it needs ibapi for its protobuf classes only.
"""

from ibkr_actor.sim.desks.rules import Rule as Rule
from ibkr_actor.sim.faults.actions import ActionError as ActionError
from ibkr_actor.sim.faults.script import Script as Script
from ibkr_actor.sim.faults.script import ScriptError as ScriptError
from ibkr_actor.sim.faults.script import load_script as load_script
from ibkr_actor.sim.faults.script import parse_script as parse_script
from ibkr_actor.sim.replay.rows import ReplayError as ReplayError
from ibkr_actor.sim.scenarios import scenario_titles as scenario_titles
from ibkr_actor.sim.server import Simulator as Simulator
from ibkr_actor.sim.server import run_simulator as run_simulator
from ibkr_actor.sim.settings import BlastSettings as BlastSettings
from ibkr_actor.sim.settings import SimulatorSettings as SimulatorSettings
from ibkr_actor.sim.sync import SyncSimulator as SyncSimulator
from ibkr_actor.sim.sync import simulator as simulator

__all__ = [
    "ActionError",
    "BlastSettings",
    "ReplayError",
    "Rule",
    "Script",
    "ScriptError",
    "Simulator",
    "SimulatorSettings",
    "SyncSimulator",
    "load_script",
    "parse_script",
    "run_simulator",
    "scenario_titles",
    "simulator",
]
