"""One torch thread: the tests' networks are small, and two runs on two cores must not fight for threads."""

import rl_gns  # sets how OpenMP's threads wait, before torch is loaded

assert rl_gns.__version__

import torch  # noqa: E402

torch.set_num_threads(1)
