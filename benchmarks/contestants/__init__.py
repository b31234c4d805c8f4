"""What is measured: each a script that runs in a process of its own, a peer's in an environment of its own."""
