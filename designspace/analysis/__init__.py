"""What trials tell: arrays in, frozen results out; no torch, no plotting."""
