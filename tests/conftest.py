"""Settings for every test."""

import torch
from hypothesis import settings

# The tests' tensors are tiny: threads that wait for each other would cost more than they do.
torch.set_num_threads(1)
# The same examples each time, and no verdict on how busy the machine is.
settings.register_profile("latent_rl", deadline=None, derandomize=True)
settings.load_profile("latent_rl")
