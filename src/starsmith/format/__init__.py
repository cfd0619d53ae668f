"""Between a corpus and a model: how documents become text with sentinels, tokens, and shards of tokens."""
