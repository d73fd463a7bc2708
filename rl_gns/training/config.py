"""The settings of one run, their defaults per algorithm, and their file. Nothing here trains or imports torch."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import tomli_w

from rl_gns.errors import UserError
from rl_gns.training import checks, kinds, part_costs


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Settings of one run. None takes the algorithm's published default for Atari, or for moba."""

    env: str = "atari:pong"
    """What to train on: atari:GAME, gym:ID, moba:NvN or solvable:WORLD (`rl-gns envs` lists them)."""
    algo: Literal["a2c", "ppo"] = "a2c"
    """The learning algorithm."""
    num_envs: int | None = None
    """Environments stepped together: the batch is num_envs x rollout observations. Default: a2c 16, ppo 8; moba 160."""
    rollout: int | None = None
    """Decisions of each environment between updates. Default: a2c 5, ppo 128; moba a2c 16, ppo 128."""
    observations: float = 10_000_000
    """How long to train, in observations (agent decisions; 4 frames each on Atari)."""
    learning_rate: float | None = None
    """Step size. Default: a2c 7e-4, ppo 2.5e-4; moba 1e-3."""
    schedule: Literal["constant", "linear"] = "constant"
    """Whether the learning rate stays or falls linearly to 0 at the last observation."""
    seed: int = 1
    """Seeds environments, weights and action sampling: the same seed gives the same bytes."""
    device: str = "auto"
    """cpu, cuda, cuda:1 …; auto takes a GPU where there is one."""
    chunk: int | None = None
    """Observations whose gradient is taken at once; fewer take less memory, and change only rounding. Default: a whole
    minibatch (a2c: the batch), or less if the memory that is free holds less."""
    threads: int | None = None
    """Processors to use: torch's threads on the CPU, and processes that emulate. Results are bit-identical only for
    the same number. Default: torch's own choice, and every processor for the emulators."""
    overlap: Literal["none", "act", "learn"] = "none"
    """act (Atari) steps one half of the environments while the policy acts on the other, on one thread: the same
    algorithm, but the halves draw their actions in turns, so a seed gives another run. learn collects the next rollout
    while the present one is learnt from: another algorithm, since the policy that acts is one update old."""

    network: str = "auto"
    """nature, impala, mlp, tabular, entities, entities-lstm, which remembers, or blind, which sees nothing: a control.
    auto takes nature for pictures, entities for moba, mlp otherwise."""
    sequence: int | None = None
    """entities-lstm: decisions that the gradient runs back through; divides rollout. Default: 16, or their greatest
    common divisor."""
    precision: Literal["float32", "bf16"] = "float32"
    """bf16: nature and impala compute in bfloat16 while acting and in ppo's passes that learn; weights, a2c's backward
    pass and every measurement stay float32."""
    compile: bool = False
    """torch.compile the torso of nature or impala, for acting and for ppo's passes that learn: faster, after up to a
    minute's wait. a2c's backward pass, which measures, and every measurement see the layers as they are."""
    graph_update: bool = False
    """ppo, nature or impala, on a GPU: replay minibatches of up to 4,096 observations as one CUDA graph, which is to
    change no number. Experimental: not seen working on a GPU yet."""
    gamma: float | None = None
    """Discount per decision. Default: 0.99; moba 0.9993."""
    gae_lambda: float | None = None
    """GAE's lambda: 1 gives n-step returns. Default: a2c 1, ppo 0.95, moba 0.99."""
    value_coef: float | None = None
    """Weight of the squared value error in the loss. Default: 0.5; moba 0.1."""
    entropy_coef: float | None = None
    """Weight of the entropy bonus in the loss. Default: 0.01; moba 0.001."""
    max_grad_norm: float = 0.5
    """Clip the gradient to this global norm; 0 never clips. The noise is measured before."""
    rmsprop: Literal["tensorflow", "torch"] = "tensorflow"
    """a2c: which form of RMSProp; the published baselines used TensorFlow's."""
    rmsprop_decay: float = 0.99
    """a2c: decay of RMSProp's mean square."""
    rmsprop_eps: float = 1e-5
    """a2c: RMSProp's epsilon."""
    rmsprop_start: float = 1.0
    """a2c: mean square that TensorFlow's form begins with. From 1, a thousand updates pass first; from 0, none."""
    clip: float | None = None
    """ppo: half-width of the ratio's trust interval. Default: 0.1; moba 0.2."""
    epochs: int | None = None
    """ppo: passes over each rollout. Default: 4; moba 1."""
    minibatches: int | None = None
    """ppo: parts of each pass; must divide num_envs x rollout. Default: 4; moba up to 16."""
    normalize_advantage: bool = True
    """ppo: normalise advantages within each minibatch."""

    protocol: Literal["baselines", "machado"] | None = None
    """Atari: baselines (what the paper used; default) or machado (sticky actions, a game is the episode)."""
    start_spread: int | None = None
    """Atari: up to this many random decisions per environment before the first rollout (the paper: 500). Default 0.
    moba: up to this many decisions fewer in each world's first game, so that a batch holds all times of a game.
    Default: a game's length."""
    env_options: dict[str, int | float | bool | str] = dataclasses.field(default_factory=dict)
    """Further options of the environment, as pairs: --env-options full_action_set True workers 4."""

    opponents: str | None = None
    """moba: who plays the other side: self (the policy and its past selves), or one script: idle, random, laner, bully.
    Default: self."""
    past_share: float = 0.2
    """moba: share of the worlds in which a past self plays one side; its decisions are not learnt from."""
    sparring: str = ""
    """moba: scripts, as laner,bully, that take the past self's place in half of its games; none by default."""
    snapshot_every: float = 1_000_000
    """moba: observations between two snapshots of the policy for the pool of past selves."""
    past_selves: int = 8
    """moba: size of that pool; when it is full the member that is beaten most goes."""

    noise_budget: float | None = None
    """Share of the run that measuring the noise may cost, which decides how often that is; 0 never measures. Default:
    a2c 0.05, ppo 0.02."""
    noise_groups: int | None = None
    """Groups of whole environments whose gradients are compared; must divide num_envs. Default: up to 4 for
    a2c, 8 for ppo."""
    noise_halflife: float | None = None
    """Observations after which a noise measurement weighs half. Default: 100000, or 16 measurements if longer."""
    confidence: float = 0.95
    """Confidence of the noise scale's interval."""
    noise_parts: str = ""
    """Parts measured apart, in extra passes, of policy,value,entropy,total,layers,optimizer,hessian,fisher,line-search,
    epochs; or normalized, which costs nothing: the main measurement with every update counted alike."""
    noise_parts_every: int | None = None
    """Updates between measurements of the parts. Default: as few as noise_budget, taken once more, allows."""

    stop_score: float | None = None
    """Stop once the smoothed score of finished games reaches this; by default train to the last observation."""
    stop_halflife: float = 100_000
    """Half-life of that smoothing, in observations."""

    correlation_every: int = 0
    """Updates between measurements of the correlation within rollouts (design effect, predicted noise scale at other
    rollout lengths); each costs correlation_envs x rollout passes of one observation, and the memory of 2 x rollout
    gradients (nature: 0.12 GB at 5 steps, 1.1 GB at 64). 0 never measures."""
    correlation_envs: int = 4
    """Environments whose rollouts the correlation is measured on; at least 2."""

    ladder_every: float = 0
    """moba: observations between games against every script, for a rating along the way; 0 plays none."""
    ladder_games: int = 16
    """moba: games against each script then."""

    log_every: float = 10_000
    """Observations between metric rows."""
    checkpoint_every: float = 250_000
    """Observations between checkpoints; the last two are kept."""
    keep_every: float = 0
    """Observations between checkpoints that are kept for good, in the run's folder `kept`; 0 keeps none."""
    tensorboard: bool = True
    """Mirror the metrics to TensorBoard files in the run's directory."""

    @property
    def batch(self) -> int:
        """Observations per update."""
        return self.streams * (self.rollout or 1)

    @property
    def streams(self) -> int:
        """Rows that are learnt from: one an environment, of a lane-battle world every hero whom the policy plays."""
        worlds, team = self.num_envs or 1, re.fullmatch(r"moba:([1-5])v\1", self.env)
        if team is None:
            return worlds
        given = self.env_options.get("heroes")
        heroes = given if isinstance(given, int) else int(team[1])
        if not self.self_play:
            return worlds * heroes
        return (2 * worlds - self.groups * self.past_worlds(self.groups)) * heroes

    @property
    def groups(self) -> int:
        """Groups of environments the noise is measured over; 1 means not at all."""
        n = self.num_envs or 1
        if self.noise_groups is not None:
            return self.noise_groups
        # a2c pays for each group at every measurement, and four see the signal nearly as well as eight: its variance
        # goes as K/(K - 1).
        most = 4 if self.algo == "a2c" else 8
        divisors = [k for k in range(2, n + 1) if n % k == 0]
        choice = [k for k in divisors if k <= most] or divisors[:1] or [1]
        # Groups are alike: each has its past selves, or all worlds are one.
        if self.self_play and self.past_share > 0:
            choice = [k for k in choice if self.past_worlds(k)] or ([1] if self.past_worlds(1) else choice)
        return max(choice)

    @property
    def self_play(self) -> bool:
        """Whether the policy plays both sides of a world."""
        scripted = self.env_options.get("opponent", "none") != "none"
        return self.env.startswith("moba:") and self.opponents in (None, "self") and not scripted

    def past_worlds(self, groups: int) -> int:
        """Worlds of each of so many groups in which a past self plays: groups are alike, so that they compare."""
        return round(self.past_share * (self.num_envs or 1) / groups) if self.self_play else 0

    @property
    def noise_cadence(self) -> int:
        """Updates between measurements, as few as `noise_budget` allows; 0 is never.

        A2C's own backward pass measures, in smaller steps: a fixed time for each group, so that a large batch is
        measured at every update. PPO needs one more forward and backward pass (3 forward passes' worth) beside
        acting (1) and learning (3 per epoch); emulation only lowers that share. Neither depends on the clock: a
        resumed run measures at the same updates.
        """
        budget = self.noise_budget or 0.0
        if budget <= 0 or self.groups < 2:
            return 0
        if self.algo == "a2c":
            return max(1, math.ceil(min(1.0, GROUP_OBSERVATIONS * self.groups / self.batch) / budget))
        return math.ceil(3 / (1 + 3 * (self.epochs or 1)) / budget)

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of `noise_parts`, each once."""
        return part_costs.parse(self.noise_parts, self.algo)

    @property
    def parts_cadence(self) -> int:
        """Updates between measurements of the parts; 0 is never."""
        if not self.parts:
            return 0
        if self.noise_parts_every is not None:
            return self.noise_parts_every
        epochs = (self.epochs or 1) if self.algo == "ppo" else 1
        return part_costs.cadence(self.parts, self.groups, epochs, self.batch, self.noise_budget or 0.0)

    @property
    def parts_halflife(self) -> float:
        """Half-life of the parts' meters in observations."""
        return self.noise_halflife or max(100_000.0, 16.0 * self.parts_cadence * self.batch)

    @property
    def halflife(self) -> float:
        """Half-life of the noise meter in observations."""
        return self.noise_halflife or max(100_000.0, 16.0 * self.noise_cadence * self.batch)

    def environment_options(self) -> dict[str, Any]:
        """Keyword arguments for `envs.make`."""
        named: dict[str, Any] = {"protocol": self.protocol, "start_spread": self.start_spread}
        if self.opponents not in (None, "self"):
            named["opponent"] = self.opponents
        return {**{key: value for key, value in named.items() if value is not None}, **self.env_options}


