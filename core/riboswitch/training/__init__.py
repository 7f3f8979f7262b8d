"""Pre-training on any backend that brings a `Learner`."""
