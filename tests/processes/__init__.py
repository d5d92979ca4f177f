"""Forks, servers that fork, containers, patched runtimes."""