GROUP_OBSERVATIONS = 1.5
"""What a2c's backward pass costs more for each noise group, in observations' share of a run: 7.5 % of a batch of 80 for
four of them (`nature` on two processors, scripts/bench/noise_overhead.py)."""

_SHARED: dict[str, Any] = {"gamma": 0.99, "value_coef": 0.5, "entropy_coef": 0.01, "clip": 0.1, "epochs": 4}
MINIBATCHES, MOBA_MINIBATCHES, SEQUENCE = 4, 16, 16
"""ppo's parts of a pass, at most so many of moba's; decisions that a gradient runs back through a memory, at most."""
DEFAULTS: dict[str, dict[str, Any]] = {
    "a2c": {
        **_SHARED,
        "num_envs": 16,
        "rollout": 5,
        "learning_rate": 7e-4,
        "gae_lambda": 1.0,
        "noise_budget": 0.05,
    },
    "ppo": {
        **_SHARED,
        "num_envs": 8,
        "rollout": 128,
        "learning_rate": 2.5e-4,
        "gae_lambda": 0.95,
        "noise_budget": 0.02,
    },
}
GAME_LENGTH, DECISIONS_PER_SECOND = 600, 7.5
"""moba's: the default cap in seconds, and its clock (`envs.moba.options`, `envs.moba.settings`)."""
MOBA_DEFAULTS: dict[str, Any] = {
    # OpenAI Five (arXiv 1912.06680): 7.5 decisions a second, a horizon of 180 s, a sample used about once.
    **{"gamma": 0.9993, "clip": 0.2, "epochs": 1},
    # Not their λ of 0.95, value weight of 1 nor entropy bonus of 0.01: a batch here is a hundredth of theirs, one
    # decision's part of an advantage is lost in the noise, so that the bonus keeps the policy at random; and returns
    # are not brought to a size of 1, so that values rule the clipped gradient (docs/moba.md has what was tried).
    **{"gae_lambda": 0.99, "value_coef": 0.1, "entropy_coef": 0.001},
    **{"rollout": 128, "num_envs": 160, "learning_rate": 1e-3},
}


