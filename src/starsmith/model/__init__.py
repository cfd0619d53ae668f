"""StarCoder2: its configuration, the network, checkpoints, generation and export (StarCoder2, sections 4 and 6).

Nothing here trains, and nothing reads a corpus. PyTorch is an extra: `pip install 'starsmith[model]'`.
"""
