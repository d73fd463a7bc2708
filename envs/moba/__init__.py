"""A lane-battle world like Dota, simulated thousands of times at once: `moba:1v1` … `moba:5v5`.

`settings` holds every constant, `layout` the observation; the rules are plain scalar Python for one world, read
from `world` on; `compile` turns the same functions into machine code; `env` batches worlds.
"""
