"""Governance: what is in a corpus, why, and who may ask: cards, reports, look-up."""
