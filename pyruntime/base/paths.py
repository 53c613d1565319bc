"""Paths as text."""


def clean_path(path: str) -> str:
    """An absolute path without empty, "." and ".." components, which the kernel would resolve in the root anyway."""
    # Most are that already.
    if path[:1] == "/" and "//" not in path and "/." not in path and (path[-1] != "/" or path == "/"):
        return path
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)