def resolve(config: TrainConfig) -> TrainConfig:
    """Fill in the algorithm's defaults and check every number.

    Raises:
        UserError: one line naming the setting, its value and what it must be.
    """
    kinds.check(TrainConfig, {f.name: getattr(config, f.name) for f in dataclasses.fields(config)})
    config = lifted(dataclasses.replace(config, env_options=switched(config.env_options)))
    kinds.check(TrainConfig, {name: getattr(config, name) for name in LIFTED})
    moba = config.env.startswith("moba:")
    defaults = {**DEFAULTS[config.algo], **(MOBA_DEFAULTS if moba else {})}
    if moba:
        if config.algo == "a2c":
            defaults["rollout"] = 16  # it takes one step a rollout
        length = config.env_options.get("game_length", GAME_LENGTH)
        # What is no finite number the world refuses, later.
        known = not isinstance(length, str) and math.isfinite(length)
        defaults["start_spread"] = round(DECISIONS_PER_SECOND * float(length)) if known else 0
    config = _filled(config, defaults)
    checks.check_counts(config, "num_envs", "rollout", "epochs")
    if config.network == "entities-lstm":
        config = _filled(config, {"sequence": math.gcd(SEQUENCE, config.rollout or 1)})
    checks.check_memory(config)
    # Divides, however many streams of a world are learnt from.
    own = math.gcd(MOBA_MINIBATCHES, (config.rollout or 1) // (config.sequence or 1)) if moba else MINIBATCHES
    config = _filled(config, {"minibatches": own})
    checks.check(config)
    return config


def switched(options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` with true and false, as a shell has them in any case, for what they say."""
    words = {"true": True, "false": False}
    return {k: words.get(v.lower(), v) if isinstance(v, str) else v for k, v in options.items()}


LIFTED = ("protocol", "start_spread")
"""Settings of a run that are options of Atari's and moba's worlds, too."""


def lifted(config: TrainConfig, stored: bool = False) -> TrainConfig:
    """`config` with what its `env_options` say of `LIFTED` in the settings' own place.

    Args:
        config: as given, or as a run has stored it.
        stored: the run was begun when the option overrode the setting without a word; it still does there.

    Raises:
        UserError: given in both places, and not alike.
    """
    twice = [name for name in LIFTED if name in config.env_options]
    if not twice or not config.env.startswith(("atari:", "moba:")):
        return config
    for name in twice:
        named, option = getattr(config, name), config.env_options[name]
        if not stored and named not in (None, option):
            raise UserError(
                f"{name} is given twice, as {named} and in env_options as {option}: leave one out"
            )
    rest = {key: value for key, value in config.env_options.items() if key not in twice}
    changes: dict[str, Any] = {name: config.env_options[name] for name in twice}
    return dataclasses.replace(config, env_options=rest, **changes)


def _filled(config: TrainConfig, defaults: dict[str, Any]) -> TrainConfig:
    """`config` with `defaults` where it says nothing."""
    missing = {key: value for key, value in defaults.items() if getattr(config, key) is None}
    return dataclasses.replace(config, **missing)


def save(config: TrainConfig, path: Path, extra: dict[str, Any]) -> None:
    """Write `config` (without unset values) and tables of facts about where it ran as TOML."""
    settings = {key: value for key, value in dataclasses.asdict(config).items() if value is not None}
    aside = path.with_suffix(".tmp")  # a kill must not leave a run without its settings
    with aside.open("w", encoding="utf-8") as file:
        file.write(tomli_w.dumps({"train": settings, **extra}))
        file.flush()
        os.fsync(file.fileno())  # nor must a power cut: this takes the place of the older one at each resume
    aside.rename(path)


def load(path: Path) -> TrainConfig:
    """Read what `save` wrote.

    Raises:
        UserError: not a run's config.toml, or one with settings this version does not know.
    """
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))["train"]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} is no run's config.toml ({error})") from None
    except KeyError:
        settings = None
    if not isinstance(settings, dict):
        raise UserError(f"{path} is no run's config.toml: it has no [train]") from None
    known = [field.name for field in dataclasses.fields(TrainConfig)]
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise UserError(
                f"{path}: unknown setting {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")
            )
    return resolve(lifted(TrainConfig(**settings), stored=True))
