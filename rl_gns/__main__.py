"""`python -m rl_gns` is `rl-gns`."""

from rl_gns.cli import main

if __name__ == "__main__":
    main()
