"""Training: one trial, and the driver that trains a population on workers."""
