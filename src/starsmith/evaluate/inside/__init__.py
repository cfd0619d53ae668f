"""What runs inside the sandbox, carried in file by file: it may import the standard library and itself only."""
