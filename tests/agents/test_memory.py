"""The memory of a network: torch's cell as its oracle, sequences against single calls, and that it learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from agents.memory import LSTM, Memory, Seen

N, LENGTH, INPUTS, WIDTH = 3, 6, 5, 4


def sequences(seed: int = 0) -> tuple[LSTM, Seen, Tensor]:
    """Rows of N sequences with episodes that begin on their way; what they carry over is not 0 at their start."""
    torch.manual_seed(seed)
    lstm = LSTM(INPUTS, WIDTH).double()
    with torch.no_grad():
        for p in lstm.parameters():
            p.add_(0.3 * torch.randn_like(p))
    fresh = torch.rand(N * LENGTH) < 0.3
    fresh[::LENGTH] = False
    memory = torch.randn(N * LENGTH, 2 * WIDTH).double()
    x = torch.randn(N * LENGTH, INPUTS).double()
    return lstm, Seen(x, memory, fresh, LENGTH), x


def torchs(lstm: LSTM) -> nn.LSTMCell:
    cell = nn.LSTMCell(INPUTS, WIDTH).double()
    with torch.no_grad():
        cell.weight_ih.copy_(lstm.inputs.weight)
        cell.weight_hh.copy_(lstm.recurrent.weight)
        cell.bias_ih.copy_(lstm.inputs.bias)
        cell.bias_hh.zero_()
    return cell


def test_it_is_torchs_lstm_row_by_row_with_its_gradients() -> None:
    lstm, seen, x = sequences()
    assert seen.fresh.any()
    cell = torchs(lstm)
    outputs, ends = [], []
    for i in range(N):
        h, c = seen.memory[i * LENGTH].split(WIDTH)
        for t in range(i * LENGTH, (i + 1) * LENGTH):
            if seen.fresh[t]:
                h, c = torch.zeros(WIDTH).double(), torch.zeros(WIDTH).double()
            h, c = cell(x[t], (h, c))
            outputs.append(h)
        ends.append(torch.cat([h, c]))
    found = lstm(x, seen)
    torch.testing.assert_close(found, torch.stack(outputs))
    assert seen.after is not None
    torch.testing.assert_close(seen.after, torch.stack(ends))
    weight = torch.randn_like(found)
    (found * weight).sum().backward()
    (torch.stack(outputs) * weight).sum().backward()
    torch.testing.assert_close(lstm.inputs.weight.grad, cell.weight_ih.grad)
    torch.testing.assert_close(lstm.recurrent.weight.grad, cell.weight_hh.grad)
    torch.testing.assert_close(lstm.inputs.bias.grad, cell.bias_ih.grad)


class Policy(nn.Module):
    """An LSTM called as a policy is."""

    def __init__(self, lstm: LSTM) -> None:
        super().__init__()
        self.lstm, self.memory_size = lstm, lstm.memory_size

    def forward(self, seen: Seen) -> Tensor:
        return self.lstm(seen.obs, seen)


def test_a_sequence_gives_what_single_calls_give() -> None:
    lstm, seen, x = sequences(1)
    policy = Policy(lstm)
    memory = Memory(policy, N, torch.device("cpu"))
    memory.state = seen.memory[::LENGTH].clone()
    fresh, steps = seen.fresh.view(N, LENGTH), x.view(N, LENGTH, INPUTS)
    found = []
    for t in range(LENGTH):
        memory.forget(fresh[:, t])
        rows = slice(0, 2), slice(2, N)  # in two halves, as overlapping does
        outputs = []
        for half in rows:
            now = memory.with_obs(steps[half, t], half)
            outputs.append(policy(now))
            memory.keep(now, half)
        found.append(torch.cat(outputs))
    torch.testing.assert_close(torch.stack(found, 1).flatten(0, 1), lstm(x, seen))
    torch.testing.assert_close(memory.state, seen.after)


def test_without_memory_nothing_is_wrapped() -> None:
    memory, obs = Memory(nn.Linear(2, 2), 3, torch.device("cpu")), torch.zeros(3, 2)
    assert memory.with_obs(obs) is obs
    memory.keep(obs)
    memory.forget(torch.ones(3, dtype=torch.bool))
    assert memory.state.shape == (3, 0)


@pytest.mark.parametrize("remembers", [True, False])
def test_it_learns_to_tell_what_it_saw_six_decisions_ago(remembers: bool) -> None:
    """And can't where every row is told to be an episode's first."""
    torch.manual_seed(0)
    lstm, head = LSTM(2, 16), nn.Linear(16, 1)
    optimizer = torch.optim.Adam([*lstm.parameters(), *head.parameters()], 1e-2)
    right = 0.0
    for _ in range(200):
        bits = torch.randint(0, 2, (64,))
        obs = torch.zeros(64, LENGTH + 1, 2)
        obs[:, 0, 0], obs[:, -1, 1] = 2.0 * bits - 1, 1.0
        fresh = torch.full((64 * (LENGTH + 1),), not remembers)
        seen = Seen(obs.flatten(0, 1), torch.zeros(len(fresh), 32), fresh, LENGTH + 1)
        logit = head(lstm(seen.obs, seen)).view(64, -1)[:, -1]
        loss = nn.functional.binary_cross_entropy_with_logits(logit, bits.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right = float(((logit > 0) == (bits > 0)).float().mean())
    assert (right > 0.99) == remembers


def test_it_starts_by_remembering() -> None:
    """Gates in torch's order; the bias of the one that forgets is 1 (Jozefowicz et al. 2015)."""
    take, forget, new, give = LSTM(3, 5).inputs.bias.detach().chunk(4)
    assert (forget == 1).all()
    assert not any(bias.any() for bias in (take, new, give))
