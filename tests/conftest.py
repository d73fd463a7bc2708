"""One torch thread: the tests' networks are small, and two runs on two cores must not fight for threads.

No deadline for hypothesis: a busy machine or a first compilation is no failure.
"""

import rl_gns  # sets how OpenMP's threads wait, before torch is loaded

assert rl_gns.__version__

import hypothesis  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)

hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")
