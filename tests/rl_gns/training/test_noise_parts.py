"""Noise parts in a run: what they find, that they change nothing, that they resume, and how often they are measured."""

import dataclasses
import math

import pytest
import torch
from torch.func import hessian

from agents import ppo
from agents.optimizers import RMSpropTF
from rl_gns.cli import main
from rl_gns.noise.line_search import STEPS, improvement_table
from rl_gns.noise.per_environment import per_environment_moments
from rl_gns.training import checkpoint, part_costs
from rl_gns.training import parts as parts_module
from rl_gns.training.config import TrainConfig, resolve
from rl_gns.training.loop import Trainer
from rl_gns.training.parts import preconditioner
from rl_gns.training.saved import load_run

A2C_PARTS = "policy,value,entropy,total,layers,optimizer,normalized,hessian,fisher,line-search"


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def config(algo="a2c", parts=A2C_PARTS, **changes):
    settings = {
        "env": "gym:CartPole-v1",
        "algo": algo,
        "num_envs": 4,
        "rollout": 8,
        "minibatches": 2,
        "epochs": 3,
        "noise_parts": parts,
        "noise_parts_every": 2,
        "noise_budget": 1.0 if algo == "a2c" else 0.02,
        "threads": 1,
        "tensorboard": False,
    }
    return resolve(TrainConfig(**(settings | changes)))


@pytest.fixture
def trainer_of():
    made = []

    def make(*args, **kwargs):
        made.append(Trainer(config(*args, **kwargs)))
        return made[-1]

    yield make
    for trainer in made:
        trainer.close()


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b or (a != a and b != b)


@pytest.mark.parametrize("algo", ["a2c", "ppo"])
def test_a_run_with_parts_equals_one_without_bit_for_bit(trainer_of, algo):
    parts = A2C_PARTS + (",epochs" if algo == "ppo" else "")
    plain, measuring = trainer_of(algo, ""), trainer_of(algo, parts)
    before = torch.get_rng_state()
    for _ in range(5):
        plain.update()
        measuring.update()
        for p, q in zip(plain.policy.parameters(), measuring.policy.parameters(), strict=True):
            assert torch.equal(p.grad, q.grad)
    a, b = plain.state_dict(), measuring.state_dict()
    found = b.pop("noise_parts")
    for state in (a, b):
        state.pop("env")  # pickles of equal environments need not be equal bytes
    a.pop("noise_parts")
    assert_same(a, b)
    assert torch.equal(plain.env.observation(), measuring.env.observation())
    assert_same(plain.take_row(), measuring.take_row())
    assert torch.equal(before, torch.get_rng_state())
    names = {name.partition("/")[0] for name in found}
    assert names == set(parts.split(","))
    assert all(state["now"] > 0 for state in found.values())


@pytest.mark.parametrize("algo", ["a2c", "ppo"])
def test_a_resumed_run_continues_every_meter_bit_for_bit(trainer_of, tmp_path, algo):
    parts = A2C_PARTS + (",epochs" if algo == "ppo" else "")
    whole, first, second = (trainer_of(algo, parts) for _ in range(3))
    for _ in range(6):
        whole.update()
    for _ in range(3):
        first.update()
    second.load_state_dict(checkpoint.read(checkpoint.save(tmp_path, 1, first.state_dict())))
    for _ in range(3):
        second.update()
    assert_same(whole.parts.state_dict(), second.parts.state_dict())
    assert_same(whole.parts.rows(), second.parts.rows())


@pytest.mark.parametrize("algo", ["a2c", "ppo"])
def test_total_is_what_the_training_pass_measures_and_layers_sum_to_it(trainer_of, algo):
    trainer = trainer_of(algo, parts="total,layers", noise_parts_every=1, noise_budget=1.0)
    for _ in range(3):
        trainer.update()
    main_reading = trainer.meter.read()
    rows = dict(trainer.parts.rows())
    layers = {name: row for name, row in rows.items() if name.startswith("layers/")}
    assert set(layers) == {f"layers/{x}" for x in ("policy_tower", "value_tower", "action", "value")}
    for key in ("signal", "noise"):
        assert rows["total"][key] == pytest.approx(getattr(main_reading, key), rel=1e-3)
        assert sum(row[key] for row in layers.values()) == pytest.approx(rows["total"][key], rel=1e-4)


