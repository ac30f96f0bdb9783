from pathlib import Path

import pytest

from sibp.data import registry
from tests.unit.data import rawfiles


@pytest.fixture
def tiny(monkeypatch):
    """A registry whose data sets have twelve samples each."""
    entries = registry.parse(rawfiles.registry())
    monkeypatch.setattr(registry, "_registry", lambda: entries)
    return entries


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    """An empty cache, and no other place that the user's environment could name."""
    monkeypatch.setenv("SIBP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SIBP_DATA", raising=False)
    return tmp_path / "cache"
