"""Where architectures are scored: in this process, or by Ray's workers."""