def test_terms_of_towers_apart_sum_to_the_total(trainer_of):
    """With separate towers and no entropy bonus policy and value share no parameter: no cross terms."""
    trainer = trainer_of(parts="policy,value,total,layers", noise_parts_every=1, entropy_coef=0.0)
    trainer.update()
    rows = dict(trainer.parts.rows())
    for key in ("signal", "noise"):
        assert rows["policy"][key] + rows["value"][key] == pytest.approx(rows["total"][key], rel=1e-4)
        heads = rows["layers/action"][key] + rows["layers/policy_tower"][key]
        assert rows["policy"][key] == pytest.approx(heads, rel=1e-4)


def test_groups_of_environments_speak_of_one_environment(trainer_of):
    """Noise over groups of two environments, averaged over updates, is that over single ones."""
    readings = []
    for groups in (4, 2):
        trainer = trainer_of(
            parts="policy",
            env="solvable:bandit",
            network="tabular",
            noise_groups=groups,
            noise_parts_every=1,
            noise_halflife=1e9,
            learning_rate=1e-12,
        )
        for _ in range(100):
            trainer.update()
        readings.append(trainer.parts.meters["policy"].read())
    assert readings[1].noise == pytest.approx(readings[0].noise, rel=0.25)


def test_finds_the_exact_noise_scales_of_the_bandit(trainer_of):
    trainer = trainer_of(
        parts="policy,value,total,hessian,fisher",
        env="solvable:bandit",
        network="tabular",
        noise_parts_every=1,
        noise_halflife=1e9,
        learning_rate=1e-12,
        entropy_coef=0.05,
        num_envs=8,
        noise_groups=8,
        rollout=64,
    )
    for _ in range(100):
        trainer.update()
    exact = trainer.env.exact(torch.zeros(1, 4), torch.zeros(1), rollout=64, entropy_coef=0.05)
    rewards = torch.tensor(trainer.env.rewards)

    def expected_loss(theta):
        p = theta[:4].softmax(0)
        entropy = -(p * p.log()).sum()
        squares = (0.25 * (rewards - theta[4]).square()).sum()  # actions were drawn from the uniform policy
        return -(p * rewards).sum() + 0.5 * squares - 0.05 * entropy

    p = torch.full((4,), 0.25, dtype=torch.float64)
    fisher = torch.zeros(5, 5, dtype=torch.float64)
    fisher[:4, :4] = torch.diag(p) - torch.outer(p, p)
    forms = {"hessian": hessian(expected_loss)(torch.zeros(5, dtype=torch.float64)), "fisher": fisher}
    g, covariance = exact.gradient, exact.covariance
    truth = {name: (exact.parts[name].signal, exact.parts[name].trace) for name in ("policy", "value")}
    truth["total"] = (exact.signal, exact.trace)
    for name, m in forms.items():
        truth[name] = (float(g @ m @ g), float((m @ covariance).trace()))
    for name, (signal, noise) in truth.items():
        reading = trainer.parts.meters[name].read()
        b = 64 * noise / signal
        assert reading.noise == pytest.approx(noise, rel=0.12), name
        assert reading.low < b < reading.high, (name, b, reading)
        assert reading.value == pytest.approx(b, rel=0.2), name


@pytest.mark.parametrize("groups", [pytest.param(8, marks=pytest.mark.slow), 4])
def test_every_update_counted_alike_has_the_bandits_noise_scale_too(trainer_of, groups):
    trainer = trainer_of(
        parts="normalized",
        env="solvable:bandit",
        network="tabular",
        noise_parts_every=None,
        noise_halflife=1e9,
        learning_rate=1e-12,
        num_envs=8,
        noise_groups=groups,
        rollout=64,
    )
    for _ in range(300):
        trainer.update()
    exact = trainer.env.exact(torch.zeros(1, 4), torch.zeros(1), rollout=64, entropy_coef=0.01)
    found, plain = trainer.parts.meters["normalized"].read(), trainer.meter.read()
    assert found.observations == plain.observations == 300 * 8 * 64
    assert found.signal + found.noise * groups / 8 == pytest.approx(1)  # noise is one environment's
    b = 64 * exact.trace / exact.signal
    assert found.low < b < found.high
    assert found.value == pytest.approx(b, rel=0.2)


