"""dasctl administers a cluster of servers from one command line, over SSH, with no agent on the nodes."""

__version__ = "0.1.0"
