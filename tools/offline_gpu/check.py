"""Check this machine's device with what the bundle holds: python check.py --device cuda [--seconds 200] [--out OUT] [--only BLOCK ...]

The same as `sibp check`, whose options these are: one line PASS or FAIL a block, and OUT/check.json after each.
Exit code: 0; 1 if a block failed or none was begun; 2 for bad input.
"""

import sys

from run import make_importable  # ty: ignore[import-not-found] - beside it in a bundle


def main() -> int:
    make_importable()
    import sibp.cli as cli

    return cli.main(["check", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
