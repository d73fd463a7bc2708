"""`rl-gns`: train, eval, noise, envs, study, fronts. Parses, calls, prints; errors become one line and an exit code.

Exit codes: 0 done (also when stopped by Ctrl-C after a checkpoint), 1 a run could not go on, 2 the user's mistake.
"""

from __future__ import annotations

import dataclasses
import difflib
import io
import math
import os
import re
import signal
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Annotated, Any

import tyro

from rl_gns import __version__
from rl_gns.errors import RunStopped, UserError
from rl_gns.front_command import DRAWN, Fronts
from rl_gns.study_commands import COMMANDS as STUDY_COMMANDS
from rl_gns.study_commands import StudyCommand
from rl_gns.training.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Train(TrainConfig):
    """Train an agent and measure its noise scale."""

    env: tyro.conf.Positional[str] = ""
    """What to train on: atari:GAME, gym:ID, moba:MODE or solvable:WORLD (`rl-gns envs` lists them)."""
    out: str | None = None
    """The run's directory. Default: runs/NAME made of the main settings."""
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    """Go on with the run in --out from its newest complete checkpoint."""
    quiet: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print nothing but errors and the summary."""

    given: tyro.conf.Suppress[tuple[str, ...]] = ()
    """The settings among the arguments, default or not: what a run that is resumed is asked to be."""

    def run(self) -> None:
        """Train, then say where the run lies."""
        from rl_gns.training.run import train
        from rl_gns.training.sharing import by_torchrun

        if not self.env and not self.resume:
            raise UserError("what to train on? e.g. rl-gns train atari:pong ('rl-gns envs' lists all)")
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(TrainConfig)}
        settings["env"] = self.env or TrainConfig.env
        if self.resume and self.out is None:
            raise UserError("which run? give --out DIR with --resume")
        config = TrainConfig(**settings)
        run = train(config, self.out, resume=self.resume, quiet=self.quiet, given=self.given)
        if not by_torchrun() or os.environ["RANK"] == "0":  # one of them speaks
            _summary(run)


@dataclasses.dataclass(frozen=True)
class Eval:
    """Play full games with a run's policy and print their scores."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The run's directory."""
    episodes: int | None = None
    """Full games to play. Default: 10; moba: 32 against each script."""
    seed: int = 0
    """Seeds games and action sampling."""
    deterministic: tyro.conf.FlagCreatePairsOff[bool] = False
    """Take the most likely action instead of sampling."""
    video: Path | None = None
    """Film the first game into this .mp4 or .gif; moba: that against the last script, the policy in blue."""
    against: str | None = None
    """moba: play this script only, and not all: idle, random, laner, bully."""
    checkpoint: Path | None = None
    """Play the policy of this file, of the run's `checkpoints` or `kept`. Default: the newest."""
    device: str = "cpu"
    """Where the network runs."""
    max_decisions: int | None = None
    """Not for moba: complain about a game that has not ended by then. Default: 100,000."""

    def run(self) -> None:
        """Play and print."""
        from rl_gns.training.evaluate import MAX_DECISIONS, evaluate
        from rl_gns.training.saved import load_run
        from rl_gns.training.seeing import Seeing

        run = load_run(self.run_dir)
        if run.config.env.startswith("moba:"):
            if self.max_decisions is not None:
                raise UserError("--max-decisions is not for moba: its games have a length of their own")
            self._climb(run)
            return
        if self.against is not None:
            raise UserError(f"--against is for moba: {run.config.env} has no other side")
        seeing = Seeing()
        games = evaluate(
            run,
            10 if self.episodes is None else self.episodes,
            seed=self.seed,
            deterministic=self.deterministic,
            video=self.video,
            device=self.device,
            checkpoint=self.checkpoint,
            max_decisions=MAX_DECISIONS if self.max_decisions is None else self.max_decisions,
            seeing=seeing,
        )
        for i, game in enumerate(games):
            print(f"game {i}: score {game.score:g} in {game.length:,.0f} decisions")
        scores = sorted(game.score for game in games)
        print(
            f"mean {sum(scores) / len(scores):.2f}, least {scores[0]:g}, most {scores[-1]:g}, {len(scores)} games"
        )
        if line := str(seeing):
            print(line)
        if self.video is not None:
            print(f"video: {self.video}")

    def _climb(self, run: Any) -> None:
        from envs.moba.opponents import OPPONENTS
        from rl_gns.training import ladder

        policy = ladder.load_policy(run.config, run.checkpoint(self.checkpoint), self.device)
        games = 32 if self.episodes is None else self.episodes
        found = ladder.climb(
            policy,
            run.config,
            games,
            seed=self.seed,
            deterministic=self.deterministic,
            opponents=OPPONENTS if self.against is None else (self.against,),
            video=self.video,
        )
        print(ladder.text(found))
        if self.video is not None:
            print(f"video: {self.video}")