def test_the_other_parts_are_normalized_one_by_one(trainer_of):
    parts = "policy,value,layers,optimizer,fisher,hessian,normalized"
    trainer = trainer_of(parts=parts, noise_parts_every=1, num_envs=8, noise_groups=4)
    for _ in range(3):
        trainer.update()
    rows = dict(trainer.parts.rows())
    family = {name for name in rows if name.startswith("normalized/")}
    assert family == {f"normalized/{name}" for name in ("policy", "value", "optimizer", "fisher")}
    for name in family:
        # Groups of two environments each, whose noise is half of one's.
        assert rows[name]["signal"] + rows[name]["noise"] / 2 == pytest.approx(1), name
    once = trainer_of(parts=parts, noise_parts_every=1, num_envs=8, noise_groups=4)
    once.update()
    rows = dict(once.parts.rows())
    for name in family:
        plain, share = rows[name.partition("/")[2]], rows[name]
        assert share["signal"] / share["noise"] == pytest.approx(plain["signal"] / plain["noise"]), name


def test_updates_that_are_not_measured_are_not_in_the_normalized_part_either(trainer_of):
    trainer = trainer_of("ppo", "normalized,policy", noise_parts_every=3, noise_budget=0.1)
    assert trainer.config.noise_cadence == 3
    for _ in range(7):
        trainer.update()
    meter = trainer.parts.meters["normalized"]
    assert meter.read().observations == trainer.meter.read().observations == 9 * 32
    assert trainer.config.parts_cadence == 3


def test_the_line_search_takes_steps_along_one_half_and_judges_them_on_the_other(trainer_of, monkeypatch):
    """Batches in observations; directions from groups 0 and 1 of four, losses of environments 2 and 3 alone."""
    trainer = trainer_of(parts="line-search", noise_parts_every=1)
    meter = trainer.parts.meters["line-search"]
    assert list(meter.batches) == [8, 16]
    seen = {}

    def spy(gradients, loss_at, sizes, scale):
        seen.update(gradients=gradients, loss=loss_at(None), sizes=list(sizes))
        return improvement_table(gradients, loss_at, sizes, scale)

    monkeypatch.setattr(parts_module, "improvement_table", spy)
    trainer.env.reset()
    trainer._collect()
    s = trainer.settings
    batch = trainer.rollout.batch(s.gamma, s.gae_lambda)
    trainer.parts.measure(batch)

    def loss(environments):
        terms = ppo.loss(trainer.policy, batch[:, environments], math.inf)
        return terms.total(s.value_coef, s.entropy_coef).mean()

    assert seen["sizes"] == [1, 2]
    assert seen["loss"] == pytest.approx(loss(slice(2, 4)).item(), rel=1e-5)
    assert seen["loss"] != pytest.approx(loss(slice(0, 4)).item(), rel=1e-3)
    for k, gradient in enumerate(seen["gradients"]):
        wanted = torch.autograd.grad(loss(slice(k, k + 1)), trainer.parts.parameters)
        for a, b in zip(gradient, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert len(seen["gradients"]) == 2


def test_each_epoch_is_measured_at_its_first_weights(trainer_of):
    measuring, twin = trainer_of("ppo", "epochs", noise_parts_every=1), trainer_of("ppo", "")
    measuring.update()
    twin.env.reset()
    twin._collect()
    batch = twin.rollout.batch(twin.settings.gamma, twin.settings.gae_lambda)
    whole = dataclasses.replace(batch, advantage=ppo.normalized(batch.advantage))
    once = dataclasses.replace(twin.settings, epochs=1)
    seen = []
    for k in (1, 2, 3):
        expected = per_environment_moments(
            lambda: ppo.loss(twin.policy, whole, 0.1).total(0.5, 0.01).T, twin.policy, units=4, dim=0
        )
        found = measuring.parts.meters[f"epochs/{k}"].read()
        assert found.signal == pytest.approx(expected.signal, rel=1e-3)
        assert found.noise == pytest.approx(expected.noise, rel=1e-3)
        seen.append(found.noise)
        twin.optimizer.zero_grad()
        ppo.update(twin.policy, twin.optimizer, batch, once, generator=twin.generator)
    assert len(set(seen)) == 3
    assert not measuring.optimizer._optimizer_step_post_hooks


OPTIMIZERS = {
    "tensorflow": lambda p: RMSpropTF(p, lr=0.01, alpha=0.9, eps=1e-3),
    "torch": lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, eps=1e-3),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.0, 0.9), eps=1e-3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_preconditioner_is_what_the_step_applied(name):
    """After a step, P made from the new mean square times the gradient is the displacement over -lr."""
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(3, 2)), torch.nn.Parameter(torch.randn(4))]
    optimizer = OPTIMIZERS[name](parameters)
    before_any = preconditioner(optimizer, parameters)
    if name == "tensorflow":
        torch.testing.assert_close(before_any[0], torch.full((3, 2), (1 + 1e-3) ** -0.5))
    else:
        assert before_any is None
    for _ in range(3):
        old = [p.detach().clone() for p in parameters]
        for p in parameters:
            p.grad = torch.randn_like(p)
        optimizer.step()
        found = preconditioner(optimizer, parameters)
        for p, was, weights in zip(parameters, old, found, strict=True):
            torch.testing.assert_close((was - p.detach()) / 0.01, weights * p.grad, rtol=1e-3, atol=1e-4)


