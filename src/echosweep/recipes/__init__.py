"""Recipes that come with EchoSweep: one YAML file each, named by `echosweep study run NAME`."""
