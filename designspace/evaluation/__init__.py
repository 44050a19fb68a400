"""What a pretrained trunk has learned: k-NN, linear probe, low-shot, fine-tuning, detection."""
