"""CRIU: saves the processes of a container to files and brings them back."""
