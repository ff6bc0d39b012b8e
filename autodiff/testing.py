"""`wf.test`: what helps to test gradients."""

from .numeric import compute_gradient as compute_gradient, compute_gradient_error as compute_gradient_error
