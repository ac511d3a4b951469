"""Regressors, priors and their persistence."""
