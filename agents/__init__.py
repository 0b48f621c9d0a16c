"""Who decides: standard RL agents and the baselines every learned step policy is compared with."""

if __name__ != "latent_rl.agents":
    raise ImportError(f"import this package as latent_rl.agents, not as {__name__}: no module may load twice.")