def test_an_optimizer_without_a_preconditioner_is_refused():
    p = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="SGD has no preconditioner"):
        preconditioner(torch.optim.SGD([p], lr=0.1), [p])


@pytest.mark.parametrize("start", [1.0, 1e-3, 0.0])
def test_the_optimizers_metric_at_the_start_is_the_plain_one_scaled(trainer_of, start):
    """TensorFlow's mean square starts at what the run says: before the first step P is 1/√(start + eps) everywhere."""
    trainer = trainer_of(parts="total,optimizer", noise_parts_every=1, rmsprop_start=start)
    trainer.update()
    rows = dict(trainer.parts.rows())
    assert rows["optimizer"]["noise"] == pytest.approx(rows["total"]["noise"] / (start + 1e-5), rel=1e-5)
    trainer.update()
    assert dict(trainer.parts.rows())["optimizer"]["noise"] != pytest.approx(
        dict(trainer.parts.rows())["total"]["noise"], rel=1e-3
    )


def test_the_surrogate_has_the_gradient_of_the_loss_that_trains(trainer_of):
    trainer = trainer_of()
    trainer.update()
    trainer.env.reset()
    trainer._collect()
    batch = trainer.rollout.batch(trainer.settings.gamma, trainer.settings.gae_lambda)
    parts = trainer.parts
    for a, b in zip(
        parts._gradient(parts._surrogate(batch)), parts._gradient(parts._losses(batch)["total"]), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


# --- cadence and the command line ------------------------------------------------------------------------


@pytest.mark.parametrize("algo", ["a2c", "ppo"])
@pytest.mark.parametrize(
    "parts", ["policy", "policy,value,layers,optimizer", "hessian,fisher", "line-search"]
)
def test_the_default_cadence_keeps_to_the_budget_and_no_more(algo, parts):
    c = config(algo, parts, noise_parts_every=None, noise_budget=0.03)
    epochs = 3 if algo == "ppo" else 1
    share = part_costs.cost(c.parts, c.groups, epochs, c.batch) / (1 + 3 * epochs)
    assert share / c.parts_cadence <= 0.03
    assert share / max(c.parts_cadence - 1, 0.1) > 0.03
    assert config(algo, parts, noise_parts_every=7).parts_cadence == 7


def test_asking_for_nothing_measures_nothing(trainer_of):
    trainer = trainer_of(parts="", noise_parts_every=None)
    assert trainer.config.parts_cadence == 0
    trainer.update()
    assert trainer.parts.rows() == []
    assert len(STEPS) == part_costs.LINE_SEARCH_STEPS


def test_the_command_line_measures_prints_and_draws(tmp_path, capsys):
    arguments = (
        "train gym:CartPole-v1 --algo ppo --num-envs 4 --rollout 16 --observations 960 --log-every 320"
    )
    arguments += " --threads 1 --no-tensorboard --quiet --noise-parts policy,value,layers,epochs"
    arguments += f" --noise-parts-every 1 --out {tmp_path / 'run'}"
    main(arguments.split())
    frame = load_run(tmp_path / "run").noise_parts()
    assert {"policy", "value", "layers/action", "epochs/1", "epochs/4"} <= set(frame["part"])
    assert frame["observations"].nunique() == 3
    assert frame["noise"].gt(0).all()
    main(["noise", str(tmp_path / "run")])
    out = capsys.readouterr().out
    assert "parts at 960 observations" in out
    assert "layers/value_tower" in out
    assert (tmp_path / "run" / "noise.png").stat().st_size > 20_000
    with pytest.raises(SystemExit) as stop:
        main(["train", "gym:CartPole-v1", "--noise-parts", "entrpy", "--out", str(tmp_path / "no")])
    assert stop.value.code == 2
    assert "did you mean 'entropy'" in capsys.readouterr().err
