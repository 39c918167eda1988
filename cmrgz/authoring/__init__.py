"""For authors of plugins: what is installed, what ails it, and a package to start from."""
