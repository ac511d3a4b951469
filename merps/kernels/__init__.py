"""Every compiled loop of merps: arrays in, ``out`` arrays written, nothing else."""
