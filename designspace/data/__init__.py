"""Images: sources, splits, decoding, the cache, batches and augmentation."""