@dataclasses.dataclass(frozen=True)
class Noise:
    """Show a run's noise scale as a table and a figure."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The run's directory."""
    rows: int = 12
    """Rows of the table, evenly spaced over the run."""
    figure: Path | None = None
    """Where to draw (.png, .svg, .pdf). Default: noise.png in the run's directory."""

    def run(self) -> None:
        """Print the table, draw the figure."""
        from rl_gns.report import noise, noise_parts
        from rl_gns.training.saved import load_run

        run = load_run(self.run_dir)
        path = self.figure or self.run_dir / "noise.png"
        if path.suffix not in DRAWN:
            raise UserError(f"the figure must end in .png, .svg or .pdf, got {path}")
        if not path.parent.is_dir():
            raise UserError(f"the figure's folder {path.parent} is not there: make it first")
        if self.rows < 1:
            raise UserError(f"rows must be at least 1, got {self.rows}")
        frame, parts, other = noise.table(run, self.rows), run.noise_parts(), run.correlation()
        if frame.empty and not len(parts) and not len(other):
            raise UserError(f"{self.run_dir} has no noise measurement: {_why_unmeasured(run.config)}")
        if len(frame):
            print(noise.heading(run))
            print(noise.text(frame))
            if worth := noise.worth(run):
                print(worth)
        if seen := noise.seen(run):
            print(seen)
        if len(parts):
            print(noise_parts.text(parts))
        if len(other):
            print("predicted at other rollout lengths, from the correlation within rollouts so far:")
            print(other.to_string(index=False, float_format="{:,.4g}".format))
            lags, time = run.autocorrelation()
            shown = ", ".join(f"{rho:.2g}" for rho in lags[1:9])
            print(
                f"autocorrelation at lags of 1, 2 … steps: {shown}; integrated correlation time {time:.3g} steps"
            )
        if frame.empty:
            return
        noise.figure(run, path)
        print(f"figure: {path}")


@dataclasses.dataclass(frozen=True)
class Envs:
    """List every environment."""

    def run(self) -> None:
        """Print one name a line."""
        import envs

        print("\n".join(envs.available()))


COMMANDS: dict[str, Any] = {
    "train": Train,
    "eval": Eval,
    "noise": Noise,
    "envs": Envs,
    "study": StudyCommand,
    "fronts": Fronts,
}


def _why_unmeasured(config: Any) -> str:
    if config.groups < 2:
        units = "one environment" if config.num_envs == 1 else f"one group of {config.num_envs} worlds"
        return f"{units} has no other to be compared with; raise num_envs"
    return "let it train longer" if config.noise_cadence else "it was trained with noise_budget 0"


def _summary(run: Any) -> None:
    metrics = run.metrics()
    print(f"run: {run.path}")
    if len(metrics):
        last = metrics.iloc[-1]
        observations = f"{last['observations']:,.0f} observations"
        if math.isnan(last["score"]):
            itself = run.config.self_play and run.config.past_share == 0
            why = "every game is against itself (past_share 0)" if itself else "no game has ended"
            print(f"score: unknown{'' if itself else ' yet'}, {why} ({observations})")
        else:
            print(f"score: {last['score']:.2f} (mean of the last 100 games, {observations})")
        value, low, high = last["noise_scale"], last["noise_scale_low"], last["noise_scale_high"]
        if value == value:
            percent = f"{100 * run.config.confidence:g}%"
            print(f"noise scale: {value:,.0f} observations ({percent} interval {low:,.0f} to {high:,.0f})")
        elif low > 0:
            print(f"noise scale: unknown, at least {low:,.0f} observations")
        elif low == 0:
            print(f"noise scale: {_why_unknown(int(last['update']), run.config.noise_cadence)}")
        elif run.config.noise_budget and run.config.groups < 2:
            print(f"noise scale: not measured: {_why_unmeasured(run.config)}")
        if run.config.noise_cadence:
            print(f"curve: rl-gns noise {run.path}")


MEASURED_LEAST = 8
"""Measured updates of a reading, see `noise.meter`."""


def _why_unknown(updates: int, cadence: int) -> str:
    """Why nothing is known after so many updates, of which one in `cadence` is measured, and what brings a reading."""
    if updates >= MEASURED_LEAST * cadence:
        return "unknown, and no bound of it either"
    needed = "unknown yet; a reading takes at least eight measured updates"
    return needed + (
        f", and one in {cadence} of {updates:,} was: raise --noise-budget" if cadence > 1 else ""
    )


