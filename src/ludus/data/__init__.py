"""Readers of real files and worlds: arrays in the network's range, and the way back."""
