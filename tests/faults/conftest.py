"""The fixtures for real servers serve here as well."""

from tests.system.conftest import helper_file, ssh, sshd_factory, sshd_node_factory, test_keys

__all__ = ["helper_file", "ssh", "sshd_factory", "sshd_node_factory", "test_keys"]
