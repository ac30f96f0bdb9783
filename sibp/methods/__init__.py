"""The training methods; `registry` has them by name."""

from sibp.core.options import Options
from sibp.methods.base import BackpropMethod, Method, State
from sibp.methods.registry import METHODS, build, get, options
from sibp.methods.sequential import step

__all__ = ["METHODS", "BackpropMethod", "Method", "Options", "State", "build", "get", "options", "step"]
