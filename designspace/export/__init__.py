"""Models as files: our own model.yaml, and those of other libraries, each with its proof."""
