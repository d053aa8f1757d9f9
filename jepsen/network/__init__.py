"""The network between nodes, breakable: real namespaces where the machine allows, user-space links elsewhere."""
