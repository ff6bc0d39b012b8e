"""Rows for graph/ops/candidates.py; what the numbers are like stands in test_sampled_losses.py."""

import numpy as np
from case import Case
from weft.graph.ops import candidates

TRUE = np.array([[0, 3], [5, 9]])

CASES = [
    Case("LogUniformCandidateSampler", lambda t: candidates.log_uniform_candidate_sampler(t, 2, 4, True, 10, seed=1),
         (TRUE,), order=0),
    Case("LogUniformCandidateSampler", lambda t: candidates.log_uniform_candidate_sampler(t, 2, 4, False, 10, seed=1),
         (TRUE,), order=0, label="repeated"),
    Case("UniformCandidateSampler", lambda t: candidates.uniform_candidate_sampler(t, 2, 10, True, 10, seed=1),
         (TRUE,), order=0),
]  # fmt: skip
