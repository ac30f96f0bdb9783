"""Numbers in words."""


def duration(seconds: float) -> str:
    """Return a time in its natural unit."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
