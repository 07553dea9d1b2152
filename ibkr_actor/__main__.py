"""The entry point `ibkr-actor` and `python -m ibkr_actor`."""

from ibkr_actor.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
