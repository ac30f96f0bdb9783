"""The training methods; `registry` has them by name."""

from sibp.methods.base import Method, Options, State
from sibp.methods.registry import METHODS, build, get, options
from sibp.methods.sequential import step

__all__ = ["METHODS", "Method", "Options", "State", "build", "get", "options", "step"]