def _parse(arguments: list[str]) -> Any:
    """tyro's parse; its boxed message becomes one line."""
    caught = io.StringIO()
    try:
        with redirect_stderr(caught):
            return tyro.extras.subcommand_cli_from_dict(
                COMMANDS,
                prog="rl-gns",
                description="Train agents, measure their gradient noise scale.",
                args=arguments,
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(_one_line(caught.getvalue(), arguments)) from None


def _given(command: Train, words: list[str]) -> tuple[str, ...]:
    """Settings that were typed: as --num-envs, --num_envs, --num-envs=4 or --no-compile."""
    typed = {word[2:].partition("=")[0].replace("-", "_") for word in words if word.startswith("--")}
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    found = [name for name in names if name in typed or f"no_{name}" in typed]
    return (*found, "env") if command.env else tuple(found)


OTHER_NAMES = {
    "lr": "learning_rate",
    **dict.fromkeys(("envs", "n_envs", "num_environments"), "num_envs"),
    **dict.fromkeys(("steps", "timesteps", "total_timesteps", "frames"), "observations"),
    **dict.fromkeys(("n_steps", "num_steps", "rollout_length"), "rollout"),
    **dict.fromkeys(("n_epochs", "update_epochs"), "epochs"),
    **dict.fromkeys(("output", "logdir", "dir"), "out"),
    "n_eval_episodes": "episodes",
}
"""What others call our options."""


def _one_line(message: str, arguments: list[str]) -> str:
    """The gist of tyro's boxed message, with the nearest option where one is unknown."""
    words = re.sub(r"[╭╮╰╯│─]+|-{5,}|\x1b\[[0-9;]*m", " ", message)
    lines = [" ".join(line.split()) for line in words.splitlines()]
    unknown = re.search(r"Unrecognized (?:or misplaced )?options?:\s+(--?[\w-]+)", "\n".join(lines))
    name, command = _asked(arguments)
    if unknown and command is not None:
        if unknown[1] == "--env" and name == "train":
            return "the environment comes first, without an option: rl-gns train atari:pong"
        fields = [field for field in dataclasses.fields(command) if field.name not in ("env", "given")]
        options = {field.name: "--" + field.name.replace("_", "-") for field in fields}
        meant = OTHER_NAMES.get(unknown[1].lstrip("-").replace("-", "_"))
        near = [options[meant]] if meant in options else []
        near = near or difflib.get_close_matches(unknown[1], options.values(), n=1, cutoff=0.7)
        hint = f"did you mean {near[0]}?" if near else f"see rl-gns {name} --help"
        return f"unknown option {unknown[1]}; {hint}"
    gist = [line for line in lines if line and not line.startswith(("Parsing error", "For full helptext"))]
    return "; ".join(gist[:3]) + f"; see {' '.join(['rl-gns', name]).strip()} --help"


def _asked(arguments: list[str]) -> tuple[str, Any]:
    """The command that was meant, with its words, as far as they name one: ("study run", StudyRun)."""
    if not arguments or arguments[0] not in COMMANDS:
        return "", None
    command: Any = COMMANDS[arguments[0]]
    if command is not COMMANDS["study"]:
        return arguments[0], command
    below = STUDY_COMMANDS.get(arguments[1]) if len(arguments) > 1 else None
    return ("study", None) if below is None else (f"study {arguments[1]}", below)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the `rl-gns` command."""
    try:
        words = sys.argv[1:] if arguments is None else arguments
        if words == ["--version"]:
            print(f"rl-gns {__version__}")
            return
        command = _parse(words)
        if isinstance(command, Train):
            command = dataclasses.replace(command, given=_given(command, words))
        command.run()
        if isinstance(command, Train) and arguments is None:
            # All is saved; leaving takes a second, and a signal that comes in it must not make the run look failed.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if sys.stdout is not None:  # begun with it closed
            sys.stdout.flush()
    except (UserError, ValueError) as error:
        if not isinstance(error, UserError) and type(error).__name__ not in ("EnvError", "GameError"):
            raise
        print(f"rl-gns: {error}", file=sys.stderr)
        sys.exit(2)
    except RunStopped as error:
        print(f"rl-gns: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # whoever read our output, as `head` does, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except KeyboardInterrupt:
        print("rl-gns: interrupted; the newest checkpoint is kept", file=sys.stderr)
        sys.exit(130)
