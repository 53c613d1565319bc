"""oci-image: reads OCI images and makes runtime bundles of them.

The public functions are in the rooms' modules; `oci_image.unpack.unpack_image` makes a bundle.
"""
