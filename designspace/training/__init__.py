"""The short schedule: data on its device, one trial, and the driver of a population."""
