"""miles-router: the router between reinforcement-learning rollouts and SGLang workers."""

__version__ = "0.1.0"
