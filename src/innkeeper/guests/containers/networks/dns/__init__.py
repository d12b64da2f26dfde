"""Names of containers for containers: a resolver at the gateway of each network that wants one."""
