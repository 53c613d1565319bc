"""The figures of images as a page of documentation."""

import os
import platform
from typing import Any

HEAD = """# What unpacking costs

Made by `scripts/bench-images --markdown`; do not edit. Jobs alternate, {rounds} rounds after one that warms up;
the ratios are medians of the ratios within a round, and are what to trust: the seconds are those of one machine on
one day ({processors} processors, Linux {kernel}), with whatever else it had to do. Plain trees are made in memory,
prepared images and mounted bundles on ext4; each is measured by umoci in the same place. What tar does knows no
whiteouts, digests and diff IDs.

The image: {image}.

"""


def page(result: dict[str, Any], rounds: int) -> str:
    """A Markdown page of the jobs and, if there is one, the curve."""
    kernel = platform.release().partition("-")[0]
    lines = [HEAD.format(rounds=rounds, processors=os.cpu_count(), kernel=kernel, image=result["image"])]
    lines += [
        "| job | median (s) | lowest (s) | of all processors (s) | ratio | of |\n",
        "|---|---:|---:|---:|---:|---|\n",
    ]
    lines += [
        f"| {row['name']} | {row['median']:.3f} | {row['lowest']:.3f} | {row['processor']:.3f}"
        f" | {row['ratio']:.3f} | {row['of']} |\n"
        for row in [*result["jobs"], *result.get("transfers", [])]
    ]
    if result.get("curve"):
        lines.append(
            "\n## By files and layers\n\nFiles of up to 2 KB, a hundred to a directory; seconds.\n\n"
        )
        names = [name for name in result["curve"][0] if name not in {"files", "layers"}]
        lines.append(f"| files | layers | {' | '.join(names)} |\n|---:|---:|{'---:|' * len(names)}\n")
        lines += [
            f"| {row['files']:,} | {row['layers']} | {' | '.join(f'{row[name]:.3f}' for name in names)} |\n"
            for row in result["curve"]
        ]
    return "".join(lines)
