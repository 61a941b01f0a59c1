"""What a training step costs as tasks are added, and against plain torch modules in a loop.

Run: python tests/benchmarks/step_time.py
"""

from __future__ import annotations

import torch
from _bench import medians, one_thread, table
from torch import nn

from skmtl._network import NetworkPlan
from skmtl.sharing import HardSharing, SoftSharing
from skmtl.tasks import regression_layout
from skmtl.training import Members, TrainingRun
from skmtl.training._batches import Batch
from skmtl.training._run import _make_net
from skmtl.weighting import EqualWeighting

FEATURES, HIDDEN, BATCH = 20, 64, 32
LAMBDA = 1e-3


def our_step(sharing, n_tasks: int, sharing_lambda: float = 0.0, hidden: int = HIDDEN, n_members: int = 1):
    """Return a function that trains our network by one step, as an epoch does."""
    plan = NetworkPlan(sharing, regression_layout(n_tasks), FEATURES, (hidden, hidden), (), "relu", 0.0)
    own = torch.zeros(n_members)
    members = Members(
        (0,) * n_members, own + sharing_lambda, own + 1e-3, weight_decay=own, dropout=own, task_weights=None
    )
    run = TrainingRun(
        plan=plan,
        device=torch.device("cpu"),
        members=members,
        task_names=[str(t) for t in range(n_tasks)],
        weighting=EqualWeighting(),
        optimizer="adam",
        lr_schedule="constant",
        batch_size=BATCH,
        max_epochs=1,
        patience=None,
        tol=0.0,
    )
    engine = _make_net(run, None, resumes=False).initialize().engine_
    batch = Batch(torch.randn(BATCH, FEATURES), torch.randn(BATCH, n_tasks), torch.tensor(1 / BATCH))
    losses = torch.empty(n_members, n_tasks)

    def step() -> None:
        with torch.inference_mode():
            engine.step(batch, losses)

    return step


def tower() -> nn.Module:
    """Return one tower with its head, as a user would write it."""
    return nn.Sequential(
        nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)
    )


def loop_of_towers(n_tasks: int):
    """Return a step of plain torch: a loop over towers, and the penalty of every pair of trunks."""
    towers = nn.ModuleList([tower() for _ in range(n_tasks)])
    optimizer = torch.optim.Adam(towers.parameters(), lr=1e-3)
    x, y = torch.randn(BATCH, FEATURES), torch.randn(BATCH, n_tasks)
    trunks = [list(t.parameters())[:4] for t in towers]

    def step() -> None:
        optimizer.zero_grad()
        loss = sum(0.5 * nn.functional.mse_loss(t(x).squeeze(-1), y[:, k]) for k, t in enumerate(towers))
        for i in range(n_tasks):
            for j in range(i + 1, n_tasks):  # each pair stands for two ordered ones
                loss = loss + 2 * LAMBDA * sum(
                    (a - b).square().sum() for a, b in zip(trunks[i], trunks[j], strict=True)
                )
        loss.backward()
        optimizer.step()

    return step


def loop_of_heads(n_tasks: int):
    """Return a step of plain torch: a trunk, and a loop over heads."""
    trunk = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU())
    heads = nn.ModuleList([nn.Linear(HIDDEN, 1) for _ in range(n_tasks)])
    optimizer = torch.optim.Adam([*trunk.parameters(), *heads.parameters()], lr=1e-3)
    x, y = torch.randn(BATCH, FEATURES), torch.randn(BATCH, n_tasks)

    def step() -> None:
        optimizer.zero_grad()
        h = trunk(x)
        sum(0.5 * nn.functional.mse_loss(head(h).squeeze(-1), y[:, k]) for k, head in enumerate(heads)).backward()
        optimizer.step()

    return step


def plain_step(n_tasks: int, hidden: int):
    """Return a step of plain torch: one network of linear layers with all outputs, autograd and the default Adam."""
    net = nn.Sequential(
        nn.Linear(FEATURES, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, n_tasks)
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    x, y = torch.randn(BATCH, FEATURES), torch.randn(BATCH, n_tasks)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.mse_loss(net(x), y).backward()
        optimizer.step()

    return step


def stack_rows() -> list[tuple]:
    """Return the rows of stacks of small networks against plain torch, one network after the other."""
    sizes = (1, 8, 32)
    steps = {str(n): our_step(HardSharing(), 5, hidden=32, n_members=n) for n in sizes}
    seconds = medians({**steps, "plain": plain_step(5, 32)}, rounds=9, min_seconds=0.1)
    rows = []
    for n in sizes:
        each = seconds[str(n)] / n
        what = (
            f"hidden 32, T = 5, stack of {n}, µs a step of a member ({1e6 * each:.0f}): times faster than plain torch"
        )
        rows.append((what, f"{seconds['plain'] / each:.1f}", ">= 25" if n == 32 else "-"))
    return rows


def main() -> None:
    one_thread()
    torch.manual_seed(0)
    hard = medians({str(t): our_step(HardSharing(), t) for t in (3, 20, 200)}, rounds=9, min_seconds=0.1)
    heads = medians({str(t): loop_of_heads(t) for t in (3, 20, 200)}, rounds=3, min_seconds=0.1)
    soft = medians({"ours": our_step(SoftSharing(), 20, LAMBDA), "loop": loop_of_towers(20)}, rounds=5, min_seconds=0.1)
    rows = [
        (f"hard sharing, T = {t}: µs a step (a loop over heads: {1e6 * heads[t]:.0f})", f"{1e6 * s:.0f}", "-")
        for t, s in hard.items()
    ]
    rows += [
        ("hard sharing: T = 200 over T = 3", f"{hard['200'] / hard['3']:.2f}", "<= 1.5"),
        (
            f"soft sharing, T = 20: µs a step (a loop over towers: {1e6 * soft['loop']:.0f})",
            f"{1e6 * soft['ours']:.0f}",
            "-",
        ),
        ("soft sharing, T = 20: times faster than the loop", f"{soft['loop'] / soft['ours']:.0f}", ">= 20"),
        *stack_rows(),
    ]
    table(f"One training step: {FEATURES} features, hidden 64-64, batch {BATCH}, float32, one thread", rows)


if __name__ == "__main__":
    main()
