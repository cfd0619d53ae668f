"""Training: a pack of tokens becomes a model, in steps that can be stopped, resumed and spread over many GPUs."""
